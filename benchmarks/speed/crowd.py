"""Many readers in one process, which look at every event and at nothing else.

Owns:   their connections, that each sees 0, 1, 2 ... once and in order, who has seen how much, and the lags.
Uses:   benchmarks.speed.segments (what is in the bytes).
Never:  judges how quick a server is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from benchmarks.calls import ANSWER_S, Address, Asking
from benchmarks.figure import Flaw
from benchmarks.speed.segments import CHUNKED, PLAIN, Book, Segment, State

IN_FLIGHT = 200


class Crowd:
    """Readers of one server.

    ``began_at`` is when the first event since `expect` was emitted, and ``last_at`` when the last reader had all of
    them, both by the wall clock.

    Args:
        address: of the server.
        book: what their segments mean.
        timed_every: of how many readers one compares the time of each event with the clock; 0 for none.
        first: the counter of the first event.
    """

    def __init__(self, address: Address, book: Book, *, timed_every: int = 0, first: int = 0) -> None:
        self.book = book
        self.readers: list[Reader] = []
        self.flaws: list[str] = []
        self.lags_s: list[float] = []
        self.deliveries = self.segments = 0
        self.goal = self.first = first
        self.began_at = self.last_at = 0.0
        self.closing = False
        self._address = address
        self._timed_every = timed_every
        self._left = 0
        self._all: asyncio.Future[None] | None = None

    async def open(self, requests: Sequence[bytes], *, within_s: float = ANSWER_S) -> float:
        """Connect one reader a request, ``IN_FLIGHT`` at a time, and return the seconds until all have their answer.

        Raises:
            Flaw: an answer did not begin, or was none.
        """
        begin_s = time.perf_counter()
        waiting = iter(requests)
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(self._open_some(waiting) for _ in range(min(IN_FLIGHT, len(requests)))))
        except TimeoutError:
            raise Flaw(f"{len(self.readers)} of {len(requests)} streams had begun after {within_s:g} s") from None
        self.check()
        return time.perf_counter() - begin_s

    def expect(self, more: int) -> None:
        """From now on everybody waits for so many more events."""
        self.goal += more
        self.began_at = self.last_at = 0.0
        self.lags_s.clear()
        self._left = sum(reader.next < self.goal for reader in self.readers)
        self._all = asyncio.get_running_loop().create_future()
        if self._left == 0:
            self._all.set_result(None)

    async def reached(self, *, within_s: float) -> bool:
        """Wait until everybody has what is expected, or a flaw was seen; False if the time was not enough."""
        assert self._all is not None
        try:
            async with asyncio.timeout(within_s):
                await self._all
        except TimeoutError:
            pass
        finally:
            self._all = None
            self.last_at = self.last_at or time.time()
        self.check()
        return self._left == 0

    def check(self) -> None:
        """Make sure that nothing was lost, repeated or out of order so far.

        Raises:
            Flaw: something was.
        """
        if self.flaws:
            more = f" (and {len(self.flaws) - 1} more)" if len(self.flaws) > 1 else ""
            raise Flaw(f"{self.flaws[0]}{more}")

    def close(self) -> None:
        """Leave; what comes after that is nobody's fault."""
        self.closing = True
        for reader in self.readers:
            reader.close()

    # -- what readers tell -------------------------------------------------------------------------------------------

    def one_has_all(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.last_at = time.time()
            self._wake()

    def blame(self, flaw: str) -> None:
        if not self.closing:
            self.flaws.append(flaw)
            self._wake()

    def _wake(self) -> None:
        if self._all is not None and not self._all.done():
            self._all.set_result(None)

    async def _open_some(self, requests: Iterator[bytes]) -> None:
        loop = asyncio.get_running_loop()
        for request in requests:
            number = len(self.readers)
            reader = Reader(self, request, timed=bool(self._timed_every) and number % self._timed_every == 0)
            self.readers.append(reader)
            await loop.create_connection(_this(reader), self._address.host, self._address.port)
            await reader.opened


class Reader(Asking):
    """One connection with one stream."""

    __slots__ = ("_book", "_crowd", "_head", "_state", "_timed", "next", "opened")

    def __init__(self, crowd: Crowd, request: bytes, *, timed: bool) -> None:
        super().__init__(request)
        self.next = crowd.first
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._book = crowd.book
        self._timed = timed
        self._head = b""
        self._state: State | None = None

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is None:
            data = self._read_head(data)
            if not data:
                return
            state = cast(State, self._state)
        segment = self._book.read(state, data)
        self._state = segment.after
        if segment.count:
            self._take(segment)
            if self._timed:
                now = time.time()
                self._crowd.lags_s.extend([now - at for at in segment.ats])
        if segment.flaw is not None:
            self._crowd.blame(segment.flaw)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(None)
        self._crowd.blame(f"a stream was cut off before event {self.next} ({error or 'closed'})")

    def _take(self, segment: Segment) -> None:
        crowd, before = self._crowd, self.next
        if segment.first != before:
            crowd.blame(f"event {segment.first} came where {before} was due")
        crowd.segments += 1
        crowd.deliveries += segment.count
        if not crowd.began_at and segment.ats:
            crowd.began_at = segment.ats[0]
        self.next = after = segment.first + segment.count
        if before < crowd.goal <= after:
            crowd.one_has_all()

    def _read_head(self, data: bytes) -> bytes:
        """Read the status and the headers, and return what comes behind them."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head, rest = self._head[:end], self._head[end + 4 :]
        self._state = CHUNKED if b"chunked" in head.lower() else PLAIN
        if not head.startswith(b"HTTP/1.1 200"):
            self._crowd.blame(f"no event stream: {head[:200]!r}")
            rest = b""
        if not self.opened.done():
            self.opened.set_result(None)
        self._head = b""
        return rest


def _this(reader: Reader) -> Callable[[], Reader]:
    return lambda: reader
