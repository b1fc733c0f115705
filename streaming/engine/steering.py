"""What can be asked of a task that goes on: to stop, to take its time, to listen; and of one that has ended: to go.

Owns:   the cancel of a task that waits or runs, and of those under it; deadlines that are moved; inputs; reports;
        that a result was seen, and the end of a record.
Uses:   engine.turns (who waits), engine.runner (who runs), engine.family (who is under whom).
Never:  starts a task.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from streaming.config import Settings
from streaming.engine.draft import check_seconds
from streaming.engine.external import External
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.log import Log
from streaming.engine.lookup import LiveTask, Lookup
from streaming.engine.parameters import refuse_unstorable
from streaming.engine.registry import Registry
from streaming.engine.runner import Runner
from streaming.engine.transitions import SERVER, end
from streaming.engine.turns import Turns
from streaming.errors import (
    FieldError,
    InvalidParams,
    NotExternal,
    TaskActive,
    TaskNotFound,
    TaskTerminal,
    TimeOver,
)
from streaming.events import Event
from streaming.records import CancelReceipt, Record, TaskError
from streaming.rules.deadlines import Due, Limit, expired
from streaming.rules.lifecycle import TERMINAL, Transition
from streaming.rules.outcome import Outcome, cancelled_words
from streaming.rules.reporting import Report

REASON_MAX = 1000


class Steering(Lookup):
    """The half of the coordinator that asks something of live tasks.

    Args:
        registry: the task types.
        journal: what is remembered.
        hub: what is live.
        settings: the limits.
        spawn: runs a task whose turn it is.

    Attributes:
        limits_hit: how often each limit was hit.
    """

    def __init__(
        self, registry: Registry, journal: Journal, hub: Hub, settings: Settings, spawn: Callable[[Runner], None]
    ) -> None:
        super().__init__(journal, hub, settings.store_wait_s)
        self.registry = registry
        self.settings = settings
        self.limits_hit = hub.limits_hit
        self._turns = Turns(registry, hub, settings, spawn, self._expire, self._forget)
        self._hub.on_availability(self._release_cancels)

    @abstractmethod
    def _forget(self, task: LiveTask) -> None:
        """The task is live no more."""

    async def cancel_task(
        self, task_id: str, *, reason: str = "", by: str = "anonymous", wait_s: float = 0.0
    ) -> CancelReceipt:
        """Ask a task to stop, and the tasks that it has started with it.

        The wish is written down before the handler is cancelled. Asking again changes nothing and gives the same
        receipt.

        Args:
            task_id: the task.
            reason: shown to every reader, at most 1,000 characters.
            by: the principal.
            wait_s: seconds to wait for the stop; 0 returns once the cancel is delivered, or is held back by a
                protected section.

        Returns:
            The receipt; its outcome is ``requested`` while the handler is still cleaning up.

        Raises:
            TaskNotFound: no such task.
            TaskTerminal: it has ended in another way before.
            InvalidParams: the reason is too long, or a text cannot be stored.
            Draining: it waits for the next server.
            StoreUnavailable: the wish could not be stored; the handler is cancelled all the same.
        """
        if len(reason) > REASON_MAX:
            message = f"At most {REASON_MAX} characters."
            raise InvalidParams("The reason is too long.", errors=[FieldError("reason", message)])
        refuse_unstorable({"reason": reason, "by": by})
        task = await self._going_on(task_id)
        if task is None:
            return await self._receipt_of_ended(task_id)
        self._cancel(task, by, reason)
        await self._hub.committed(self.settings.store_wait_s)
        await self._settle(task, wait_s)
        record = await self.get(task_id)
        if record.cancel is None:  # somebody else has ended it in the store, and the wish came too late
            raise TaskTerminal(task_id, record.status)
        return record.cancel

    def _cancel(self, task: LiveTask, by: str, reason: str) -> None:
        """Cancel a live task, whether it waits or runs; those under it follow when its handler hears of it."""
        self._hub.diary.tell("cancel", task.id, 0, by)
        waited = self._turns.withdraw(task)
        task.cancel(by, reason)
        if waited:
            self._end_cancelled(task)

    def _end_cancelled(self, task: LiveTask) -> None:
        """End a task that does not run, and that somebody has cancelled."""
        receipt = task.log.record.cancel
        assert receipt is not None  # noqa: S101  # who calls has seen it
        self._end_waiting(task, Outcome(Transition.CANCEL, TaskError("cancelled", cancelled_words(receipt))))

    @staticmethod
    def _goes_on(task: LiveTask) -> bool:
        return not task.log.window.ended and not task.log.lost

    def _cancel_unwatched(self, log: Log, reason: str | None) -> None:
        """The last viewer of a task has been away for too long, or has come back in time."""
        task = self._tasks.get(log.record.id)
        if task is None or not self._goes_on(task):
            return
        if reason is not None and self._turns.is_waiting(task):
            self._cancel(task, SERVER, reason)
        else:
            task.cancel_unwatched(reason)

    def _expire(self, task: LiveTask, due: Due) -> None:
        """A task has waited too long."""
        self._hub.diary.tell("timeout", task.id, 0, due.limit)
        self._end_waiting(task, Outcome(Transition.TIMEOUT, expired(due.limit, due.seconds)))

    def _end_waiting(self, task: LiveTask, outcome: Outcome) -> None:
        end(self._hub, task.log, outcome)
        task.settled.set()
        self._hub.when_committed(lambda: self._forget(task))

    async def _settle(self, task: LiveTask, wait_s: float) -> None:
        """Wait until a cancel is delivered or held back, and then up to ``wait_s`` for the stop."""
        await task.settled.wait()
        if wait_s > 0:
            await self.wait(task.id, wait_s)

    def _release_cancels(self) -> None:
        """The store has gone away or come back: cancels no longer wait for it."""
        for runner in self._turns.running.values():
            runner.release()

    def _replace(self, task_ids: tuple[str, ...], by: str) -> None:
        """A new task takes the place of others, and waits until they have stopped."""
        for task_id in task_ids:
            task = self._tasks.get(task_id)
            if task is not None and self._goes_on(task):
                self._cancel(task, SERVER, f"Task {by} takes its place")

    async def extend(self, task_id: str, limits: Mapping[Limit, float | None]) -> Record:
        """Give a live task more time, or less.

        Args:
            task_id: the task.
            limits: new lengths in seconds, each counted from where it has counted before: a run from its start, a wait
                from its beginning, the whole from the start of the task; None takes a limit away.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended.
            InvalidParams: no positive number, or over the maximum; or no time for a run.
            TimeOver: it is being stopped since a deadline has passed.
            Draining: it waits for the next server.
            StoreUnavailable: the change could not be stored; it holds all the same.
        """
        changes = {limit: check_seconds(limit.value, seconds, self.settings) for limit, seconds in limits.items()}
        if changes.get(Limit.RUN, 0.0) is None:
            raise InvalidParams("timeout_s is wrong.", errors=[FieldError("timeout_s", "Every run has a timeout.")])
        task = await self._going_on(task_id)
        if task is None:
            raise TaskTerminal(task_id, (await self.get(task_id)).status)
        if (over := task.expired_limit) is not None:
            raise TimeOver(f"Task {task_id} is being stopped: its {over} is over.")
        policy: dict[str, Any] = {limit.value: seconds for limit, seconds in changes.items() if limit is not Limit.RUN}
        self._hub.amend(
            task.log,
            timeout_s=changes.get(Limit.RUN) or task.log.record.timeout_s,
            policy=dataclasses.replace(task.log.record.policy, **policy),
            updated_at=self._hub.now(),
        )
        for limit, seconds in changes.items():
            self._turns.move(task, limit, seconds)
            task.move(limit, seconds)
        await self._hub.committed(self.settings.store_wait_s)
        return await self.get(task_id)

    async def send_input(self, task_id: str, data: object, *, by: str = "anonymous") -> Event:
        """Send something into a task; its handler reads it with ``ctx.inputs()``.

        Args:
            task_id: the task.
            data: any JSON value, at most ``event_bytes_max`` bytes.
            by: the principal.

        Returns:
            The event; it is stored.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended.
            InvalidParams: the data cannot be stored.
            TooManyInputs: the task has as many inputs as it may have.
            TooManyEvents: its log has as many events as it may have.
            LogTooLarge: its log has as many bytes as it may have.
            Draining: it waits for the next server.
            StoreUnavailable: the store is away, and nothing was sent; or it does not answer, and the input may be
                stored later. The message says which.
        """
        task = await self._going_on(task_id)
        if task is not None:
            await task.mailbox.room(self.settings.store_wait_s)
            task = await self._going_on(task_id)  # it may have ended meanwhile
        if task is None:
            raise TaskTerminal(task_id, (await self.get(task_id)).status)
        event = task.mailbox.put(data, by)
        await self._hub.committed(self.settings.store_wait_s)
        if task.log.lost:  # somebody else has ended it in the store, and the input came too late
            raise TaskTerminal(task_id, (await self.get(task_id)).status)
        return event

    async def report(self, task_id: str, report: Report, *, by: str = "anonymous") -> Record:
        """Take what the worker of an external task says of it.

        Args:
            task_id: the task.
            report: events, progress, a status; all of it is taken, or nothing.
            by: the principal.

        Returns:
            The record, as stored; its ``cancel`` says whether the worker is to stop.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended.
            NotExternal: its handler runs here.
            KeyBusy: another task with its key has not ended.
            InvalidParams: something in the report is wrong.
            StatusConflict: the status cannot follow the one that the task has.
            TooManyEvents: its log has as many events as it may have; an end fits always.
            LogTooLarge: its log has as many bytes as it may have; likewise.
            Draining: it waits for the next server.
            StoreUnavailable: the store is away; what was not refused may be stored later.
        """
        task = await self._going_on(task_id)
        if task is None:
            raise TaskTerminal(task_id, (await self.get(task_id)).status)
        if not isinstance(task, External):
            raise NotExternal(task_id, task.log.record.type)
        await task.report(report, by)
        await self._hub.committed(self.settings.store_wait_s)
        record = await self.get(task_id)
        if task.log.lost:  # somebody else has ended it in the store, and the report came too late
            raise TaskTerminal(task_id, record.status)
        return record

    # -- asked of one that has ended ----------------------------------------------------------------------------------

    async def acknowledge(self, task_id: str) -> Record:
        """Note that the result of a task was seen; the first time counts.

        Args:
            task_id: the task.

        Raises:
            TaskNotFound: no such task.
            TaskActive: it has not ended.
            StoreUnavailable: the store cannot be written.
        """
        status = (await self.get(task_id)).status
        if status not in TERMINAL:
            raise TaskActive(task_id, status, "acknowledged")
        record = await self._journal.acknowledge(task_id, self._hub.now())
        if record is None:
            raise TaskNotFound(task_id)
        return record

    async def delete(self, task_id: str) -> None:
        """Forget a terminal or damaged task with its log.

        Args:
            task_id: the task.

        Raises:
            TaskNotFound: no such task.
            TaskActive: it has not ended.
            StoreUnavailable: the store cannot be written.
        """
        await self._check_over(task_id)
        if not await self._journal.delete(task_id):
            raise TaskNotFound(task_id)
        if task := self._tasks.get(task_id):  # it has nothing left to do, and is about to be forgotten
            self._forget(task)
