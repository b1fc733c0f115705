from __future__ import annotations

import asyncio

import pytest

from streaming.engine.context import TaskContext
from streaming.engine.registry import Registry
from streaming.errors import InvalidParams
from streaming.tasks.countdown import TICKS_PER_TURN, countdown
from tests.tasks.conftest import Recorder


async def test_it_counts_down_to_one(ctx: TaskContext, recorder: Recorder) -> None:
    assert await countdown(ctx, 5, 0.0) == {"count": 5}
    assert recorder.data("tick") == [{"n": n} for n in (5, 4, 3, 2, 1)]
    assert [data["percent"] for data in recorder.data("progress")] == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert recorder.data("progress")[1]["message"] == "2 of 5"


async def test_nothing_to_count_is_done_at_once(ctx: TaskContext, recorder: Recorder) -> None:
    assert await countdown(ctx, 0, 1.0) == {"count": 0}
    assert recorder.told == []


async def test_it_ticks_first_and_then_waits(ctx: TaskContext, recorder: Recorder) -> None:
    ticked = recorder.once("tick")
    task = asyncio.create_task(countdown(ctx, 2, 3600.0))
    assert await ticked == {"n": 2}
    assert not task.done()
    assert recorder.data("progress") == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.data("tick") == [{"n": 2}]


async def test_it_waits_its_interval_after_each_tick(
    ctx: TaskContext, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await countdown(ctx, 3, 0.25)
    assert waits == [0.25, 0.25, 0.25]


async def test_progress_does_not_double_the_load(ctx: TaskContext, recorder: Recorder) -> None:
    await countdown(ctx, 10_000, 0.0)
    assert len(recorder.data("tick")) == 10_000
    assert len(recorder.data("progress")) == 100


async def test_as_fast_as_it_can_it_still_lets_others_run_and_can_be_cancelled(
    ctx: TaskContext, recorder: Recorder
) -> None:
    """The recorder never waits, so emit gives nobody a turn."""
    task = asyncio.create_task(countdown(ctx, 1_000_000, 0.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(recorder.data("tick")) == TICKS_PER_TURN


@pytest.mark.parametrize(
    "params",
    [
        {"count": -1},
        {"count": 1_000_001},
        {"count": 1.5},
        {"interval": -0.1},
        {"interval": 1e9},
        {"interval": float("nan")},
    ],
)
def test_senseless_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(InvalidParams):
        Registry([countdown]).get("countdown").validate(params)


def test_both_parameters_have_defaults() -> None:
    assert Registry([countdown]).get("countdown").validate({}) == {"count": 10, "interval": 1.0}
