"""What it costs to ask who is calling, for each start of a task.

All servers run at the same time, and are asked in turn, so that whatever else the machine does hits all of them. A
token that was good is remembered for a minute; what one costs that was never seen before is told as well. Whoever has
credentials has rates as well, so rates count wherever there is a credential; what is left without them is told, too.

Owns:   CPU and time of a start with a credential of each kind, against the same start without one.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.calls import ANSWER_S, Connection, connect, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.security_figures import guarded
from benchmarks.security_figures.guarded import bearer, with_header
from benchmarks.server import Server, temporary_directory

#: So often that nobody is refused; what is counted is counted all the same.
RATES: dict[str, object] = {"rate_limit": "1000000/second", "rate_limit_address": "1000000/second"}

CONNECTIONS = 32
LIMIT = 1.05

_REQUEST = post_task("bench_noop")

#: Credentials of each kind, and how they are called in the metrics.
KINDS = {
    "key": "API key of the settings",
    "stored": "API key of the store",
    "hs256": "JWT, HS256, that was seen before",
    "rs256": "JWT, RS256, that was seen before",
}
NEW = {"new_hs256": "JWT, HS256, never seen before", "new_rs256": "JWT, RS256, never seen before"}

NAMES = ("plain", "again", "rates", *KINDS, *NEW)


@dataclass
class Asked:
    """One way to ask a server.

    Attributes:
        server: which.
        requests: what is sent, in turn; each is sent once if there are enough.
        cpu_us: of one start, of each turn.
        us: of one start by the clock, of each turn.
    """

    server: Server
    requests: Sequence[bytes]
    cpu_us: list[float] = field(default_factory=list)
    us: list[float] = field(default_factory=list)
    _connections: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._requests = itertools.cycle(self.requests)

    async def warm_up(self, count: int) -> None:
        """Connect, and start so many tasks that do not count."""
        self._connections = [await connect(self.server.address) for _ in range(CONNECTIONS)]
        await self.ask(count)
        self.cpu_us.clear()
        self.us.clear()

    async def ask(self, count: int) -> None:
        """Start so many tasks."""
        sent = itertools.islice(self._requests, count)
        begin_s, begin_cpu_s = time.perf_counter(), self.server.cpu_s
        await asyncio.gather(*(_start(connection, sent) for connection in self._connections))
        self.us.append(1e6 * (time.perf_counter() - begin_s) / count)
        self.cpu_us.append(1e6 * (self.server.cpu_s - begin_cpu_s) / count)

    def close(self) -> None:
        """Leave."""
        for connection in self._connections:
            connection.close()


async def _start(connection: Connection, requests: Iterator[bytes]) -> None:
    """One after the other, as long as there are some."""
    for request in requests:
        async with asyncio.timeout(ANSWER_S):
            answer = await connection.call(request)
        if answer.status != 201:
            raise Flaw(f"a start was answered with {answer.status}: {answer.body[:200]!r}")


async def measure(scale: Scale, names: Sequence[str] = NAMES) -> Values:
    """Ask all of them in turn, and compare each turn with that of the server without credentials.

    Args:
        scale: how often.
        names: some ways to ask, two of which are without credentials: ``plain``, and ``rates``.
    """
    async with _asking(names, (1 + scale.pairs) * scale.pair_starts) as asked:
        for each in asked.values():
            await each.warm_up(scale.pair_starts)
        for turn in range(scale.pairs):
            for each in list(asked.values())[:: 1 if turn % 2 else -1]:
                await each.ask(scale.pair_starts)
        for each in asked.values():
            each.close()
    plain, rates = asked.pop("plain"), asked["rates"]
    kinds = {name: each for name, each in asked.items() if name in KINDS}
    return {
        "plain_us": median(plain.cpu_us),
        **{name: _ratio(each.cpu_us, plain.cpu_us) for name, each in asked.items()},
        **{f"{name}_time": _ratio(each.us, plain.us) for name, each in kinds.items()},
        **{f"{name}_alone": _ratio(each.cpu_us, rates.cpu_us) for name, each in kinds.items()},
    }


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """By turns."""
    return median(mine / other for mine, other in zip(ours, others, strict=True))


@asynccontextmanager
async def _asking(names: Sequence[str], count: int) -> AsyncIterator[dict[str, Asked]]:
    """Some ways to ask, each with a server of its own.

    Args:
        names: of these ways.
        count: starts in one way.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(guarded.public_keys())
        directory = await stack.enter_async_context(temporary_directory())
        stored = await guarded.stored_key(directory)
        numbers = range(1, count + 1)
        ways: dict[str, tuple[dict[str, object], Callable[[], Sequence[bytes]]]] = {
            "plain": ({}, lambda: [_REQUEST]),
            "again": ({}, lambda: [_REQUEST]),
            "rates": (RATES, lambda: [_REQUEST]),
            "key": ({**RATES, "api_keys": guarded.api_keys(guarded.NAME)}, lambda: [_with(_KEY)]),
            "stored": (RATES, lambda: [_with(stored)]),
            "hs256": ({**RATES, "jwt_secret": guarded.SECRET}, lambda: [_with(guarded.hs256())]),
            "rs256": ({**RATES, "jwt_jwks_url": url}, lambda: [_with(guarded.rs256())]),
            "new_hs256": ({**RATES, "jwt_secret": guarded.SECRET}, lambda: [_with(guarded.hs256(n)) for n in numbers]),
            "new_rs256": ({**RATES, "jwt_jwks_url": url}, lambda: [_with(guarded.rs256(n)) for n in numbers]),
        }
        asked = {}
        for name in names:
            settings, requests = ways[name]
            own = guarded.guarded(settings, directory if name == "stored" else None)
            asked[name] = Asked(await stack.enter_async_context(own), requests())
        yield asked


_KEY = guarded.key_of(guarded.NAME)


def _with(token: str) -> bytes:
    return with_header(_REQUEST, bearer(token))


FIGURES = [
    Figure(
        "starts",
        "POST to 201 with a credential and rates, against the same without either",
        (
            Metric("plain_us", "CPU of a start without credentials and without rates", "us"),
            Metric("again", "on another server of the same kind: the noise", "x"),
            Metric("rates", "with rates, against that", "x"),
            *(Metric(name, f"{title}: CPU", "x", Goal("<", LIMIT)) for name, title in KINDS.items()),
            *(Metric(f"{name}_time", f"{title}: time", "x", Goal("<", LIMIT)) for name, title in KINDS.items()),
            *(Metric(f"{name}_alone", f"{title}: CPU, rates in both", "x") for name, title in KINDS.items()),
            *(Metric(name, f"{title}: CPU", "x") for name, title in NEW.items()),
        ),
        measure,
    )
]
