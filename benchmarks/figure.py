"""What is measured, and what counts as reached.

Owns:   `Figure`, `Metric`, `Goal`, the size of a run, and the error for a promise that did not hold.
Never:  measures anything (``benchmarks.figures``), or knows how a result is printed (``benchmarks.report``).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Values = Mapping[str, float]

_COMPARE = MappingProxyType({">=": operator.ge, "<=": operator.le, "<": operator.lt})


class Flaw(Exception):
    """An event was lost, repeated or out of order, or an answer was not what the contract says."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The limit that a median has to keep."""

    sign: Literal[">=", "<=", "<"]
    limit: float

    def met(self, value: float) -> bool:
        return bool(_COMPARE[self.sign](value, self.limit))


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a figure; one without a goal explains the others."""

    key: str
    title: str
    unit: str
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is; a quick one is shorter, with the same number of tasks, readers, clients and connections."""

    duration_s: float = 10.0
    burst_events: int = 60_000
    starts: int = 3_000
    readers: int = 1_000
    tasks: int = 1_000
    streams: int = 200
    connections: int = 32
    clients: int = 100
    calls: int = 10_000
    records: int = 1_000_000
    records_few: int = 10_000
    questions: int = 60
    pairs: int = 20
    pair_starts: int = 200
    progress_events: int = 50_000
    reported_events: int = 200_000
    memory_tasks: int = 1_000_000
    honest: int = 100
    wrong_rate: float = 10_000.0
    wrong_connections: int = 1_000
    hostile: int = 2_000
    hostile_s: float = 40.0
    fuzz_requests: int = 100_000
    live_tasks: int = 10_000
    scrapes: int = 200


FULL = Scale()
QUICK = Scale(
    duration_s=3.0,
    burst_events=20_000,
    starts=1_500,
    calls=3_000,
    records=50_000,
    questions=20,
    pairs=10,
    progress_events=10_000,
    reported_events=50_000,
    memory_tasks=20_000,
    hostile_s=15.0,
    fuzz_requests=5_000,
    scrapes=50,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: its metrics, and the function that takes their values once."""

    name: str
    title: str
    metrics: Sequence[Metric]
    measure: Callable[[Scale], Awaitable[Values]]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was really measured."""
    if not values:
        raise Flaw("nothing was measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
