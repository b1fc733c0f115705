"""The runner around one handler: starts it, watches it from outside, stops it, and makes the one transition.

A handler runs in an asyncio task of its own. The runner is another task, which nobody cancels: it waits for the
handler's end, for a wish to stop, and for the deadline, asks `rules.stopping` what to do, and does it. So nothing a
handler does with a cancellation can hide its end, and a handler cancelled before its first step needs no care.

Owns:   what its handler is stopped for, the deadline, the protected sections, the receipt, the terminal event.
Uses:   rules.stopping and rules.outcome (decisions), engine.hub (who hears of it).
Never:  raises; calls a handler stopped that still runs; reads the wall clock.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import math
from typing import Any

import anyio
import structlog

from streaming.config import Settings
from streaming.engine.alarm import Alarm
from streaming.engine.calls import Call
from streaming.engine.context import Deadline, TaskContext
from streaming.engine.hub import Hub, Log
from streaming.engine.processes import Processes
from streaming.engine.registry import TaskType
from streaming.engine.teller import LogTeller
from streaming.engine.transitions import end, move, requeue
from streaming.errors import StoreUnavailable, StreamingError, TaskEnded
from streaming.records import CancelOutcome, CancelReceipt, TaskError, TaskStatus
from streaming.rules.lifecycle import Cause, Transition
from streaming.rules.outcome import Outcome, describe, outcome
from streaming.rules.stopping import Step, Stop, next_step

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Workshop:
    """What all runners of a coordinator share."""

    hub: Hub
    settings: Settings
    threads: anyio.CapacityLimiter
    processes: Processes


class Runner:
    """One task, from its turn to its terminal event.

    Args:
        task_type: its handler.
        log: where it is told what happens.
        workshop: what all runners share.
    """

    def __init__(self, task_type: TaskType, log: Log, workshop: Workshop) -> None:
        self.task_type = task_type
        self.log = log
        self.deadline_at = math.inf
        self.settled = asyncio.Event()
        self._hub = workshop.hub
        self._time = asyncio.get_running_loop().time  # a thread asks too how much time is left
        self._settings = workshop.settings
        self._alarm = Alarm()
        self._stop: Stop | None = None
        self._abandoned = False
        self._handler: asyncio.Task[Any] | None = None
        record = log.record
        self._teller = LogTeller(workshop.hub, log, workshop.settings, self._alarm.ring, self._deliver_what_is_due)
        context = TaskContext(
            record.id, record.attempt, copy.deepcopy(record.params), Deadline(self._remaining_s), self._teller
        )
        self._call = Call(task_type, context, workshop.threads, workshop.processes)
        log.on_lost = self._alarm.ring

    @property
    def id(self) -> str:
        """The task's id."""
        return self.log.record.id

    @property
    def stuck(self) -> bool:
        """Whether the handler still runs although its task has ended."""
        return self._handler is not None and not self._handler.done() and (self.log.window.ended or self.log.lost)

    def where(self) -> str:
        """The line on which the handler stands."""
        return "not started" if self._handler is None else self._call.where(self._handler)

    # -- asked from outside ---------------------------------------------------------------------------------------

    def stop(self, cause: Cause) -> None:
        """Ask the handler to stop; the first cause wins."""
        if self._stop is None:
            self._stop = Stop(cause)
            self._alarm.ring()

    def cancel(self, by: str, reason: str) -> None:
        """Write down that somebody cancels the task; the handler is cancelled once that is committed.

        While the store is away the handler is cancelled at once: a full disk must not keep its cause alive.
        """
        if self.log.record.cancel is not None:
            return
        now = self._hub.now()
        data = {"by": by, "reason": reason, "held_by": self._teller.held_by()}
        self._hub.append_with(self.log, "cancel_requested", data, now, cancel=CancelReceipt(now, by, reason))
        if self._stop is None:
            self._stop = Stop(Cause.CANCEL, written=False)
            self._hub.when_committed(self.release)
        if not self._hub.available:
            self.release()

    def release(self) -> None:
        """The cause is stored, or the store is away: the handler may be cancelled now."""
        if self._stop is not None and not self._stop.written:
            self._stop.written = True
            self._alarm.ring()

    def move_deadline(self, timeout_s: float) -> None:
        """Let the task run ``timeout_s`` seconds from its start, longer or shorter than before."""
        started_at = self.deadline_at - self.log.record.timeout_s
        self.deadline_at = started_at + timeout_s
        self._hub.amend(self.log, timeout_s=timeout_s)
        self._alarm.ring()

    def abandon(self) -> None:
        """End the task although its handler still runs: the process is about to exit.

        The handler is told to stop all the same: the process may be somebody's who goes on.
        """
        self._abandoned = True
        if self._writable():
            self._finish()
        self.release()
        self._deliver_what_is_due()
        self._alarm.ring()

    # -- the run --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the handler to its end, and see the terminal event stored."""
        try:
            await self._run()
        except StoreUnavailable as problem:
            _log.error("the end of a task could not be stored", task_id=self.id, reason=problem.detail)
        except TaskEnded:
            _log.warning("the record was changed by somebody else", task_id=self.id)
        except asyncio.CancelledError:  # nobody here does that: the loop ends, or the coordinator has failed
            await self._take_down()
            raise
        except Exception:
            _log.exception("the runner failed", task_id=self.id)
            self._give_up()
        finally:
            self.settled.set()

    async def _run(self) -> None:
        now = self._hub.now()
        attempt = self.log.record.attempt
        move(self._hub, self.log, Transition.START, {"attempt": attempt}, now, started_at=now)
        await self._hub.committed()  # nobody may find a handler at work that the store calls pending
        if self._stop is not None:
            await self._hub.committed()  # its cause is stored by now as well: it is stopped before its first step
        if not self._writable():
            return
        loop = asyncio.get_running_loop()
        self.deadline_at = loop.time() + self.log.record.timeout_s
        with structlog.contextvars.bound_contextvars(task_id=self.id):
            self._handler = loop.create_task(self._call.run(), name=f"streaming-handler-{self.id}")
        self._handler.add_done_callback(self._handler_ended)
        await self._watch(self._handler)
        if self._writable():
            self._finish()
        await self._hub.committed()

    async def _take_down(self) -> None:
        """Let the handler clean up, although nothing that it writes is going to be stored."""
        handler = self._handler
        if handler is None or handler.done():
            return
        if not handler.cancelling():
            handler.cancel()
        await asyncio.wait({handler}, timeout=self._settings.cancel_grace_s)

    def _give_up(self) -> None:
        """A mistake of ours must not leave the task running for ever."""
        if self._writable() and self.log.record.status is TaskStatus.RUNNING:
            message = "The server failed to end this task properly."
            end(self._hub, self.log, Outcome(Transition.RAISE, TaskError("internal", message)))

    def _handler_ended(self, handler: asyncio.Task[Any]) -> None:
        if not handler.cancelled():
            handler.exception()  # seen, also when the task has ended without its handler
        self._alarm.ring()

    async def _watch(self, handler: asyncio.Task[Any]) -> None:
        """Wait for the handler's end, and stop it when there is reason to."""
        loop = asyncio.get_running_loop()
        while not handler.done() and not self._abandoned:
            if self.log.lost and self._stop is None:
                self._stop = Stop(Cause.SHUTDOWN)
            now = loop.time()
            step, until = next_step(
                now=now,
                stop=self._stop,
                deadline_at=self.deadline_at,
                sections=self._teller.sections,
                uncancelled=handler.cancelling() == 0,
            )
            if step is Step.WAIT:
                if self._held_back():
                    self.settled.set()  # who cancels does not wait for a protected section
                await self._alarm.wait(until)
            else:
                self._do(step, handler, now)

    def _do(self, step: Step, handler: asyncio.Task[Any], now: float) -> None:
        if step is Step.OVERRUN:
            self._teller.report_overruns(now)
        elif self._stop is None:  # Step.EXPIRE
            self._stop = Stop(Cause.TIMEOUT)
        elif step is Step.DECLINED:
            self._report_ignored(self._stop, handler, declined=True)
            self._stop = None
        else:
            if step is Step.INSIST:
                self._report_ignored(self._stop, handler, declined=False)
            self._deliver(self._stop, handler, now)

    def _held_back(self) -> bool:
        """Whether a stop could be delivered, but for a protected section."""
        stop = self._stop
        return stop is not None and stop.written and stop.delivered_at is None and self._teller.held_by() is not None

    def _deliver_what_is_due(self) -> bool:
        """Do it now if no protected section holds it back any more, and say whether there was anything."""
        stop, handler = self._stop, self._handler
        is_due = stop is not None and stop.written and stop.delivered_at is None
        if not is_due or stop is None or handler is None or self._teller.held_by() is not None:
            return False
        self._deliver(stop, handler, self._time())
        self._alarm.ring()  # the next look was planned for the time at which the section would have overrun
        return True

    def _deliver(self, stop: Stop, handler: asyncio.Task[Any], now: float) -> None:
        first = stop.delivered_at is None
        stop.deliver(now, self._settings.cancel_grace_s)
        handler.cancel(f"streaming: {stop.cause}")
        receipt = self.log.record.cancel
        if first and stop.cause is Cause.CANCEL and receipt is not None and self._writable():
            self._hub.amend(self.log, cancel=dataclasses.replace(receipt, delivered_at=self._hub.now()))
        self.settled.set()

    def _report_ignored(self, stop: Stop, handler: asyncio.Task[Any], *, declined: bool) -> None:
        """Say in the log that the handler goes on, and where."""
        place = self._call.where(handler)
        _log.warning("a handler goes on after it was stopped", task_id=self.id, cause=stop.cause.value, where=place)
        if not self._writable():
            return
        now = self._hub.now()
        changes: dict[str, Any] = {}
        if stop.cause is Cause.CANCEL and self.log.record.cancel is not None:
            changes["cancel"] = dataclasses.replace(
                self.log.record.cancel, outcome=CancelOutcome.IGNORED, where=place, declined=declined
            )
        data = {
            "cause": stop.cause.value,
            "where": place,
            "deliveries": stop.deliveries,
            "declined": declined,
        }
        self._hub.append_with(self.log, "cancel_ignored", data, now, **changes)

    # -- the end --------------------------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        """The one place that decides how a task ends; it does not wait."""
        limit = self._settings.event_bytes_max
        handler = self._handler
        if handler is None:
            return Outcome(Transition.SHUTDOWN, TaskError("shutdown", "The server stopped before the task had begun."))
        if not handler.done():
            place = self.where()
            _log.error("a handler did not stop within the grace", task_id=self.id, where=place)
            message = f"The server stopped; the handler did not stop within the grace and stood at {place}."
            return Outcome(Transition.SHUTDOWN, TaskError("shutdown", message))
        raised, returned = _end_of(handler)
        if isinstance(raised, Exception | BaseExceptionGroup):
            trace = None if isinstance(raised, StreamingError) else raised  # raised on purpose, the words say enough
            _log.warning("a handler raised", task_id=self.id, error=describe(raised), exc_info=trace)
        stop = self._stop
        cause = stop.cause if stop is not None and stop.delivered_at is not None else None
        return outcome(cause, self.reason(cause), returned=returned, raised=raised, bytes_max=limit)

    def reason(self, cause: Cause | None) -> str:
        """Why the handler was stopped, in words for the client."""
        receipt = self.log.record.cancel
        if cause is Cause.CANCEL and receipt is not None:
            return f"Cancelled by {receipt.by}{': ' + receipt.reason if receipt.reason else ''}."
        if cause is Cause.TIMEOUT:
            return f"Ran longer than its timeout_s of {self.log.record.timeout_s:g} s."
        return "The server stopped before the task had ended."

    def _finish(self) -> None:
        """Write the terminal event, or send an interrupted task back to the queue if its type says so."""
        end_of_run = self._outcome()
        goes_on = self._handler is not None and not self._handler.done()
        if end_of_run.transition is Transition.SHUTDOWN and self._restartable and not goes_on:
            requeue(self._hub, self.log, "shutdown")
        else:
            end(self._hub, self.log, end_of_run, where=self.where() if goes_on else None)

    @property
    def _restartable(self) -> bool:
        return self._hub.journal.durable and may_restart(self.task_type, self.log.record.attempt)

    def _writable(self) -> bool:
        return not self.log.lost and not self.log.window.ended

    def _remaining_s(self) -> float:
        return self.deadline_at - self._time()


def _end_of(handler: asyncio.Task[Any]) -> tuple[BaseException | None, Any]:
    """What a handler that is done has raised, or returned."""
    if handler.cancelled():
        return asyncio.CancelledError(), None
    raised = handler.exception()
    return (raised, None) if raised is not None else (None, handler.result())


def may_restart(task_type: TaskType, attempt: int) -> bool:
    """Whether an interrupted run may be followed by another one."""
    return task_type.on_interrupt == "restart" and attempt < task_type.attempts_max
