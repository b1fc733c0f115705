"""Somebody who tries credentials, as a process: ``python -m benchmarks.security_figures.attacker``.

Requests are made before, and each is sent when it is due, whether those before it were answered or not. A connection
that is cut is opened once more. The process says ``ready`` once it is connected; from then on it attacks until its
input is closed, and says in one line of JSON what it has done.

Owns:   the open loop: when something is due, on which connection it is sent, counting.
Uses:   benchmarks.security_figures.wrong (what is sent).
Never:  waits for an answer, or reads more of one than its status.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from benchmarks.security_figures.besieged import be, parser_of, sources_of, until_told
from benchmarks.security_figures.wrong import wrong_requests

#: Requests that are made before; each is a wrong credential of its own.
MADE = 4_000

#: Seconds between two looks at what is due.
TICK_S = 0.002

#: Connections that are being opened at the same time, at most.
OPENING_MAX = 100

#: Bytes that wait in a connection, beyond which nothing more is sent on it: the server does not read it.
WAITING_MAX = 16_384

#: Connections that are tried for one request.
TRIED_MAX = 10

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")


@dataclass
class Done:
    """What was done.

    Attributes:
        seconds: so long.
        cpu_s: of this process.
        offered: requests that were due.
        sent: of them, those that a connection took.
        cut: connections that ended though we have not ended them.
        statuses: of the answers.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    offered: int = 0
    sent: int = 0
    cut: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "statuses": dict(self.statuses)}


class _Try(asyncio.Protocol):
    """One connection."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self._unanswered = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._attack.open.append(self)
        self._attack.idle.append(self)

    def data_received(self, data: bytes) -> None:
        statuses = _STATUS.findall(data)
        self._attack.done.statuses.update(map(bytes.decode, statuses))
        self._unanswered -= len(statuses)
        if self._unanswered == 0:
            self._attack.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._attack.done.cut += 1

    def close(self) -> None:
        """Leave."""
        if self.transport is not None:
            self.transport.abort()

    def send(self, request: bytes) -> bool:
        """Send a request, if the connection takes it."""
        if self.transport is None or self.transport.get_write_buffer_size() > WAITING_MAX:
            return False
        self.transport.write(request)
        self._unanswered += 1
        return True


class Attack:
    """The attack of this process.

    Args:
        host: of the server.
        port: of the server.
        rate: requests a second.
        connections: that are kept open.
        sources: addresses from which they come, in turn.
        requests: what is sent, in turn.
    """

    def __init__(
        self, host: str, port: int, rate: float, connections: int, sources: Sequence[str], requests: Sequence[bytes]
    ) -> None:
        self.done = Done()
        self.open: deque[_Try] = deque()
        self.idle: deque[_Try] = deque()
        self._server = host, port
        self._rate, self._connections = rate, connections
        self._sources, self._requests = itertools.cycle(sources), itertools.cycle(requests)
        self._opening: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open all connections."""
        while len(self.open) < self._connections:
            self._open_more()
            await asyncio.wait(self._opening)

    async def run(self, until: asyncio.Future[object]) -> None:
        """Send what is due, until that is over."""
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        self.done = Done()
        while not until.done():
            due = int(self._rate * (time.perf_counter() - begin_s)) - self.done.offered
            self.done.offered += due
            self.done.sent += sum(self._send(request) for request in itertools.islice(self._requests, due))
            self._open_more()
            await asyncio.sleep(TICK_S)
        self.done.seconds = time.perf_counter() - begin_s
        self.done.cpu_s = time.process_time() - begin_cpu_s

    def _send(self, request: bytes) -> bool:
        """On a connection that waits for nothing; if there is none, behind what another one waits for."""
        while self.idle:
            if self.idle.popleft().send(request):
                return True
        for _ in range(min(TRIED_MAX, len(self.open))):
            one = self.open.popleft()
            if one.transport is not None:
                self.open.append(one)
            if one.send(request):
                return True
        return False

    def _open_more(self) -> None:
        self.open = deque(each for each in self.open if each.transport is not None)
        wanted = self._connections - len(self.open) - len(self._opening)
        for _ in range(min(wanted, OPENING_MAX - len(self._opening))):
            opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: _Try(self), *self._server, local_addr=(next(self._sources), 0)
            )
        except OSError:
            self.done.cut += 1


async def _main(given: argparse.Namespace) -> dict[str, object]:
    requests = wrong_requests(given.kid, given.seed, MADE)
    attack = Attack(given.host, given.port, given.rate, given.connections, sources_of(given), requests)
    await attack.connect()
    print("ready", flush=True)
    await attack.run(until_told())
    return attack.done.as_json()


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("attacker", connections=1_000)
    parser.add_argument("--rate", type=float, default=10_000.0, help="requests a second")
    parser.add_argument("--kid", default="bench", help="the id of a public key of the server")
    return parser


if __name__ == "__main__":
    be(_main, _parser())
