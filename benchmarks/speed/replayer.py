"""Readers of a log that is there already: each has to get the same bytes.

Owns:   the one who reads first, whose bytes are looked at event by event, and those who only compare.
Uses:   benchmarks.speed.segments (the chunked body).
Never:  waits for events that come later.
"""

from __future__ import annotations

import asyncio
import re

from benchmarks.calls import Address, Asking
from benchmarks.figure import Flaw
from benchmarks.speed.segments import CHUNKED, dechunked

_COMMENT = re.compile(rb"^:[^\n]*\r?\n\r?\n", re.MULTILINE)
_N = re.compile(rb'"n": ?([0-9]+)')
_ID = re.compile(rb"^id: ([0-9]+)", re.MULTILINE)


class Replayer(Asking):
    """One connection that reads a log to its end.

    Args:
        request: what to send, once connected.
        expected: the body that has to come; None to keep what comes.
    """

    def __init__(self, request: bytes, expected: bytes | None = None) -> None:
        super().__init__(request)
        self.kept: list[bytes] = []
        self.got = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flaw: str | None = None
        self._expected = expected
        self._head: bytes | None = b""
        self._state = CHUNKED

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, found, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = None if found else head
            if found and (not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower()):
                self._end(f"no event stream: {head[:200]!r}")
        if data and not self.ended.done():
            self._read(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"cut off after {self.got:,} bytes ({error or 'closed'})")

    def _read(self, data: bytes) -> None:
        try:
            body, left, line, ended = dechunked(self._state, data)
        except ValueError as error:
            self._end(f"no chunk: {error}")
            return
        self._state = CHUNKED._replace(left=left, line=line)
        if self._expected is None:
            self.kept.append(body)
        elif not self._expected.startswith(body, self.got):
            body = _COMMENT.sub(b"", body)
            if not self._expected.startswith(body, self.got):
                self._end(f"another log than before, from byte {self.got:,} on: {body[:80]!r}")
                return
        self.got += len(body)
        if ended:
            missing = len(self._expected) - self.got if self._expected is not None else 0
            self._end(f"the log ended {missing:,} bytes too early" if missing else None)

    def _end(self, flaw: str | None) -> None:
        if not self.ended.done():
            self.flaw = flaw
            self.ended.set_result(None)


async def replay(address: Address, request: bytes, expected: bytes | None = None) -> Replayer:
    """Connect one, and send its request."""
    loop = asyncio.get_running_loop()
    _, replayer = await loop.create_connection(lambda: Replayer(request, expected), address.host, address.port)
    return replayer


async def first_reading(address: Address, request: bytes, events: int, *, within_s: float) -> bytes:
    """Read a log, and make sure that it has so many events, each once and in order.

    Raises:
        Flaw: it has not, or it did not end in time.
    """
    replayer = await replay(address, request)
    try:
        async with asyncio.timeout(within_s):
            await replayer.ended
    except TimeoutError:
        raise Flaw(f"one reader of the log had {replayer.got:,} bytes after {within_s:g} s") from None
    finally:
        replayer.close()
    if replayer.flaw is not None:
        raise Flaw(replayer.flaw)
    body = _COMMENT.sub(b"", b"".join(replayer.kept))
    numbers = [int(number) for number in _N.findall(body)]
    ids = [int(id) for id in _ID.findall(body)]
    if numbers != list(range(events)) or ids != list(range(1, len(ids) + 1)) or len(ids) < events:
        raise Flaw(f"the log has {len(numbers):,} events and {len(ids):,} ids in an order of its own, not {events:,}")
    return body
