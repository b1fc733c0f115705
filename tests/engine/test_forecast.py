"""When a task may end: by its own progress at once, and by past runs as soon as they were read."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest

from streaming.engine import forecast
from streaming.engine.forecast import FRESH_S, RUNS_MAX, Forecast
from streaming.errors import StoreUnavailable
from streaming.events import rfc3339
from streaming.records import Eta, Progress, Record, TaskStatus
from tests.kit import EPOCH_S
from tests.stage import rounds

pytestmark = pytest.mark.clock("virtual")


class Past:
    """A store that knows what past runs took."""

    def __init__(self, **durations: Sequence[float]) -> None:
        self.durations = durations
        self.asked: list[str] = []
        self.problem: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, type: str, limit: int) -> Sequence[float]:
        assert limit == RUNS_MAX
        self.asked.append(type)
        await self.open.wait()
        if self.problem is not None:
            raise self.problem
        return self.durations.get(type, ())


def now() -> str:
    return rfc3339(EPOCH_S + asyncio.get_running_loop().time())


def task(
    status: TaskStatus = TaskStatus.RUNNING, *, percent: float | None = None, type: str = "work", began: bool = True
) -> Record:
    """A task that began at the beginning of time."""
    start = rfc3339(EPOCH_S)
    progress = None if percent is None else Progress(percent)
    return Record("a", type, status, {}, 60.0, start, start, progress=progress, started_at=start if began else None)


def between(earliest_s: float, latest_s: float) -> Eta:
    return Eta(rfc3339(EPOCH_S + earliest_s), rfc3339(EPOCH_S + latest_s))


async def test_its_own_progress_counts_at_once_and_the_past_from_the_next_look_on() -> None:
    seen = Forecast(Past(work=[40.0]), now)
    await asyncio.sleep(10)

    assert seen.eta(task(percent=50)) == between(10 + 10 / 1.5, 25)
    await rounds()
    assert seen.eta(task()) == between(40, 40)
    assert seen.eta(task(percent=50)) == between(0.5 * (10 + 10 / 1.5) + 20, 32.5)


async def test_of_a_task_without_progress_or_past_nothing_is_said() -> None:
    seen = Forecast(Past(), now)
    await asyncio.sleep(10)

    assert seen.eta(task()) is None
    await rounds()
    assert seen.eta(task()) is None


@pytest.mark.parametrize("status", [each for each in TaskStatus if each is not TaskStatus.RUNNING])
async def test_only_a_running_task_has_an_end_to_wait_for(status: TaskStatus) -> None:
    past = Past(work=[40.0])
    seen = Forecast(past, now)

    assert seen.eta(task(status, percent=50)) is None
    assert seen.eta(task(began=False)) is None
    await rounds()
    assert past.asked == []


async def test_the_past_is_read_once_for_all_who_ask_and_again_when_it_is_old() -> None:
    past = Past(work=[40.0])
    seen = Forecast(past, now)
    for _ in range(1000):
        seen.eta(task())
    await rounds()
    seen.eta(task())
    assert past.asked == ["work"]

    past.durations["work"] = [60.0]  # a run has completed
    await asyncio.sleep(FRESH_S)
    assert seen.eta(task()) == between(40, 40)
    await rounds()
    assert seen.eta(task()) == between(60, 60)
    assert past.asked == ["work", "work"]


async def test_a_store_that_does_not_answer_holds_up_nobody_and_is_not_asked_twice(
    log_lines: list[MutableMapping[str, Any]],
) -> None:
    past = Past(work=[40.0])
    past.open.clear()
    past.problem = StoreUnavailable("The disk is full.")
    seen = Forecast(past, now)
    await asyncio.sleep(10)

    for _ in range(5):
        assert seen.eta(task(percent=50)) is not None
        await asyncio.sleep(FRESH_S)
    assert past.asked == ["work"]
    past.open.set()
    await rounds()
    assert [line["event"] for line in log_lines] == ["what past runs took cannot be read"]

    past.problem = None
    seen.eta(task())
    await rounds()
    assert seen.eta(task()) is None  # it runs for 60 seconds already: 40 say nothing
    past.durations["work"] = [100.0]
    await asyncio.sleep(FRESH_S)
    seen.eta(task())
    await rounds()
    assert seen.eta(task()) == between(100, 100)


async def test_few_types_are_read_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "READS_MAX", 2)
    past = Past()
    seen = Forecast(past, now)
    for _ in range(2):
        for name in "abcd":
            seen.eta(task(type=name))
        await rounds()

    assert past.asked == ["a", "b", "c", "d"]


async def test_what_nobody_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "TYPES_MAX", 2)
    past = Past()
    seen = Forecast(past, now)
    for name in ("a", "b", "a", "c", "a", "b"):
        seen.eta(task(type=name))
        await rounds()

    assert past.asked == ["a", "b", "c", "b"]


async def test_no_end_is_beyond_what_a_calendar_can_say() -> None:
    seen = Forecast(Past(work=[1e300]), now)
    seen.eta(task())
    await rounds()

    found = seen.eta(task())
    assert found is not None
    assert found.latest.startswith("3001-01-10")


async def test_after_the_end_nothing_is_read() -> None:
    past = Past(work=[40.0])
    past.open.clear()
    seen = Forecast(past, now)
    seen.eta(task())
    await rounds()
    seen.close()
    await rounds()

    assert [each for each in asyncio.all_tasks() if each.get_name() == "streaming-forecast"] == []


async def test_who_can_wait_learns_what_is_known_of_several_types() -> None:
    past = Past(work=[40.0], rest=[1.0])
    seen = Forecast(past, now)
    await seen.learn(["work", "rest"], 5)
    assert (seen.past("work"), seen.past("rest"), seen.past("none")) == ((40.0,), (1.0,), ())
    await seen.learn(["work"], 5)
    assert past.asked.count("work") == 1
    seen.close()


async def test_nobody_waits_for_a_store_that_does_not_answer() -> None:
    past = Past(work=[40.0])
    past.open.clear()
    seen = Forecast(past, now)
    await seen.learn(["work", "rest"], 5)
    assert asyncio.get_running_loop().time() == 5
    assert seen.past("work") == ()
    seen.close()
    await rounds()
