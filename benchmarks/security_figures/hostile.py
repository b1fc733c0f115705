"""Many connections that mean no good, as a process: ``python -m benchmarks.security_figures.hostile``.

Each connection has one habit. Who is cut, or has nothing more to do, comes back a moment later. The process says
``ready`` once all are there; from then on they go on until its input is closed, and it says in one line of JSON what
became of them.

Owns:   the habits, their connections, counting.
Never:  does anything with a connection that the other end has closed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from benchmarks.calls import SSE, get, with_body
from benchmarks.security_figures.besieged import be, parser_of, sources_of, until_told
from benchmarks.security_figures.guarded import bearer, with_header

#: Seconds between two bytes of who is slow, between two looks of who waits, and until somebody who was cut comes back.
BYTE_S, LOOK_S, AGAIN_S = 1.0, 1.0, 0.5

#: Bytes that a head has which is too large; requests of a flood.
HEAD_BYTES, FLOOD = 200_000, 1_000

#: Pieces of an endless body, and the pause between them: a large chunk, or many of one byte.
PIECES, PIECE_S = (b"%x\r\n%b\r\n" % (4_096, 4_096 * b" "), 50 * b"1\r\n \r\n"), 0.1

#: What somebody who does not read has room for.
ROOM_BYTES = 4_096

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")
_TLS = bytes.fromhex("16030100f1010000ed0303") + bytes(range(200))


class Cut(Exception):
    """The other end has closed the connection."""


class Wire:
    """One connection.

    Args:
        key: that opens the server.
        task_id: of a task with a large log.
        chance: of this run.
        statuses: where those of answers are counted.
    """

    def __init__(
        self, connection: socket.socket, key: str, task_id: str, chance: random.Random, statuses: Counter[str]
    ) -> None:
        self.key, self.task_id, self.chance = key, task_id, chance
        self._socket, self._statuses = connection, statuses
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send, as far as the other end takes it."""
        await self._loop.sock_sendall(self._socket, data)

    def look(self) -> None:
        """Take what has come.

        Raises:
            Cut: that was the end.
        """
        with suppress(BlockingIOError):
            while True:
                data = self._socket.recv(65_536)
                if not data:
                    raise Cut
                for status in _STATUS.findall(data):
                    self._statuses[status.decode()] += 1

    def look_away(self) -> None:
        """Take nothing, but see whether it is over.

        Raises:
            Cut: it is.
        """
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Cut

    async def wait(self) -> None:
        """Take what comes, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    async def drip(self) -> None:
        """A byte a second, for ever."""
        while True:
            self.look()
            await self.send(b"x")
            await asyncio.sleep(BYTE_S)


# -- habits ------------------------------------------------------------------------------------------------------------


async def slow_head(wire: Wire) -> None:
    await wire.send(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    await wire.drip()


async def slow_body(wire: Wire) -> None:
    request = with_header(with_body("POST", "/tasks", {"type": "x" * 1_000}), bearer(wire.key))
    await wire.send(request[:-500])
    await wire.drip()


async def never_reads(wire: Wire) -> None:
    await wire.send(with_header(get(f"/tasks/{wire.task_id}/events", accept=SSE), bearer(wire.key)))
    while True:
        wire.look_away()
        await asyncio.sleep(LOOK_S)


async def idle(wire: Wire) -> None:
    await wire.send(get("/healthz"))
    await wire.wait()


async def oversize_head(wire: Wire) -> None:
    await wire.send(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nX-Large: " + HEAD_BYTES * b"x")
    await wire.wait()


async def flood(wire: Wire) -> None:
    await wire.send(FLOOD * with_header(get("/tasks?limit=1"), bearer(wire.key)))
    await wire.wait()


async def endless_body(wire: Wire) -> None:
    head = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    await wire.send(with_header(head + b"Transfer-Encoding: chunked\r\n\r\n", bearer(wire.key)))
    piece = wire.chance.choice(PIECES)
    while True:
        wire.look()
        await wire.send(piece)
        await asyncio.sleep(PIECE_S)


async def silent(wire: Wire) -> None:
    await wire.wait()


async def garbage(wire: Wire) -> None:
    await wire.send(
        wire.chance.choice((wire.chance.randbytes(300), _TLS, b"SSH-2.0-x\r\n", b"\x00" * 64, b"GET /\r\n"))
    )
    await wire.wait()


HABITS: Mapping[str, Callable[[Wire], Awaitable[None]]] = MappingProxyType(
    {
        habit.__name__: habit
        for habit in (slow_head, slow_body, never_reads, idle, oversize_head, flood, endless_body, silent, garbage)
    }
)


# -- all of them -------------------------------------------------------------------------------------------------------


class Crowd:
    """All connections of this process.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.open = 0
        self.opened: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._given = given
        self._chance = random.Random(given.seed)
        self._sources = itertools.cycle(sources_of(given))
        self._habits = list(itertools.islice(itertools.cycle(given.habits.split(",")), given.connections))
        self._everybody = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for habit in self._habits:
                group.create_task(self._again_and_again(habit))

    async def everybody(self) -> None:
        """Wait until everybody is there."""
        await self._everybody.wait()

    async def _again_and_again(self, habit: str) -> None:
        await asyncio.sleep(self._chance.uniform(0, AGAIN_S))
        while True:
            with suppress(OSError, Cut):
                await self._once(habit)
            await asyncio.sleep(self._chance.uniform(AGAIN_S / 2, AGAIN_S))

    async def _once(self, habit: str) -> None:
        with socket.socket() as connection:
            if habit in ("never_reads", "flood"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
            connection.setblocking(False)
            connection.bind((next(self._sources), 0))
            address = self._given.host, self._given.port
            await asyncio.get_running_loop().sock_connect(connection, address)
            self.opened[habit] += 1
            if self.opened.total() >= len(self._habits):
                self._everybody.set()
            self.open += 1
            try:
                await HABITS[habit](Wire(connection, self._given.key, self._given.task, self._chance, self.statuses))
            finally:
                self.open -= 1


async def _main(given: argparse.Namespace) -> dict[str, object]:
    crowd = Crowd(given)
    running = asyncio.create_task(crowd.run())
    await crowd.everybody()
    print("ready", flush=True)
    open_at_once: list[int] = []
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    told = until_told()
    while not told.done():
        open_at_once.append(crowd.open)
        await asyncio.wait([told], timeout=0.2)
    running.cancel()
    return {
        "seconds": time.perf_counter() - begin_s,
        "cpu_s": time.process_time() - begin_cpu_s,
        "open": sorted(open_at_once)[len(open_at_once) // 2],
        "opened": dict(crowd.opened),
        "statuses": dict(crowd.statuses),
    }


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("hostile", connections=2_000)
    parser.add_argument("--habits", default=",".join(HABITS), help="what they do, in turn")
    parser.add_argument("--key", required=True, help="that opens the server")
    parser.add_argument("--task", required=True, help="the id of a task of that key, with a large log")
    return parser


if __name__ == "__main__":
    be(_main, _parser())
