"""The explorer finds what depends on an order, and finds it again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.explorer import ExploringLoop
from tests.virtual import Deadlock, VirtualLoop

SEEDS = range(60)


def run(loop: asyncio.AbstractEventLoop, program: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(program)


async def order_of_three() -> list[str]:
    order: list[str] = []

    async def steps(name: str) -> None:
        for number in range(3):
            order.append(f"{name}{number}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(steps(name))
    return order


async def loses_a_wake_up() -> None:
    """The classic: clear before wait. In the order in which asyncio happens to run it, it works."""
    event = asyncio.Event()
    items: list[int] = []

    async def consumer() -> None:
        while len(items) < 2:
            await asyncio.sleep(0)
            event.clear()
            await event.wait()

    async def producer() -> None:
        for number in range(2):
            for _ in range(3):
                await asyncio.sleep(0)
            items.append(number)
            event.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(consumer())
        group.create_task(producer())


def test_a_seed_is_one_order_and_other_seeds_are_others() -> None:
    orders = {seed: run(ExploringLoop(seed), order_of_three()) for seed in SEEDS}

    assert {seed: run(ExploringLoop(seed), order_of_three()) for seed in SEEDS} == orders
    assert len({tuple(order) for order in orders.values()}) > 0.8 * len(SEEDS)


def test_each_task_keeps_its_own_order_in_every_schedule() -> None:
    for seed in SEEDS:
        order = run(ExploringLoop(seed), order_of_three())
        for name in "abc":
            assert [step for step in order if step[0] == name] == [f"{name}{number}" for number in range(3)]


def test_plain_callbacks_keep_their_order_in_every_schedule() -> None:
    async def program() -> list[int]:
        called: list[int] = []
        loop = asyncio.get_running_loop()

        async def noise() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                loop.call_soon(called.append, number)
                group.create_task(noise())
                await asyncio.sleep(0)
        return called

    assert all(run(ExploringLoop(seed), program()) == list(range(10)) for seed in SEEDS)


def test_a_timer_may_fire_while_somebody_is_ready_but_none_fires_early() -> None:
    async def program() -> int:
        loop = asyncio.get_running_loop()
        fired: list[float] = []

        def fire(due: float) -> None:
            fired.append(loop.time() - due)

        for when in (0.01, 0.02, 0.03):
            loop.call_at(when, fire, when)
        for _ in range(30):
            await asyncio.sleep(0)
        busy = len(fired)
        await asyncio.sleep(1)
        assert len(fired) == 3
        assert all(late >= 0 for late in fired)
        return busy

    assert {run(ExploringLoop(seed), program()) for seed in SEEDS} > {0, 1}


def test_a_lost_wake_up_that_asyncio_never_shows_is_found() -> None:
    run(VirtualLoop(), loses_a_wake_up())

    def found(seed: int) -> bool:
        try:
            run(ExploringLoop(seed), loses_a_wake_up())
        except Deadlock:
            return True
        return False

    assert any(found(seed) for seed in SEEDS)
