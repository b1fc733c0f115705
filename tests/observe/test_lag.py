"""A loop that is held up is seen to be late, by as much as it was."""

from __future__ import annotations

import asyncio
import contextvars
import time

import pytest

from streaming.observe.lag import PERIOD_S, RECENT, LoopLag

BY = contextvars.ContextVar("by", default="nobody")


@pytest.mark.clock("virtual")
async def test_a_loop_that_has_nothing_to_do_is_not_late() -> None:
    lag = LoopLag(asyncio.get_running_loop().time)
    assert (lag.max_s, lag.mean_s) == (0, 0)
    lag.start()
    await asyncio.sleep(10)

    assert lag.max_s == pytest.approx(0, abs=1e-9)
    assert 99 <= lag.all.count <= 100
    lag.stop()


@pytest.mark.clock("virtual")
async def test_a_step_that_takes_long_is_seen_and_forgotten_after_a_minute() -> None:
    late = 0.0
    lag = LoopLag(lambda: asyncio.get_running_loop().time() + late)
    lag.start()
    await asyncio.sleep(1)
    late += 3.0  # the clock goes on while the loop stands still
    await asyncio.sleep(1)

    assert lag.max_s == pytest.approx(3)
    assert lag.mean_s == pytest.approx(3 / lag.all.count)
    await asyncio.sleep(PERIOD_S * (RECENT + 1))
    assert lag.max_s == pytest.approx(0, abs=1e-9)
    assert lag.all.sum == pytest.approx(3)
    lag.stop()


@pytest.mark.clock("each")
async def test_a_real_loop_that_is_blocked_is_seen() -> None:
    lag = LoopLag(time.monotonic)
    lag.start()
    await asyncio.sleep(0)
    time.sleep(3 * PERIOD_S)  # noqa: ASYNC251  # this is what is looked for
    while not lag.all.count:  # noqa: ASYNC110  # the timer does not tell
        await asyncio.sleep(0)
    lag.stop()

    assert lag.max_s >= 1.5 * PERIOD_S


@pytest.mark.clock("virtual")
async def test_it_begins_once_and_stops() -> None:
    lag = LoopLag(asyncio.get_running_loop().time)
    lag.stop()
    lag.start()
    lag.start()
    await asyncio.sleep(1)
    lag.stop()
    lag.stop()
    await asyncio.sleep(1)

    assert 9 <= lag.all.count <= 10


@pytest.mark.clock("virtual")
async def test_it_does_not_speak_for_whoever_has_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    BY.set("a request")
    lag = LoopLag(asyncio.get_running_loop().time)
    look = lag._look

    def spy(loop: asyncio.AbstractEventLoop) -> None:
        seen.append(BY.get())
        look(loop)

    monkeypatch.setattr(lag, "_look", spy)
    lag.start()
    await asyncio.sleep(1)
    lag.stop()

    assert set(seen) == {"nobody"}
