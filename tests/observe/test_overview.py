"""One look tells how a server is: what is live, what was measured, what is wrong, and how far its end is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.config import Settings
from streaming.events import rfc3339
from streaming.observe.metrics import Metrics
from streaming.observe.overview import Overview
from streaming.rules.breaker import Circuit
from tests.kit import EPOCH_S, build
from tests.stage import deaf, forever, instant

pytestmark = pytest.mark.clock("virtual")


async def test_tasks_are_those_of_everybody_and_their_limits() -> None:
    coordinator, _ = build([forever], max_running=1, max_pending=7)
    async with coordinator:
        for by in ("anna", "bob"):
            await coordinator.start("forever", {}, created_by=by)
        await asyncio.sleep(2)
        overview = Overview(coordinator.parts, None)

        assert overview.tasks() == {
            "pending": 1,
            "running": 1,
            "retrying": 0,
            "running_max": 1,
            "pending_max": 7,
            "oldest_waiting_s": pytest.approx(2),
        }
        assert overview.readers_behind() == 0


async def test_what_was_not_measured_is_null() -> None:
    coordinator, _ = build([instant])

    assert Overview(coordinator.parts, None).measured() == {"events_per_s": None, "commit_s": None, "loop_lag_s": None}


async def test_what_was_measured_is_of_the_last_moments() -> None:
    coordinator, _ = build([instant])
    metrics = Metrics(Settings(), coordinator.registry, asyncio.get_running_loop().time)
    metrics.watch(coordinator.parts)
    overview = Overview(coordinator.parts, metrics)
    assert overview.measured()["commit_s"] == {"p50": None, "p99": None, "window_s": 60}
    async with coordinator:
        await coordinator.start("instant", {})
        await asyncio.sleep(0.5)
        found: Any = overview.measured()

        assert found["events_per_s"] == {"last_1_s": 3, "last_10_s": 0.3}
        assert found["commit_s"] == {"p50": 0, "p99": 0, "window_s": 60}
        assert found["loop_lag_s"] == {"max": 0, "mean": 0}


async def test_limits_and_troubles_of_the_store_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build([instant])
    overview = Overview(coordinator.parts, None)
    coordinator.limits_hit.hit("too_many_tasks")
    monkeypatch.setattr(store, "circuit", Circuit.OPEN, raising=False)
    monkeypatch.setattr(store, "troubles", {"read": 1, "write": 2})

    assert overview.limits_hit() == {"too_many_tasks": 1}
    assert overview.store() == {
        "kind": "sqlite",
        "available": True,
        "breaker": "open",
        "errors": {"read": 1, "write": 2},
    }
    assert overview.memory()["backlog_bytes"] == 0


async def test_the_end_of_a_drain_is_a_time() -> None:
    coordinator, _ = build([deaf], grace_s=10)
    async with coordinator:
        overview = Overview(coordinator.parts, None)
        assert overview.times()["started_at"] <= overview.times()["time"]
        assert overview.drain() == {"phase": "none", "ends_at": None}
        await coordinator.start("deaf", {})
        await asyncio.sleep(1)
        leaving = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(0.5)
        assert overview.drain() == {"phase": "begin", "ends_at": at(11)}
        await asyncio.sleep(0.5)
        assert overview.drain()["ends_at"] == at(11)
        coordinator.hurry(2)
        assert overview.drain()["ends_at"] == at(4)
        await leaving
        assert overview.drain()["phase"] == "end"


def at(seconds: float) -> str:
    return rfc3339(EPOCH_S + seconds)
