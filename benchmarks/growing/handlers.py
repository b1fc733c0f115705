"""Task types for ``python -m benchmarks.growth``: tasks that emit together what they are told to, as often as wanted.

Owns:   the channels, what an order says, when each of its tasks emits.
Never:  measures. The ``at`` of an event that has a rate is the time at which it was due, so that a server that falls
        behind cannot look punctual.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from streaming.engine.context import TaskContext
from streaming.engine.registry import task


class _Order(NamedTuple):
    events: int
    rate: float
    start_at: float
    payload_bytes: int
    last: bool


@dataclass(slots=True)
class _Channel:
    """The orders for each of its tasks, and who waits for more of them."""

    members: list[asyncio.Queue[_Order]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


_channels: defaultdict[str, _Channel] = defaultdict(_Channel)


@task
async def growing_channel(ctx: TaskContext, channel: str) -> int:
    """One task of a channel: emits what each order asks for, and ends with the last one; the counter goes on."""
    orders: asyncio.Queue[_Order] = asyncio.Queue()
    found, n = _channels[channel], 0
    async with found.changed:
        place = len(found.members)
        found.members.append(orders)
        found.changed.notify_all()
    while True:
        order = await orders.get()
        n = await _emit(ctx, order, n, place / len(found.members))
        if order.last:
            return n


@task
async def growing_order(
    channel: str,
    tasks: int,
    events: int,
    rate: float = 0.0,
    start_at: float = 0.0,
    payload_bytes: int = 0,
    last: bool = False,
) -> None:
    """Tell all tasks of a channel, once all are there: each emits so many events at that rate, or without a pause."""
    found = _channels[channel]
    async with found.changed:
        await found.changed.wait_for(lambda: len(found.members) >= tasks)
    for orders in found.members:
        orders.put_nowait(_Order(events, rate, start_at, payload_bytes, last))


async def _emit(ctx: TaskContext, order: _Order, first: int, place: float) -> int:
    """With a rate, the tasks of a channel are spread over the pause between two events of one: ``place`` of 0 to 1."""
    loop = asyncio.get_running_loop()
    begin_at = max(order.start_at, time.time()) + (place / order.rate if order.rate else 0.0)
    begin = loop.time() + begin_at - time.time()
    await asyncio.sleep(max(0.0, begin - loop.time()))
    pad = "x" * (order.payload_bytes - _bytes_of({"n": first, "at": begin_at, "pad": ""}))
    for number in range(order.events):
        if order.rate:
            await asyncio.sleep(max(0.0, begin + number / order.rate - loop.time()))
        due_at = begin_at + number / order.rate if order.rate else time.time()
        await ctx.emit("tick", {"n": first + number, "at": due_at, **({"pad": pad} if pad else {})})
    return first + order.events


def _bytes_of(data: object) -> int:
    return len(json.dumps(data, separators=(",", ":")))
