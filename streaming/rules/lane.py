"""The waiting tasks of one type that may have their turn, each behind those of its principal.

Of each principal one task stands at the front, the first of its own; only those are compared. A principal that runs as
many as it may has nobody there, however many of its tasks wait: they cost the others nothing.

Owns:   `Lane`: whose turn it is among the tasks of one type.
Never:  knows of keys, or how many run (`rules.schedule`).
"""

from __future__ import annotations

import heapq
from collections.abc import Container
from typing import TypeAlias

#: So many removed tasks stay in a heap before it is looked through.
REMOVED_MAX = 16

#: A place in the line: the time it counts from, and the number of the arrival, which is never given twice.
Place: TypeAlias = tuple[float, int]


class _Heap:
    """Tasks of one principal; what was removed stays in it for a while."""

    __slots__ = ("_heap", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[Place, str]] = []
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> tuple[Place, str]:
        """Whose turn it is; there must be one."""
        while not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0]

    def push(self, place: Place, id: str) -> None:
        self._places[id] = place
        heapq.heappush(self._heap, (place, id))

    def remove(self, id: str) -> None:
        del self._places[id]
        if len(self._heap) > 2 * len(self._places) + REMOVED_MAX:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)

    def _stands(self, entry: tuple[Place, str]) -> bool:
        return self._places.get(entry[1]) is entry[0]


class Lane:
    """The tasks of one type that may have their turn.

    Args:
        full: the principals that run as many as they may; `offer` follows when one leaves it.
    """

    __slots__ = ("_front", "_full", "_offered", "_own")

    def __init__(self, full: Container[str]) -> None:
        self._full = full
        self._own: dict[str, _Heap] = {}
        # Of each principal that has tasks and is not full there is one entry that counts; it is never behind its first.
        self._front: list[tuple[Place, str]] = []
        self._offered: dict[str, Place] = {}

    def __len__(self) -> int:
        """How many principals have tasks here."""
        return len(self._own)

    @property
    def size(self) -> int:
        """How many entries are kept in memory, those of removed tasks included."""
        return len(self._front) + sum(heap.size for heap in self._own.values())

    def first(self) -> tuple[Place, str] | None:
        """The place and the id of the task whose turn it is; None if all who wait here have to."""
        while self._front:
            place, principal = self._front[0]
            if self._offered.get(principal) is not place:
                heapq.heappop(self._front)
            elif principal in self._full:
                heapq.heappop(self._front)
                del self._offered[principal]
            elif (first := self._own[principal].first)[0] is place:
                return first
            else:  # the task that has stood for it is gone
                self._offered[principal] = first[0]
                heapq.heapreplace(self._front, (first[0], principal))
        return None

    def push(self, place: Place, id: str, principal: str) -> None:
        """Add a task."""
        own = self._own.get(principal)
        if own is None:
            own = self._own[principal] = _Heap()
        own.push(place, id)
        self.offer(principal)

    def remove(self, id: str, principal: str) -> None:
        """Take out a task that is here."""
        own = self._own[principal]
        own.remove(id)
        if not own:
            del self._own[principal]
            self._offered.pop(principal, None)
            self._tidy()

    def offer(self, principal: str) -> None:
        """The first task of a principal comes to the front, if it has one and is not full."""
        own = self._own.get(principal)
        if own is None or principal in self._full:
            return
        place, offered = own.first[0], self._offered.get(principal)
        if offered is None or place < offered:
            self._offered[principal] = place
            heapq.heappush(self._front, (place, principal))
            self._tidy()

    def _tidy(self) -> None:
        if len(self._front) > 2 * len(self._own) + REMOVED_MAX:
            self._front = [entry for entry in self._front if self._offered.get(entry[1]) is entry[0]]
            heapq.heapify(self._front)
