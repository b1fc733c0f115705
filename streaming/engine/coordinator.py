"""The coordinator: which tasks there are, whose turn it is, and how all of it ends.

Owns:   start, cancel, look up, wait, delete; the queue; recovery after a crash; the drain.
Uses:   engine.runner (one task), engine.hub (who hears of it), engine.journal (what is remembered).
Never:  writes bytes or rows; reads the wall clock; waits for a reader.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

import anyio
import structlog

from streaming.config import Settings
from streaming.engine.drain import Drain
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.lookup import Lookup
from streaming.engine.once import Once
from streaming.engine.parameters import refuse_unstorable
from streaming.engine.processes import Processes
from streaming.engine.recovery import recover
from streaming.engine.registry import Registry, TaskType
from streaming.engine.runner import Runner, Workshop
from streaming.engine.transitions import end
from streaming.errors import (
    Draining,
    FieldError,
    InvalidParams,
    StoreUnavailable,
    TaskNotFound,
    TaskTerminal,
    TooManyTasks,
)
from streaming.records import CancelReceipt, IdempotencyKey, Record, TaskError, TaskStatus
from streaming.rules.lifecycle import Cause, Transition
from streaming.rules.outcome import Outcome

REASON_MAX = 1000

_log = structlog.get_logger(__name__)


class TaskCoordinator(Lookup):
    """Runs tasks in a TaskGroup, and fans their events out.

    Use it as ``async with TaskCoordinator(...) as coordinator``: entering recovers what a crash left behind, leaving
    drains. The journal must be open before, and is closed by whoever opened it.

    Args:
        registry: the task types.
        journal: the store.
        settings: the limits.
        wall: seconds since 1970-01-01, for the times of events and records.
        new_id: makes the id of a new task.
        prepare_worker: what a worker process does before its first handler; it is pickled.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        settings: Settings,
        *,
        wall: Callable[[], float],
        new_id: Callable[[], str],
        prepare_worker: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(journal, Hub(journal, settings, wall), settings.store_wait_s)
        self.registry = registry
        self.settings = settings
        self.stuck: list[Runner] = []
        self._new_id = new_id
        threads = anyio.CapacityLimiter(settings.max_threads)
        processes = Processes(settings.max_processes, prepare_worker)
        self._workshop = Workshop(self._hub, settings, threads, processes)
        self._group = asyncio.TaskGroup()
        self._queue: deque[Runner] = deque()
        self._running: set[Runner] = set()
        self._starting = 0
        self._once = Once(journal)
        self._drain = Drain(self._hub, settings.cancel_grace_s)
        self._hub.on_availability(self._release_cancels)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        try:
            await self._hub.open(self._group)
            for log in await recover(self._hub, self.registry):
                task_type = self.registry.get(log.record.type)
                self._enqueue(Runner(task_type, log, self._workshop))
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
        timeout_s: float | None = None,
        tags: Sequence[str] = (),
        created_by: str = "anonymous",
        key: str | None = None,
        fingerprint: str = "",
    ) -> tuple[Record, bool]:
        """Start a task; it is stored before this returns.

        Args:
            type: name of the task type.
            params: its parameters.
            timeout_s: seconds the handler may run; None takes the type's, else the server's default.
            tags: words to find the task by.
            created_by: the principal.
            key: Idempotency-Key: a second start with the same key gives the same task.
            fingerprint: hash of the request that the key stands for.

        Returns:
            The record, and whether it is new.

        Raises:
            UnknownType: no such task type.
            InvalidParams: parameters or timeout are wrong, or a text cannot be stored.
            IdempotencyMismatch: the key stands for another request.
            TooManyTasks: the queue is full.
            Draining: the server is shutting down.
            StoreUnavailable: it could not be stored, and nothing was started.
        """
        task_type = self.registry.get(type)
        complete = task_type.validate(params)
        refuse_unstorable({"tags": tuple(tags), "created_by": created_by, "key": key, "fingerprint": fingerprint})
        seconds = task_type.timeout(timeout_s, self.settings)

        async def create(remember: IdempotencyKey | None) -> Record:
            return await self._create(task_type, complete, seconds, tuple(tags), created_by, remember)

        if key is None:
            return await create(None), True
        wanted = IdempotencyKey(key, created_by, fingerprint, "", self._hub.now())
        task_id, created = await self._once.start(wanted, create)
        return await self.get(task_id), created

    async def _create(
        self,
        task_type: TaskType,
        params: dict[str, Any],
        timeout_s: float,
        tags: tuple[str, ...],
        created_by: str,
        key: IdempotencyKey | None,
    ) -> Record:
        self._admit()
        now = self._hub.now()
        record = Record(
            id=self._new_id(),
            type=task_type.name,
            status=TaskStatus.PENDING,
            params=params,
            timeout_s=timeout_s,
            created_at=now,
            updated_at=now,
            created_by=created_by,
            tags=tags,
        )
        stored = asyncio.get_running_loop().create_future()

        def on_created(problem: StoreUnavailable | None) -> None:
            # Also when nobody waits any more: what is stored is going to run.
            self._starting -= 1
            if problem is None:
                self._enqueue(Runner(task_type, log, self._workshop))
            if not stored.done():
                stored.set_result(problem)

        self._starting += 1
        remembered = None if key is None else dataclasses.replace(key, task_id=record.id)
        log = self._hub.create(record, {}, remembered, on_created)
        try:
            async with asyncio.timeout(self.settings.store_wait_s):
                problem: StoreUnavailable | None = await stored
        except TimeoutError:
            problem = StoreUnavailable("The store does not answer; whether the task is started shows when it does.")
        if problem is not None:
            raise problem
        return log.snapshot()

    def _admit(self) -> None:
        """Refuse a start that cannot be taken now."""
        if self.draining:
            raise Draining
        if not self._hub.available:
            raise StoreUnavailable("The store is away; nothing was started.")
        free = self.settings.max_running - len(self._running)
        if len(self._queue) + self._starting >= self.settings.max_pending + max(0, free):
            raise TooManyTasks(f"Too many tasks wait already: at most {self.settings.max_pending} may.")

    def _enqueue(self, runner: Runner) -> None:
        self._tasks[runner.id] = runner
        self._queue.append(runner)
        if self.draining:
            self._close_queue()
        else:
            self._fill()

    def _fill(self) -> None:
        """Give waiting tasks their turn."""
        while self._queue and len(self._running) < self.settings.max_running and not self.draining:
            runner = self._queue.popleft()
            self._running.add(runner)
            self._group.create_task(self._run(runner), name=f"streaming-runner-{runner.id}")

    async def _run(self, runner: Runner) -> None:
        try:
            await runner.run()
        finally:
            self._running.discard(runner)
            self._drain.check()
        if runner.stuck:
            self.stuck.append(runner)
        if runner.log.lost or runner.log.record.status is not TaskStatus.PENDING:
            self._forget(runner)  # one that goes back to the queue keeps its place and its readers until the end
        self._fill()

    def _forget(self, runner: Runner) -> None:
        """The task needs no runner any more; the store knows the rest."""
        self._tasks.pop(runner.id, None)
        self._hub.drop(runner.log)

    def running(self) -> Sequence[Record]:
        """The tasks whose handlers run in this process."""
        return [runner.log.snapshot() for runner in self._running]

    # -- stopping ---------------------------------------------------------------------------------------------------

    async def cancel_task(
        self, task_id: str, *, reason: str = "", by: str = "anonymous", wait_s: float = 0.0
    ) -> CancelReceipt:
        """Ask a task to stop.

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
        runner = await self._going_on(task_id)
        if runner is None:
            return await self._receipt_of_ended(task_id)
        if runner in self._queue:
            self._cancel_queued(runner, by, reason)
        else:
            runner.cancel(by, reason)
        await self._hub.committed(self.settings.store_wait_s)
        await self._settle(runner, wait_s)
        record = await self.get(task_id)
        if record.cancel is None:  # somebody else has ended it in the store, and the wish came too late
            raise TaskTerminal(task_id, record.status)
        return record.cancel

    def _cancel_queued(self, runner: Runner, by: str, reason: str) -> None:
        self._queue.remove(runner)
        runner.cancel(by, reason)
        self._end_queued(runner, Outcome(Transition.CANCEL, TaskError("cancelled", runner.reason(Cause.CANCEL))))

    def _end_queued(self, runner: Runner, outcome: Outcome) -> None:
        end(self._hub, runner.log, outcome)
        runner.settled.set()
        self._hub.when_committed(lambda: self._forget(runner))

    async def _settle(self, runner: Runner, wait_s: float) -> None:
        """Wait until a cancel is delivered or held back, and then up to ``wait_s`` for the stop."""
        await runner.settled.wait()
        if wait_s > 0:
            await self.wait(runner.id, wait_s)

    def _release_cancels(self) -> None:
        """The store has gone away or come back: cancels no longer wait for it."""
        for runner in self._running:
            runner.release()

    async def move_deadline(self, task_id: str, timeout_s: float) -> Record:
        """Give a running task more time, or less.

        Args:
            task_id: the task.
            timeout_s: seconds it may run, counted from its start.

        Raises:
            TaskNotFound: no such task.
            TaskTerminal: it has ended.
            InvalidParams: no positive number, or over the maximum.
            Draining: it waits for the next server.
            StoreUnavailable: the change could not be stored; it holds all the same.
        """
        runner = await self._going_on(task_id)
        if runner is None:
            raise TaskTerminal(task_id, (await self.get(task_id)).status)
        runner.move_deadline(runner.task_type.timeout(timeout_s, self.settings))
        await self._hub.committed(self.settings.store_wait_s)
        return await self.get(task_id)

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
        if runner := self._tasks.get(task_id):  # it has nothing left to do, and is about to be forgotten
            self._forget(runner)

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
        self._close_queue()
        lost = await self._drain.run(self._running)
        self._queue.clear()
        self._tasks.clear()
        return lost

    def hurry(self, grace_s: float) -> None:
        """Shorten a drain that has begun."""
        self._drain.begin(grace_s)

    def places(self) -> Sequence[tuple[str, str]]:
        """Where each handler stands that has not ended, by task id; callable from any thread."""
        still = [*self._running, *(runner for runner in self.stuck if runner.stuck)]
        return [(runner.id, runner.where()) for runner in still]

    def _close_queue(self) -> None:
        """Waiting tasks keep their place in a durable store; without one they end."""
        while self._queue and not self._journal.durable:
            error = TaskError("shutdown", "The server stopped before the task had its turn.")
            self._end_queued(self._queue.popleft(), Outcome(Transition.SHUTDOWN, error))
