"""What has to be reached, and whether it was.

Owns:   `GOALS`, and the verdict about each.
Never:  measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figure import Goal as Limit
from benchmarks.speed.results import Results

_OURS, _MEMORY = "streaming", "streaming-memory"


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit for one of ours.

    Attributes:
        title: what is compared.
        workload, key: where the number is.
        contender: whose number it is.
        peer: whose number it is divided by; None for the number itself.
        limit: of the median.
    """

    title: str
    workload: str
    key: str
    contender: str
    peer: str | None
    limit: Limit


def _at_most(limit: float) -> Limit:
    return Limit("<=", limit)


def _at_least(limit: float) -> Limit:
    return Limit(">=", limit)


GOALS = (
    Goal("W1 CPU per delivery / sse-starlette", "live", "cpu_us", _OURS, "sse-starlette", _at_most(0.2)),
    Goal("W1 CPU per delivery / asyncio.Protocol on uvloop", "live", "cpu_us", _OURS, "protocol", _at_most(1.5)),
    Goal("W1 CPU per delivery / Nchan", "live", "cpu_us", _OURS, "nchan", _at_most(1.0)),
    Goal("W1 99 % within, memory store / Nchan", "live", "p99_ms", _MEMORY, "nchan", _at_most(1.0)),
    Goal("W1 CPU per delivery, SQLite / memory store", "live", "cpu_us", _OURS, _MEMORY, _at_most(1.15)),
    Goal("W2 events/s, memory store / sse-starlette", "single", "events_s", _MEMORY, "sse-starlette", _at_least(2)),
    Goal("W3 deliveries/s / sse-starlette", "saturation", "deliveries_s", _OURS, "sse-starlette", _at_least(6)),
    Goal("W3 deliveries/s / bare uvicorn", "saturation", "deliveries_s", _OURS, "uvicorn", _at_least(3)),
    Goal("W4 memory of a stream / sse-starlette", "idle", "stream_kb", _OURS, "sse-starlette", _at_most(0.3)),
    Goal("W4 streams opened/s / sse-starlette", "idle", "streams_s", _OURS, "sse-starlette", _at_least(3)),
    Goal("W5 CPU per delivery / sse-starlette", "many", "cpu_us", _OURS, "sse-starlette", _at_most(0.4)),
    Goal("W6 seconds / sse-starlette", "replay", "seconds", _OURS, "sse-starlette", _at_most(1.0)),
    Goal("W7 starts/s / Starlette with aiosqlite", "starts", "starts_s", _OURS, "starlette-aiosqlite", _at_least(1.5)),
    Goal("W7 starts/s / one connection", "starts", "starts_s", _OURS, "starlette-aiosqlite-kept", _at_least(1.5)),
    Goal("W8 whole short tasks/s", "short", "tasks_s", _OURS, None, _at_least(600)),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a goal.

    Attributes:
        goal: which.
        values: one a round.
        asked: whether its workload was measured with both of them, as far as they are on this machine.
        met: None if nothing can be said.
    """

    goal: Goal
    values: Sequence[float]
    asked: bool
    met: bool | None

    @property
    def middle(self) -> float | None:
        return median(self.values) if self.values else None


def verdict(goal: Goal, results: Results) -> Verdict:
    """Whether a goal was met; one of ours that breaks a promise in any round has met nothing there."""
    if goal.peer is None:
        values: Sequence[float] = results.of(goal.workload, goal.contender).values(goal.key)
    else:
        values = results.ratios(goal.workload, goal.key, goal.contender, goal.peer)
    mine = results.of(goal.workload, goal.contender)
    asked = bool(mine.cells) and (goal.peer is None or bool(results.of(goal.workload, goal.peer).cells))
    if not asked:
        return Verdict(goal, values, asked, None)
    return Verdict(goal, values, asked, bool(values) and not mine.flaws and goal.limit.met(median(values)))


def verdicts(results: Results) -> list[Verdict]:
    """All of them."""
    return [verdict(goal, results) for goal in GOALS]
