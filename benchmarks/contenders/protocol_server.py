"""The least that Python can do: an asyncio.Protocol on uvloop, which writes the same bytes to every connection.

Owns:   the little of HTTP that the load client speaks, and a writer that waits for those who do not take it.
Never:  checks anything, answers with an error, or has a keepalive: no product could be like that.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any, cast

import uvloop

from benchmarks.contenders.emitter import data, jobs, log

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_DONE = b"HTTP/1.1 %d OK\r\ncontent-length: 0\r\n\r\n"
_WRITTEN_AT_ONCE = 65_536


class _Server:
    """What the connections share."""

    def __init__(self) -> None:
        self.readers: defaultdict[str, set[_Connection]] = defaultdict(set)
        self.log = b""
        self.paused = 0
        self.writable = asyncio.Event()
        self.writable.set()
        self._emitted: defaultdict[str, int] = defaultdict(int)
        self._emitting: list[asyncio.Task[None]] = []

    def emit(self, job: dict[str, Any]) -> None:
        self._emitting += jobs(job, self._tell)

    async def _tell(self, name: str) -> None:
        if self.paused:
            await self.writable.wait()
        frame = _chunk(f"data: {data(self._emitted[name])}\n\n".encode())
        self._emitted[name] += 1
        for reader in self.readers[name]:
            reader.write(frame)


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._channel = ""
        self._received = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.write = self._transport.write

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if not found or len(body) < length:
            return
        self._received = b""
        path, _, query = head.split(b" ", 2)[1].decode().partition("?")
        if path == "/stream":
            self._channel = query.partition("=")[2]
            self.write(_STREAM)
            self._server.readers[self._channel].add(self)
        elif path == "/log":
            self._sending = asyncio.create_task(self._send_log())
        else:
            self._order(path, json.loads(body) if body else {})

    def _order(self, path: str, order: dict[str, Any]) -> None:
        if path == "/emit":
            self._server.emit(order)
        elif path == "/prepare":
            self._server.log = b"".join(event.frame for event in log(order["events"]))
        self.write(_DONE % (202 if order else 200))

    async def _send_log(self) -> None:
        self.write(_STREAM)
        text = self._server.log
        for start in range(0, len(text), _WRITTEN_AT_ONCE):
            await self._writable.wait()
            self.write(_chunk(text[start : start + _WRITTEN_AT_ONCE]))
        self.write(b"0\r\n\r\n")

    def pause_writing(self) -> None:
        self._writable.clear()
        self._server.paused += 1
        self._server.writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._server.paused -= 1
        if not self._server.paused:
            self._server.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._writable.is_set():
            self.resume_writing()
        self._server.readers[self._channel].discard(self)


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


async def _serve() -> None:
    shared = _Server()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(shared), "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
