"""What has become of tasks is counted as the log has it, whatever happens to them; and nothing is counted twice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from streaming import HandlerError, TaskContext, TaskCoordinator, task
from streaming.engine.observer import Step, Written
from streaming.observe.tally import OTHER, Tally
from streaming.records import CancelOutcome, CancelReceipt, Change, Record, TaskError, TaskStatus
from tests.engine.hubs import Desk, end_elsewhere
from tests.kit import TestedStore, build
from tests.stage import forever, instant

pytestmark = pytest.mark.clock("virtual")


@task
async def works(ctx: TaskContext, seconds: float = 1.0, fails: int = 0) -> None:
    await ctx.emit("tick", {})
    await asyncio.sleep(seconds)
    if ctx.attempt <= fails:
        raise HandlerError("broken", "It is broken.")


@task
async def stubborn() -> None:
    """Swallows its first cancel."""
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await asyncio.sleep(1000)


@task(on_interrupt="restart", attempts_max=3)
async def restarts(ctx: TaskContext) -> int:
    return ctx.attempt


def watched(handlers: Any, journal: Any = None, **settings: Any) -> tuple[TaskCoordinator, Tally]:
    coordinator, _ = build(handlers, journal, **settings)
    tally = Tally(coordinator.registry, asyncio.get_running_loop().time)
    coordinator.parts.hub.observed.by = tally
    return coordinator, tally


def seconds(spread: Any) -> tuple[int, float]:
    return spread.count, round(spread.sum, 3)


async def test_a_task_from_its_start_to_its_end() -> None:
    coordinator, tally = watched([works])
    async with coordinator:
        record, _ = await coordinator.start("works", {"seconds": 2.5})
        await coordinator.wait(record.id, 10)

    assert dict(tally.created) == {"works": 1}
    assert dict(tally.finished) == {("completed", "works"): 1}
    assert seconds(tally.waiting["works"]) == (1, 0)
    assert seconds(tally.running["works"]) == (1, 2.5)
    assert tally.events == 4
    assert tally.rows > tally.events
    assert tally.commits.count >= 3


async def test_a_task_waits_until_its_turn_comes() -> None:
    coordinator, tally = watched([works], max_running=1)
    async with coordinator:
        records = [(await coordinator.start("works", {"seconds": 2}))[0] for _ in range(3)]
        await coordinator.wait(records[-1].id, 10)

    assert seconds(tally.waiting["works"]) == (3, 0 + 2 + 4)
    assert seconds(tally.running["works"]) == (3, 6)


async def test_retries_are_runs_of_their_own_and_the_pause_between_is_none() -> None:
    coordinator, tally = watched([works])
    async with coordinator:
        options: Any = {"retry": {"retries": 2, "backoff_s": 8}}
        record, _ = await coordinator.start("works", {"fails": 2}, **options)
        await coordinator.wait(record.id, 100)

    assert dict(tally.retries) == {"works": 2}
    assert seconds(tally.running["works"]) == (3, 3)
    assert seconds(tally.waiting["works"]) == (1, 0)
    assert dict(tally.finished) == {("completed", "works"): 1}


async def test_a_task_that_is_cancelled_in_a_pause_has_not_run_meanwhile() -> None:
    coordinator, tally = watched([works])
    async with coordinator:
        options: Any = {"retry": {"retries": 1, "backoff_s": 800, "backoff_max_s": 800}}
        record, _ = await coordinator.start("works", {"fails": 1}, **options)
        await asyncio.sleep(5)
        await coordinator.cancel_task(record.id)
        await coordinator.wait(record.id, 100)

    assert seconds(tally.running["works"]) == (1, 1)
    assert dict(tally.finished) == {("cancelled", "works"): 1}
    assert dict(tally.cancels) == {"stopped": 1}


@pytest.mark.parametrize(
    ("options", "limit", "max_running"),
    [
        ({"timeout_s": 5}, "timeout_s", 1000),
        ({"queue_timeout_s": 5}, "queue_timeout_s", 1),
        ({"total_timeout_s": 5}, "total_timeout_s", 1000),
        ({"heartbeat_timeout_s": 5}, "heartbeat_timeout_s", 1000),
    ],
)
async def test_a_timeout_is_counted_by_its_limit(options: Any, limit: str, max_running: int) -> None:
    coordinator, tally = watched([forever], max_running=max_running)
    async with coordinator:
        if max_running == 1:
            await coordinator.start("forever", {})
        record, _ = await coordinator.start("forever", {}, **options)
        await coordinator.wait(record.id, 100)

    assert dict(tally.timeouts) == {limit: 1}
    assert tally.finished["timed_out", "forever"] == 1


async def test_a_cancel_is_counted_by_what_became_of_it_and_by_its_time() -> None:
    coordinator, tally = watched([stubborn, forever], cancel_grace_s=3)
    async with coordinator:
        for type in ("stubborn", "forever"):
            record, _ = await coordinator.start(type, {})
            await asyncio.sleep(1)
            await coordinator.cancel_task(record.id)
            await coordinator.wait(record.id, 100)

    assert dict(tally.cancels) == {"stopped": 2}
    assert seconds(tally.stopping) == (2, 3)


async def left_behind(*types: str) -> TestedStore:
    """A store as a crash leaves it, with a running task of each type."""
    async with Desk() as desk:
        for type in types:
            await desk.log(type, type)
        return desk.store


async def test_what_a_crash_has_left_is_counted_by_the_next_process() -> None:
    coordinator, tally = watched([instant, restarts], await left_behind("instant", "restarts", "gone"))
    async with coordinator:
        await coordinator.wait("restarts", 10)

    assert dict(tally.created) == {}
    assert dict(tally.finished) == {
        ("interrupted", "instant"): 1,
        ("interrupted", OTHER): 1,
        ("completed", "restarts"): 1,
    }
    assert dict(tally.requeues) == {"restarts": 1}
    assert list(tally.running) == ["restarts"], "of the others nobody here has seen the beginning"
    assert tally.waiting == {}, "it has waited before"


async def test_a_task_that_is_lost_to_somebody_else_has_no_end_here() -> None:
    coordinator, tally = watched([works])
    async with coordinator:
        record, _ = await coordinator.start("works", {"seconds": 5})
        await asyncio.sleep(1)
        await end_elsewhere(coordinator.parts.hub.journal, record.id)  # type: ignore[arg-type]  # it is a memory store
        await asyncio.sleep(10)

    assert dict(tally.finished) == {}
    assert tally.running == {}
    assert tally._begun == {}


def step(status: TaskStatus, **fields: Any) -> Step:
    time = fields.pop("time", "2026-11-01T12:00:00.000000Z")
    record = Record("a", "works", status, {}, 60.0, "2026-11-01T12:00:00.000000Z", time, **fields)
    return Step(Change("a", fields.get("last_seq", 2), status, time, "server"), record)


def told(*steps: Step, lost: frozenset[str] = frozenset()) -> Written:
    return Written(len(steps), 2 * len(steps), steps, lost, 0.001)


def tally_of(*steps: Step) -> Tally:
    tally = Tally({"works"}, lambda: 0.0)
    for each in steps:
        tally.committed(told(each))
    return tally


def test_begin_and_end_in_one_commit_are_a_run() -> None:
    """As a report of an external worker may bring them."""
    tally = Tally({"works"}, lambda: 0.0)
    time = "2026-11-01T12:00:03.000000Z"
    record = dataclasses.replace(step(TaskStatus.COMPLETED).record, started_at=time, finished_at=time)
    steps = [Step(Change("a", 2 + n, status, time, "w"), record) for n, status in enumerate(BEGIN_AND_END)]
    tally.committed(told(*steps))

    assert seconds(tally.waiting["works"]) == (1, 3)
    assert seconds(tally.running["works"]) == (1, 0)
    assert dict(tally.finished) == {("completed", "works"): 1}


BEGIN_AND_END = (TaskStatus.RUNNING, TaskStatus.COMPLETED)


def test_a_wall_clock_that_goes_back_makes_nothing_negative() -> None:
    tally = tally_of(
        step(TaskStatus.RUNNING, time="2026-11-01T11:00:00.000000Z"),
        step(TaskStatus.COMPLETED, time="2026-11-01T10:00:00.000000Z"),
    )

    assert (tally.waiting["works"].sum, tally.running["works"].sum) == (0, 0)


def test_a_cancel_that_was_never_obeyed_has_no_time() -> None:
    receipt = CancelReceipt("2026-11-01T12:00:00.000000Z", "anna", outcome=CancelOutcome.IGNORED, where="x:1")
    tally = tally_of(step(TaskStatus.INTERRUPTED, cancel=receipt))

    assert dict(tally.cancels) == {"ignored": 1}
    assert tally.stopping.count == 0


def test_a_failure_that_is_no_timeout_is_none() -> None:
    tally = tally_of(step(TaskStatus.RETRYING, error=TaskError("broken", "")), step(TaskStatus.TIMED_OUT))

    assert dict(tally.timeouts) == {}


@pytest.mark.parametrize(
    ("forget", "left"),
    [
        (lambda tally: tally.committed(told(lost=frozenset({"a"}))), []),
        (lambda tally: tally.forget_runs({}), []),
        (lambda tally: tally.forget_runs({"a": 1}), ["a"]),
    ],
)
def test_what_is_gone_without_an_end_is_forgotten(forget: Callable[[Tally], None], left: list[str]) -> None:
    tally = tally_of(step(TaskStatus.RUNNING))
    forget(tally)

    assert list(tally._begun) == left


def test_a_type_that_is_not_registered_is_no_label() -> None:
    tally = Tally({"works"}, lambda: 0.0)

    assert (tally.label("works"), tally.label("x" * 64)) == ("works", OTHER)
