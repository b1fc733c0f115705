"""What one read from a socket means: which events, and what is left over for the next read.

A server that sends the same event to a thousand readers sends the same bytes a thousand times, so that a segment that
another reader got before is looked up instead of read again.

Owns:   the chunked body, the blank lines between frames, the counter ``"n"`` and the time ``"at"`` in their data.
Never:  knows a reader: what is left over comes with the bytes, and goes with the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_N = re.compile(rb'"n": ?([0-9]+)')
_AT = re.compile(rb'"at": ?([0-9.]+)')
_ID = re.compile(rb"(?:^|\n)id: ?([0-9]+)")
_KEPT_BYTES = 32_000_000

_numbers: list[bytes] = []


class State(NamedTuple):
    """Between two reads.

    Attributes:
        left: bytes of a chunk that are still to come, its line end included; 0 before a chunk, -1 without chunks.
        line: the beginning of the line that says how long the next chunk is.
        frame: the beginning of a frame.
    """

    left: int = 0
    line: bytes = b""
    frame: bytes = b""


CHUNKED = State()
PLAIN = State(left=-1)


@dataclass(frozen=True, slots=True)
class Segment:
    """What was in one read.

    Attributes:
        first: the counter of its first event.
        count: of its events.
        ats: when they were emitted, seconds since 1970, if the book keeps times.
        after: what is left over.
        ended: whether the body has ended.
        flaw: what is wrong with it in itself.
    """

    first: int
    count: int
    ats: tuple[float, ...]
    after: State
    ended: bool = False
    flaw: str | None = None


class Book:
    """Reads segments, and remembers them.

    Args:
        timed: keep the times of the events.
        ids: the stream has ids, which are the counter plus the same number everywhere.
    """

    def __init__(self, *, timed: bool = False, ids: bool = False) -> None:
        self._timed = timed
        self._ids = ids
        self._shift: int | None = None
        self._clean: dict[bytes, Segment] = {}
        self._torn: dict[tuple[State, bytes], Segment] = {}
        self._kept_bytes = 0

    def read(self, state: State, data: bytes) -> Segment:
        """What ``data`` means after ``state``."""
        if state is CHUNKED:
            known = self._clean.get(data)
            if known is None:
                known = self._clean[data] = self._read(state, data)
            return known
        known = self._torn.get((state, data))
        if known is None:
            known = self._torn[(state, data)] = self._read(state, data)
        return known

    def _read(self, state: State, data: bytes) -> Segment:
        self._kept_bytes += len(data)
        if self._kept_bytes > _KEPT_BYTES:
            self._clean.clear()
            self._torn.clear()
            self._kept_bytes = len(data)
        try:
            body, left, line, ended = dechunked(state, data)
        except ValueError as error:
            return Segment(0, 0, (), CHUNKED, flaw=f"no chunk: {error}")
        text = state.frame + body if state.frame else body
        whole = max(_after(text, b"\n\n"), _after(text, b"\r\n\r\n"))
        after = State(left, line, text[whole:])
        if ended and after.frame:
            return Segment(0, 0, (), CHUNKED, ended, f"half an event at the end: {after.frame[:80]!r}")
        return self._events(text[:whole], CHUNKED if after == CHUNKED else after, ended)

    def _events(self, frames: bytes, after: State, ended: bool) -> Segment:
        numbers = _N.findall(frames)
        if not numbers:
            return Segment(0, 0, (), after, ended)
        first, count = int(numbers[0]), len(numbers)
        flaw = None
        if count > 1 and numbers != _following(first, count):
            flaw = f"events in the order {[int(number) for number in numbers[:10]]}"
        if self._ids and flaw is None:
            flaw = self._check_ids(frames, first, count)
        ats = tuple(float(at) for at in _AT.findall(frames)) if self._timed else ()
        return Segment(first, count, ats, after, ended, flaw)

    def _check_ids(self, frames: bytes, first: int, count: int) -> str | None:
        ids = _ID.findall(frames)
        start = int(ids[0]) if ids else 0
        if len(ids) < count or ids != _following(start, len(ids)):
            return f"ids in the order {[int(id) for id in ids[:10]]} for {count} events"
        if len(ids) > count:  # events about the life of the task among them
            return None
        if self._shift is None:
            self._shift = start - first
        return None if start - first == self._shift else f"event {first} has the id {start}"


def dechunked(state: State, data: bytes) -> tuple[bytes, int, bytes, bool]:
    """The body in ``data``, what is left of its last chunk or of the line before one, and whether it has ended.

    Raises:
        ValueError: there is no length where one has to be.
    """
    left, line, _ = state
    if left < 0:
        return data, left, line, False
    pieces: list[bytes] = []
    position, size = 0, len(data)
    while position < size:
        if left == 0:
            end = data.find(b"\n", position)
            if end < 0:
                return b"".join(pieces), 0, line + data[position:], False
            length = int(line + data[position:end], 16)
            line, position, left = b"", end + 1, length + 2
            if length == 0:
                return b"".join(pieces), 0, b"", True
        if left > 2:
            pieces.append(data[position : min(position + left - 2, size)])
        taken = min(left, size - position)
        position += taken
        left -= taken
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), left, line, False


def _after(text: bytes, end: bytes) -> int:
    found = text.rfind(end)
    return found + len(end) if found >= 0 else 0


def _following(first: int, count: int) -> list[bytes]:
    """The numbers from ``first`` on; compared as bytes, all of a segment at a time."""
    while len(_numbers) < first + count:
        _numbers.extend(b"%d" % number for number in range(len(_numbers), 2 * len(_numbers) + 1024))
    return _numbers[first : first + count]
