"""Tasks whose work is done elsewhere: a worker reports over HTTP, and the server keeps the log and the time.

Rules of this file:

- Such a task waits in no line and takes no place of those that run here. It is pending until its worker is heard of.
- A report is written whole, into one transaction, or refused.
- A cancel is delivered with the answer to the next report; it is for the worker, or its silence, to end the task.
- Silence and deadlines are counted here. After a restart a new silence begins: nobody could report meanwhile.

Owns:   what a report changes, the deadlines and the silence of a worker.
Uses:   rules.reporting (what may be said), engine.timing (deadlines), engine.hub (where it is written).
Never:  calls a handler.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from streaming.config import Settings
from streaming.engine.alarm import Latch
from streaming.engine.hub import Hub
from streaming.engine.limits import check_fits
from streaming.engine.log import Log
from streaming.engine.mailbox import Mailbox
from streaming.engine.registry import TaskType
from streaming.engine.timing import Wait, deadlines_now, since
from streaming.engine.transitions import SERVER, begin, end
from streaming.errors import Draining, KeyBusy, ReportTooLarge, StoreUnavailable, TaskTerminal
from streaming.events import encode_payload, rfc3339, seconds_of
from streaming.records import CancelReceipt, TaskError, TaskStatus
from streaming.rules.deadlines import Due, Limit
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import Outcome, cancelled_words
from streaming.rules.reporting import Report, Taken, fail_after_s, outcome_of, read_report, stale_after_s


class External:
    """One external task, from its start to its end.

    Args:
        task_type: of the task.
        log: where it is told what happens.
        hub: of the log.
        settings: the limits.
        holder: which other task holds the key of this one; None if this one does, or has none.
        on_over: called when it has ended or was lost.
    """

    def __init__(
        self,
        task_type: TaskType,
        log: Log,
        hub: Hub,
        settings: Settings,
        holder: Callable[[], str | None],
        on_over: Callable[[External], None],
    ) -> None:
        self.task_type = task_type
        self.log = log
        self.settled = Latch()
        self.mailbox = Mailbox(hub, log, settings)
        self._hub = hub
        self._settings = settings
        self._holder = holder
        self._on_over = on_over
        self._silence = Silence(hub, log, settings, self._expire)
        self._wait: Wait | None = None
        self._resting = False
        log.on_lost = self._lose
        self._watch(log.record.started_at or log.record.created_at)

    @property
    def id(self) -> str:
        """The task's id."""
        return self.log.record.id

    @property
    def stopping(self) -> bool:
        """Whether its worker is to be told to stop."""
        return self.log.record.to_be_cancelled

    @property
    def expired_limit(self) -> None:
        """None: it ends in the step in which a deadline passes."""

    @property
    def holder(self) -> str | None:
        """Which other task holds its key; None if this one does, or has none."""
        return self._holder()

    @property
    def heard_at(self) -> float:
        """When its worker was heard of last, on the loop's clock: not before this server has begun to listen."""
        return self._silence.heard_at

    def limits(self) -> list[tuple[Limit, float]]:
        """When each limit is reached that counts now, on the loop's clock; perhaps at infinity."""
        dues = () if self._wait is None else self._wait.deadlines.dues
        silence = [] if self._wait is None else self._silence.limit()
        return [*((due.limit, due.at) for due in dues if due.limit is not Limit.HEARTBEAT), *silence]

    @property
    def over(self) -> bool:
        """Whether nothing more can be written."""
        return self.log.lost or self.log.dropped or self.log.window.ended

    # -- asked from outside ---------------------------------------------------------------------------------------

    def cancel(self, by: str, reason: str) -> None:
        """Write down that somebody cancels the task; before its worker was heard of, it ends with that."""
        if self.log.record.cancel is not None:
            return
        now = self._hub.now()
        receipt = CancelReceipt(now, by, reason)
        data = {"by": by, "reason": reason, "held_by": None}
        with self._hub.together(2):
            self._hub.append_with(self.log, "cancel_requested", data, now, cancel=receipt)
            if self.log.record.status is TaskStatus.PENDING:
                self._end(Outcome(Transition.CANCEL, TaskError("cancelled", cancelled_words(receipt))))
        self.settled.set()

    def cancel_unwatched(self, reason: str | None) -> None:
        """Cancel the task because nobody watches it; None takes nothing back, as nothing was held back."""
        if reason is not None:
            self.cancel(SERVER, reason)

    def move(self, limit: Limit, seconds: float | None) -> None:
        """Make a limit longer or shorter; the record has it already."""
        if limit is Limit.HEARTBEAT:
            self._silence.moved()
        elif self._wait is not None:
            self._wait.deadlines.move(limit, seconds)
            self._wait.arm()

    def interrupt(self) -> None:
        """The process ends, and nothing is kept of the task."""
        self._end(Outcome(Transition.SHUTDOWN, TaskError("shutdown", "The server stopped, and keeps no tasks.")))

    def rest(self) -> None:
        """Look at no clock any more: the process is about to end."""
        self._resting = True
        self._stop_watching()

    # -- what the worker says -------------------------------------------------------------------------------------

    async def report(self, report: Report, by: str) -> None:
        """Write a report; it is not stored yet when this returns.

        Args:
            report: what the worker says.
            by: the principal.

        Raises:
            TaskTerminal: the task has ended.
            Draining: it waits for the next server.
            KeyBusy: it is not its turn: another task with its key has not ended.
            InvalidParams: something in the report is wrong; nothing of it was taken.
            StatusConflict: the status cannot follow the one that the task has.
            TooManyEvents: the log has as many events as it may have, or would have more; an end fits always.
            LogTooLarge: it has as many bytes as it may have, or would have more.
            StoreUnavailable: the store is away, or too slow for more.
        """
        self._silence.heard()
        await self._room()
        self._silence.heard()  # a report that had to wait was no silence
        if self.over:
            raise TaskTerminal(self.id, self.log.record.status)
        if (holder := self._holder()) is not None:
            raise KeyBusy(self.log.record.key or "", holder)
        taken = self._read(report)
        with self._hub.together(taken.size):
            self._write(taken, by)

    def _read(self, report: Report) -> Taken:
        """Check a report, and whether there is room for it in the log."""
        settings, hits, record = self._settings, self._hub.limits_hit, self.log.record
        try:
            taken = read_report(
                report, record, events_max=settings.report_events_max, bytes_max=settings.event_bytes_max
            )
        except ReportTooLarge:
            hits.hit("report_too_large")
            raise
        if taken.told:  # a report with nothing but a status fits always
            first = record.status is TaskStatus.PENDING  # then the server has something to tell before
            check_fits(self.log, settings, hits, events=taken.told + first, size=taken.told_bytes)
        return taken

    async def _room(self) -> None:
        try:
            async with asyncio.timeout(self._settings.store_wait_s):
                await self._hub.room(self.log)
        except TimeoutError:
            raise StoreUnavailable("The store is away, or too slow; nothing of the report was taken.") from None
        if self._hub.closed:
            raise Draining

    def _write(self, taken: Taken, by: str) -> None:
        if self.log.record.status is TaskStatus.PENDING:
            begin(self._hub, self.log, by=by)
            self._watch(self.log.record.started_at or "")
        for type, payload in taken.events:
            self._hub.append(self.log, type, payload)
        now = self.log.heartbeat_at = self._hub.now()
        if taken.progress is not None:
            steps: dict[str, Any] = {} if taken.steps is None else {"steps": taken.steps}
            self._hub.append_with(self.log, "progress", taken.progress_data(), now, progress=taken.progress, **steps)
        changes: dict[str, Any] = {"client_seq": taken.client_seq}
        receipt = self.log.record.cancel
        if receipt is not None and receipt.delivered_at is None and taken.outcome is None:
            changes["cancel"] = dataclasses.replace(receipt, delivered_at=now)
        self._hub.amend(self.log, **changes)
        if taken.outcome is not None:
            self._end(taken.outcome, by)

    # -- time -----------------------------------------------------------------------------------------------------

    def _watch(self, begun: str) -> None:
        """Count the deadlines of the status that the task has, and the silence of its worker."""
        self._stop_watching()
        if self._resting:
            return
        deadlines = deadlines_now(self._hub, self.log, self._settings, since(self._hub, begun))
        deadlines.move(Limit.HEARTBEAT, None)  # that one is counted with the silence
        self._wait = Wait(self._hub, self.log, deadlines, self._expire)
        if self.log.record.status is TaskStatus.RUNNING:
            self._silence.begin()

    def _stop_watching(self) -> None:
        self._silence.end()
        if self._wait is not None:
            self._wait.stop()
            self._wait = None

    def _expire(self, due: Due) -> None:
        self._hub.diary.tell("timeout", self.id, 0, due.limit)
        self._end(outcome_of(due, self.log.record.cancel), SERVER)

    # -- the end --------------------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome, by: str | None = None) -> None:
        self._stop_watching()
        end(self._hub, self.log, outcome, by=by)
        self.settled.set()
        self._hub.when_committed(self._leave)

    def _lose(self) -> None:
        """Somebody else has changed the task in the store: it is ours no longer."""
        self._stop_watching()
        self.settled.set()
        self._leave()

    def _leave(self) -> None:
        self._on_over(self)


class Silence:
    """How long the worker of one running task has said nothing.

    Args:
        hub: of the log.
        log: of the task; its policy may say how long it may be silent.
        settings: how long it may be else.
        on_lost: called when it was silent for too long.

    Attributes:
        heard_at: when it was heard of, on the loop's clock.
    """

    def __init__(self, hub: Hub, log: Log, settings: Settings, on_lost: Callable[[Due], None]) -> None:
        self._hub = hub
        self._log = log
        self._settings = settings
        self._on_lost = on_lost
        self._time = asyncio.get_running_loop().time
        self.heard_at = self._time()
        self._told = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Count from the last word."""
        self._look_at(self.heard_at + self._stale_s)

    def end(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def limit(self) -> list[tuple[Limit, float]]:
        """When the silence is too long, if it counts."""
        return [] if self._timer is None else [(Limit.HEARTBEAT, self.heard_at + self._fail_s)]

    def heard(self) -> None:
        """The worker lives."""
        self.heard_at = self._time()
        self.moved()

    def moved(self) -> None:
        """The end of the silence is another one now."""
        if self._timer is not None:
            self._told = self._told and self.heard_at + self._stale_s <= self._time()
            self._look_at(self.heard_at + (self._fail_s if self._told else self._stale_s))

    @property
    def _fail_s(self) -> float:
        return fail_after_s(self._log.record.policy, self._settings.external_fail_s)

    @property
    def _stale_s(self) -> float:
        settings = self._settings
        return stale_after_s(self._log.record.policy, settings.external_fail_s, settings.external_stale_s)

    def _look_at(self, at: float) -> None:
        self.end()
        self._timer = asyncio.get_running_loop().call_at(at, self._over)

    def _over(self) -> None:
        """The time is over at which the worker was to be heard of."""
        self._timer = None
        if self._told:
            self._on_lost(Due(Limit.HEARTBEAT, self.heard_at, self._fail_s, 0.0))
            return
        self._told = True
        fails_at = self.heard_at + self._fail_s
        at = rfc3339(seconds_of(self._hub.now()) + fails_at - self._time())
        self._hub.append(self._log, "stale", encode_payload({"silent_s": self._stale_s, "fails_at": at}))
        self._look_at(fails_at)
