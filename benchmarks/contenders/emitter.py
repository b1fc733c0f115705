"""The inside of a Python peer: channels, those who read them, and what emits on them.

Owns:   `Channel`, the pace of an emission, the bytes of an event and of a log.
Never:  imports a framework: each server program does what its own way of streaming wants.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Logged(NamedTuple):
    """One event of a log."""

    id: str
    type: str
    data: str

    @property
    def frame(self) -> bytes:
        return f"id: {self.id}\nevent: {self.type}\ndata: {self.data}\n\n".encode()


@dataclass(eq=False, slots=True)
class Channel(Generic[Item]):
    """Its readers have a queue each, without a limit: nothing is lost, however late one is."""

    queues: set[asyncio.Queue[Item]] = field(default_factory=set)
    emitted: int = 0

    async def items(self, queue: asyncio.Queue[Item]) -> AsyncIterator[Item]:
        """What comes, until the reader leaves."""
        try:
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)

    def subscribe(self) -> asyncio.Queue[Item]:
        """From now on nothing is missed."""
        queue: asyncio.Queue[Item] = asyncio.Queue()
        self.queues.add(queue)
        return queue


class Channels(Generic[Item]):
    """All channels of a server.

    Args:
        make: what readers get of an event's data.
    """

    def __init__(self, make: Callable[[str], Item]) -> None:
        self._make = make
        self._channels: defaultdict[str, Channel[Item]] = defaultdict(Channel)
        self._emitting: set[asyncio.Task[None]] = set()

    def __getitem__(self, name: str) -> Channel[Item]:
        return self._channels[name]

    def emit(self, job: dict[str, Any]) -> None:
        """Start to emit, on each channel by itself; the channels are spread over the pause between two events."""
        for task in jobs(job, self._tell):
            self._emitting.add(task)
            task.add_done_callback(self._emitting.discard)

    async def _tell(self, name: str) -> None:
        channel = self._channels[name]
        item = self._make(data(channel.emitted))
        channel.emitted += 1
        for queue in channel.queues:
            queue.put_nowait(item)


def jobs(job: dict[str, Any], tell: Callable[[str], Awaitable[None]]) -> list[asyncio.Task[None]]:
    """One task a channel, which tells its readers one event at a time."""
    names: list[str] = job["channels"]
    spread_s = 1 / job["rate"] / len(names) if job["rate"] else 0.0
    return [
        asyncio.create_task(_paced(partial(tell, name), job, number * spread_s)) for number, name in enumerate(names)
    ]


async def _paced(tell: Callable[[], Awaitable[None]], job: dict[str, Any], after_s: float) -> None:
    """As `benchmarks.handlers` does it; as fast as possible is one event for each turn of the loop."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + max(0.0, job["start_at"] - time.time()) + after_s
    await asyncio.sleep(begin - loop.time())
    for number in range(job["events"]):
        due = begin + number / job["rate"] if job["rate"] else 0.0
        await asyncio.sleep(max(0.0, due - loop.time()))
        await tell()


def data(n: int) -> str:
    """The data of an event."""
    return _encode({"n": n, "at": time.time()})


def log(events: int) -> list[Logged]:
    """A log with as many bytes as ours has for the same events."""
    time_ = "2026-11-01T12:00:00.000000Z"
    envelopes = (
        {"seq": seq, "task_id": "0" * 32, "type": "tick", "time": time_, "data": {"n": seq - 1}}
        for seq in range(1, events + 1)
    )
    return [Logged(str(envelope["seq"]), "tick", _encode(envelope)) for envelope in envelopes]
