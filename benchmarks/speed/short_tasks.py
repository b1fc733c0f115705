"""Tasks whose answer is their whole stream, one after the other on each connection.

Owns:   the connections, and that every stream ends with the task completed.
Never:  looks at the events before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

from benchmarks.calls import Address
from benchmarks.figure import Flaw


class _Follower(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._ended: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def run(self, request: bytes) -> asyncio.Future[bytes]:
        assert self._transport is not None
        self._received = b""
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._ended

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n0\r\n\r\n") and self._ended is not None and not self._ended.done():
            self._ended.set_result(self._received)

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(Flaw(f"cut off ({error or 'closed'}) after {self._received[-80:]!r}"))


async def run_all(address: Address, request: bytes, count: int, *, connections: int, within_s: float) -> None:
    """Run so many tasks.

    Raises:
        Flaw: one did not complete, or all of them not in time.
    """
    left = iter(range(count))
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(_Follower, address.host, address.port) for _ in range(connections)]
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(_run_some(follower, request, left) for _, follower in opened))
    except TimeoutError:
        raise Flaw(f"{count:,} short tasks had not ended after {within_s:g} s") from None
    finally:
        for _, follower in opened:
            follower.close()


async def _run_some(follower: _Follower, request: bytes, left: Iterator[int]) -> None:
    for _ in left:
        text = await follower.run(request)
        if b"\nevent: completed\n" not in text:
            raise Flaw(f"a short task did not complete: {text[-200:]!r}")
