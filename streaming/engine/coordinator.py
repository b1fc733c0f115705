"""The coordinator: which tasks there are, and how all of it begins and ends.

Owns:   start, retry; recovery after a crash; the drain.
Uses:   engine.steering and engine.parents (what can be asked of a live task, and by one), engine.starts (what is taken
        in), engine.turns (whose turn it is), engine.runner (one attempt), engine.hub (who hears of it),
        engine.journal (what is remembered).
Never:  writes bytes or rows; reads the wall clock; waits for a reader.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, Unpack

import anyio

from streaming.config import Settings
from streaming.engine.audience import Audience
from streaming.engine.audit import Audited, Auditor
from streaming.engine.diary import Diary
from streaming.engine.draft import Draft, draft, options_of
from streaming.engine.drain import Drain
from streaming.engine.forecast import Forecast
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.log import Log
from streaming.engine.lookup import LiveTask
from streaming.engine.mending import Mender
from streaming.engine.options import StartOptions
from streaming.engine.outside import Outside
from streaming.engine.parameters import refuse_unstorable
from streaming.engine.parents import Parents
from streaming.engine.parts import Parts
from streaming.engine.processes import Processes
from streaming.engine.recovery import LookBack, recover, take_up
from streaming.engine.registry import Registry
from streaming.engine.runner import Runner
from streaming.engine.stalls import Stalls
from streaming.engine.starts import Starts
from streaming.engine.tables import Tables
from streaming.engine.tracer import UNTRACED, Tracer
from streaming.engine.why import PAST_WAIT_S, Explainer
from streaming.engine.workshop import Workshop
from streaming.errors import TaskActive
from streaming.records import Record, TaskError, TaskStatus
from streaming.rules.drain import Outlook
from streaming.rules.lifecycle import TERMINAL, Transition
from streaming.rules.outcome import Outcome
from streaming.rules.trace_context import TraceContext
from streaming.rules.why import Seen


class TaskCoordinator(Parents):
    """Runs tasks in a TaskGroup, and fans their events out.

    Use it as ``async with TaskCoordinator(...) as coordinator``: entering recovers what a crash left behind, leaving
    drains. The journal must be open before, and is closed by whoever opened it.

    Args:
        registry: the task types.
        journal: the store.
        settings: the limits.
        wall: seconds since 1970-01-01, for the times of events and records.
        new_id: makes the id of a new task.
        chance: a random number, 0 <= chance < 1, for the pauses between attempts.
        prepare_worker: what a worker process does before its first handler; it is pickled.
        tracer: who records what becomes of tasks; nobody, if it is left out.

    Attributes:
        stuck: those whose handlers still run although their tasks have ended.
        forecast: what past runs took, and when tasks may end.
        stalls: how often the event loop was blocked.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        settings: Settings,
        *,
        wall: Callable[[], float],
        new_id: Callable[[], str],
        chance: Callable[[], float],
        prepare_worker: Callable[[], object] | None = None,
        tracer: Tracer = UNTRACED,
    ) -> None:
        super().__init__(registry, journal, Hub(journal, settings, wall, tracer), settings, self._spawn)
        self.stuck: list[Runner] = []
        self._workshop = Workshop(
            self._hub,
            settings,
            anyio.CapacityLimiter(settings.max_threads),
            Processes(settings.max_processes, prepare_worker),
            self,
            chance,
        )
        self._group = asyncio.TaskGroup()
        self._outside = Outside(self._hub, settings, self._turns.line, self._forget)
        self._starts = Starts(
            self._hub, journal, settings, self._turns, self._outside, self._tasks, new_id, self._take_in, self._replace
        )
        self.forecast = Forecast(self.durations, self.now)
        self._drain = Drain(self._hub, self.forecast, settings.cancel_grace_s)
        self._looking_back = LookBack(self._hub, self._group)
        self.parts = Parts(
            self._hub, settings, self._tasks, self._turns, self._family, self._starts, self._outside, self._drain
        )
        self.stalls = Stalls(self._hub, self._tasks)
        self._explainer = Explainer(self.parts, self.forecast)
        self._auditor = Auditor(self.parts, Mender(self.parts, self._forget, self._go_on))

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        try:
            await self._hub.open(self._group)
            self._resume(await recover(self._hub, self.registry))
        except BaseException:
            await self.shutdown(0)  # what recovery has not stored, the next start finds again
            await self._group.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self.shutdown()
        except asyncio.CancelledError:
            await self.shutdown(0)  # nobody wants to wait for the grace any more
            raise
        finally:
            await self._workshop.processes.close()
            await self._group.__aexit__(*raised)

    # -- starting -------------------------------------------------------------------------------------------------

    async def start(
        self,
        type: str,
        params: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        fingerprint: str = "",
        **options: Unpack[StartOptions],
    ) -> tuple[Record, bool]:
        """Start a task; it is stored before this returns.

        Args:
            type: name of the task type.
            params: its parameters.
            idempotency_key: a second start with the same one gives the same task.
            fingerprint: hash of the request that it stands for.
            options: what else is asked for; see `StartOptions`.

        Returns:
            The record, and whether it is new.

        Raises:
            UnknownType: no such task type.
            InvalidParams: parameters or options are wrong, or a text cannot be stored.
            IdempotencyMismatch: the idempotency key stands for another request.
            KeyBusy: a task with this ``key`` has not ended, and ``if_running`` is ``reject``.
            TooManyTasks: the queue is full.
            Draining: the server is shutting down.
            StoreUnavailable: it could not be stored, and nothing was started.
        """
        wanted = draft(self.registry.get(type), params, options, self.settings)
        return await self._start(wanted, idempotency_key, fingerprint)

    async def _start(self, wanted: Draft, key: str | None, fingerprint: str) -> tuple[Record, bool]:
        refuse_unstorable({"idempotency_key": key, "fingerprint": fingerprint})
        if key is None:
            return await self._starts.start(wanted)
        task_id, created = await self._starts.start_once(wanted, key, fingerprint)
        return await self.get(task_id), created

    async def retry(
        self,
        task_id: str,
        *,
        by: str = "anonymous",
        tenant: str | None = None,
        idempotency_key: str | None = None,
        trace: TraceContext | None = None,
    ) -> tuple[Record, bool]:
        """Start a task that has ended once more, as a new task with ``retry_of``.

        Args:
            task_id: the task that has ended.
            by: the principal, whose task the new one is.
            tenant: of the principal.
            idempotency_key: a second retry with the same one gives the same task.
            trace: where in which trace the new one belongs.

        Returns:
            The record, and whether it is new.

        Raises:
            TaskNotFound: there is none.
            TaskActive: it has not ended.
            StreamingError: as `start`.
        """
        old = await self.get(task_id)
        if old.status not in TERMINAL:
            raise TaskActive(task_id, old.status, "retried")
        options: StartOptions = {**options_of(old), "created_by": by, "tenant": tenant, "trace": trace}
        wanted = draft(self.registry.get(old.type), old.params, options, self.settings, retry_of=old)
        return await self._start(wanted, idempotency_key, f"retry of {old.id}")

    def _take_in(self, wanted: Draft, log: Log) -> None:
        """A new task is stored."""
        parent = log.record.parent
        if wanted.task_type.outside:
            task: LiveTask = self._outside.take_in(wanted.task_type, log)
        else:
            task = Runner(wanted.task_type, log, self._workshop)
        self._adopt(task)
        if parent is not None and self._at_work(parent, wanted.parent_attempt) is None:
            self._cancel_orphan(task, parent)
        elif isinstance(task, Runner):
            self._turns.wait(task)
        self._end_unless_kept()

    def _resume(self, logs: Sequence[Log]) -> None:
        """Tasks that an earlier process has left go on elsewhere, or wait for their turn again.

        Those that have begun come first, and so hold their keys: of a key one task ends before the next begins.
        """
        with self._turns.together():
            for log in sorted(
                logs, key=lambda log: log.record.attempt == 1 and log.record.status is TaskStatus.PENDING
            ):
                task_type = self.registry.get(log.record.type)
                if task_type.outside:
                    self._adopt(self._outside.take_in(task_type, log))
                else:
                    runner = Runner(task_type, log, self._workshop)
                    self._adopt(runner)
                    self._wait(runner)
        self._looking_back.begin(logs)

    def _go_on(self, records: Sequence[Record]) -> None:
        """Stored tasks that nobody knows go on, or end, as after a crash."""
        self._resume(take_up(self._hub, self.registry, records))

    def _wait(self, runner: Runner) -> None:
        if runner.log.record.status is TaskStatus.RETRYING:
            self._turns.pause(runner)
        else:
            self._turns.wait(runner)

    def _adopt(self, task: LiveTask) -> None:
        self._tasks[task.id] = task
        self._family.add(task.log.record)
        if task.log.record.policy.cancel_unwatched_s is not None:
            task.log.audience = Audience(self._hub, task.log, self._cancel_unwatched)

    def _spawn(self, runner: Runner) -> None:
        self._group.create_task(self._run(runner), name=f"streaming-runner-{runner.id}")

    async def _run(self, runner: Runner) -> None:
        try:
            await runner.run()
        finally:
            self._turns.left(runner)
            self._drain.check()
        if runner.stuck:
            self.stuck.append(runner)
        self.cancel_children(runner.id)
        record = runner.log.record
        if runner.log.lost or record.status in TERMINAL:
            self._forget(runner)
        elif record.status is TaskStatus.RETRYING and not self._hub.closed:
            again = self._tasks[runner.id] = Runner(runner.task_type, runner.log, self._workshop, runner.mailbox)
            if record.to_be_cancelled:  # while its failure was being stored
                self._end_cancelled(again)
            else:
                self._turns.pause(again)
            self._end_unless_kept()
        # One that goes back to the queue of the next process keeps its place and its readers until the end.
        self._turns.fill()

    def _forget(self, task: LiveTask) -> None:
        """The task is live no more; the store knows the rest."""
        self._hub.diary.tell("end", task.id)
        self._tasks.pop(task.id, None)
        self._family.remove(task.log.record)
        self._hub.drop(task.log)
        self._turns.ended(task.id)
        self._hub.tracer.gone(task.id)

    @property
    def diary(self) -> Diary:
        """What has happened last."""
        return self._hub.diary

    async def audit(self, tasks_max: int | None = None, *, repair: bool = False) -> Audited:
        """Look whether all is well; see `rules.invariants`.

        Args:
            tasks_max: live tasks whose logs are read in the store, at most, and as many that have ended; None takes
                the setting.
            repair: put right what can be put right safely.

        Raises:
            Draining: the server is shutting down.
            QueryTooSlow: the store takes too long to find the tasks.
            StoreUnavailable: the store cannot be read or written, or is too slow.
        """
        most = self.settings.audit_tasks_max if tasks_max is None else tasks_max
        return await self._auditor.audit(most, repair=repair)

    def tables(self) -> Tables:
        """What is held here, by name; at rest nothing, but for `BUSY_AT_REST`."""
        return self.parts.tables()

    def running(self) -> Sequence[Record]:
        """The tasks whose handlers run in this process."""
        return [runner.log.snapshot() for runner in self._turns.running.values()]

    async def why(self, task_id: str) -> Seen:
        """What is to be seen of a task: what it waits for, where, and how long such tasks take; see `rules.why`.

        Args:
            task_id: the task.

        Raises:
            TaskNotFound: no such task.
            StoreUnavailable: the store cannot be read.
        """
        await self.forecast.learn([(await self.get(task_id)).type], PAST_WAIT_S)
        return self._explainer.look(await self.get(task_id), self._owned(task_id))

    # -- beginning and end of the process -----------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the shutdown has begun: nothing new is accepted."""
        return self._drain.begun

    @property
    def ready(self) -> bool:
        """Whether a start would be accepted by the store and the door."""
        return self._hub.available and not self.draining

    async def shutdown(self, grace_s: float | None = None) -> int:
        """Drain: accept nothing new, grant the grace, stop the rest, flush.

        Calling it again, also at the same time, waits for the same drain; a shorter grace shortens it.

        Args:
            grace_s: seconds until all of it is over; None takes the setting.

        Returns:
            How many events could not be stored.
        """
        self._drain.begin(self.settings.grace_s if grace_s is None else grace_s)
        self._starts.close()
        self._looking_back.stop()
        self._end_unless_kept()
        lost = await self._drain.run(self._turns.running)
        self.forecast.close()
        for task in list(self._tasks.values()):  # the next process goes on with it, or finds out
            self._turns.withdraw(task)
            self._outside.vacate(task.id)
            self._forget(task)
        return lost

    def outlooks(self) -> Sequence[tuple[Record, Outlook]]:
        """What becomes of each running task in the drain, as far as that can be told now."""
        return list(self._drain.outlooks(self._turns.running))

    def drain_outlook(self) -> tuple[float, Mapping[Outlook, int]]:
        """Seconds until those that still run are stopped, and of how many tasks what becomes."""
        return self._drain.stops_in_s, Counter(outlook for _, outlook in self.outlooks())

    def hurry(self, grace_s: float) -> None:
        """Shorten a drain that has begun."""
        self._drain.begin(grace_s)

    def places(self) -> Sequence[tuple[str, str]]:
        """Where each handler stands that has not ended, by task id; callable from any thread."""
        still = [*self._turns.running.values(), *(runner for runner in self.stuck if runner.stuck)]
        return [(runner.id, runner.where()) for runner in still]

    def _end_unless_kept(self) -> None:
        """In a drain waiting and external tasks keep their place in a durable store; without one they end.

        Those that a handler has started end anyway: nobody is to wait for a turn that does not come.
        """
        if not self.draining:
            return
        for runner in self._turns.close():
            kept = self._journal.durable and runner.log.record.parent is None
            if not kept and self._turns.withdraw(runner):
                error = TaskError("shutdown", "The server stopped before the task had its turn.")
                self._end_waiting(runner, Outcome(Transition.SHUTDOWN, error))
        self._outside.close(keep=self._journal.durable)
