"""Whose turn it is: the line of waiting tasks, the pauses between attempts, and the places of those that run.

Owns:   who waits, for how long, and for what; who runs; how many may.
Uses:   rules.schedule (the order), engine.timing (the deadlines of those that wait).
Never:  runs a task, or ends one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from streaming.config import Settings
from streaming.engine.draft import Draft, scoped_key
from streaming.engine.hub import Hub
from streaming.engine.limits import share_of
from streaming.engine.lookup import LiveTask
from streaming.engine.registry import Registry
from streaming.engine.runner import Runner
from streaming.engine.tables import Tables
from streaming.engine.timing import Wait, deadlines_now, loop_time, since
from streaming.rules.access import owner_of
from streaming.rules.deadlines import Deadlines, Due, Limit
from streaming.rules.evidence import Tally
from streaming.rules.limits import Shares
from streaming.rules.schedule import Line, Waiting
from streaming.rules.why import Hindrance, Turn


class Turns:
    """The waiting and the running tasks of one coordinator.

    Args:
        registry: how many of a type may run.
        hub: where they tell what happens.
        settings: how many may run.
        spawn: runs a task whose turn it is.
        on_expired: ends a task that has waited too long; it has left the line.
        on_lost: forgets a task that is ours no longer; it has left the line.

    Attributes:
        line: the order of those that wait.
        running: those that run, also in a place that they have lent.
        waiting_of: how many of each principal wait, for a turn or for the end of a pause.
    """

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        settings: Settings,
        spawn: Callable[[Runner], None],
        on_expired: Callable[[Runner, Due], None],
        on_lost: Callable[[Runner], None],
    ) -> None:
        self.line = Line(settings.ageing_s)
        self.running: dict[str, Runner] = {}
        self.waiting_of = Shares(*share_of(settings, "principal_pending_max"))
        self._registry = registry
        self._hub = hub
        self._settings = settings
        self._spawn = spawn
        self._on_expired = on_expired
        self._on_lost = on_lost
        self._closed = False
        self._held = False
        self._waiting: dict[str, Runner] = {}
        self._waits: dict[str, Wait] = {}
        self._pauses: dict[str, asyncio.TimerHandle] = {}
        self._busy: Counter[str] = Counter()
        self._busy_of = Shares(*share_of(settings, "principal_running_max"))
        self._lent: dict[str, int] = {}
        self._returning: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        """How many wait, for a turn or for the end of a pause."""
        return len(self._waiting)

    @property
    def places(self) -> int:
        """How many more may run."""
        return self._settings.max_running - len(self.running) + len(self._lent)

    def busy(self, wanted: Draft, ahead: Counter[str], ahead_of: Shares) -> bool:
        """Whether one more task would have to wait for its turn.

        Args:
            wanted: the task.
            ahead: how many of each type are about to come, and are not going to wait.
            ahead_of: the same of each principal.
        """
        type, key, owner = wanted.record.type, wanted.key, wanted.owner
        limit = self._limit(type)
        return (
            (key is not None and bool(self.line.live(key)))
            or ahead.total() >= self.places
            or (limit is not None and self._busy[type] + ahead[type] >= limit)
            or not self._busy_of.has_room(owner, ahead_of[owner])
        )

    def wait(self, runner: Runner) -> None:
        """Let a task wait for its turn; one that was interrupted keeps its place in the line."""
        record = runner.log.record
        begun = since(self._hub, record.created_at)
        self._enter(runner, begun if record.attempt == 1 else since(self._hub, record.updated_at))
        self._join(runner, begun)

    def pause(self, runner: Runner) -> None:
        """Let a task wait until its next attempt may have a turn; it keeps its key."""
        record = runner.log.record
        longest = asyncio.get_running_loop().time() + record.policy.retry.backoff_max_s
        at = min(
            loop_time(self._hub, record.retry_at or record.updated_at), longest
        )  # the wall clock may have gone back
        self.line.announce(runner.id, scoped_key(record))
        self._enter(runner, at)
        if not self._closed:
            self._pauses[runner.id] = asyncio.get_running_loop().call_at(at, self._join, runner, at)

    def turn(self, runner: Runner) -> tuple[Turn, Deadlines | None]:
        """The place of a waiting task, and the deadlines of its wait."""
        wait, record = self._waits.get(runner.id), runner.log.record
        key = scoped_key(record)
        first = runner.id if key is None else self.line.live(key)[0]
        if self._closed:
            turn = Turn(Hindrance.DRAINING)
        elif runner.id in self._pauses:
            turn = Turn(Hindrance.PAUSE)
        elif first != runner.id:
            turn = Turn(Hindrance.KEY, self.line.ahead(runner.id), first)
        else:
            turn = Turn(self._hindrance(runner), self.line.ahead(runner.id))
        return turn, None if wait is None else wait.deadlines

    def _hindrance(self, runner: Runner) -> Hindrance:
        if self.places <= 0:
            return Hindrance.PLACES
        if not self._is_free(runner.task_type.name):
            return Hindrance.TYPE
        return Hindrance.NOTHING if self._busy_of.has_room(_owner(runner)) else Hindrance.PRINCIPAL

    def is_waiting(self, task: LiveTask) -> bool:
        """Whether a task waits, for a turn or for the end of a pause."""
        return self._waiting.get(task.id) is task

    def withdraw(self, task: LiveTask) -> bool:
        """Take out a task that waits, and say whether it did; its key passes on."""
        if not self.is_waiting(task):
            return False
        self._stop_waiting(task.id)
        self.line.ended(task.id)
        self.fill()
        return True

    def move(self, task: LiveTask, limit: Limit, seconds: float | None) -> None:
        """Make a limit of a waiting task longer or shorter."""
        wait = self._waits.get(task.id)
        if wait is not None:
            wait.deadlines.move(limit, seconds)
            wait.arm()

    def fill(self) -> None:
        """Give waiting tasks their turn."""
        if self._held:
            return
        self._give_back()
        while self.places > 0 and not self._closed and (turn := self.line.next(self._is_free)) is not None:
            runner = self._waiting[turn.id]
            self._stop_waiting(runner.id)
            self.running[runner.id] = runner
            self._occupy(runner)
            self._spawn(runner)

    def left(self, runner: Runner) -> None:
        """A run is over; what follows it is for others to say."""
        del self.running[runner.id]
        if self._lent.pop(runner.id, None) is None:
            self._make_room(runner)
        if (returning := self._returning.pop(runner.id, None)) is not None:
            _wake(returning)  # something that the handler has left behind

    def ended(self, task_id: str) -> None:
        """The task has ended, or could not be stored: its key passes on."""
        self.line.ended(task_id)
        self.fill()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Give nobody a turn before all have come that come meanwhile."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.fill()

    @asynccontextmanager
    async def lending(self, task_id: str) -> AsyncIterator[None]:
        """Let another task run in the place of one that waits for it; it goes on once there is a place again."""
        runner = self.running.get(task_id)
        if runner is None:
            yield
            return
        self._lend(runner)
        try:
            yield
        except asyncio.CancelledError:
            self._take_back(runner)  # what it has to clean up waits for nobody
            raise
        except BaseException:
            await self._come_back(runner)
            raise
        await self._come_back(runner)

    def _lend(self, runner: Runner) -> None:
        loans = self._lent[runner.id] = self._lent.get(runner.id, 0) + 1
        if loans == 1:
            self._make_room(runner)
            self.fill()
        elif runner.id in self._returning:
            self._let_on(runner)  # one that waits for something else meanwhile needs no place

    async def _come_back(self, runner: Runner) -> None:
        """Wait for a place, unless something else is waited for meanwhile."""
        if self.running.get(runner.id) is not runner or self._lent[runner.id] > 1:
            self._take_back(runner)
            return
        returning = self._returning[runner.id] = asyncio.get_running_loop().create_future()
        self.fill()
        try:
            await returning
        except asyncio.CancelledError:
            if self._returning.get(runner.id) is returning:
                del self._returning[runner.id]
                self._take_back(runner)
            raise

    def _give_back(self) -> None:
        """Places go first to those that have lent theirs; in a drain all of them go on, as nobody new does."""
        for task_id in list(self._returning):
            runner = self.running[task_id]
            room = self._is_free(runner.task_type.name) and self._busy_of.has_room(_owner(runner))
            if self._closed or (self.places > 0 and room):
                self._let_on(runner)

    def _let_on(self, runner: Runner) -> None:
        self._take_back(runner)
        _wake(self._returning.pop(runner.id))

    def _take_back(self, runner: Runner) -> None:
        if self.running.get(runner.id) is not runner:
            return
        self._lent[runner.id] -= 1
        if not self._lent[runner.id]:
            del self._lent[runner.id]
            self._occupy(runner)

    def _occupy(self, runner: Runner) -> None:
        """A task has a place, of its type and of its principal."""
        owner = _owner(runner)
        self._busy[runner.task_type.name] += 1
        self._busy_of.change(owner, 1)
        self._open_or_close(owner)

    def _make_room(self, runner: Runner) -> None:
        """A task has no place any more, or lends it."""
        owner = _owner(runner)
        self._busy[runner.task_type.name] -= 1
        self._busy_of.change(owner, -1)
        self._open_or_close(owner)

    def _open_or_close(self, owner: str) -> None:
        """Tell the line whether a principal may run one more."""
        if self._busy_of.has_room(owner):
            self.line.open(owner)
        else:
            self.line.close(owner)

    def close(self) -> list[Runner]:
        """Give nobody a turn any more; those that wait stay as they are, or are ended by who closes."""
        self._closed = True
        waiting = list(self._waiting.values())
        for task_id in list(self._waiting):
            self._silence(task_id)
        self._give_back()
        return waiting

    # -- for whoever looks whether all is well ------------------------------------------------------------------------

    def tables(self) -> Tables:
        """What is held here."""
        return {
            "running": self.running.keys(),
            "waiting": self._waiting.keys(),
            "waits": self._waits.keys(),
            "pauses": self._pauses.keys(),
            "loans": self._lent.keys(),
            "those who come back": self._returning.keys(),
            "places in the line": self.line.members,
            "line": self.line.size,
            "busy types": (+self._busy).total(),
            "busy principals": self._busy_of.total,
            "waiting principals": self.waiting_of.total,
        }

    def tallies(self) -> list[Tally]:
        """How many of each type and principal are busy, and how many of each principal wait, and in truth."""
        found = self._count_busy()
        types = [Tally(f"busy {type}", self._busy[type], found[type]) for type in sorted({*self._busy, *found})]
        busy = self._busy_of.tallies("busy tasks", map(_owner, self._in_places()))
        return [*types, *busy, *self.waiting_of.tallies("waiting tasks", map(_owner, self._waiting.values()))]

    def recount(self) -> None:
        """Put right how many of each type and principal are busy, and how many of each principal wait."""
        self._busy = self._count_busy()
        self._busy_of.recount(map(_owner, self._in_places()))
        self.waiting_of.recount(map(_owner, self._waiting.values()))
        for owner in self.line.full.union(self._busy_of):
            self._open_or_close(owner)

    def vacate(self, task_id: str) -> bool:
        """Free the places of a task that nobody knows, and whose handler does not run; whether there was any."""
        found = any(task_id in table for table in self.tables().values() if isinstance(table, Container))
        self.running.pop(task_id, None)
        self._lent.pop(task_id, None)
        if (returning := self._returning.pop(task_id, None)) is not None:
            _wake(returning)
        self._stop_waiting(task_id)
        self.recount()
        self.ended(task_id)
        return found

    def _count_busy(self) -> Counter[str]:
        return Counter(runner.task_type.name for runner in self._in_places())

    def _in_places(self) -> Iterator[Runner]:
        """Those that run, and have not lent their place."""
        return (runner for id, runner in self.running.items() if id not in self._lent)

    def _is_free(self, type: str) -> bool:
        limit = self._limit(type)
        return limit is None or self._busy[type] < limit

    def _limit(self, type: str) -> int | None:
        return self._settings.type_limits.get(type) or self._registry.get(type).max_running

    def _join(self, runner: Runner, since: float) -> None:
        self._pauses.pop(runner.id, None)
        record = runner.log.record
        self.line.add(Waiting(record.id, record.type, scoped_key(record), record.priority, since, _owner(runner)))
        self.fill()

    def _enter(self, runner: Runner, since: float) -> None:
        """Keep an eye on a waiting task: its deadlines, and whether it stays ours."""
        self._waiting[runner.id] = runner
        self.waiting_of.change(_owner(runner), 1)
        runner.log.on_lost = partial(self._lose, runner)
        if not self._closed:
            deadlines = deadlines_now(self._hub, runner.log, self._settings, since)
            self._waits[runner.id] = Wait(self._hub, runner.log, deadlines, partial(self._expire, runner))

    def _lose(self, runner: Runner) -> None:
        if self.withdraw(runner):
            self._on_lost(runner)

    def _expire(self, runner: Runner, due: Due) -> None:
        self.withdraw(runner)
        self._on_expired(runner, due)

    def _stop_waiting(self, task_id: str) -> None:
        runner = self._waiting.pop(task_id, None)
        if runner is not None:
            self.waiting_of.change(_owner(runner), -1)
        self._silence(task_id)

    def _silence(self, task_id: str) -> None:
        wait, pause = self._waits.pop(task_id, None), self._pauses.pop(task_id, None)
        if wait is not None:
            wait.stop()
        if pause is not None:
            pause.cancel()


def _owner(runner: Runner) -> str:
    record = runner.log.record
    return owner_of(record.created_by, record.tenant)


def _wake(returning: asyncio.Future[None]) -> None:
    if not returning.done():  # its handler is cancelled in the same step
        returning.set_result(None)
