"""A store that is slow, fails, forgets to answer, and outlives the process that writes to it.

Owns:   `SimulatedDisk`, which outlives a crash, and `SimulatedStore`, the way of one instance to it.
Uses:   store.memory (what is remembered, and the contract), testing.choices (what goes wrong).
Never:  invents an answer: what the disk says is what the memory store says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from streaming.config import Settings
from streaming.engine.journal import TROUBLES, Commit, Committed
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, Record
from streaming.store.memory import MemoryStore
from streaming.testing.choices import Stream
from streaming.testing.faults import Faults

#: Calls that change what is on the disk.
WRITES = frozenset({"commit", "acknowledge", "delete", "prune", "trim", "forget_keys", "secret"})

#: How long the disk may take, in seconds.
DELAYS_S = (0.001, 0.05)


class SimulatedDisk:
    """What is stored, and outlives every process.

    Args:
        settings: of the memory store inside.

    Attributes:
        events: each event that was ever committed, by task and seq; what retention removes stays here.
        commits: how many there were.
        failures: how many calls have failed, of all instances.
        crashes: how many instances have died in a commit.
    """

    def __init__(self, settings: Settings) -> None:
        self.events: dict[tuple[str, int], Event] = {}
        self.commits = 0
        self.failures = 0
        self.crashes = 0
        self._settings = settings
        self._written: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._synced = 0
        self._store = _opened(settings)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask, or change, what is stored; see `Journal`."""
        answer = _at_once(getattr(self._store, name)(*args, **kwargs))
        if name in WRITES:
            self._written.append((name, args, kwargs))
        if name == "commit":
            self._remember(args[0], answer)
        return answer

    def _remember(self, commit: Commit, done: Committed) -> None:
        self.commits += 1
        for event in commit.events:
            if event.task_id not in done.lost:
                self.events[event.task_id, event.seq] = event

    def sync(self) -> None:
        """From now on a power cut takes nothing of what was written before."""
        self._synced = len(self._written)

    def lose(self) -> int:
        """A power cut: what was not synced is gone.

        Returns:
            How many writes.
        """
        lost = len(self._written) - self._synced
        del self._written[self._synced :]
        self._store = _opened(self._settings)
        for name, args, kwargs in self._written:
            _at_once(getattr(self._store, name)(*args, **kwargs))
        return lost

    def records(self) -> list[Record]:
        """All records, as they are stored."""
        return [task.snapshot() for task in self._store._tasks.values()]

    def log(self, task_id: str) -> list[Event]:
        """All events of a task that are stored, in their order."""
        events: list[Event] = self.call("events_after", task_id, 0, last_seq=1 << 53, limit=1 << 53)
        return events

    def changes(self, task_id: str) -> list[Change]:
        """The history of a task."""
        changes: list[Change] = self.call("changes", task_id)
        return changes


class SimulatedStore:
    """The journal of one instance: every call takes its time, may fail, and fails for ever once the instance is dead.

    Args:
        disk: where everything is.
        faults: how bad it is.
        choices: decides what goes wrong.
        crash: kills the instance; None if it may not die.

    Attributes:
        dead: nothing reaches the disk any more.
        up: whether the instance is up; before, the store may kill it, but does not fail: it would not start.
        steady: nothing goes wrong any more, so that all can come to an end.
        failures: how many calls have failed.
    """

    durable = True
    circuit = None
    troubles: Mapping[str, int] = MappingProxyType(dict.fromkeys(TROUBLES, 0))

    def __init__(self, disk: SimulatedDisk, faults: Faults, choices: Stream, crash: Callable[[], None] | None) -> None:
        self.dead = False
        self.up = False
        self.steady = False
        self.failures = 0
        self._disk = disk
        self._faults = faults
        self._choices = choices
        self._crash = crash

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Each method of `Journal`."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._delay()
            if name == "commit":
                return await self._commit(args[0])
            self._check_alive()
            if self._fails(self._faults.store_refuses):
                raise StoreUnavailable("The disk cannot be read.")
            return self._disk.call(name, *args, **kwargs)

        return call

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """It stays open, for the next instance."""

    async def _commit(self, commit: Commit) -> Committed:
        self._check_alive()
        if self._fails(self._faults.store_refuses):
            raise StoreUnavailable("The disk is full.")
        await self._may_die("the instance is killed before a commit")
        done: Committed = self._disk.call("commit", commit)
        await self._may_die("the instance is killed after a commit, before it hears of it")
        await self._delay()
        self._check_alive()
        if self._fails(self._faults.store_forgets_to_answer):
            raise StoreUnavailable("The answer was lost.")
        if not self._happens(self._faults.loss):
            self._disk.sync()
        return done

    def cut_off(self) -> None:
        """The instance is dead: nothing reaches the disk any more, and what was not synced may be lost, once."""
        if not self.dead and self._faults.loss:
            self._disk.lose()
        self.dead = True

    async def _may_die(self, words: str) -> None:
        """Kill the instance, or not; nothing that it does after its death can be seen.

        One that may not die asks for no choice, and takes no crash away from the others.
        """
        if self._crash is None or self._disk.crashes >= self._faults.crashes_max:
            return
        if self._happens(self._faults.crash):
            self._choices.note(words)
            self._disk.crashes += 1
            self._crash()
            await asyncio.get_running_loop().create_future()

    def _check_alive(self) -> None:
        if self.dead:
            raise StoreUnavailable("This process is dead.")

    async def _delay(self) -> None:
        probability = self._faults.store_delay
        if probability and self._choices.happens(probability):
            for _ in range(self._choices.pick(3)):
                await asyncio.sleep(0)
            if self._choices.happens(0.5):
                await asyncio.sleep(self._choices.draw(DELAYS_S))

    def _fails(self, probability: float) -> bool:
        fails = self.up and self._disk.failures < self._faults.failures_max and self._happens(probability)
        if fails:
            self.failures += 1
            self._disk.failures += 1
            self._choices.note("the store fails")
        return fails

    def _happens(self, probability: float) -> bool:
        return bool(probability) and not self.steady and self._choices.happens(probability)


def _opened(settings: Settings) -> MemoryStore:
    store = MemoryStore(settings)
    _at_once(store.open())
    return store


def _at_once(call: Any) -> Any:
    """What a method of the memory store returns; it never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the memory store has waited")
