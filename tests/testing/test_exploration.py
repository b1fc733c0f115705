"""A failure is found, shrunk, told in words, and found again by its trace."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from streaming.testing import exploration
from streaming.testing.choices import Trace
from streaming.testing.exploration import Failure, attempt, explore, replay, signature
from streaming.testing.loop import Deadlock
from streaming.testing.order import ORDERS, Fifo, Uniform
from streaming.testing.world import Violations, World

Scenario = Callable[[World], Coroutine[Any, Any, None]]


async def loses_an_update(world: World) -> None:
    """Read, wait, write: in the order in which asyncio happens to run it, each waits for the other's write."""
    balance = 0

    async def pay(steps: int) -> None:
        nonlocal balance
        for _ in range(steps):
            await asyncio.sleep(0)
        read = balance
        await asyncio.sleep(0)
        balance = read + 1

    await asyncio.gather(pay(0), pay(3))
    assert balance == 2


async def loses_a_wake_up(world: World) -> None:
    """The classic: clear before wait."""
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
        group.create_task(consumer(), name="consumer")
        group.create_task(producer(), name="producer")


async def holds(world: World) -> None:
    await asyncio.gather(*(asyncio.sleep(number / 10) for number in range(5)))


def failure_of(scenario: Scenario, **options: Any) -> Failure:
    found = explore(scenario, **options)
    assert found.failure is not None
    return found.failure


# -- what is run ------------------------------------------------------------------------------------------------------


def test_a_scenario_that_holds_is_run_as_often_as_asked_and_each_time_is_told() -> None:
    told: list[int] = []

    found = explore(holds, schedules=7, progress=told.append)

    assert (found.schedules, found.failure, told) == (7, None, [1, 2, 3, 4, 5, 6, 7])
    assert found.seconds > 0


def test_the_first_schedule_is_the_ordinary_one_and_nothing_goes_wrong_in_it() -> None:
    seen: list[tuple[str, bool]] = []

    async def scenario(world: World) -> None:
        order = ""

        async def say(name: str) -> None:
            nonlocal order
            await asyncio.sleep(0)
            order += name

        await asyncio.gather(*map(say, "abcd"))
        seen.append((order, world.stream("weather").happens(0.5)))

    explore(scenario, schedules=30)

    assert seen[0] == ("abcd", False)
    assert len({order for order, _ in seen}) > 5
    assert {rain for _, rain in seen} == {True, False}


def test_another_seed_is_another_search_and_the_same_is_the_same() -> None:
    def orders(seed: int) -> list[str]:
        traces: list[str] = []

        async def scenario(world: World) -> None:
            await holds(world)
            traces.append(str(world.choices.trace))

        explore(scenario, schedules=20, seed=seed)
        return traces

    assert orders(0) == orders(0) != orders(1000)
    assert orders(5)[2:] == orders(6)[1:-1], "the seeds follow each other, behind the ordinary order"


def test_the_seed_of_a_failure_begins_with_it() -> None:
    """Behind the ordinary order, which always comes first."""
    failure = failure_of(loses_an_update, schedules=300)

    again = failure_of(loses_an_update, schedules=2, seed=failure.seed)

    assert failure.schedule > 2
    assert (again.schedule, again.seed, again.found) == (2, failure.seed, failure.found)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_explores(order: str) -> None:
    assert explore(holds, schedules=5, order=order).failure is None


def test_a_wrong_order_is_refused_before_anything_runs() -> None:
    async def never(world: World) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match="there is no order 'odd'"):
        explore(never, order="odd")


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [loses_an_update, loses_a_wake_up])
@pytest.mark.parametrize("seed", [0, 100, 200])
def test_what_asyncio_never_shows_is_found_and_shrunk_to_a_few_choices(scenario: Scenario, seed: int) -> None:
    assert attempt(scenario, 0, Fifo()).error is None

    failure = failure_of(scenario, schedules=300, seed=seed)

    assert failure.schedule > 1
    assert failure.seed == seed + failure.schedule - 2
    assert 1 <= len(failure.shrunk) <= 3
    assert len(failure.shrunk) <= len(failure.found)
    assert failure.replayable


def test_a_failure_is_found_again_by_its_trace() -> None:
    failure = failure_of(loses_an_update, schedules=300)

    again = replay(loses_an_update, Trace.parse(str(failure.shrunk)))

    assert signature(again.error or Exception()) == signature(failure.error)
    assert again.trace == failure.shrunk
    assert again.notes == failure.notes
    assert replay(loses_an_update, Trace()).error is None


def test_a_failure_is_told_in_words() -> None:
    lines = str(failure_of(loses_a_wake_up, schedules=300)).splitlines()

    assert "fails: Deadlock: every task waits for ever:" in lines[0]
    assert any(line.startswith("  consumer at test_exploration.py:") for line in lines)
    head = next(line for line in lines if line.startswith("It has"))
    assert "that asyncio would not have made; th" in head
    note = lines[-1]
    assert note.startswith("  schedule:")
    assert " (test_exploration.py:" in note
    assert " runs before " in note


def test_a_failure_of_the_ordinary_order_is_told_as_one_and_costs_one_run() -> None:
    runs = itertools.count()

    async def scenario(world: World) -> None:
        next(runs)
        raise LookupError("always")

    failure = failure_of(scenario)

    assert (failure.schedule, failure.shrunk, failure.runs) == (1, Trace(), 0)
    assert str(failure).endswith("It fails in the ordinary order of asyncio, with nothing going wrong.")
    assert next(runs) == 3, "once to find it, and to be sure"


def test_a_failure_that_depends_on_something_else_is_told_as_one() -> None:
    luck = random.Random(5)

    async def scenario(world: World) -> None:
        await holds(world)
        assert luck.random() < 0.95

    failure = failure_of(scenario, schedules=500, seed=3)

    assert not failure.replayable
    assert failure.shrunk == failure.found
    assert "The same choices do not fail again" in str(failure)


def test_a_search_for_fewer_choices_keeps_its_limit() -> None:
    runs = itertools.count()

    async def scenario(world: World) -> None:
        next(runs)
        await loses_an_update(world)

    failure = failure_of(scenario, schedules=300, order="uniform", shrink_runs_max=3)

    assert failure.runs == 3
    assert next(runs) == failure.schedule + 3 + 2
    assert len(failure.shrunk) <= len(failure.found)


def test_a_search_for_fewer_choices_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails slowly is told as it was found."""
    monkeypatch.setattr(exploration, "SHRINK_S_MAX", -1.0)

    failure = failure_of(loses_an_update, schedules=300, order="uniform")

    assert (failure.runs, failure.replayable, failure.shrunk) == (0, True, failure.found)


def test_a_search_for_fewer_choices_does_not_slip_to_another_failure() -> None:
    """Both are there in some schedules; the one that was found is the one that is told."""

    async def scenario(world: World) -> None:
        rare, often = world.stream("rare").happens(0.05), world.stream("often").happens(0.3)
        await holds(world)
        if rare and often:
            raise LookupError("rare")
        if rare:
            raise ValueError("easier to reach")

    for seed in range(0, 2000, 100):
        failure = failure_of(scenario, schedules=500, seed=seed)
        first = replay(scenario, failure.found).error
        assert type(first) is type(failure.error)


def test_what_must_hold_is_told_also_of_a_run_that_fails_by_itself() -> None:
    async def scenario(world: World) -> None:
        world.must(False, "two have paid")
        raise LookupError("gone")

    failure = failure_of(scenario)

    assert isinstance(failure.error, LookupError)
    assert "two have paid" in failure.error.__notes__[0]


def test_what_fits_no_more_is_told_by_a_replay() -> None:
    trace = Trace.parse("schedule:0=1;shedule:3=1")

    assert str(replay(holds, trace).unused) == "shedule:3=1"
    assert not replay(holds, Trace()).unused


async def test_who_runs_a_loop_is_told_that_this_needs_its_own() -> None:
    for call in (lambda: explore(holds), lambda: replay(holds, Trace())):
        with pytest.raises(RuntimeError, match="call this from a function that is not async"):
            call()


@pytest.mark.parametrize("schedules", [0, -4])
def test_no_schedules_at_all_are_refused(schedules: int) -> None:
    with pytest.raises(ValueError, match=f"schedules is {schedules}"):
        explore(holds, schedules=schedules)


# -- what is logged ---------------------------------------------------------------------------------------------------


async def test_a_handler_may_log_as_it_likes() -> None:
    """In every way that structlog has."""
    log = structlog.get_logger("my_tasks")

    async def scenario(world: World) -> None:
        log.info("got %d rows", 3)
        log.warn("it takes long")
        await log.ainfo("got %d rows", 3)
        log.critical("all is lost")
        await log.acritical("all is lost")
        log.log(logging.CRITICAL, "all is lost")
        await log.alog(logging.CRITICAL, "all is lost")
        await log.aexception("all is lost")
        log.bind(shop=1).fatal("all is lost")
        try:
            raise LookupError
        except LookupError:
            log.exception("it is tried again")
            structlog.get_logger().exception("it is tried again")

    assert (await asyncio.to_thread(explore, scenario, schedules=3)).failure is None


# -- which failures are alike -----------------------------------------------------------------------------------------


def raised(error: BaseException, *, elsewhere: bool = False) -> BaseException:
    try:
        if elsewhere:
            raise error
        raise error
    except BaseException as caught:
        return caught


def test_failures_of_one_line_are_alike_and_those_of_two_are_not() -> None:
    one, again = raised(AssertionError("1 == 2")), raised(AssertionError("3 == 4"))

    assert signature(one) == signature(again)
    assert signature(one).isdisjoint(signature(raised(AssertionError("1 == 2"), elsewhere=True)))
    assert signature(one).isdisjoint(signature(raised(ValueError("1 == 2"))))


def test_a_failure_inside_of_the_standard_library_belongs_to_the_line_that_called_it() -> None:
    error = None
    try:
        asyncio.Queue[int]().get_nowait()
    except asyncio.QueueEmpty as caught:
        error = caught

    assert error is not None
    assert "test_exploration.py:" in str(signature(error))


def test_violations_are_alike_if_they_have_one_in_common() -> None:
    one = Violations(["event 5 came twice", "the log has a hole at 7"])

    assert signature(one) & signature(Violations(["the log has a hole at 12"]))
    assert not signature(one) & signature(Violations(["nobody came"]))


def test_deadlocks_are_alike_if_the_same_task_waits_in_the_same_place() -> None:
    one = Deadlock("every task waits for ever:\n  task-1 at a.py:5 in main\n  task-2 at a.py:9 in reader")

    assert signature(one) & signature(Deadlock("every task waits for ever:\n  task-9 at a.py:10 in reader"))
    assert not signature(one) & signature(Deadlock("every task waits for ever:\n  task-2 at b.py:9 in writer"))


def test_a_group_is_what_is_in_it() -> None:
    group = BaseExceptionGroup("several", [raised(ValueError("a")), BaseExceptionGroup("inner", [raised(OSError())])])

    assert signature(group) == signature(raised(ValueError("b"))) | signature(raised(OSError()))


def test_an_address_in_memory_makes_no_difference() -> None:
    assert signature(Violations(["<A at 0x7f00ab>"])) == signature(Violations(["<A at 0x7fffcd>"]))


def test_what_was_raised_nowhere_has_a_signature_too() -> None:
    assert signature(ValueError("x")) == {"ValueError at nowhere"}


# -- what nobody has seen ---------------------------------------------------------------------------------------------


async def fails_unseen(world: World) -> None:
    async def background() -> None:
        await asyncio.sleep(0.1)
        raise LookupError("gone")

    task = asyncio.create_task(background())
    await asyncio.sleep(1)
    assert task.done()


def test_an_exception_that_nobody_saw_is_a_failure() -> None:
    error = attempt(fails_unseen, 0, Fifo()).error

    assert isinstance(error, Violations)
    assert error.found == (
        "an exception that nobody saw: SimulatedTask exception was never retrieved: LookupError: gone",
    )


def test_one_in_a_callback_is_one_too() -> None:
    async def scenario(world: World) -> None:
        asyncio.get_running_loop().call_soon(int, "x")
        await asyncio.sleep(1)

    assert "ValueError" in str(attempt(scenario, 0, Fifo()).error)


def test_one_that_was_expected_is_none() -> None:
    async def scenario(world: World) -> None:
        world.expected = (LookupError,)
        await fails_unseen(world)

    assert attempt(scenario, 0, Fifo()).error is None


def test_one_beside_another_failure_is_told_with_it() -> None:
    async def scenario(world: World) -> None:
        await fails_unseen(world)
        raise OSError("no disk")

    error = attempt(scenario, 0, Fifo()).error

    assert isinstance(error, OSError)
    assert "LookupError: gone" in error.__notes__[0]


def test_what_does_not_end_when_it_is_cancelled_is_a_failure() -> None:
    async def scenario(world: World) -> None:
        async def deaf() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.Event().wait()

        world.props["left"] = asyncio.create_task(deaf(), name="deaf")
        await asyncio.sleep(1)

    assert "what was left does not end when it is cancelled" in str(attempt(scenario, 0, Fifo()).error)


def test_log_lines_go_nowhere_but_an_exception_in_one_is_seen() -> None:
    async def scenario(world: World) -> None:
        log = structlog.get_logger("streaming.engine.runner")
        log.warning("it rains", mm=3)
        try:
            raise LookupError("gone")
        except LookupError:
            log.exception("the runner failed")

    before = structlog.get_config()
    error = attempt(scenario, 0, Fifo()).error

    assert str(error) == "an exception that nobody saw: the runner failed: LookupError: gone"
    assert structlog.get_config() == before


# -- what passes ------------------------------------------------------------------------------------------------------


def test_ctrl_c_passes_and_is_no_failure() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    before = structlog.get_config()
    with pytest.raises(KeyboardInterrupt):
        explore(scenario)

    assert structlog.get_config() == before


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("mine"), BaseExceptionGroup("a", [OSError()])])
def test_whatever_else_a_scenario_raises_is_a_failure(error: BaseException) -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(1)
        raise error

    assert type(attempt(scenario, 0, Uniform(1)).error) is type(error)


def test_an_attempt_tells_how_often_it_was_decided() -> None:
    assert attempt(holds, 0, Fifo()).decisions > 3
