"""A run: round by round, and in each round all contenders of a workload after each other.

Owns:   who takes part in what, the order, the time that a cell may take, what is shown meanwhile, the notes.
Uses:   benchmarks.contenders (who there is), benchmarks.speed.workloads (what is done).
Never:  writes a file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.lineup import CONTENDERS
from benchmarks.contenders.ours import STREAMS_MAX
from benchmarks.figure import Flaw
from benchmarks.report import number
from benchmarks.speed import capacity
from benchmarks.speed.report import Report
from benchmarks.speed.results import Cell, Results
from benchmarks.speed.workload import Scale, Workload

#: A cell during which others used more cores than that is tried again, as long as a run has not spent so much on it.
CALM_CORES = 0.3
RETRIES_S = 900.0

_NOTES = (
    "every reader of every cell checks that it gets event 0, 1, 2 ... once and in order, and ids as well where there "
    "are some; a cell in which one did not says so instead of a number",
    "CPU is that of the server with all its processes, user and system, from the emit to the last delivery; lags and "
    "times count from the wall clock in the event, taken at its emit",
    "the data of an event is a counter and a time everywhere; ours has an id, a type and its envelope around it, about "
    "four times the bytes",
    "ours is `streaming serve` with its defaults, which is durable: an event is committed to SQLite before a reader "
    "sees it, and a reader who comes late gets all of it. Peers that keep nothing get no handicap for that. The only "
    f"settings that are changed are max_streams={STREAMS_MAX:,} and max_connections, for W4",
    "Python peers run on uvicorn with uvloop and httptools and without an access log; a server emits in its own "
    "process as ours does, except for Nchan, where the load client publishes over one kept-alive connection, at most "
    "eight publications ahead of their answers; Nchan is not asked for W5, where the client would have to publish for "
    "1,000 channels",
    "as fast as possible (W2, W3) is one event for each turn of the loop and no limit of what waits for a reader, or "
    "waiting for full connections where a server can; ours has the back-pressure of its log; bursts have at most 5,000 "
    "events, since the memory store keeps 10,000",
    "saturated: it could not keep the rate, and is measured at what it did; stopped: so is a burst that does not end "
    "in 20 s; projected: it was stopped, and its time follows from the share that it had delivered",
    "W6 needs a log, which the memory store keeps for the last 10,000 events only; peers have it ready in memory, "
    "sse-starlette, Starlette and bare uvicorn as single events, the raw protocol as pieces of 64 kB",
    "W7: ours also runs each task to its end, which are three more events in its log; the peer keeps a row",
    "a ratio is that of each round by itself, and then the median",
    f"a cell during which others used more than {CALM_CORES:g} cores is tried up to three times in a full run, as long "
    f"as that has not taken {RETRIES_S / 60:g} minutes in all; the calmest try counts, whatever came out",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        workloads: in their order.
        only: names of contenders, if not all.
        quick: only those that a quick run needs, unless some are named.
        rounds: of each cell.
        scale: how large a run is.
    """

    workloads: Sequence[Workload]
    only: Sequence[str]
    quick: bool
    rounds: int
    scale: Scale

    def names(self, workload: Workload) -> list[str]:
        """Who is wanted in a workload."""
        usual = workload.quick if self.quick and not self.only else workload.contenders
        return [name for name in usual if not self.only or name in self.only]


async def measure(plan: Plan, progress: Console) -> Report:
    """Run a plan.

    Raises:
        Flaw: nobody can run, or the load client is not what it should be.
    """
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    present, left_out = _present(plan, progress)
    client = await capacity.measure(plan.scale)
    progress.print(client)
    results = Results(plan.workloads)
    trials = Trials(plan.scale, progress)
    for round_number, workload, contender in _in_turn(plan, present):
        place = f"{round_number}/{plan.rounds}  {workload.number}  {contender.name}"
        if time.monotonic() - begin_s > plan.scale.run_s:
            left_out.append(f"{place}: there was no time left for it")
            progress.print(f"[yellow]left out:[/yellow] {left_out[-1]}")
            continue
        results.add(workload.name, contender.name, await trials.calmest(workload, contender, f"{place:<30} "))
    versions = machine.versions()
    for contender in present.values():
        versions |= contender.versions()
    return Report(
        date=date,
        quick=plan.quick,
        rounds=plan.rounds,
        scale=plan.scale,
        results=results,
        contenders=list(present.values()),
        left_out=left_out,
        notes=[client, *_NOTES, *_smaller(plan)],
        machine=machine.describe(),
        versions=versions,
        foreign_cores=(machine.foreign_cpu_s() - begin_foreign_s) / (time.monotonic() - begin_s),
    )


def _in_turn(plan: Plan, present: Mapping[str, Contender]) -> Iterator[tuple[int, Workload, Contender]]:
    """Round by round, so that a bad minute of the machine hits one round of each."""
    for round_number in range(1, plan.rounds + 1):
        for workload in plan.workloads:
            for name in plan.names(workload):
                if name in present:
                    yield round_number, workload, present[name]


def _present(plan: Plan, progress: Console) -> tuple[dict[str, Contender], list[str]]:
    """Who is wanted and can run, and a line about each that cannot."""
    wanted = {name for workload in plan.workloads for name in plan.names(workload)}
    if not wanted:
        raise Flaw("none of these contenders takes part in these workloads")
    present: dict[str, Contender] = {}
    left_out: list[str] = []
    for contender in CONTENDERS.values():
        if contender.name not in wanted:
            continue
        missing = contender.missing()
        if missing is None:
            present[contender.name] = contender
        else:
            left_out.append(f"{contender.name}: {missing}")
            progress.print(f"[yellow]left out:[/yellow] {escape(left_out[-1])}")
    return present, left_out


class Trials:
    """The cells of a run.

    Args:
        scale: how large they are, and how often each may be tried.
        progress: where what comes out is shown.
    """

    def __init__(self, scale: Scale, progress: Console) -> None:
        self._scale = scale
        self._progress = progress
        self._left_s = RETRIES_S

    async def calmest(self, workload: Workload, contender: Contender, label: str) -> Cell:
        """Measure a cell, again if others were busy meanwhile; what came out has no say in that, and a flaw stays."""
        cells = [await self._once(workload, contender, label)]
        while len(cells) < self._scale.tries and self._left_s > 0:
            if cells[-1].flaw is not None or cells[-1].foreign_cores <= CALM_CORES:
                break
            begin_s = time.monotonic()
            cells.append(await self._once(workload, contender, label))
            self._left_s -= time.monotonic() - begin_s
        return cells[-1] if cells[-1].flaw is not None else min(cells, key=lambda cell: cell.foreign_cores)

    async def _once(self, workload: Workload, contender: Contender, label: str) -> Cell:
        """A broken promise is a result, and the others go on."""
        if self._progress.is_terminal:
            self._progress.print(f"{label}...", end="\r")
        begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
        try:
            async with asyncio.timeout(self._scale.cell_s):
                outcome = await workload.measure(contender, self._scale)
        except (Flaw, OSError, psutil.Error) as error:  # a timeout is an OSError
            flaw = str(error) or f"it had not ended after {self._scale.cell_s:g} s"
            self._progress.print(f"{label}[red]broken:[/red] {escape(flaw[:500])}")
            return Cell(flaw=flaw)
        seconds = time.monotonic() - begin_s
        foreign_cores = (machine.foreign_cpu_s() - begin_foreign_s) / seconds
        shown = ", ".join(f"{metric.key} {number(outcome.values[metric.key])}" for metric in workload.metrics)
        mark = f" [yellow]{outcome.mark}[/yellow]" if outcome.mark else ""
        about = f"[dim]({seconds:.0f} s, others {max(0.0, foreign_cores):.1f} cores)[/dim]"
        self._progress.print(f"{label}{shown}{mark}  {about}")
        return Cell(outcome.values, outcome.mark, foreign_cores=foreign_cores)


def _smaller(plan: Plan) -> list[str]:
    """How a quick run differs from what the titles say."""
    if not plan.quick:
        return []
    scale = plan.scale
    return [
        f"quick: {scale.live_s:g} s in W1, bursts of {scale.burst_s:g} s, {scale.streams:,} streams in W4, "
        f"{scale.tasks:,} tasks for {scale.tasks_s:g} s in W5, {scale.log_events:,} events for {scale.log_readers:,} "
        f"readers in W6 and at most {scale.replay_s:g} s of it, {scale.starts:,} starts, {scale.shorts:,} short tasks"
    ]
