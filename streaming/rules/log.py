"""The window of one log: the part of a task's events that is kept in memory.

Rules of this file:

- seq is 1, 2, 3, ... without holes; the terminal event is the last one.
- What is not committed is not visible. The committed mark only grows.
- The window may forget its oldest committed events, never others; readers below it go to the store.

Owns:   append, commit up to, after(cursor), trim; the bytes of a batch, joined once for all readers at one cursor.
Never:  waits, wakes anybody, or reads a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from streaming.errors import BadCursor, TaskEnded
from streaming.events import Event, encode_payload
from streaming.rules.sse import frame

#: One write to a reader has at most about this many bytes (one event may be larger), so that slow readers stay small.
BATCH_BYTES_MAX = 65_536

#: Joined batches kept for other readers at the same cursor; most readers stand at the head, so few are enough.
BATCHES_KEPT = 8


class Reading(Enum):
    """What a cursor finds where there is no batch."""

    WAIT = auto()
    END = auto()
    BELOW = auto()


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that one reader gets at once.

    Attributes:
        events: in order; empty where none of those up to ``last`` is for the reader.
        last: the cursor behind them.
        sse: their frames, joined.
        positions: of each of them in the feed; none in a log, where an event stands at its seq.
    """

    events: tuple[Event, ...]
    last: int
    sse: bytes
    positions: tuple[int, ...] = ()
    _forms: dict[Callable[[Batch], bytes], bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def placed(self) -> Iterable[tuple[Event, int]]:
        """The events, each with the cursor behind it."""
        return zip(self.events, self.positions or [event.seq for event in self.events], strict=True)

    def as_bytes(self, write: Callable[[Batch], bytes]) -> bytes:
        """The bytes that ``write`` makes of it, made once for all readers."""
        made = self._forms.get(write)
        if made is None:
            made = self._forms[write] = write(self)
        return made


def batch_of(framed: Iterable[tuple[Event, bytes]]) -> Batch:
    """Take as many events as one write may carry, at least one."""
    events: list[Event] = []
    frames: list[bytes] = []
    size = 0
    for event, block in framed:
        size += len(block)
        if frames and size > BATCH_BYTES_MAX:
            break
        events.append(event)
        frames.append(block)
    return Batch(tuple(events), events[-1].seq, b"".join(frames))


def gap_event(task_id: str, first_seq: int, last_seq: int, reason: str, time: str) -> Event:
    """The in-band notice that events are gone; it carries the id of the last missing one."""
    payload = encode_payload({"from": first_seq, "to": last_seq, "reason": reason})
    return Event(task_id, last_seq, "gap", time, payload)


def with_gap(events: list[Event], *, task_id: str, after: int, upto: int, time: str) -> list[Event]:
    """Put a gap wherever stored events do not follow each other, or do not begin behind the cursor.

    Args:
        events: what the store has of ``after`` < seq <= ``upto``, ascending; may be empty. What is missing behind the
            last one is found with the next page.
        task_id: whose events.
        after: the reader's cursor.
        upto: the last seq that is known to have been committed.
        time: of the notice, RFC 3339.

    Returns:
        The events, with one ``gap`` event in front of each whose seq does not follow. Its reason is ``retention``, or
        ``deleted`` where nothing is left.
    """
    if not events:
        return [] if after == upto else [gap_event(task_id, after + 1, upto, "deleted", time)]
    if events[-1].seq - after == len(events):
        return events
    whole: list[Event] = []
    for event in events:
        if event.seq != after + 1:
            whole.append(gap_event(task_id, after + 1, event.seq - 1, "retention", time))
        whole.append(event)
        after = event.seq
    return whole


class LogWindow:
    """One task's log, as far as it is in memory.

    Args:
        task_id: the task.
        last_seq: the last committed seq of a log that goes on from a store; 0 for a new one.
        ended: whether that event was the terminal one.
    """

    __slots__ = ("_batches", "_entries", "_size", "committed", "ended", "first", "last", "task_id")

    def __init__(self, task_id: str, *, last_seq: int = 0, ended: bool = False) -> None:
        self.task_id = task_id
        self.first = last_seq + 1
        self.last = last_seq
        self.committed = last_seq
        self.ended = ended
        self._entries: list[tuple[Event, bytes]] = []  # an empty deque would cost each task ten times as much
        self._size = 0
        self._batches: dict[int, Batch] = {}

    @property
    def kept(self) -> Sequence[tuple[Event, bytes]]:
        """The events in memory with their frames, visible or not, in order."""
        return self._entries

    @property
    def size(self) -> int:
        """Bytes of their frames, as they are counted."""
        return self._size

    def recount(self) -> None:
        """Put right what the frames take."""
        self._size = sum(len(framed) for _, framed in self._entries)

    def append(self, event: Event, *, terminal: bool = False) -> None:
        """Add the next event; it is not visible yet.

        Args:
            event: its seq is ``last + 1``.
            terminal: whether it ends the log.

        Raises:
            TaskEnded: the log has its terminal event.
        """
        if self.ended:
            raise TaskEnded(f"Task {self.task_id} has ended: nothing follows its terminal event.")
        if event.seq != self.last + 1:
            raise ValueError(f"seq {event.seq} cannot follow {self.last}")
        framed = frame(event)
        self._entries.append((event, framed))
        self._size += len(framed)
        self.last = event.seq
        self.ended = terminal

    def commit(self, seq: int) -> None:
        """Make everything up to ``seq`` visible."""
        if not self.committed <= seq <= self.last:
            raise ValueError(f"cannot commit {seq} of {self.committed}..{self.last}")
        self.committed = seq
        self._batches.clear()

    def trim(self, *, events_max: int, bytes_max: int) -> None:
        """Forget the oldest committed events until the rest fits."""
        gone, entries = 0, self._entries
        visible = self.committed + 1 - self.first
        while gone < visible and (len(entries) - gone > events_max or self._size > bytes_max):
            self._size -= len(entries[gone][1])
            gone += 1
        del entries[:gone]
        self.first += gone
        self._batches.clear()

    def after(self, cursor: int) -> Batch | Reading:
        """What a reader at ``cursor`` finds.

        Args:
            cursor: seq of the last event it has seen, 0 for none.

        Returns:
            A batch; or WAIT (nothing new yet), END (it has seen the terminal event), BELOW (ask the store).

        Raises:
            BadCursor: no event with this seq is visible.
        """
        if not 0 <= cursor <= self.committed:
            raise BadCursor(
                f"Event {cursor} is no position of the log of task {self.task_id}: it ends at {self.committed}."
            )
        if cursor == self.committed:
            return Reading.END if self.ended and self.committed == self.last else Reading.WAIT
        if cursor + 1 < self.first:
            return Reading.BELOW
        batch = self._batches.get(cursor)
        if batch is None:
            if len(self._batches) >= BATCHES_KEPT:
                self._batches.clear()
            behind = range(cursor + 1 - self.first, self.committed + 1 - self.first)
            batch = self._batches[cursor] = batch_of(map(self._entries.__getitem__, behind))
        return batch
