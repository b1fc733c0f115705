"""One task of the memory store: its record, and the newest events of its log.

Owns:   which events of the task are kept, and where they stand in the feed.
Never:  looks at another task.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from operator import attrgetter

from streaming.events import Event
from streaming.records import Change, Record
from streaming.rules.lifecycle import TERMINAL

_seq = attrgetter("seq")


@dataclass(slots=True)
class MemoryTask:
    """A record with its log.

    Attributes:
        record: as it was written last; its ``last_seq`` does not count.
        last_seq: seq of the last stored event, kept or not.
        ended: whether a terminal event was stored.
        events: the kept ones, ascending by seq.
        bytes: of their payloads.
        positions: theirs in the feed.
        keys: names of the idempotency keys that were stored with it.
        changes: of its status.
    """

    record: Record
    last_seq: int = 0
    ended: bool = False
    events: list[Event] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    bytes: int = 0

    def snapshot(self) -> Record:
        """The record, with the seq of its last stored event."""
        return replace(self.record, last_seq=self.last_seq)

    def record_bytes(self) -> int:
        """How large the record is, in bytes of JSON: only what a handler or its caller has made counts."""
        return len(json.dumps((self.record.params, self.record.result)))

    def append(self, event: Event, position: int) -> None:
        """Add an event that stands at ``position`` in the feed."""
        self.events.append(event)
        self.positions.append(position)
        self.bytes += len(event.payload)
        self.last_seq = event.seq
        self.ended = self.ended or event.type in TERMINAL

    def after(self, seq: int, last_seq: int) -> list[Event]:
        """The kept events with ``seq`` < event.seq <= ``last_seq``."""
        first = bisect_right(self.events, seq, key=_seq)
        return self.events[first : bisect_right(self.events, last_seq, key=_seq)]

    def position(self, event: Event) -> int | None:
        """Where exactly this event stands in the feed, if it is kept."""
        index = bisect_left(self.events, event.seq, key=_seq)
        return self.positions[index] if self.events[index : index + 1] == [event] else None

    def cut(self, events_max: int) -> list[int]:
        """Drop the oldest events over ``events_max``, and return their positions."""
        excess = max(0, len(self.events) - events_max)
        gone = self.positions[:excess]
        self.bytes -= sum(len(event.payload) for event in self.events[:excess])
        del self.events[:excess], self.positions[:excess]
        return gone
