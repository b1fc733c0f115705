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
import dataclasses
from typing import Any

import structlog

from streaming.engine.alarm import Alarm, Latch
from streaming.engine.calls import NAME, end_of
from streaming.engine.inside import Inside
from streaming.engine.log import Log
from streaming.engine.mailbox import Mailbox
from streaming.engine.registry import TaskType
from streaming.engine.teller import LogTeller
from streaming.engine.timing import TimeLeft, deadlines_now, warn
from streaming.engine.transitions import SERVER, begin, end, may_restart, requeue, retry
from streaming.engine.workshop import Workshop
from streaming.errors import StoreUnavailable, StreamingError, TaskEnded
from streaming.records import CancelOutcome, CancelReceipt, TaskError, TaskStatus
from streaming.rules.deadlines import Deadlines, Due, Limit, expired
from streaming.rules.lifecycle import Cause, Transition
from streaming.rules.outcome import Outcome, cancelled_words, describe, outcome
from streaming.rules.retry import failure_names, pause_s, should_retry
from streaming.rules.stopping import Step, Stop, next_step

_log = structlog.get_logger(__name__)


class Runner:
    """One attempt of a task, from its turn to its end.

    Args:
        task_type: its handler.
        log: where it is told what happens.
        workshop: what all runners share.
        mailbox: the inputs of the attempt before.

    Attributes:
        over: `run` has ended.
    """

    def __init__(self, task_type: TaskType, log: Log, workshop: Workshop, mailbox: Mailbox | None = None) -> None:
        self.task_type = task_type
        self.log = log
        self.over = False
        self.settled = Latch()
        self.mailbox = mailbox or Mailbox(workshop.hub, log, workshop.settings)
        self._workshop = workshop
        self._deadlines: Deadlines | None = None
        self._time_left = TimeLeft()
        self._due: Due | None = None
        self._unwatched: str | None = None
        self._hub = workshop.hub
        self._loop = asyncio.get_running_loop()
        self._settings = workshop.settings
        self._alarm = Alarm()
        self._stop: Stop | None = None
        self._abandoned = False
        self._handler: asyncio.Task[Any] | None = None
        self._teller = LogTeller(workshop.hub, log, workshop.settings, self._alarm.ring, self._leave)
        self._call = workshop.call(task_type, log.record, self._time_left.seconds, self._teller, self.mailbox)

    @property
    def id(self) -> str:
        """The task's id."""
        return self.log.record.id

    @property
    def stuck(self) -> bool:
        """Whether the handler still runs although its task has ended."""
        return self.at_work and (self.log.window.ended or self.log.lost)

    @property
    def at_work(self) -> bool:
        """Whether the handler has begun, and has not come to its end."""
        return self._handler is not None and not self._handler.done()

    @property
    def stopping(self) -> bool:
        """Whether the handler is to stop."""
        return self._stop is not None

    @property
    def expired_limit(self) -> Limit | None:
        """The limit for which the handler is to stop; None if it stops for something else, or goes on."""
        due, stop = self._due, self._stop
        return due.limit if due is not None and stop is not None and stop.cause is Cause.TIMEOUT else None

    def where(self) -> str:
        """The line on which the handler stands."""
        return "not started" if self._handler is None else self._call.where(self._handler)

    def inside(self) -> Inside:
        """What is to be seen of it from outside."""
        call, handler = self._call, self._handler
        return Inside(call.stack(handler), call.waiter(handler), self._stop, self._teller.sections, self._deadlines)

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

    def cancel_unwatched(self, reason: str | None) -> None:
        """Cancel the task because nobody watches it, once no protected section forbids; None takes that back."""
        self._unwatched = reason
        self._cancel_if_unwatched()

    def _cancel_if_unwatched(self) -> None:
        if self._unwatched is not None and self._teller.held_by() is None:
            reason, self._unwatched = self._unwatched, None
            self.cancel(SERVER, reason)

    def move(self, limit: Limit, seconds: float | None) -> None:
        """Make a limit of this attempt longer or shorter; it counts from where it has counted before."""
        if self._deadlines is not None:
            self._deadlines.move(limit, seconds)
        self._alarm.ring()

    def abandon(self) -> None:
        """End the task although its handler still runs: the process is about to exit.

        The handler is told to stop all the same: the process may be somebody's who goes on.
        """
        self._abandoned = True
        if self._writable() and (self.log.record.status is TaskStatus.RUNNING or not self._kept):
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
            self._hub.diary.dump("the runner failed", self.id)
            self._give_up()
        finally:
            self.over = True
            self.settled.set()

    async def _run(self) -> None:
        self.log.on_lost = self._alarm.ring
        if not self._goes_on():
            return
        begin(self._hub, self.log)
        await self._hub.committed()  # nobody may find a handler at work that the store calls pending
        if self._stop is not None:
            await self._hub.committed()  # its cause is stored by now as well: it is stopped before its first step
        if not self._goes_on():
            return
        loop = asyncio.get_running_loop()
        self._teller.begin()
        self._deadlines = deadlines_now(self._hub, self.log, self._settings, loop.time())
        self._time_left.deadlines = self._deadlines
        with structlog.contextvars.bound_contextvars(task_id=self.id):
            self._handler = loop.create_task(self._call.run(), name=f"{NAME}{self.id}")
        self._handler.add_done_callback(self._handler_ended)
        await self._watch(self._handler, self._deadlines)
        if self._writable() and self.log.record.status is TaskStatus.RUNNING:  # else `abandon` has done it
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

    async def _watch(self, handler: asyncio.Task[Any], deadlines: Deadlines) -> None:
        """Wait for the handler's end, and stop it when there is reason to."""
        loop = asyncio.get_running_loop()
        while not handler.done() and not self._abandoned:
            if self.log.lost and self._stop is None:
                self._stop = Stop(Cause.SHUTDOWN)
            now = loop.time()
            if (heard_at := self._teller.news()) is not None:
                deadlines.heard(heard_at)
            step, until = next_step(
                now=now,
                stop=self._stop,
                deadline_at=deadlines.next_due().at,
                sections=self._teller.sections,
                uncancelled=handler.cancelling() == 0,
                warn_at=deadlines.next_warning().warn_at,
            )
            if step is Step.WAIT:
                if self._held_back():
                    self.settled.set()  # who cancels does not wait for a protected section
                await self._alarm.wait(until)
            else:
                self._do(step, handler, deadlines, now)

    def _do(self, step: Step, handler: asyncio.Task[Any], deadlines: Deadlines, now: float) -> None:
        if step is Step.OVERRUN:
            self._teller.report_overruns(now)
            self._cancel_if_unwatched()
        elif step is Step.WARN:
            warn(self._hub, self.log, deadlines.next_warning())
        elif self._stop is None:  # Step.EXPIRE
            self._due = deadlines.next_due()
            self._stop = Stop(Cause.TIMEOUT)
            self._hub.diary.tell("timeout", self.id, 0, self._due.limit)
        elif step is Step.DECLINED:
            self._report_ignored(self._stop, handler, declined=True)
            self._stop = None
        else:
            if step is Step.INSIST:
                self._report_ignored(self._stop, handler, declined=False)
            self._deliver(self._stop, handler, now)

    def _leave(self) -> bool:
        """A protected section has ended: do what it has held back, and say whether the handler was cancelled."""
        self._cancel_if_unwatched()
        return self._deliver_what_is_due()

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
        self._deliver(stop, handler, self._loop.time())
        self._alarm.ring()  # the next look was planned for the time at which the section would have overrun
        return True

    def _deliver(self, stop: Stop, handler: asyncio.Task[Any], now: float) -> None:
        first = stop.delivered_at is None
        stop.deliver(now, self._settings.cancel_grace_s)
        handler.cancel(f"streaming: {stop.cause}")
        self._hub.diary.tell("stop", self.id, stop.deliveries, stop.cause)
        receipt = self.log.record.cancel
        if first and stop.cause is Cause.CANCEL and receipt is not None and self._writable():
            time = self._hub.now()
            self._hub.amend(self.log, cancel=dataclasses.replace(receipt, delivered_at=time), updated_at=time)
        if first:
            self._workshop.host.cancel_children(self.id)
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
        data = {"cause": stop.cause.value, "where": place, "deliveries": stop.deliveries, "declined": declined}
        self._hub.append_with(self.log, "cancel_ignored", data, now, **changes)

    # -- the end --------------------------------------------------------------------------------------------------

    def _outcome(self, raised: BaseException | None, returned: object) -> Outcome:
        """The one place that decides how a task ends; it does not wait."""
        limit = self._settings.event_bytes_max
        handler = self._handler
        if handler is None or self.log.record.status is not TaskStatus.RUNNING:  # before it, or after its attempt
            return Outcome(Transition.SHUTDOWN, TaskError("shutdown", "The server stopped before the task had begun."))
        if not handler.done():
            place = self.where()
            _log.error("a handler did not stop within the grace", task_id=self.id, where=place)
            message = f"The server stopped; the handler did not stop within the grace and stood at {place}."
            return Outcome(Transition.SHUTDOWN, TaskError("shutdown", message))
        if isinstance(raised, Exception | BaseExceptionGroup):
            trace = None if isinstance(raised, StreamingError) else raised  # raised on purpose, the words say enough
            _log.warning("a handler raised", task_id=self.id, error=describe(raised), exc_info=trace)
        stop = self._stop
        cause = stop.cause if stop is not None and stop.delivered_at is not None else None
        code = None if self._due is None else expired(self._due.limit, self._due.seconds).code
        ended = outcome(cause, self.reason(cause), code=code, returned=returned, raised=raised, bytes_max=limit)
        if raised is None and ended.error is not None and ended.error.code == "result_too_large":
            self._hub.limits_hit.hit("result_too_large", self.log.record.created_by)
        return ended

    def reason(self, cause: Cause | None) -> str:
        """Why the handler was stopped, in words for the client."""
        receipt = self.log.record.cancel
        if cause is Cause.CANCEL and receipt is not None:
            return cancelled_words(receipt)
        if cause is Cause.TIMEOUT and self._due is not None:
            return expired(self._due.limit, self._due.seconds).message
        return "The server stopped before the task had ended."

    def _finish(self) -> None:
        """Write the terminal event, or what sends the task into another attempt."""
        goes_on = self.at_work
        raised, returned = (None, None) if self._handler is None or goes_on else end_of(self._handler)
        if not goes_on:
            self._teller.close()
        end_of_run = self._outcome(raised, returned)
        record = self.log.record
        restarts = self._kept and not record.to_be_cancelled and may_restart(self.task_type, record)
        if end_of_run.transition is Transition.SHUTDOWN and restarts and not goes_on:
            requeue(self._hub, self.log, "shutdown")
        elif end_of_run.error is not None and not goes_on and self._retries(end_of_run, end_of_run.error, raised):
            policy = record.policy.retry
            number = 1 + policy.retries - record.retries_left
            retry(self._hub, self.log, end_of_run.error, pause_s(policy, number, self._workshop.chance()))
        else:
            end(self._hub, self.log, end_of_run, where=self.where() if goes_on else None)

    def _retries(self, end_of_run: Outcome, error: TaskError, raised: BaseException | None) -> bool:
        """Whether another attempt follows; not where somebody wants the task to end, or nobody could go on with it."""
        record, names = self.log.record, failure_names(error, raised)
        if record.to_be_cancelled or (self._abandoned and not self._kept):
            return False
        return should_retry(record.policy.retry, record.retries_left, names, end_of_run.transition)

    @property
    def _kept(self) -> bool:
        """Whether the next process finds it, and goes on with it or ends it as somebody has wished."""
        return self._hub.journal.durable and self.log.record.parent is None

    def _goes_on(self) -> bool:
        return not self._abandoned and self._writable()

    def _writable(self) -> bool:
        return not self.log.lost and not self.log.window.ended
