"""Whose turn it is, and what a start does that finds its key busy.

Rules of this file:

- A task's place is the time since which it waits, and each step of priority counts as if it had waited ``ageing_s``
  longer. A place never changes, so a task is only ever overtaken by those that come soon after it: none starves.
- Of the live tasks with one key only the first may have its turn, in their order of arrival, whatever their priority.
  A task is live under its key from the moment it is announced, taken or added, also between two attempts, until it
  has ended or was removed.
- Only tasks that may have their turn stand in a heap, one for each type. Those that wait for their key are parked
  under it, and nobody looks at them before it passes on to them.

Owns:   `Line`: the waiting tasks, and the table of live keys; `on_busy`.
Never:  starts or stops a task, or counts how many run.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from streaming.records import Priority

#: So many removed tasks stay in a heap before it is looked through.
REMOVED_MAX = 16


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits for its turn.

    Attributes:
        id: the task.
        type: its type.
        key: tasks with the same key run one after the other.
        priority: whose turn comes first.
        since: when the waiting began, in seconds on one clock.
    """

    id: str
    type: str
    key: str | None
    priority: Priority
    since: float


#: A place in the line: the time it counts from, and the number of the arrival, which is never given twice.
_Place = tuple[float, int]


class _Heap:
    """Tasks of one type that may have their turn; what was removed stays in it for a while."""

    __slots__ = ("_heap", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[_Place, str]] = []
        self._places: dict[str, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> tuple[_Place, str]:
        """Whose turn it is; there must be one."""
        while not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0]

    def push(self, place: _Place, id: str) -> None:
        self._places[id] = place
        heapq.heappush(self._heap, (place, id))

    def remove(self, id: str) -> None:
        del self._places[id]
        if len(self._heap) > 2 * len(self._places) + REMOVED_MAX:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)

    def _stands(self, entry: tuple[_Place, str]) -> bool:
        return self._places.get(entry[1]) is entry[0]


class Line:
    """The waiting tasks of an instance, and the live tasks of each key.

    A turn costs a look at each type and the logarithm of how many wait; to add or remove a task costs the logarithm.

    Args:
        ageing_s: seconds of waiting that count as much as one step of priority.
    """

    def __init__(self, ageing_s: float) -> None:
        self._ageing_s = ageing_s
        self._arrivals = itertools.count()
        self._waiting: dict[str, tuple[Waiting, _Place]] = {}
        self._heaps: dict[str, _Heap] = {}
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
        return len(self._waiting) + len(self._key_of) + sum(heap.size for heap in self._heaps.values())

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
        firsts = (heap.first for type, heap in self._heaps.items() if free(type))
        found = min(firsts, default=None)
        if found is None:
            return None
        self._park(found[1])
        return self._waiting.pop(found[1])[0]

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
        """Put a waiting task into its heap."""
        waiting, place = self._waiting[id]
        self._heaps.setdefault(waiting.type, _Heap()).push(place, id)

    def _park(self, id: str) -> None:
        """Take a task out of its heap, if it is in one."""
        if id not in self._waiting or ((key := self._key_of.get(id)) is not None and self._first(key) != id):
            return
        type = self._waiting[id][0].type
        heap = self._heaps[type]
        heap.remove(id)
        if not heap:
            del self._heaps[type]


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
