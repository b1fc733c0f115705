"""Which task runs next: each strategy keeps its promise, PCT its probability."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streaming.testing.choices import Choices
from streaming.testing.loop import SimulatedLoop, run
from streaming.testing.order import DEPTH_MAX, ORDERS, SPARSE, SPIN_MAX, Fifo, Order, Pct, Sparse, Uniform, order_of

TASKS = (7, 3, 5)


def test_fifo_takes_the_first() -> None:
    assert [Fifo().pick(TASKS) for _ in range(5)] == [0] * 5


def test_uniform_takes_each_as_often_as_the_others() -> None:
    order = Uniform(1)
    taken = Counter(order.pick(TASKS) for _ in range(3000))

    assert taken.keys() == {0, 1, 2}
    assert all(900 < times < 1100 for times in taken.values())


def test_sparse_takes_the_first_but_for_a_few_times() -> None:
    order = Sparse(1)
    taken = Counter(order.pick(TASKS) for _ in range(10_000))

    others = 10_000 * SPARSE * 2 / 3
    assert taken.keys() == {0, 1, 2}
    assert 0.8 * others < taken[1] + taken[2] < 1.2 * others


def test_pct_takes_the_same_task_until_a_point_of_change() -> None:
    order = Pct(1, decisions=100, depth=1)
    tasks = list(TASKS)

    assert len({tasks[order.pick(tasks)] for _ in range(SPIN_MAX)}) == 1


def test_pct_leaves_its_task_at_the_points_of_change_and_at_no_other() -> None:
    for seed in range(50):
        order = Pct(seed, decisions=50, depth=3)
        ran = [TASKS[order.pick(TASKS)] for _ in range(50)]
        changes = sum(before != after for before, after in itertools.pairwise(ran))

        assert changes <= 2
        assert len(set(ran)) == changes + 1, "who has given way comes last"


def test_a_task_that_spins_lets_the_others_go_on() -> None:
    """It may wait for one of them, and has a higher priority than all."""
    for seed in range(30):
        order = Pct(seed, decisions=10, depth=1)
        ran = Counter(TASKS[order.pick(TASKS)] for _ in range(10 * SPIN_MAX))

        assert ran.keys() == set(TASKS)


@pytest.mark.parametrize("name", ORDERS)
def test_a_task_that_waits_for_another_one_by_spinning_gets_there(name: str) -> None:
    async def program() -> int:
        ready = False

        async def spins() -> int:
            steps = 0
            while not ready:
                await asyncio.sleep(0)
                steps += 1
            return steps

        async def works() -> None:
            nonlocal ready
            for _ in range(5):
                await asyncio.sleep(0)
            ready = True

        return max((await asyncio.gather(spins(), spins(), works()))[:2])

    for seed in range(20):
        assert run(SimulatedLoop(Choices(seed, order_of(name, seed, 20))), program()) < 20 * SPIN_MAX


# -- the probability that PCT promises --------------------------------------------------------------------------------


STEPS = 5

Program = Callable[[], Coroutine[Any, Any, bool]]


async def walk(steps: int = STEPS) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


async def depth_two() -> bool:
    """It takes two orders: the writer's first step, the reader's, the writer's second."""
    half, seen = False, False

    async def writer() -> None:
        nonlocal half
        await walk()
        half = True
        await asyncio.sleep(0)
        half = False
        await walk()

    async def reader() -> None:
        nonlocal seen
        await walk(STEPS + 2)
        seen = half
        await walk()

    await asyncio.gather(writer(), reader())
    return seen


async def depth_three() -> bool:
    """It takes three: the writer's first step, the reader's first, the writer's second, the reader's second."""
    value, seen = 0, []

    async def writer() -> None:
        nonlocal value
        await walk()
        value = 1
        await asyncio.sleep(0)
        value = 2
        await walk()

    async def reader() -> None:
        await walk(STEPS + 2)
        for _ in range(2):
            seen.append(value)
            await asyncio.sleep(0)
        await walk()

    await asyncio.gather(writer(), reader())
    return seen == [1, 2]


def decisions_of(program: Program) -> int:
    """How many there are in the order of asyncio, which never shows the bug."""
    plain = Choices(0, Fifo())
    assert not run(SimulatedLoop(plain), program())
    return plain.schedule.taken


def rate(program: Program, depth: int, runs: int) -> float:
    """How often PCT shows it."""
    decisions = decisions_of(program)
    loops = (SimulatedLoop(Choices(seed, Pct(seed, decisions, depth))) for seed in range(runs))
    return sum(run(loop, program()) for loop in loops) / runs


@pytest.mark.parametrize(("program", "depth", "runs"), [(depth_two, 2, 1000), (depth_three, 3, 3000)])
def test_pct_finds_a_bug_as_often_as_it_promises(program: Program, depth: int, runs: int) -> None:
    """At least 1/(n * k**(depth - 1)): n is the main task and two others, k the decisions."""
    promised = 1 / (3 * decisions_of(program) ** (depth - 1))

    assert rate(program, depth, runs) >= promised


@pytest.mark.parametrize(("program", "depth"), [(depth_two, 1), (depth_three, 1)])
def test_pct_finds_nothing_that_is_deeper_than_it_looks(program: Program, depth: int) -> None:
    """Without a point of change each task runs as far as it can."""
    assert rate(program, depth, 300) == 0


# -- what a seed stands for -------------------------------------------------------------------------------------------


def test_mixed_takes_each_in_turn_and_pct_in_every_depth() -> None:
    kinds = [order_of("mixed", seed, 100) for seed in range(3 * DEPTH_MAX)]

    assert [type(kind) for kind in kinds] == [Pct, Uniform, Sparse] * DEPTH_MAX
    points_of_change = [len(kind._changes) for kind in kinds if isinstance(kind, Pct)]
    assert points_of_change == [0, 1, 2, 3], "up to three, as the page says"


@pytest.mark.parametrize(("name", "kind"), [("fifo", Fifo), ("uniform", Uniform), ("pct", Pct), ("sparse", Sparse)])
def test_each_strategy_has_its_name(name: str, kind: type[Order]) -> None:
    assert all(type(order_of(name, seed, 10)) is kind for seed in range(5))


@pytest.mark.parametrize("name", ORDERS)
def test_a_seed_is_the_same_strategy_each_time(name: str) -> None:
    for seed in range(10):
        one, other = order_of(name, seed, 50), order_of(name, seed, 50)
        assert [one.pick(TASKS) for _ in range(60)] == [other.pick(TASKS) for _ in range(60)]


def test_a_run_without_decisions_has_an_order_as_well() -> None:
    assert order_of("pct", 3, 0).pick(TASKS) in range(3)


@pytest.mark.parametrize("name", ["", "random", "PCT"])
def test_a_strategy_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(ValueError, match="mixed, uniform, pct, sparse, fifo"):
        order_of(name, 0, 1)
