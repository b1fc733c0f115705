"""Whoever scrapes gets all metrics of the catalogue, in two formats, with labels of ours only; looking changes none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from streaming import TaskCoordinator
from streaming.config import Settings
from streaming.observe.catalogue import METRICS, PROCESS, Kind
from streaming.observe.metrics import Metrics, Web
from streaming.observe.tally import OTHER
from streaming.records import Record
from streaming.rules.breaker import Circuit
from tests.kit import build
from tests.stage import deaf, forever, instant

pytestmark = pytest.mark.clock("virtual")


@asynccontextmanager
async def measured(**settings: Any) -> AsyncIterator[tuple[Metrics, TaskCoordinator]]:
    """A coordinator, and what is counted of it."""
    coordinator, _ = build([forever, instant, deaf], **settings)
    metrics = Metrics(Settings(store_url="memory://"), coordinator.registry, asyncio.get_running_loop().time)
    metrics.watch(coordinator.parts)
    metrics.serve(Web(lambda: 3, {("GET", "200"): 5}, {"nothing": 2}, coordinator.stalls))
    async with coordinator:
        yield metrics, coordinator


def exposed(name: str) -> str:
    """What a metric is called where its kind is cut off."""
    return name.removesuffix("_total") if METRICS.get(name, PROCESS.get(name)).kind is Kind.COUNTER else name  # type: ignore[union-attr]  # it is in one of them


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Of one metric, by the values of its labels in their order."""
    found = {family.name: family for family in read_text(metrics.exposition(openmetrics=False).decode())}
    family = found[exposed(name)]
    return {
        tuple(sample.labels[label] for label in METRICS[name].labels): sample.value
        for sample in family.samples
        if sample.name == name
    }


def read(metrics: Metrics, *, openmetrics: bool) -> list[Metric]:
    text = metrics.exposition(openmetrics=openmetrics).decode()
    return list((read_openmetrics if openmetrics else read_text)(text))


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_all_of_the_catalogue_is_there_with_its_labels_and_nothing_else(openmetrics: bool) -> None:
    async with measured() as (metrics, coordinator):
        await coordinator.start("instant", {})
        await asyncio.sleep(1)
        families = {family.name: family for family in read(metrics, openmetrics=openmetrics)}

    assert set(families) == {exposed(name) for name in (*METRICS, *PROCESS)}
    for name, described in METRICS.items():
        family = families[exposed(name)]
        assert (family.type, family.documentation) == (described.kind.value, described.help)
        assert {frozenset(sample.labels) - {"le"} for sample in family.samples} <= {frozenset(described.labels)}


async def test_the_two_formats_say_the_same() -> None:
    async with measured() as (metrics, coordinator):
        await coordinator.start("instant", {})
        await asyncio.sleep(1)
        both = [
            {
                (sample.name, str(sorted(sample.labels.items()))): sample.value
                for each in found
                for sample in each.samples
            }
            for found in (read(metrics, openmetrics=False), read(metrics, openmetrics=True))
        ]
        text = metrics.exposition(openmetrics=True)

    mine = [{key: value for key, value in each.items() if key[0].startswith("streaming_")} for each in both]
    assert mine[0] == mine[1]
    assert text.endswith(b"# EOF\n")


def test_names_are_as_prometheus_wants_them() -> None:
    for name, described in METRICS.items():
        assert name.startswith("streaming_")
        assert name.endswith("_total") is (described.kind is Kind.COUNTER)
        assert described.help.endswith(".")
        assert not {"le", "quantile", "instance", "job"} & set(described.labels)
        if described.kind is Kind.HISTOGRAM:
            assert name.endswith("_seconds")


async def test_tasks_are_counted_by_status_and_type_and_unknown_types_together() -> None:
    async with measured() as (metrics, coordinator):
        await coordinator.start("forever", {})
        await asyncio.sleep(1)
        assert values(metrics, "streaming_tasks")["running", "forever"] == 1
        log = next(iter(coordinator.parts.tasks.values())).log
        was = log.visible
        log.visible = Record(was.id, "x" * 64, was.status, {}, 60.0, was.created_at, was.updated_at)
        found = values(metrics, "streaming_tasks")
        log.visible = was

    assert (found["running", "forever"], found["running", OTHER]) == (0, 1)
    assert {type for _, type in found} == {"forever", "instant", "deaf", OTHER}
    assert {status for status, _ in found} == {"pending", "running", "retrying"}


async def test_looking_changes_nothing() -> None:
    async with measured() as (metrics, coordinator):
        metrics.lag.start()
        await coordinator.start("instant", {})
        await asyncio.sleep(1)
        first, second = (metrics.exposition(openmetrics=False).split(b"# HELP process_")[0] for _ in range(2))
        metrics.lag.stop()

    assert first == second


async def test_each_server_counts_for_itself() -> None:
    async with measured() as (mine, coordinator), measured() as (others, _):
        await coordinator.start("instant", {})
        await asyncio.sleep(1)

        assert values(mine, "streaming_tasks_created_total")["instant",] == 1
        assert values(others, "streaming_tasks_created_total")["instant",] == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("streaming")]


async def test_what_the_floors_above_count_is_there() -> None:
    async with measured() as (metrics, coordinator):
        assert values(metrics, "streaming_streams_open") == {(): 3}
        assert values(metrics, "streaming_requests_total") == {("GET", "200"): 5}
        coordinator.stalls.by_others += 4
        assert values(metrics, "streaming_stalls_total") == {("handler",): 0, ("other",): 4}
        assert values(metrics, "streaming_authentication_failures_total") == {("nothing",): 2}


async def test_without_floors_above_there_is_the_rest() -> None:
    coordinator, _ = build([instant])
    metrics = Metrics(Settings(store_url="memory://"), coordinator.registry, time.monotonic)
    metrics.watch(coordinator.parts)

    assert values(metrics, "streaming_streams_open") == {}
    assert values(metrics, "streaming_ready") == {(): 1}


async def test_a_breaker_is_told_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with measured() as (metrics, coordinator):
        assert values(metrics, "streaming_store_breaker") == {}
        monkeypatch.setattr(coordinator.parts.hub.journal, "circuit", Circuit.HALF_OPEN, raising=False)
        assert values(metrics, "streaming_store_breaker") == {("closed",): 0, ("open",): 0, ("half_open",): 1}


async def test_a_store_that_is_away_is_seen() -> None:
    async with measured() as (metrics, coordinator):
        coordinator.parts.hub.journal.away = True  # type: ignore[attr-defined]  # it is one for tests
        starting = asyncio.create_task(coordinator.start("forever", {}))
        await asyncio.sleep(0.01)
        found = {name: values(metrics, f"streaming_{name}")[()] for name in ("store_available", "ready")}
        coordinator.parts.hub.journal.away = False  # type: ignore[attr-defined]  # the same
        await asyncio.wait({starting})
        starting.exception()

    assert found == {"store_available": 0, "ready": 0}


async def test_a_drain_is_seen_in_its_phases() -> None:
    async with measured(grace_s=10, cancel_grace_s=3) as (metrics, coordinator):
        await coordinator.start("deaf", {})
        await asyncio.sleep(1)

        def phase() -> list[str]:
            return [phase for (phase,), value in values(metrics, "streaming_drain_phase").items() if value]

        seen = [phase()]
        leaving = asyncio.create_task(coordinator.shutdown())
        for _ in range(20):
            await asyncio.sleep(0.5)
            seen.append(phase())
        await leaving
        seen.append(phase())
        assert values(metrics, "streaming_ready") == {(): 0}

    phases = list(dict.fromkeys(each for (each,) in seen))
    assert phases == ["none", "begin", "stop", "flush", "end"]


async def test_ten_thousand_live_tasks_are_looked_at_quickly() -> None:
    """The goal is told by the benchmark; this only sees that nothing is done for each pair of them."""
    async with measured(max_pending=20_000) as (metrics, coordinator):
        record, _ = await coordinator.start("forever", {})
        await asyncio.sleep(1)
        task = coordinator.parts.tasks[record.id]
        coordinator.parts.tasks.update({f"{n}": task for n in range(10_000)})
        began = time.perf_counter()
        found = values(metrics, "streaming_tasks")["running", "forever"]
        took_s = time.perf_counter() - began
        for n in range(10_000):
            del coordinator.parts.tasks[f"{n}"]

    assert found == 10_001
    assert took_s < 1
