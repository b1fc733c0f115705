"""Taking in new tasks: admission, keys, and the commit that makes one a task.

Owns:   what is refused at the door; the exact decision about a key among starts at the same time.
Uses:   engine.turns (which keys are busy, how many wait), engine.hub (where it is stored), engine.once.
Never:  runs a task.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping

from streaming.config import Settings
from streaming.engine.draft import Draft
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.keys import KeyCounts
from streaming.engine.limits import share_of
from streaming.engine.log import Log
from streaming.engine.lookup import LiveTask
from streaming.engine.once import Once
from streaming.engine.outside import Outside
from streaming.engine.tables import Tables
from streaming.engine.turns import Turns
from streaming.errors import Draining, KeyBusy, StoreUnavailable, TooManyTasks
from streaming.records import IdempotencyKey, Record, changed
from streaming.rules.evidence import Tally
from streaming.rules.limits import Shares
from streaming.rules.schedule import Decision, IfRunning, Join, Refuse, Replace, Start, on_busy


class Starts:
    """The door of one coordinator.

    Args:
        hub: where a start is stored.
        journal: where idempotency keys are remembered.
        settings: the limits.
        turns: who waits and runs.
        outside: the external tasks.
        tasks: the live tasks by id.
        new_id: makes the id of a new task.
        take_in: called with a new task once it is stored, whoever waits for that or not.
        replace: called with the ids of the tasks whose place a new one takes, once it is stored.
    """

    def __init__(
        self,
        hub: Hub,
        journal: Journal,
        settings: Settings,
        turns: Turns,
        outside: Outside,
        tasks: Mapping[str, LiveTask],
        new_id: Callable[[], str],
        take_in: Callable[[Draft, Log], None],
        replace: Callable[[tuple[str, ...], str], None],
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._turns = turns
        self._outside = outside
        self._tasks = tasks
        self._new_id = new_id
        self._take_in = take_in
        self._replace = replace
        counts = KeyCounts(journal, *share_of(settings, "principal_keys_max"), hub.limits_hit)
        self._once = Once(journal, settings.store_wait_s, counts)
        self._starting: Counter[str] = Counter()
        self._queueing = 0
        self._starting_outside = 0
        self._starting_of, self._queueing_of, self._outside_of = Shares(), Shares(), Shares()
        self._closed = False

    def close(self) -> None:
        """Take in nothing new."""
        self._closed = True

    async def start_once(self, wanted: Draft, key: str, fingerprint: str) -> tuple[str, bool]:
        """Start a task unless its idempotency key has started one; its id, and whether it is new.

        Raises:
            TooManyKeys: it is one key more than the principal may use.
            StreamingError: as `Once.start` and `start`.
        """
        remembered = IdempotencyKey(key, wanted.owner, fingerprint, "", self._hub.now())
        return await self._once.start(remembered, lambda remember: self.start(wanted, remember))

    async def start(self, wanted: Draft, remember: IdempotencyKey | None = None) -> tuple[Record, bool]:
        """Start a task, or find the one that it joins.

        Args:
            wanted: the task.
            remember: the idempotency key to store with it.

        Returns:
            The record, and whether it is new.

        Raises:
            KeyBusy: its key is busy, and it wants to be refused then.
            TooManyTasks: the queue is full, or the principal has too many tasks in it.
            Draining: the server is shutting down.
            StoreUnavailable: it could not be stored, and nothing was started.
        """
        while not self._closed:
            decision = self._decide(wanted)
            if isinstance(decision, Refuse):
                raise KeyBusy(wanted.record.key or "", decision.id)
            if not isinstance(decision, Join):
                return await self._create(wanted, decision, remember, self._admit(wanted)), True
            joined = await self._join(decision.id, remember)
            if joined is not None:
                return joined, False
        raise Draining

    def _admit(self, wanted: Draft) -> bool:
        """Refuse a start that cannot be taken now; whether it is going to wait for its turn."""
        if not self._hub.available:
            raise StoreUnavailable("The store is away; nothing was started.")
        if wanted.task_type.outside:
            self._outside.admit(wanted.owner, self._starting_outside, self._outside_of[wanted.owner])
            return False
        waits = self._turns.busy(wanted, +self._starting, self._starting_of)
        if waits:
            self._check_queue(wanted.owner)
        return waits

    def _check_queue(self, owner: str) -> None:
        """Refuse one more that would wait, if there are too many, or too many of its principal."""
        if len(self._turns) + self._queueing >= self._settings.max_pending:
            self._hub.limits_hit.hit("too_many_tasks")
            raise TooManyTasks(f"Too many tasks wait already: at most {self._settings.max_pending} may.")
        if not self._turns.waiting_of.has_room(owner, self._queueing_of[owner]):
            self._hub.limits_hit.hit("too_many_tasks_of_principal")
            most = self._turns.waiting_of.most
            raise TooManyTasks(f"Too many tasks of yours wait already: at most {most} of one principal may.")

    def _decide(self, wanted: Draft) -> Decision:
        key = wanted.key
        if key is None:
            return Start()
        joins = wanted.if_running is IfRunning.JOIN
        live = (task_id for task_id in self._turns.line.live(key) if self._goes_on(task_id, joins=joins))
        return on_busy(wanted.if_running, tuple(live))

    def _goes_on(self, task_id: str, *, joins: bool) -> bool:
        """Whether a task that holds a key, or waits for it, goes on; one that is not stored yet does.

        Nobody joins a task that is about to stop, but it keeps its key until it has stopped.
        """
        task = self._tasks.get(task_id)
        if task is None:
            return True
        over = task.log.window.ended or task.log.lost
        return not over and not (joins and task.log.record.to_be_cancelled)

    async def _join(self, task_id: str, remember: IdempotencyKey | None) -> Record | None:
        """The task to join, as it is stored; None if it was not stored after all."""
        if task_id not in self._tasks:
            await self._hub.committed(self._settings.store_wait_s)
        runner = self._tasks.get(task_id)
        if runner is None:
            return None
        if remember is not None:
            self._hub.remember(dataclasses.replace(remember, task_id=task_id))
            await self._hub.committed()
        return runner.log.snapshot()

    def tables(self) -> Tables:
        """What is held here."""
        return {
            "starting": (+self._starting).total(),
            "starting to wait": self._queueing,
            "starting outside": self._starting_outside,
            "keys": len(self._once),
        }

    def tallies(self, creating: int) -> list[Tally]:
        """How many are about to be stored, as it is counted and in truth.

        Args:
            creating: how many logs there are of tasks that are not stored yet.
        """
        counted = self._starting.total() + self._queueing + self._starting_outside
        shares = self._starting_of.total + self._queueing_of.total + self._outside_of.total
        return [Tally("starting", counted, creating), Tally("starting, by principal", shares, creating)]

    def recount(self, creating: int) -> bool:
        """Put right how many are about to be stored, if that is none: of others nobody knows how they are counted."""
        if creating:
            return False
        self._starting.clear()
        self._queueing = self._starting_outside = 0
        for shares in (self._starting_of, self._queueing_of, self._outside_of):
            shares.recount(())
        return True

    def _count(self, wanted: Draft, change: int, *, waits: bool) -> None:
        """How many are about to be stored."""
        if wanted.task_type.outside:
            self._starting_outside += change
            shares = self._outside_of
        elif waits:
            self._queueing += change
            shares = self._queueing_of
        else:
            self._starting[wanted.record.type] += change
            shares = self._starting_of
        shares.change(wanted.owner, change)

    async def _create(self, wanted: Draft, decision: Decision, remember: IdempotencyKey | None, waits: bool) -> Record:
        now = self._hub.now()
        record = changed(wanted.record, id=self._new_id(), created_at=now, updated_at=now)
        record = self._hub.tracer.starting(record, wanted.repeats)
        stored = asyncio.get_running_loop().create_future()

        def on_created(problem: StoreUnavailable | None) -> None:
            # Also when nobody waits any more: what is stored is going to run.
            self._count(wanted, -1, waits=waits)
            self._hub.tracer.created(record.id, problem)
            if problem is None:
                self._take_in(wanted, log)
                if isinstance(decision, Replace):
                    self._replace(decision.ids, record.id)
            else:
                self._turns.ended(record.id)
            if not stored.done():
                stored.set_result(problem)

        self._count(wanted, 1, waits=waits)
        self._turns.line.announce(record.id, wanted.key)
        remembered = None if remember is None else dataclasses.replace(remember, task_id=record.id)
        log = self._hub.create(record, {}, remembered, on_created)
        try:
            # Whoever starts under an idempotency key is told by `Once`, which has to hear how it ends.
            async with asyncio.timeout(self._settings.store_wait_s if remember is None else None):
                problem: StoreUnavailable | None = await stored
                if problem is None and isinstance(decision, Replace):
                    await self._hub.committed()  # a crash after the answer must not leave the old ones to go on
        except TimeoutError:
            problem = StoreUnavailable("The store does not answer; whether the task is started shows when it does.")
        if problem is not None:
            raise problem
        return log.snapshot()
