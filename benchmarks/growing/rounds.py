"""A run: round by round, and in each round every size of every series after each other.

Owns:   the order, the time that a point may take, what is shown meanwhile, the notes.
Never:  judges, or writes a file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil
from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.figure import Flaw
from benchmarks.growing.growth import FULL, Growth, Scale
from benchmarks.growing.hall import LIMITS, hall
from benchmarks.growing.results import CALM_CORES, Report, Result
from benchmarks.report import number
from benchmarks.speed.results import Cell

POINT_S = 300.0

_NOTES = (
    "the real `streaming serve`, a fresh one for each point, with its default store: SQLite, every event is committed "
    "before a reader sees it. Some limits are above their defaults, for the largest sizes: "
    + ", ".join(f"{name}={value:,}" for name, value in LIMITS.items()),
    "every reader checks that it gets event 0, 1, 2 ... with ids in the same order, once and to the end; a point at "
    "which one did not says so instead of a number",
    "CPU is that of the server with all its threads, user and system, from when the first event was due to the last "
    "delivery; events are due at a moderate rate, so that nothing waits because the server is busy. What is emitted, "
    "committed and made into bytes is in it: with few readers, most of it",
    "an event costs more where events come seldom, because each is a transaction of its own then; where many come at "
    "once, they share one",
    "due to reader: from the time at which an event had to be emitted, not from the emit; up to 1,000 readers look at "
    "the clock",
    "an append goes to a log that is at rest and has as many events as the size says: a tenth of it more, and not less "
    "than 10,000; its end is the completion of the task. The last 1,000 events are then read by a reader with "
    "Last-Event-ID, 20 times one after the other. A whole log is another one of exactly that length, read again and "
    "again one after the other; up to 100,000 events",
    f"what the clock says is judged by rounds in which others used at most {CALM_CORES:g} cores of this machine, what "
    "CPU gives by all of them; the tables show all of them",
    "two costs that explain a series are the ones that fit its medians best, by least squares of relative errors; "
    "the factor is that of the point that is farthest off",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        series: in their order.
        quick: fewer and smaller sizes.
        rounds: of each point.
        scale: how much is done at each point.
    """

    series: Sequence[Growth]
    quick: bool
    rounds: int
    scale: Scale


async def measure(plan: Plan, progress: Console) -> Report:
    """Run a plan.

    Raises:
        Flaw: the server does not start.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with hall() as opened:
        loop = opened.server.loop
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    results = [Result(growth, growth.quick if plan.quick else growth.full) for growth in plan.series]
    for round_number in range(1, plan.rounds + 1):
        for result in results:
            for size in result.sizes:
                label = f"{round_number}/{plan.rounds}  {result.growth.name:<7} {size:>9,}  "
                result.of(size).cells.append(await _point(result.growth, size, plan.scale, label, progress))
    return Report(
        date=date,
        quick=plan.quick,
        rounds=plan.rounds,
        loop=loop,
        results=results,
        notes=[*_NOTES, *_smaller(plan.scale)],
        machine=machine.describe(),
        versions=machine.versions(),
        foreign_cores=(machine.foreign_cpu_s() - begin_foreign_s) / (time.monotonic() - begin_s),
    )


async def _point(growth: Growth, size: int, scale: Scale, label: str, progress: Console) -> Cell:
    """One size once; a broken promise is a result, and the others go on."""
    if progress.is_terminal:
        progress.print(f"{label}...", end="\r")
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    try:
        async with asyncio.timeout(POINT_S):
            values = await growth.measure(size, scale)
    except (Flaw, OSError, psutil.Error) as error:  # a timeout is an OSError
        flaw = str(error) or f"it had not ended after {POINT_S:g} s"
        progress.print(f"{label}[red]broken:[/red] {escape(flaw[:500])}")
        return Cell(flaw=flaw)
    seconds = time.monotonic() - begin_s
    foreign_cores = (machine.foreign_cpu_s() - begin_foreign_s) / seconds
    kept = {metric.key: values[metric.key] for metric in growth.metrics if metric.key in values}
    shown = ", ".join(f"{key} {number(value)}" for key, value in kept.items())
    progress.print(f"{label}{shown}  [dim]({seconds:.0f} s, others {foreign_cores:.1f} cores)[/dim]")
    return Cell(kept, foreign_cores=foreign_cores)


def _smaller(scale: Scale) -> list[str]:
    """How this run differs from what the notes say."""
    full, this = asdict(FULL), asdict(scale)
    different = [f"{name} {this[name]:,g}" for name in this if this[name] != full[name]]
    return [f"smaller than usual: {', '.join(different)}"] if different else []
