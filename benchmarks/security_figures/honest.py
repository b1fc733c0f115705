"""Readers that have a right to read, while others do not.

Owns:   a task at a steady rate and its readers, which come from an address of their own; whether each of them got all
        of it, by a hash; how late this process is itself.
Uses:   benchmarks.reader (order, the end of a stream), benchmarks.handlers (the task).
Never:  does anything but what a client may do.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.calls import ANSWER_S, SSE, Address, Connection, get, post_task
from benchmarks.figure import Flaw, Metric, percentile
from benchmarks.reader import LIFE_EVENTS, Reader, ended
from benchmarks.security_figures.guarded import bearer, key_of, with_header

#: Their address, and the names of the principals: what one of them may do in a second is less than what all do.
SOURCE = "127.0.0.2"
NAME = "honest"

RATE = 50.0
#: Readers that are opened at once, and the pause after them: a principal has a rate.
TOGETHER, PAUSE_S = 20, 0.3
MARGIN_S = 60.0
LOOK_S = 0.01

_DATA = re.compile(rb"\ndata: ([^\n]*)")


class HonestReader(Reader):
    """A reader that knows what it has read.

    Attributes:
        begun_at: when it was made.
        digest: of the data of all events.
    """

    def __init__(self, request: bytes) -> None:
        super().__init__(request, timed="due")
        self.begun_at = time.perf_counter()
        self.digest = hashlib.sha256()

    def _read_events(self, frames: bytes) -> None:
        for data in _DATA.findall(frames):
            self.digest.update(data)
        super()._read_events(frames)


@dataclass(frozen=True, slots=True)
class Heard:
    """What readers have heard.

    Attributes:
        lags_s: from when each event was due until it was read.
        starts_s: of the starts, from the request to its answer.
        opens_s: of the streams, from the connection to the head.
        lates_s: how late this process has woken up meanwhile.
    """

    lags_s: Sequence[float]
    starts_s: Sequence[float]
    opens_s: Sequence[float]
    lates_s: Sequence[float]

    @property
    def p99_ms(self) -> float:
        return 1_000 * percentile(self.lags_s, 99)

    def as_values(self) -> dict[str, float]:
        """What is told of all of them; see `METRICS`."""
        return {
            "start_ms": 1_000 * max(self.starts_s),
            "open_ms": 1_000 * percentile(self.opens_s, 99),
            "late_ms": 1_000 * percentile(self.lates_s, 99),
        }


METRICS = (
    Metric("start_ms", "the slowest start of an honest one", "ms"),
    Metric("open_ms", "a stream of an honest one begins, 99 of 100 within", "ms"),
    Metric("late_ms", "the readers' own process is late by, 99 of 100 times not more", "ms"),
)

_numbers = itertools.count()


async def listen(address: Address, readers: int, seconds: float, *, rate: float = RATE) -> Heard:
    """Start a task, read it with many, and look whether all of them have got the same, which is all there is.

    Args:
        address: of the server.
        readers: how many.
        seconds: for which the task emits.
        rate: events a second.

    Raises:
        Flaw: somebody has not.
    """
    events, name = max(1, round(rate * seconds)), f"steady-{next(_numbers)}"
    lates_s: list[float] = []
    watching = asyncio.create_task(_watch(lates_s))
    try:
        first_s, task_id = await _start(address, post_task("bench_steady", name=name, rate=rate, events=events))
        request = as_honest(get(f"/tasks/{task_id}/events", accept=SSE))
        opened = await _open(address, request, readers)
        second_s, _ = await _start(address, post_task("bench_begin", name=name))
        await ended(opened, within_s=seconds + MARGIN_S)
    finally:
        watching.cancel()
    await _compare(address, request, opened, events + LIFE_EVENTS)
    return Heard(
        [lag_s for reader in opened for lag_s in reader.lags_s],
        [first_s, second_s],
        [reader.opened_at - reader.begun_at for reader in opened],
        lates_s,
    )


def as_honest(request: bytes) -> bytes:
    """The same request with the key of the honest ones."""
    return with_header(request, bearer(key_of(NAME)))


async def _start(address: Address, request: bytes) -> tuple[float, str]:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, address.host, address.port, local_addr=(SOURCE, 0))
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await connection.call(as_honest(request))
    except TimeoutError:
        raise Flaw(f"an honest start was not answered within {ANSWER_S:g} s") from None
    finally:
        connection.close()
    if answer.status != 201:
        raise Flaw(f"an honest start was answered with {answer.status}: {answer.body[:200]!r}")
    return answer.seconds, str(answer.json()["id"])


async def _open(address: Address, request: bytes, count: int) -> list[HonestReader]:
    """Connect readers, some at a time, and wait until each has its answer."""
    loop = asyncio.get_running_loop()
    readers: list[HonestReader] = []
    for first in range(0, count, TOGETHER):
        if first:
            await asyncio.sleep(PAUSE_S)
        for _ in range(min(TOGETHER, count - first)):
            _, reader = await loop.create_connection(
                lambda: HonestReader(request), address.host, address.port, local_addr=(SOURCE, 0)
            )
            readers.append(reader)
    try:
        async with asyncio.timeout(ANSWER_S):
            await asyncio.gather(*(reader.opened for reader in readers))
    except TimeoutError:
        raise Flaw(f"a stream of an honest reader did not begin within {ANSWER_S:g} s") from None
    return readers


async def _watch(lates_s: list[float]) -> None:
    """How late this process is itself: what is added by that is not the server's."""
    while True:
        due_s = time.perf_counter() + LOOK_S
        await asyncio.sleep(LOOK_S)
        lates_s.append(time.perf_counter() - due_s)


async def _compare(address: Address, request: bytes, readers: Sequence[HonestReader], events: int) -> None:
    [replay] = await _open(address, request, 1)
    await ended([replay], within_s=MARGIN_S)
    for reader in (*readers, replay):
        reader.check(events)
        if reader.digest.digest() != replay.digest.digest():
            raise Flaw("what an honest reader has read is not what the log says")
