"""A server that does nothing but send bytes it made before: ``python -m benchmarks.canned``.

Owns:   what the load client can take itself, and streams with one mistake each that it has to find.
Never:  imports the product.

``POST /tasks``                         a 201, always the same
``GET /burst/EVENTS``                   one stream, as fast as the socket takes it
``GET /paced/READERS/RATE/EVENTS``      waits for that many readers, then sends all of them one event at a time
``GET /flawed/KIND``                    a short stream that is wrong
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import cast

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_TASK = json.dumps({"id": "0" * 32, "type": "bench_noop", "status": "pending", "params": {}}).encode()
_CREATED = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_TASK),
    _TASK,
)
_EVENTS_IN_A_CHUNK = 100


def _frame(seq: int, type: str = "tick") -> bytes:
    data = {"seq": seq, "task_id": "0" * 32, "type": type, "time": "2026-11-01T12:00:00.000000Z", "data": {"n": seq}}
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, type.encode(), json.dumps(data, separators=(",", ":")).encode())


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _stream(seqs: Sequence[int], last: bytes = b"", end: bytes = _END) -> bytes:
    return _STREAM + _chunk(b"".join(map(_frame, seqs)) + last) + end


#: Every mistake that a reader has to find, with the stream that makes it; ``none`` makes none.
STREAMS = MappingProxyType(
    {
        "none": _stream([1, 2, 3], _frame(4, "completed")),
        "lost": _stream([1, 2, 4], _frame(5, "completed")),
        "repeated": _stream([1, 2, 2, 3], _frame(4, "completed")),
        "swapped": _stream([1, 3, 2], _frame(4, "completed")),
        "late": _stream([1, 2], _frame(3, "completed") + _frame(4)),
        "endless": _stream([1, 2, 3]),
        "cut": _stream([1, 2, 3], _frame(4, "completed"), end=b""),
        "torn": _stream([1, 2, 3], _frame(4, "completed") + b"id: 5\n"),
        "refused": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    }
)


def _burst_chunks(events: int) -> Iterator[bytes]:
    yield _STREAM
    for first in range(1, events, _EVENTS_IN_A_CHUNK):
        yield _chunk(b"".join(map(_frame, range(first, min(events, first + _EVENTS_IN_A_CHUNK)))))
    yield _chunk(_frame(events, "completed")) + _END


class _Client(asyncio.Protocol):
    """One connection of the load client."""

    def __init__(self, groups: dict[str, list[asyncio.Transport]]) -> None:
        self._groups = groups
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if data.startswith(b"POST"):
            self._transport.write(_CREATED)
            return
        path = data.split(b" ", 2)[1].decode()
        _, route, *arguments = path.split("/")
        routes: dict[str, Callable[..., None]] = {
            "readyz": self._ready,
            "burst": self._burst,
            "paced": self._paced,
            "flawed": self._flawed,
        }
        routes[route](*arguments)

    def _ready(self) -> None:
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def _flawed(self, kind: str) -> None:
        assert self._transport is not None
        self._transport.write(STREAMS[kind])
        self._transport.close()

    def _burst(self, events: str) -> None:
        self._sending = asyncio.create_task(self._send_burst(list(_burst_chunks(int(events)))))

    async def _send_burst(self, chunks: Sequence[bytes]) -> None:
        assert self._transport is not None
        for chunk in chunks:
            await self._writable.wait()
            self._transport.write(chunk)

    def _paced(self, readers: str, rate: str, events: str) -> None:
        assert self._transport is not None
        self._transport.write(_STREAM + _chunk(_frame(1)))
        group = self._groups.setdefault(f"{readers} {rate} {events}", [])
        group.append(self._transport)
        if len(group) == int(readers):
            self._sending = asyncio.create_task(_send_paced(group, float(rate), int(events)))


async def _send_paced(group: list[asyncio.Transport], rate: float, events: int) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for seq in range(2, events + 1):
        await asyncio.sleep(max(0.0, begin + seq / rate - loop.time()))
        last = seq == events
        bytes_ = _chunk(_frame(seq, "completed" if last else "tick")) + (_END if last else b"")
        for transport in group:
            transport.write(bytes_)
    group.clear()


async def _serve() -> None:
    groups: dict[str, list[asyncio.Transport]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(groups), "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
