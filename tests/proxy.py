"""What lies between a client and its server: a network that can refuse, stall, collect and cut.

Owns:   a port on 127.0.0.1, and a thread with the loop that carries bytes between its connections and the server.
Never:  looks into the bytes; runs on the loop or the clock of a test.

What a test asks for holds when the call returns. That takes a millisecond, so a coroutine may ask as well.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

from tests.ports import reserve_port

T = TypeVar("T")

CHUNK_BYTES = 65_536
CALL_S = 10

#: What closing a socket does: the connection is reset, what is unsent is dropped, and the peer gets an error.
RESET = struct.pack("ii", 1, 0)
#: The ordinary way: what is unsent arrives, and the peer reads an end.
FINISH = struct.pack("ii", 0, 0)


class Proxy:
    """Carries every connection on to ``server_port``; as a context manager it accepts inside.

    Args:
        server_port: where everything goes.
        collect_bytes: answers are held back until there are so many bytes of them, ...
        collect_s: ... or the first of them is so old; without one nothing is held back.
    """

    def __init__(self, server_port: int, *, collect_bytes: int = CHUNK_BYTES, collect_s: float = 0) -> None:
        self._collect_bytes, self._collect_s = collect_bytes, collect_s
        self._server = ("127.0.0.1", server_port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._gates = {"requests": asyncio.Event(), "answers": asyncio.Event()}
        #: The same for life, also while it refuses.
        self.port, self._reserved = reserve_port()
        #: How many connections it has accepted so far.
        self.accepted = 0
        #: How many times bytes are held now, once for each connection and direction.
        self.held = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.resume()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    @property
    def open(self) -> int:
        """How many connections it carries now."""
        return len(self._connections)

    def refuse(self) -> None:
        """Whoever wants to connect is refused; the open connections go on."""
        self._do(self._refuse())

    def accept(self) -> None:
        """The end of `refuse`."""
        self._do(self._accept())

    def cut(self) -> int:
        """Reset all connections, on both sides, and drop what they hold; returns how many. New ones may come."""
        return self._do(self._cut())

    def stall(self, *directions: str) -> None:
        """Hold all bytes, or only ``requests`` or ``answers``; connections stay, and new ones may come."""
        self._do(self._open_gates(set(self._gates).difference(directions or self._gates)))

    def wait_until_held(self, count: int = 1) -> None:
        """Wait until that many connections have said something that is held; ask from a thread of its own."""
        deadline = time.monotonic() + CALL_S
        while self.held < count:
            assert time.monotonic() < deadline, f"{self.held} are held"
            time.sleep(0.001)

    def resume(self) -> None:
        """The end of `stall`: what was held goes on."""
        self._do(self._open_gates(set(self._gates)))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S)

    async def _accept(self) -> None:
        if self._accepting is None:
            listener = socket.create_server(("127.0.0.1", self.port))
            listener.setblocking(False)
            self._accepting = self._loop.create_task(self._take(listener))

    async def _refuse(self) -> None:
        if self._accepting is not None:
            await _end({self._accepting})
            self._accepting = None

    async def _cut(self) -> int:
        return await _end(set(self._connections))

    async def _open_gates(self, names: set[str]) -> None:
        for name, gate in self._gates.items():
            if name in names:
                gate.set()
            else:
                gate.clear()

    async def _take(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                self.accepted += 1
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        task = self._loop.create_task(self._carry(client))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: client.close())  # also if it is cut before its first step

    async def _carry(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            both = (client, server)
            for end in both:
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):  # one side has failed: the other one is told by a reset
                await self._loop.sock_connect(server, self._server)
                await self._pump_both(client, server)
                for end in both:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, FINISH)

    async def _pump_both(self, client: socket.socket, server: socket.socket) -> None:
        """Returns once both have said all.

        Raises:
            OSError: a connection broke.
        """
        pumps = [
            self._loop.create_task(self._pump(client, server, self._gates["requests"])),
            self._loop.create_task(self._pump(server, client, self._gates["answers"])),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            await _end(set(pumps))

    async def _pump(self, source: socket.socket, sink: socket.socket, gate: asyncio.Event) -> None:
        collects = self._collect_s > 0 and gate is self._gates["answers"]
        while data := await self._loop.sock_recv(source, CHUNK_BYTES):
            if collects:
                data = await self._collect(source, data)
            await self._pass(gate)
            await self._loop.sock_sendall(sink, data)
        await self._pass(gate)
        sink.shutdown(socket.SHUT_WR)

    async def _collect(self, source: socket.socket, data: bytes) -> bytes:
        """Wait for more, as a proxy does that buffers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._collect_s):
                while len(data) < self._collect_bytes and (more := await self._loop.sock_recv(source, CHUNK_BYTES)):
                    data += more
        return data

    async def _pass(self, gate: asyncio.Event) -> None:
        self.held += 1
        try:
            await gate.wait()
        finally:
            self.held -= 1


async def _end(tasks: set[asyncio.Task[None]]) -> int:
    """Cancel them, and wait until they are done."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    return len(tasks)
