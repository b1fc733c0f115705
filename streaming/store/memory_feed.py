"""The feed of the memory store: events by position, with holes.

Owns:   where each kept event stands in the feed.
Never:  keeps an event that was removed, or walks over what is gone.

Events leave in another order than they came: a busy task loses its oldest, while those of a quiet one stay. So
positions are kept in small chunks, and a chunk goes with its last event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from streaming.events import Event

_CHUNK = 64


class MemoryFeed:
    """Events in commit order."""

    def __init__(self) -> None:
        self.last_position = 0
        self._chunks: dict[int, dict[int, Event]] = {}
        self._numbers: list[int] = []  # those of the chunks, ascending

    def append(self, event: Event) -> int:
        """Give an event the next position, and say which."""
        self.last_position += 1
        number = self.last_position // _CHUNK
        if number not in self._chunks:
            self._chunks[number] = {}
            self._numbers.append(number)
        self._chunks[number][self.last_position] = event
        return self.last_position

    def remove(self, position: int) -> None:
        """Forget the event at ``position``."""
        number = position // _CHUNK
        chunk = self._chunks[number]
        del chunk[position]
        if not chunk:
            del self._chunks[number]
            del self._numbers[bisect_left(self._numbers, number)]

    def after(self, position: int, last_position: int) -> Iterator[tuple[int, Event]]:
        """The kept events with ``position`` < their position <= ``last_position``, ascending."""
        for index in range(bisect_left(self._numbers, position // _CHUNK), len(self._numbers)):
            for place, event in self._chunks[self._numbers[index]].items():
                if place > last_position:
                    return
                if place > position:
                    yield place, event
