"""In the ordinary order the simulated loop is asyncio's; in any other it keeps what asyncio promises, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.testing.choices import Choices, Trace
from streaming.testing.garbage import COLLECT_STEPS
from streaming.testing.loop import PROCESS, Deadlock, Endless, SimulatedLoop, run
from streaming.testing.order import ORDERS, Fifo, Uniform, order_of
from streaming.testing.outside import OutsideWorld
from tests.testing.programs import DOCUMENTED, KINDS, Op, Program, play
from tests.virtual import VirtualLoop

SEEDS = range(60)

#: Tasks that outlive their program.
KEPT: list[asyncio.Task[None]] = []

OPS = st.builds(Op, st.sampled_from(KINDS), st.integers(0, 11))
SCRIPTS = st.lists(st.lists(OPS, max_size=6), min_size=1, max_size=4)


def ordinary() -> SimulatedLoop:
    return SimulatedLoop(Choices(0, Fifo(), Trace()))


def shuffled(seed: int) -> SimulatedLoop:
    return SimulatedLoop(Choices(seed, Uniform(seed)))


def on_asyncio(program: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program)


def in_all(program: Program, seeds: range = SEEDS) -> list[Any]:
    return [run(shuffled(seed), program()) for seed in seeds]


# -- the ordinary order -----------------------------------------------------------------------------------------------


@given(SCRIPTS)
@settings(max_examples=150)
def test_the_empty_trace_is_the_order_of_asyncio(scripts: list[list[Op]]) -> None:
    assert run(ordinary(), play(scripts)) == on_asyncio(play(scripts))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_the_documentation_of_asyncio_shows_works_in_every_order(name: str) -> None:
    program = DOCUMENTED[name]
    wanted = on_asyncio(program())

    assert wanted
    assert run(ordinary(), program()) == wanted
    assert [result for result in in_all(program) if result != wanted] == []


@given(SCRIPTS, st.integers(0, 1000), st.sampled_from(ORDERS))
@settings(max_examples=60)
def test_a_trace_is_a_run(scripts: list[list[Op]], seed: int, order: str) -> None:
    choices = Choices(seed, order_of(order, seed, 50))
    diary = run(SimulatedLoop(choices), play(scripts))

    again = SimulatedLoop(Choices(0, Fifo(), Trace.parse(str(choices.trace))))

    assert run(again, play(scripts)) == diary


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


def test_a_seed_is_one_order_and_other_seeds_are_others() -> None:
    orders = in_all(order_of_three)

    assert in_all(order_of_three) == orders
    assert len(set(map(tuple, orders))) > 0.8 * len(SEEDS)


# -- what is kept in every order --------------------------------------------------------------------------------------


def test_each_task_keeps_its_own_order_in_every_schedule() -> None:
    for order in in_all(order_of_three):
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

    assert all(called == list(range(10)) for called in in_all(program))


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

    assert set(in_all(program)) > {0, 1}


def test_a_timer_that_fires_early_in_the_line_is_told_in_a_replay() -> None:
    async def program() -> None:
        asyncio.get_running_loop().call_later(0.02, int)
        await asyncio.sleep(0)

    choices = Choices(0, Fifo(), Trace.parse("clock:0=1"))
    run(SimulatedLoop(choices), program())

    (note,) = choices.notes
    assert note.startswith("clock:0=1: a timer fires at 0.02 s before task-1 (test_loop.py:")


def test_a_timer_that_is_far_away_waits_until_nobody_is_ready() -> None:
    async def program() -> float:
        asyncio.get_running_loop().call_later(0.2, int)
        for _ in range(200):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert set(in_all(program)) == {0.0}


def test_time_does_not_move_for_a_timer_that_was_cancelled() -> None:
    async def program() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(5, int).cancel()
        await asyncio.sleep(9)
        timer = loop.call_later(1, int)
        loop.call_soon(timer.cancel)
        await asyncio.sleep(3)
        return loop.time()

    assert set(in_all(program)) == {12.0}


def test_a_thousand_years_take_no_time() -> None:
    assert run(ordinary(), asyncio.sleep(3e10, "later")) == "later"


def test_sets_of_tasks_and_futures_have_the_same_order_in_every_run() -> None:
    async def program() -> list[str]:
        loop = asyncio.get_running_loop()
        futures = {loop.create_future() for _ in range(5)}
        tasks = {asyncio.create_task(asyncio.sleep(0)) for _ in range(20)}
        names = [task.get_name() for task in tasks]
        await asyncio.wait(tasks)
        for future in futures:
            future.cancel()
        return names

    first = run(ordinary(), program())
    kept = [object() for _ in range(1000)]

    assert run(ordinary(), program()) == first
    assert len(kept) == 1000


def test_a_name_that_was_given_is_kept_and_none_is_one_of_this_loop() -> None:
    async def program() -> list[str]:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(asyncio.sleep(0), name="mine"), loop.create_task(asyncio.sleep(0), name=None)]
        tasks.append(asyncio.create_task(asyncio.sleep(0)))
        tasks[-1].set_name(None)  # some versions of asyncio do that
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    first = run(ordinary(), program())

    assert first[0] == "mine"
    assert all(name.startswith("task-") for name in first[1:])
    assert run(ordinary(), program()) == first


def test_garbage_is_found_at_the_same_steps_of_every_run() -> None:
    """Its finalizers are heard: an async generator that was left, an exception that nobody has seen."""

    async def program(loop: SimulatedLoop, noise: int) -> list[int]:
        found: list[int] = []

        class Cycle:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                found.append(loop.steps)

        kept: list[list[int]] = []
        for number in range(COLLECT_STEPS + 10):
            if number % 1000 == 0:
                Cycle()
                kept = [[] for _ in range(noise)]
            await asyncio.sleep(0)
        return found[: len(kept) or None]

    def found_with(noise: int) -> set[int]:
        loop = ordinary()
        return set(run(loop, program(loop, noise)))

    assert found_with(0) == found_with(3000) == {COLLECT_STEPS}
    assert gc.isenabled()


# -- ends -------------------------------------------------------------------------------------------------------------


async def waits_for_ever(what: Callable[[], Coroutine[Any, Any, object]]) -> None:
    task = asyncio.create_task(what(), name="stuck")
    await asyncio.sleep(1)
    await task


async def on_a_future() -> None:
    await asyncio.get_running_loop().create_future()


async def on_an_event() -> None:
    await asyncio.Event().wait()


async def on_itself() -> None:
    lock = asyncio.Lock()
    async with lock, lock:
        pass


async def on_a_queue() -> None:
    await asyncio.Queue[int]().get()


@pytest.mark.parametrize("what", [on_a_future, on_an_event, on_itself, on_a_queue])
def test_a_deadlock_names_each_task_and_its_line(what: Callable[[], Coroutine[Any, Any, object]]) -> None:
    loop = ordinary()
    with pytest.raises(Deadlock) as raised:
        run(loop, waits_for_ever(what))

    head, main, stuck = str(raised.value).splitlines()
    assert head == "every task waits for ever:"
    assert main.endswith(" in waits_for_ever")
    assert stuck.startswith("  stuck at test_loop.py:")
    assert stuck.endswith(f" in {what.__name__}")
    assert (loop.is_closed(), loop.complaints) == (True, [])


def test_a_deadlock_of_one_who_does_not_listen_to_a_cancel_is_one() -> None:
    async def deaf() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="in deaf"):
        run(ordinary(), waits_for_ever(deaf))


def test_who_spins_does_not_come_to_an_end() -> None:
    async def spins() -> None:
        while True:  # noqa: ASYNC110  # that is what it is about
            await asyncio.sleep(0)

    loop = ordinary()
    loop.steps_max = 1000
    with pytest.raises(Endless, match=r"after 1000 steps there is no end:\n  .* in spins"):
        run(loop, spins())

    assert loop.is_closed()


def test_callbacks_that_call_themselves_do_not_come_to_an_end() -> None:
    async def program() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await loop.create_future()

    loop = ordinary()
    loop.steps_max = 1000
    with pytest.raises(Endless):
        run(loop, program())


async def asks_for_a_thread() -> None:
    await asyncio.to_thread(sum, [1])


async def asks_for_a_connection() -> None:
    await asyncio.open_connection("127.0.0.1", 80)


async def asks_for_a_server() -> None:
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)


async def asks_for_an_address() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (asks_for_a_thread, "OpenLoop"),
        (asks_for_a_connection, r"world\.network"),
        (asks_for_a_server, r"world\.network"),
        (asks_for_an_address, r"world\.network"),
    ],
)
def test_what_is_real_is_refused_with_a_word_about_what_to_do(what: Program, named: str) -> None:
    with pytest.raises(OutsideWorld, match=named):
        run(ordinary(), what())


def test_what_is_left_is_cancelled_and_waited_for() -> None:
    ended: list[str] = []

    async def left(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            ended.append(name)

    async def program() -> None:
        for name in "ab":
            KEPT.append(asyncio.create_task(left(name), name=name))
        await asyncio.sleep(1)

    loop = ordinary()
    run(loop, program())
    KEPT.clear()

    assert (ended, loop.complaints) == (["a", "b"], [])


def test_who_is_left_and_does_not_end_is_complained_about() -> None:
    async def left() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.Event().wait()

    async def program() -> None:
        KEPT.append(asyncio.create_task(left()))
        await asyncio.sleep(1)

    loop = ordinary()
    run(loop, program())
    KEPT.clear()

    (complaint,) = loop.complaints
    assert "does not end when it is cancelled" in complaint["message"]
    assert " in left" in complaint["message"]


def test_generators_that_are_left_are_closed_in_the_order_in_which_they_began() -> None:
    async def program(closed: list[int]) -> None:
        async def numbers(name: int) -> AsyncIterator[int]:
            try:
                yield name
            finally:
                await asyncio.sleep(0)
                closed.append(name)

        left = [numbers(name) for name in range(30)]
        for each in left:
            await anext(aiter(each))
        asyncio.get_running_loop().left = left  # type: ignore[attr-defined]  # so that they outlive this

    closed: list[int] = []
    run(ordinary(), program(closed))

    assert closed == list(range(30))


def test_an_exception_passes_and_the_loop_is_closed() -> None:
    async def program() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    loop = ordinary()
    with pytest.raises(LookupError, match="gone"):
        run(loop, program())

    assert loop.is_closed()


def test_ctrl_c_in_a_step_passes_through() -> None:
    async def interrupted() -> None:
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    async def program() -> None:
        await asyncio.gather(interrupted(), asyncio.sleep(100))

    loop = ordinary()
    with pytest.raises(KeyboardInterrupt):
        run(loop, program())

    assert loop.is_closed()


def test_an_exception_that_nobody_sees_is_a_complaint() -> None:
    async def fails() -> None:
        raise LookupError("gone")

    async def program() -> None:
        started = asyncio.create_task(fails())
        asyncio.get_running_loop().call_soon(int, "x")
        await asyncio.sleep(1)
        assert started.done()

    loop = ordinary()
    run(loop, program())

    assert {type(complaint["exception"]) for complaint in loop.complaints} == {ValueError, LookupError}


def test_a_deadlock_tells_of_a_task_that_has_failed_and_nobody_saw_it() -> None:
    async def fails() -> None:
        raise LookupError("gone")

    async def program() -> None:
        task = asyncio.create_task(fails(), name="worker")
        await asyncio.get_running_loop().create_future()
        await task

    with pytest.raises(Deadlock, match=r"in program\n  worker has failed: LookupError\('gone'\)"):
        run(ordinary(), program())


def test_the_cleanup_of_those_who_wait_for_ever_is_not_heard() -> None:
    """It may wait, and make new tasks; none of them runs."""

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)

    async def program() -> None:
        try:
            async for _ in numbers():
                pass
        finally:
            await asyncio.gather(asyncio.sleep(1), asyncio.create_task(asyncio.sleep(1)))

    loop = ordinary()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Deadlock):
            run(loop, program())
        gc.collect()

    assert loop.complaints == []


# -- tasks that are held, and told about ------------------------------------------------------------------------------


def test_a_task_that_is_held_waits_and_others_go_on() -> None:
    async def program() -> list[str]:
        loop, said = asyncio.get_running_loop(), []
        assert isinstance(loop, SimulatedLoop)

        async def say(name: str) -> None:
            for _ in range(2):
                await asyncio.sleep(0)
                said.append(name)

        held = asyncio.create_task(say("held"))
        loop.held.add(held)
        free = asyncio.create_task(say("free"))
        loop.call_later(3, loop.held.discard, held)
        await asyncio.gather(held, free)
        said.append(str(loop.time()))
        return said

    assert set(map(tuple, in_all(program))) == {("free", "free", "held", "held", "3.0")}


def test_each_step_of_a_task_is_told_and_no_callback() -> None:
    told: list[str] = []

    async def program() -> None:
        asyncio.get_running_loop().call_soon(int)
        await asyncio.sleep(0)
        await asyncio.sleep(1)

    loop = ordinary()
    loop.on_step = lambda task: told.append(task.get_name())
    run(loop, program())

    assert len([name for name in told if name == told[0]]) == 3


# -- processes that are killed ----------------------------------------------------------------------------------------


def in_process(number: int, program: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start something as a simulated process."""
    before = PROCESS.set(number)
    try:
        return asyncio.create_task(program)
    finally:
        PROCESS.reset(before)


@pytest.mark.parametrize("seed", range(30))
def test_nothing_of_a_killed_process_runs_any_more(seed: int) -> None:
    """No step, no callback, no timer, no cleanup; and what its garbage says is not heard."""
    seen: list[str] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)

        async def numbers() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0)
            finally:
                await asyncio.sleep(0)
                seen.append("the cleanup of a generator")

        async def child() -> None:
            try:
                await asyncio.sleep(0.01)
            finally:
                seen.append("the cleanup of a child")

        async def fails() -> None:
            raise LookupError

        async def life() -> None:
            loop.call_later(0.02, seen.append, "a timer")
            loop.call_at(5, seen.append, "a timer")
            tasks = [asyncio.create_task(fails()), *(asyncio.create_task(child()) for _ in range(3))]
            try:
                async for _ in numbers():
                    loop.call_soon(int)
                    seen.append("a step")
            finally:
                seen.append("a cleanup")
                await asyncio.gather(*tasks)

        life_of_one = in_process(1, life())
        for _ in range(20):
            await asyncio.sleep(0)
        loop.kill(1)
        seen.clear()
        other = in_process(2, asyncio.sleep(10))
        for _ in range(20):
            await asyncio.sleep(0.5)
            gc.collect()
        await other
        assert (seen, life_of_one.done()) == ([], False)

    loop = shuffled(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(loop, program())

    assert loop.complaints == []


def test_whoever_waits_for_a_killed_process_waits_for_ever() -> None:
    async def program() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        task = in_process(7, asyncio.sleep(1))
        loop.kill(7)
        await task

    with pytest.raises(Deadlock):
        run(ordinary(), program())


def test_what_a_killed_process_held_is_not_finalized_as_long_as_others_run() -> None:
    """Neither a task that nothing refers to any more, nor a generator that somebody else lets go."""
    seen: list[str] = []

    async def program(loop: SimulatedLoop) -> None:
        kept: list[AsyncIterator[int]] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                seen.append("the cleanup of a generator")

        async def life() -> None:
            kept.append(numbers())
            await anext(kept[0])
            try:
                await loop.create_future()
            finally:
                seen.append("a cleanup")

        begun = in_process(3, life()).get_name()
        await asyncio.sleep(1)
        loop.kill(3)
        kept.clear()
        gc.collect()
        await asyncio.sleep(1)
        seen.append("the end")
        assert begun

    loop = ordinary()
    run(loop, program(loop))

    assert seen[0] == "the end"
    assert loop.complaints == []


def test_a_timer_that_is_due_fires_though_all_who_were_ready_are_dead() -> None:
    async def program(loop: SimulatedLoop) -> float:
        async def spins() -> None:
            while True:  # noqa: ASYNC110  # it is always ready
                await asyncio.sleep(0)

        KEPT.extend(in_process(9, spins()) for _ in range(3))
        await asyncio.sleep(0)
        due = loop.create_future()
        loop.call_later(0, due.set_result, None)
        loop.call_later(50, int)
        loop.kill(9)
        await due
        return loop.time()

    for seed in SEEDS:
        loop = shuffled(seed)
        assert run(loop, program(loop)) == 0
        KEPT.clear()
