"""A reader of one event stream that costs next to nothing, and believes nothing.

Owns:   the chunked body, the frames in it, and the check that ids are 1, 2, 3 ... with the terminal event last.
Never:  parses JSON, or follows a redirect; what it does not expect is a flaw.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Literal

from benchmarks.calls import ANSWER_S, Address, Asking
from benchmarks.figure import Flaw

#: Every log has pending, running and one terminal event around those of the handler.
LIFE_EVENTS = 3

_OPEN_AT_ONCE = 100
_ID = re.compile(rb"\nid: ([0-9]+)")
_TERMINAL = re.compile(rb"\nevent: (completed|failed|cancelled|timed_out|interrupted)\n")
_TIMES = {"at": re.compile(rb'"at":([0-9.]+)'), "due": re.compile(rb'"due":([0-9.]+)')}
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")

Timed = Literal["at", "due"]

_ids: list[bytes] = []


def _expected(after: int, count: int) -> list[bytes]:
    """The ids that follow ``after``; compared as bytes, a whole batch at a time."""
    while len(_ids) < after + count:
        _ids.extend(b"%d" % number for number in range(len(_ids) + 1, 2 * len(_ids) + 1025))
    return _ids[after : after + count]


class Reader(Asking):
    """One connection that reads one stream to its end.

    Args:
        request: what to send, once connected.
        timed: which time in the data to compare with the clock, in `lags_s`: ``at`` or ``due``; None for neither.
        after: the cursor that the request names.
    """

    def __init__(self, request: bytes, *, timed: Timed | None = None, after: int = 0) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(request)
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.last_seq = after
        self.terminal: str | None = None
        self.lags_s: list[float] = []
        self.opened_at = self.ended_at = 0.0
        self._time = _TIMES[timed] if timed else None
        self._flaw: str | None = None
        self._head: bytes | None = b""
        self._chunks = b""
        self._frames = b""

    def check(self, events: int | None = None) -> None:
        """Make sure that the stream was whole.

        Args:
            events: how many it must have had; None where that is not known.

        Raises:
            Flaw: it was not.
        """
        flaw = self._flaw
        if flaw is None and self.terminal is None:
            flaw = f"the stream ended after event {self.last_seq} without a terminal event"
        if flaw is None and events not in (None, self.last_seq):
            flaw = f"{self.last_seq} events instead of {events}"
        if flaw is not None:
            raise Flaw(flaw)

    # -- what the loop calls ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._read_head(self._head + data)
        if data and not self.ended.done():
            self._read_chunks(self._chunks + data if self._chunks else data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._end(f"cut off after event {self.last_seq} ({error or 'closed without a last chunk'})")

    # -- from bytes to events ----------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            return b""
        self._head = None
        status = _STATUS.match(data)
        if status is None or status[1] != b"200" or b"chunked" not in data[:end].lower():
            self._end(f"no event stream: {data[:200]!r}")
            return b""
        self.opened_at = time.perf_counter()
        self.opened.set_result(None)
        return data[end + 4 :]

    def _read_chunks(self, data: bytes) -> None:
        start = 0
        while (line_end := data.find(b"\r\n", start)) >= 0:
            size = int(data[start:line_end], 16)
            end = line_end + 2 + size
            if end + 2 > len(data):
                break
            if size == 0:
                self._end(f"half an event at the end: {self._frames[:80]!r}" if self._frames else None)
                return
            self._read_frames(self._frames + data[line_end + 2 : end])
            start = end + 2
        self._chunks = data[start:]

    def _read_frames(self, data: bytes) -> None:
        whole = data.rfind(b"\n\n") + 2
        if whole == 1:
            self._frames = data
            return
        self._frames = data[whole:]
        self._read_events(b"\n" + data[:whole])

    def _read_events(self, frames: bytes) -> None:
        ids = _ID.findall(frames)
        if not ids:
            return
        if self.terminal is not None:
            self._blame(f"event {ids[0].decode()} after the terminal event")
        if ids != _expected(self.last_seq, len(ids)):
            self._blame(f"after event {self.last_seq} came {[int(id) for id in ids[:10]]}")
        if self._time is not None:
            now = time.time()
            self.lags_s.extend(now - float(at) for at in self._time.findall(frames))
        self.last_seq = int(ids[-1])
        terminal = _TERMINAL.search(frames)
        if terminal is not None:
            self.terminal = terminal[1].decode()
            if _ID.search(frames, terminal.end()):
                self._blame("an event after the terminal event")

    def _blame(self, flaw: str) -> None:
        self._flaw = self._flaw or flaw

    def _end(self, flaw: str | None) -> None:
        if flaw is not None:
            self._blame(flaw)
        self.ended_at = time.perf_counter()
        self.ended.set_result(None)
        if not self.opened.done():
            self.opened.set_result(None)
        self.close()


async def open_reader(address: Address, request: bytes, *, timed: Timed | None = None, after: int = 0) -> Reader:
    """Connect one reader, and send its request."""
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(
        lambda: Reader(request, timed=timed, after=after), address.host, address.port
    )
    return reader


async def open_readers(address: Address, requests: Sequence[bytes], *, timed: int) -> list[Reader]:
    """Connect many, a hundred at a time, and wait until each has its answer.

    Args:
        address: of the server.
        requests: one a reader.
        timed: how many of the readers compare the ``due`` of each event with the clock.

    Raises:
        Flaw: an answer did not begin.
    """
    readers: list[Reader] = []
    every = max(1, len(requests) // timed) if timed else 0
    for first in range(0, len(requests), _OPEN_AT_ONCE):
        batch = requests[first : first + _OPEN_AT_ONCE]
        opening = (
            open_reader(address, request, timed="due" if every and number % every == 0 else None)
            for number, request in enumerate(batch, first)
        )
        opened = await asyncio.gather(*opening)
        readers.extend(opened)
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.gather(*(reader.opened for reader in opened))
        except TimeoutError:
            raise Flaw(f"a stream did not begin within {ANSWER_S:g} s") from None
    return readers


async def ended(readers: Iterable[Reader], *, within_s: float) -> None:
    """Wait until all streams have ended.

    Raises:
        Flaw: one was still open after that time.
    """
    waiting = [reader for reader in readers if not reader.ended.done()]
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(asyncio.shield(reader.ended) for reader in waiting))
    except TimeoutError:
        still = [reader for reader in waiting if not reader.ended.done()]
        last = min((reader.last_seq for reader in still), default=0)
        raise Flaw(f"{len(still)} streams had not ended after {within_s:g} s; the slowest at {last}") from None


def freeze(address: Address, request: bytes) -> socket.socket:
    """Connect a reader that asks for a stream and never takes a byte of it."""
    frozen = socket.create_connection((address.host, address.port), timeout=5)
    frozen.sendall(request)
    return frozen
