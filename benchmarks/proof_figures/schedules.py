"""How many schedules the test kit explores in a second.

The scenario has a server with two tasks, four readers that leave and come back, and a cancel at some time. The same
program runs on an ordinary asyncio loop as well, whose time jumps too, in alternating rounds: most of what a schedule
takes is the program itself, and that differs from machine to machine.

Owns:   schedules in a second of CPU time, on one core, and the same on plain asyncio.
Uses:   the test kit alone; in a thread of its own, since this process has a loop that runs.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import structlog

from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from streaming import TaskContext, task
from streaming.errors import TaskTerminal
from streaming.testing import World, explore
from streaming.testing.choices import Choices
from streaming.testing.loop import SimulatedLoop
from streaming.testing.order import Fifo

#: Schedules of a round.
SCHEDULES = 100

TASKS, READERS = 2, 4


@task
async def ticks(ctx: TaskContext) -> None:
    for number in range(3):
        await ctx.emit("tick", {"n": number})
        await asyncio.sleep(1)


async def scenario(world: World) -> None:
    async with world.instance([ticks]) as instance:
        started = [(await instance.coordinator.start("ticks", {}))[0].id for _ in range(TASKS)]

        async def cancel() -> None:
            await world.sometime(world.stream("cancel"))
            try:
                await instance.coordinator.cancel_task(started[0])
            except TaskTerminal:
                return

        async with asyncio.TaskGroup() as group:
            for number in range(READERS):
                group.create_task(world.reader().follow(instance, started[number % TASKS]))
            group.create_task(cancel())


class _Jumping(selectors.SelectSelector):
    """Looks at files without waiting, and moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class _PlainLoop(asyncio.SelectorEventLoop):
    """An ordinary loop on virtual time."""

    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)
        self.complaints: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.jumping.now


def _simulated(seed: int) -> None:
    found = explore(scenario, schedules=SCHEDULES, seed=seed)
    if found.failure is not None:
        raise Flaw(str(found.failure))


def _plain(seed: int) -> None:
    for each in range(seed, seed + SCHEDULES):
        with asyncio.Runner(loop_factory=_PlainLoop) as runner:
            world = World(Choices(each, Fifo()), cast(SimulatedLoop, runner.get_loop()))
            runner.run(scenario(world))
            world.check()


def _per_s(kind: Callable[[int], None], seed: int) -> float:
    begin_s = time.thread_time()
    kind(seed)
    return SCHEDULES / (time.thread_time() - begin_s)


def _rounds(count: int) -> Values:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return _by_turns(count)
    finally:
        structlog.configure(**before)


def _by_turns(count: int) -> Values:
    for kind in (_simulated, _plain):
        kind(0)
    pairs = [(_per_s(_simulated, seed), _per_s(_plain, seed)) for seed in range(0, count * SCHEDULES, SCHEDULES)]
    simulated, plain = map(statistics.median, zip(*pairs, strict=True))
    return {"per_s": simulated, "plain_per_s": plain, "ratio": statistics.median(a / b for a, b in pairs)}


async def measure(scale: Scale) -> Values:
    """By turns, so that a bad second of the machine hits both."""
    return await asyncio.to_thread(_rounds, scale.pairs)


FIGURES = [
    Figure(
        "schedules",
        "the test kit explores a server with 2 tasks, 4 readers, 1 cancel; and the same on plain asyncio, by turns",
        (
            Metric("per_s", "schedules", "1/s of CPU", Goal(">=", 800)),
            Metric("plain_per_s", "the same program on plain asyncio", "1/s of CPU"),
            Metric("ratio", "simulated / plain", "x"),
        ),
        measure,
    )
]
