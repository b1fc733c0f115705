"""The clock on the wall is set while tasks run, by hours and both ways: only what is written down follows it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.journal import RecordQuery
from streaming.engine.retention import Sweeper, policy_of
from streaming.events import rfc3339, seconds_of
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import TaskEvidence
from streaming.rules.history import spans
from streaming.rules.invariants import check_task
from streaming.rules.lifecycle import TERMINAL
from tests.kit import EPOCH_S, TestedStore, collect, events_of, types

pytestmark = pytest.mark.clock("virtual")

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


class Wall:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.set_by_s = 0.0

    def __call__(self) -> float:
        return EPOCH_S + asyncio.get_running_loop().time() + self.set_by_s

    async def jump(self, steps: Iterable[float], every_s: float) -> None:
        """Set it by each of these, one after the other."""
        for step in steps:
            await asyncio.sleep(every_s)
            self.set_by_s += step


JUMPS = {
    "forward": [5 * HOUR_S],
    "back": [-5 * HOUR_S],
    "back and forth": [HOUR_S, -HOUR_S] * 20,
    "a second at a time": [-1.0] * 40,
    "a year forward": [YEAR_S],
    "a year back": [-YEAR_S],
}

each_jump = pytest.mark.parametrize("steps", JUMPS.values(), ids=list(JUMPS))


@task
async def ticks(ctx: TaskContext, n: int = 30) -> int:
    for number in range(n):
        await ctx.emit("tick", {"n": number})
        await asyncio.sleep(1)
    return n


@task
async def sleeper() -> None:
    await asyncio.get_running_loop().create_future()


@task(retries=3, backoff_s=2.0)
async def fails() -> None:
    raise ValueError("no luck")


def build(wall: Callable[[], float], **settings: Any) -> tuple[TaskCoordinator, TestedStore]:
    configured = Settings(**settings)
    store = TestedStore(configured)
    numbers = itertools.count(1)
    coordinator = TaskCoordinator(
        Registry([ticks, sleeper, fails]),
        store,
        configured,
        wall=wall,
        new_id=lambda: f"{next(numbers):032x}",
        chance=lambda: 0.5,
    )
    return coordinator, store


async def check(store: TestedStore) -> None:
    """All that must hold of all tasks; and all that is told of times can be told."""
    page = await store.records(RecordQuery(limit=1000))
    assert page.records
    for record in page.records:
        events = await store.events_after(record.id, 0, last_seq=record.last_seq, limit=1000)
        changes = await store.changes(record.id)
        assert check_task(TaskEvidence(record=record, events=events, changes=changes)) == []
        for event in events:
            assert rfc3339(seconds_of(event.time)) == event.time, "RFC 3339, whatever the clock"
        assert all(span.lasted_s is None or span.lasted_s >= 0 for span in spans(changes))


@each_jump
async def test_a_task_runs_through_all_jumps_and_its_events_keep_their_order(steps: list[float]) -> None:
    wall = Wall()
    coordinator, store = build(wall)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {})
        reading = asyncio.create_task(events_of(coordinator, record.id))
        feed = await coordinator.follow(after=0)
        await wall.jump(steps, 0.7)

        events = await reading
        assert types(events) == ["pending", "running", *["tick"] * 30, "completed"]
        assert [event.seq for event in events] == list(range(1, 34))
        assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1), "its time is not that of the wall"
        feed.close()
        await check(store)


@each_jump
@pytest.mark.parametrize(
    ("options", "after_s", "code"),
    [
        ({"timeout_s": 60}, 60, "timed_out"),
        ({"heartbeat_timeout_s": 40}, 40, "heartbeat_timeout"),
        ({"total_timeout_s": 50}, 50, "total_timeout"),
    ],
    ids=["timeout_s", "heartbeat_timeout_s", "total_timeout_s"],
)
async def test_a_deadline_that_runs_does_not_follow_the_wall(
    options: dict[str, Any], after_s: float, code: str, steps: list[float]
) -> None:
    wall = Wall()
    coordinator, store = build(wall)
    async with coordinator:
        record, _ = await coordinator.start("sleeper", {}, **options)
        reading = asyncio.create_task(events_of(coordinator, record.id))
        await wall.jump(steps, 0.5)
        events = await reading

        assert asyncio.get_running_loop().time() == pytest.approx(after_s, abs=0.5)
        ended = await coordinator.get(record.id)
        assert ended.error is not None
        assert (ended.status, ended.error.code) == (TaskStatus.TIMED_OUT, code)
        assert types(events).count("deadline_warning") == 1, "readers were warned once"
        await check(store)


@each_jump
async def test_a_task_that_waits_for_its_turn_waits_by_its_own_clock(steps: list[float]) -> None:
    wall = Wall()
    coordinator, store = build(wall, max_running=1)
    async with coordinator:
        first, _ = await coordinator.start("ticks", {})
        late, _ = await coordinator.start("ticks", {}, queue_timeout_s=20)
        patient, _ = await coordinator.start("ticks", {"n": 1})
        await wall.jump(steps, 0.5)
        for record in (first, late, patient):
            await coordinator.wait(record.id, 200)
        assert [(await coordinator.get(each.id)).status for each in (first, late, patient)] == [
            "completed",
            "timed_out",
            "completed",
        ]
        assert asyncio.get_running_loop().time() == pytest.approx(31, abs=0.5)
        await check(store)


@each_jump
async def test_the_pauses_between_attempts_end_whatever_the_wall_says(steps: list[float]) -> None:
    """A pause is 1, 2 and 4 seconds; no jump makes it longer than the longest that a policy allows."""
    wall = Wall()
    coordinator, store = build(wall)
    async with coordinator:
        record, _ = await coordinator.start("fails", {})
        jumping = asyncio.create_task(wall.jump(steps, 0.5))
        await coordinator.wait(record.id, 1000)
        ended = await coordinator.get(record.id)
        assert (ended.status, ended.attempt) == (TaskStatus.FAILED, 4)
        assert asyncio.get_running_loop().time() < 3 * record.policy.retry.backoff_max_s
        await jumping
        await check(store)


@pytest.mark.parametrize("set_by_s", [-25 * HOUR_S, -60.0, 0.0, HOUR_S])
async def test_a_key_stands_for_its_task_though_the_clock_was_set(set_by_s: float) -> None:
    wall = Wall()
    coordinator, _ = build(wall)
    async with coordinator:
        record, _ = await coordinator.start("sleeper", {}, idempotency_key="once")
        wall.set_by_s = set_by_s
        again, made = await coordinator.start("sleeper", {}, idempotency_key="once")
        assert (again.id, made) == (record.id, False)


async def test_a_key_is_over_once_the_wall_says_that_its_day_is() -> None:
    wall = Wall()
    coordinator, store = build(wall)
    async with coordinator:
        record, _ = await coordinator.start("sleeper", {}, idempotency_key="once")
        wall.set_by_s = 25 * HOUR_S
        again, made = await coordinator.start("sleeper", {}, idempotency_key="once")
        assert made
        assert again.id != record.id
        await check(store)


@each_jump
async def test_retention_follows_the_wall_and_takes_nothing_that_goes_on(steps: list[float]) -> None:
    """By age what has ended goes once its time is over on the wall; what goes on stays; and nothing ever fails."""
    wall = Wall()
    limits = json.dumps({"*": {"records": {"age_s": HOUR_S}}})
    coordinator, store = build(wall, retention=limits, retention_every_s=1)
    settings = Settings(retention=limits, retention_every_s=1)  # type: ignore[arg-type]  # as the environment has it
    async with coordinator, Sweeper(store, policy_of(settings), settings, coordinator.now):
        going_on, _ = await coordinator.start("sleeper", {})
        ended, _ = await coordinator.start("ticks", {"n": 1})
        await coordinator.wait(ended.id, 10)
        await wall.jump(steps, 0.7)
        await asyncio.sleep(10)

        kept = {record.id for record in (await store.records(RecordQuery(limit=10))).records}
        furthest = max(itertools.accumulate(steps))
        assert going_on.id in kept
        assert (ended.id in kept) is (furthest < HOUR_S - 60)
        await coordinator.wait((await coordinator.start("ticks", {"n": 1}))[0].id, 10)
        await check(store)


@each_jump
async def test_after_a_restart_times_in_the_future_are_no_trouble(steps: list[float]) -> None:
    """The clock was set while nobody ran: records, pauses and keys are from tomorrow, or from long ago."""
    wall = Wall()
    coordinator, store = build(wall, max_running=1)
    async with coordinator:
        running, _ = await coordinator.start("sleeper", {})
        waiting, _ = await coordinator.start("ticks", {"n": 2}, total_timeout_s=1000)
        await asyncio.sleep(1)
        await coordinator.shutdown()
    before = await collect_log(store, waiting)
    wall.set_by_s = sum(steps)
    again = TaskCoordinator(
        Registry([ticks, sleeper, fails]), store, Settings(), wall=wall, new_id=lambda: "f" * 32, chance=lambda: 0.5
    )
    async with again:
        await again.wait(waiting.id, 100)
        ended = await again.get(waiting.id)
        over = sum(steps) >= 1000
        assert ended.status == (TaskStatus.TIMED_OUT if over else TaskStatus.COMPLETED), (
            "total_timeout_s is told by wall"
        )
        assert (await collect(await again.watch(waiting.id)))[: len(before)] == before
        assert (await again.get(running.id)).status in TERMINAL
        await check(store)


async def test_after_a_restart_nobody_waits_for_a_tomorrow_that_was_taken_back() -> None:
    """The pause before the next attempt, and the time of the whole, end as they would have ended."""
    wall = Wall()
    coordinator, store = build(wall, max_running=1)
    async with coordinator:
        failing, _ = await coordinator.start("fails", {}, retry={"backoff_s": 60.0, "backoff_max_s": 100.0})
        await asyncio.sleep(0.1)
        assert (await coordinator.get(failing.id)).status is TaskStatus.RETRYING
        blocking, _ = await coordinator.start("sleeper", {})
        late, _ = await coordinator.start("sleeper", {}, total_timeout_s=50)
        await asyncio.sleep(0.1)
        await coordinator.shutdown()
    wall.set_by_s = -YEAR_S
    began_at = asyncio.get_running_loop().time()
    again = TaskCoordinator(
        Registry([ticks, sleeper, fails]), store, Settings(), wall=wall, new_id=lambda: "f" * 32, chance=lambda: 0.5
    )
    async with again:
        await again.wait(late.id, 10_000)
        assert asyncio.get_running_loop().time() - began_at == pytest.approx(50, abs=0.5)
        await again.wait(failing.id, 10_000)
        assert (await again.get(failing.id)).status is TaskStatus.FAILED
        assert asyncio.get_running_loop().time() - began_at < 3 * 100
        assert (await again.get(blocking.id)).status is TaskStatus.INTERRUPTED
        await check(store)


async def collect_log(store: TestedStore, record: Record) -> list[Any]:
    stored = await store.record(record.id)
    assert stored is not None
    return list(await store.events_after(record.id, 0, last_seq=stored.last_seq, limit=1000))
