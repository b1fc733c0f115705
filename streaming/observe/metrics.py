"""The metrics of one server: what is counted, and how Prometheus gets it.

Each server has a registry of its own, and nothing is counted in a global one. Nearly all values are looked up in the
moment in which somebody asks; what has to be counted meanwhile is counted once for each commit.

Owns:   `Metrics`; which value stands for which metric.
Uses:   observe.tally (what has happened), observe.live (what is live), observe.lag, observe.catalogue (the names).
Never:  resets anything because somebody has looked: there may be two who look.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import isinf
from typing import TypeAlias, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streaming.config import Settings
from streaming.engine.parts import Parts
from streaming.engine.registry import Registry
from streaming.engine.stalls import Stalls
from streaming.observe.catalogue import METRICS, Described, Kind
from streaming.observe.distribution import Distribution
from streaming.observe.lag import LoopLag
from streaming.observe.live import OPEN_OUTCOMES, Live, look, readers_behind
from streaming.observe.tally import OTHER, Tally
from streaming.records import TaskStatus
from streaming.rules.breaker import Circuit
from streaming.rules.drain import Phase
from streaming.rules.lifecycle import LIVE, TERMINAL

#: The values of one metric, by those of its labels.
Values: TypeAlias = Mapping[tuple[str, ...], float | Distribution]

#: What the newer of the two formats is called.
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

#: Settings whose limit is told beside what it limits.
SETTINGS = ("max_running", "max_pending", "max_streams", "max_connections")


@dataclass(frozen=True, slots=True)
class Web:
    """What the floors above count.

    Attributes:
        streams_open: how many streams are open.
        answered: requests by method and status.
        refused: credentials by what was wrong with them.
        stalls: who has blocked the event loop.
    """

    streams_open: Callable[[], int]
    answered: Values
    refused: Mapping[str, int]
    stalls: Stalls


class Metrics:
    """What is counted of one server.

    Args:
        settings: which store, and which limits.
        registry: the task types, which are labels.
        clock: seconds; it never goes back.

    Attributes:
        tally: what has happened.
        lag: how late the event loop is; started by whoever has the loop.
    """

    def __init__(self, settings: Settings, registry: Registry, clock: Callable[[], float]) -> None:
        self.tally = Tally(registry, clock)
        self.lag = LoopLag(clock)
        self._settings = settings
        self._types = [*(each.name for each in registry), OTHER]
        self._store = settings.store_url.partition(":")[0].partition("+")[0]
        self._parts: Parts | None = None
        self._web: Web | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Ours(self.values))
        ProcessCollector(registry=self._registry)

    def watch(self, parts: Parts) -> None:
        """Count what is committed from now on."""
        self._parts = parts
        parts.hub.observed.by = self.tally

    def serve(self, web: Web) -> None:
        """Take in what the floors above count."""
        self._web = web

    def exposition(self, *, openmetrics: bool) -> bytes:
        """All metrics, as Prometheus reads them.

        Args:
            openmetrics: in the newer of the two formats.
        """
        encode, _ = choose_encoder(OPENMETRICS if openmetrics else "")
        return encode(self._registry)

    def live(self) -> Live:
        """What is live now."""
        return look(self._known, self.tally.label)

    def readers_behind(self) -> int:
        """How many readers have something left to read."""
        return readers_behind(self._known)

    @property
    def _known(self) -> Parts:
        assert self._parts is not None  # noqa: S101  # nobody can ask before there is something to ask about
        return self._parts

    def values(self) -> dict[str, Values]:
        """The value of each metric."""
        return {**self._of_tasks(), **self._of_the_store(), **self._of_readers(), **self._of_the_server()}

    def _of_tasks(self) -> dict[str, Values]:
        tally, types, live = self.tally, self._types, self.live()
        tally.forget_runs(self._known.tasks)
        return {
            "streaming_tasks": {(status, type): live.tasks[status, type] for status in _sorted(LIVE) for type in types},
            "streaming_task_oldest_waiting_seconds": {(): live.oldest_waiting_s},
            "streaming_tasks_created_total": {(type,): tally.created[type] for type in types},
            "streaming_tasks_finished_total": {
                (status, type): tally.finished[status, type] for status in _sorted(TERMINAL) for type in types
            },
            "streaming_task_waiting_seconds": _by(tally.waiting),
            "streaming_task_running_seconds": _by(tally.running),
            "streaming_task_retries_total": {(type,): tally.retries[type] for type in types},
            "streaming_task_requeues_total": {(type,): tally.requeues[type] for type in types},
            "streaming_timeouts_total": _by(tally.timeouts),
            "streaming_cancels_total": _by(tally.cancels),
            "streaming_cancels_open": {(outcome,): live.cancels[outcome] for outcome in OPEN_OUTCOMES},
            "streaming_cancel_seconds": {(): tally.stopping},
        }

    def _of_the_store(self) -> dict[str, Values]:
        tally, hub = self.tally, self._known.hub
        circuit = hub.journal.circuit
        return {
            "streaming_events_written_total": {(): tally.events},
            "streaming_commit_seconds": {(): tally.commits},
            "streaming_commit_rows_total": {(): tally.rows},
            "streaming_backlog_bytes": {(): hub.backlog_bytes},
            "streaming_store_available": {(): hub.available},
            "streaming_store_breaker": {} if circuit is None else _one_of(Circuit, circuit),
            "streaming_store_errors_total": _by(hub.journal.troubles),
        }

    def _of_readers(self) -> dict[str, Values]:
        deliveries = self._known.hub.observed.deliveries
        return {
            "streaming_streams_open": {} if self._web is None else {(): self._web.streams_open()},
            "streaming_readers_behind": {(): self.readers_behind()},
            "streaming_deliveries_total": {(): deliveries.events},
            "streaming_sent_bytes_total": {(): deliveries.bytes},
            "streaming_gaps_total": _by(deliveries.gaps),
        }

    def _of_the_server(self) -> dict[str, Values]:
        parts, settings, web = self._known, self._settings, self._web
        ready = parts.hub.available and not parts.drain.begun
        return {
            "streaming_requests_total": {} if web is None else web.answered,
            "streaming_limits_hit_total": _by(parts.hub.limits_hit),
            "streaming_authentication_failures_total": {} if web is None else _by(web.refused),
            "streaming_loop_lag_seconds": {(): self.lag.all},
            "streaming_loop_lag_max_seconds": {(): self.lag.max_s},
            "streaming_stalls_total": {}
            if web is None
            else {("handler",): web.stalls.by_handlers, ("other",): web.stalls.by_others},
            "streaming_ready": {(): ready},
            "streaming_drain_phase": _one_of(Phase, parts.drain.phase),
            "streaming_setting": {(name,): getattr(settings, name) for name in SETTINGS},
            "streaming_build_info": {(platform.python_version(), self._store, version("streaming")): 1},
        }


class _Ours(Collector):
    """What the registry asks, each time that somebody asks it."""

    def __init__(self, values: Callable[[], Mapping[str, Values]]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        """All metrics, in the order of the catalogue."""
        found = self._values()
        for name, described in METRICS.items():
            yield _family(name, described, found[name])


def _family(name: str, described: Described, values: Values) -> Metric:
    if described.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, described.help, labels=described.labels)
        for labels, spread in values.items():
            histogram.add_metric(labels, *_buckets(cast(Distribution, spread)))
        return histogram
    family = CounterMetricFamily if described.kind is Kind.COUNTER else GaugeMetricFamily
    found = family(name, described.help, labels=described.labels)
    for labels, value in values.items():
        found.add_metric(labels, float(cast(float, value)))
    return found


def _buckets(spread: Distribution) -> tuple[list[tuple[str, float]], float]:
    return [("+Inf" if isinf(bound) else repr(bound), count) for bound, count in spread.buckets()], spread.sum


def _by(counts: Mapping[str, float] | Mapping[str, Distribution]) -> Values:
    return {(name,): value for name, value in counts.items()}


def _one_of(possible: type[Circuit] | type[Phase], found: Circuit | Phase) -> Values:
    return {(each.value,): float(each is found) for each in possible}


def _sorted(statuses: frozenset[TaskStatus]) -> list[str]:
    return [status.value for status in TaskStatus if status in statuses]
