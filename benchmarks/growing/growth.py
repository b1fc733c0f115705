"""What a series is: something that grows, what is measured meanwhile, what is expected.

Owns:   `Growth`, `Panel`, `Scale`.
Never:  measures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.growing.claims import Claim
from benchmarks.speed.workload import Metric


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done at each point.

    Attributes:
        seconds: of emission at a rate.
        append_events: that are appended to a log at least; a tenth of the log if that is more.
        tails: readers that come back near the end of a log, after each other.
        tail_events: that each of them reads.
        whole_events: of a whole log that is read again and again until there were so many.
        wholes: but not more often than that.
    """

    seconds: float = 3.0
    append_events: int = 10_000
    tails: int = 20
    tail_events: int = 1_000
    whole_events: int = 50_000
    wholes: int = 200


FULL = Scale()
QUICK = Scale(seconds=1.5, append_events=5_000, tails=10, whole_events=20_000, wholes=50)


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture of some numbers of a series, which have the same unit."""

    title: str
    unit: str
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Growth:
    """One series.

    Attributes:
        name: on the command line.
        title: what grows, and what is done with it.
        size: what is counted along the axis, with its unit.
        full: the sizes of a run.
        quick: those of a short one.
        metrics: what is said about each size.
        panels: what is drawn: what CPU gives first, then something else.
        claims: what is expected.
        timed: those metrics that say as much about the machine as about the server.
        measure: takes the values at one size, once; a metric may be missing where it makes no sense.
    """

    name: str
    title: str
    size: str
    full: Sequence[int]
    quick: Sequence[int]
    metrics: Sequence[Metric]
    panels: tuple[Panel, Panel]
    claims: Sequence[Claim]
    timed: Sequence[str]
    measure: Callable[[int, Scale], Awaitable[Mapping[str, float]]]

    def metric(self, key: str) -> Metric:
        return next(metric for metric in self.metrics if metric.key == key)
