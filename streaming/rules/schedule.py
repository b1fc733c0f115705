"""Whose turn it is, and what a start does that finds its key busy.

Rules of this file:

- A task's place is the time since which it waits, and each step of priority counts as if it had waited ``ageing_s``
  longer. A place never changes, so a task is only ever overtaken by those that come soon after it: none starves.
- Of the live tasks with one key only the first may have its turn, in their order of arrival, whatever their priority.
  A task is live under its key from the moment it is announced, taken or added, also between two attempts, until it
  has ended or was removed.
- Only tasks that may have their turn stand in a lane, one for each type. Those that wait for their key are parked
  under it, and nobody looks at them before it passes on to them.
- A principal that runs as many as it may is full: the tasks of others pass by its own, which keep their places.

Owns:   `Line`: the waiting tasks, and the table of live keys; `on_busy`.
Uses:   rules.lane (the tasks of one type).
Never:  starts or stops a task, or counts how many run.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from streaming.records import Priority
from streaming.rules.lane import Lane, Place


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits for its turn.

    Attributes:
        id: the task.
        type: its type.
        key: tasks with the same key run one after the other.
        priority: whose turn comes first.
        since: when the waiting began, in seconds on one clock.
        principal: whose it is.
    """

    id: str
    type: str
    key: str | None
    priority: Priority
    since: float
    principal: str = ""


class Line:
    """The waiting tasks of an instance, and the live tasks of each key.

    A turn costs a look at each type and the logarithm of how many wait; to add or remove a task costs the logarithm,
    and so it does for each type when a principal is full no more.

    Args:
        ageing_s: seconds of waiting that count as much as one step of priority.
    """

    def __init__(self, ageing_s: float) -> None:
        self._ageing_s = ageing_s
        self._arrivals = itertools.count()
        self._waiting: dict[str, tuple[Waiting, Place]] = {}
        self._lanes: dict[str, Lane] = {}
        self._full: set[str] = set()
        self._keys: dict[str, OrderedDict[str, None]] = {}
        self._key_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, id: object) -> bool:
        return id in self._waiting

    def __iter__(self) -> Iterator[str]:
        """The ids of the waiting tasks, in order of arrival."""
        return iter(self._waiting)

    @property
    def members(self) -> frozenset[str]:
        """The tasks that have a place here: those that wait, and those that hold a key or are next to."""
        return frozenset(self._waiting) | self._key_of.keys()

    @property
    def size(self) -> int:
        """How many entries are kept in memory, those of removed tasks included."""
        return len(self._waiting) + len(self._key_of) + sum(lane.size for lane in self._lanes.values())

    def ahead(self, id: str) -> int:
        """How many waiting tasks come before this one, whatever each of them waits for; 0 for one that does not wait.

        It looks at all that wait.
        """
        if id not in self._waiting:
            return 0
        own = self._waiting[id][1]
        return sum(1 for _, place in self._waiting.values() if place < own)

    def live(self, key: str) -> tuple[str, ...]:
        """The tasks that are live under a key: the one whose turn it is or was, then the others as they arrived."""
        return tuple(self._keys.get(key, ()))

    def announce(self, id: str, key: str | None) -> None:
        """Give a task its place under its key before it is stored; `add` or `ended` must follow.

        Args:
            id: the task.
            key: its key; without one there is nothing to do.
        """
        if key is not None:
            self._key_of[id] = key
            self._keys.setdefault(key, OrderedDict()).setdefault(id)

    def take(self, id: str, key: str | None) -> None:
        """Say that a task holds its key already: one that runs elsewhere, or was recovered between two attempts.

        Args:
            id: the task; it does not wait.
            key: its key; without one there is nothing to do.

        Raises:
            ValueError: it waits.
        """
        if id in self._waiting:
            raise ValueError(f"{id} waits already")
        if key is not None:
            if key in self._keys:
                self._park(self._first(key))
            self.announce(id, key)
            self._keys[key].move_to_end(id, last=False)

    def add(self, waiting: Waiting) -> None:
        """Let a task wait for its turn; again, when it has another attempt.

        Args:
            waiting: the task.

        Raises:
            ValueError: it waits already.
        """
        if waiting.id in self._waiting:
            raise ValueError(f"{waiting.id} waits already")
        self.announce(waiting.id, waiting.key)
        place = (waiting.since - waiting.priority.rank * self._ageing_s, next(self._arrivals))
        self._waiting[waiting.id] = (waiting, place)
        if waiting.key is None or self._first(waiting.key) == waiting.id:
            self._admit(waiting.id)

    def next(self, free: Callable[[str], bool]) -> Waiting | None:
        """Take out the task whose turn it is; it holds its key from now on, until `ended`.

        Args:
            free: whether one more task of a type may run.

        Returns:
            The task, or None if nobody can have a turn now.
        """
        firsts = (lane.first() for type, lane in self._lanes.items() if free(type))
        found = min((first for first in firsts if first is not None), default=None)
        if found is None:
            return None
        self._park(found[1])
        return self._waiting.pop(found[1])[0]

    @property
    def full(self) -> frozenset[str]:
        """The principals that run as many as they may."""
        return frozenset(self._full)

    def close(self, principal: str) -> None:
        """A principal runs as many as it may: nobody of its own has a turn."""
        self._full.add(principal)

    def open(self, principal: str) -> None:
        """A principal may run more; nothing changes for one that might before."""
        if principal in self._full:
            self._full.remove(principal)
            for lane in self._lanes.values():
                lane.offer(principal)

    def remove(self, id: str) -> bool:
        """Take out a task that waits and will not run; its key passes on.

        Args:
            id: the task.

        Returns:
            Whether it was waiting; if not, nothing has changed.
        """
        waits = id in self._waiting
        if waits:
            self.ended(id)
        return waits

    def ended(self, id: str) -> None:
        """Say that a task has ended, or could not be stored: its key passes on. Says nothing of one without a key.

        Args:
            id: the task; any one, known or not.
        """
        if id in self._waiting:
            self._park(id)
            del self._waiting[id]
        key = self._key_of.pop(id, None)
        if key is not None:
            self._leave(id, key)

    def _leave(self, id: str, key: str) -> None:
        """Let the key pass on to the next task, if this was the first."""
        members = self._keys[key]
        was_first = self._first(key) == id
        del members[id]
        if not members:
            del self._keys[key]
        elif was_first and (first := self._first(key)) in self._waiting:
            self._admit(first)

    def _first(self, key: str) -> str:
        return next(iter(self._keys[key]))

    def _admit(self, id: str) -> None:
        """Put a waiting task into its lane."""
        waiting, place = self._waiting[id]
        lane = self._lanes.get(waiting.type)
        if lane is None:
            lane = self._lanes[waiting.type] = Lane(self._full)
        lane.push(place, id, waiting.principal)

    def _park(self, id: str) -> None:
        """Take a task out of its lane, if it is in one."""
        if id not in self._waiting or ((key := self._key_of.get(id)) is not None and self._first(key) != id):
            return
        waiting = self._waiting[id][0]
        lane = self._lanes[waiting.type]
        lane.remove(id, waiting.principal)
        if not lane:
            del self._lanes[waiting.type]


class IfRunning(StrEnum):
    """What a start wants that finds its key busy."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    REPLACE = "replace"
    JOIN = "join"


@dataclass(frozen=True, slots=True)
class Start:
    """The task is started; if its key is busy it waits for its turn."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is started, because of this task."""

    id: str


@dataclass(frozen=True, slots=True)
class Replace:
    """These tasks are cancelled, and the new one has its turn when they have stopped."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Nothing is started; this task is the answer."""

    id: str


Decision = Start | Refuse | Replace | Join

_ON_BUSY: dict[IfRunning, Callable[[tuple[str, ...]], Decision]] = {
    IfRunning.ENQUEUE: lambda live: Start(),
    IfRunning.REJECT: lambda live: Refuse(live[0]),
    IfRunning.REPLACE: Replace,
    IfRunning.JOIN: lambda live: Join(live[0]),
}


def on_busy(if_running: IfRunning, live: tuple[str, ...]) -> Decision:
    """Decide about a start with a key.

    To be exact among starts at the same time: no ``await`` between `Line.live`, this, and `Line.announce`.

    Args:
        if_running: what it wants.
        live: the live tasks of its key, the one whose turn it is first.

    Returns:
        The decision; `Start` if the key is free.
    """
    return _ON_BUSY[if_running](live) if live else Start()
