"""The long run: a million schedules of all scenarios, shared out among processes.

    python -m tests.worlds.long                          1,000,000 schedules: under an hour on two cores
    python -m tests.worlds.long --schedules 20000        a short one
    python -m tests.worlds.long --only life --seed 7000  one scenario, with other seeds
    python -m tests.worlds.long --only life --replay -   one schedule, as a failure names it; - is asyncio's own order

What fails is told at once with its trace, written down, and the run goes on. Ctrl-C writes what there is.

Owns:   sharing it out, the progress bar, and benchmarks/results/schedules.md.
Never:  decides what must hold: that is for the scenarios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.machine import describe, versions
from streaming.testing.choices import Trace
from streaming.testing.exploration import explore, replay
from tests.worlds.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "benchmarks" / "results" / "schedules.md"
SCHEDULES = 1_000_000

#: Schedules that a process takes at once, and after how many of these a log is told.
PORTION = 500
TOLD_EVERY = 100


@dataclass(frozen=True, slots=True)
class Portion:
    """Some schedules of one scenario.

    Attributes:
        scenario: its name.
        seed: of the first one.
        schedules: how many.
    """

    scenario: str
    seed: int
    schedules: int


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of a portion.

    Attributes:
        scenario: its name.
        schedules: how many were run.
        seconds: of one core.
        failures: the text of each, with its trace.
    """

    scenario: str
    schedules: int
    seconds: float
    failures: tuple[str, ...]


def shared_out(schedules: int, seed: int, only: list[str]) -> list[Portion]:
    """The portions of a run, in turn of all scenarios, so that each has its share at any time.

    Args:
        schedules: of all scenarios.
        seed: of the first one of each.
        only: names of scenarios; all if it is empty.
    """
    names = only or list(CATALOGUE)
    whole = sum(CATALOGUE[name].share for name in names)
    portions = []
    for name in names:
        wanted = round(schedules * CATALOGUE[name].share / whole)
        begins = range(0, wanted, PORTION)
        portions += [(begin / wanted, Portion(name, seed + begin, min(PORTION, wanted - begin))) for begin in begins]
    return [portion for _, portion in sorted(portions, key=lambda each: each[0])]


def run(portion: Portion) -> Done:
    """Run a portion; a failure does not end it.

    Each exploration begins with the ordinary order, the same in all portions: it is not counted, unless it fails.
    """
    begin, done, failures = time.process_time(), 0, []
    scenario = CATALOGUE[portion.scenario].play
    while done < portion.schedules:
        found = explore(scenario, schedules=1 + portion.schedules - done, seed=portion.seed + done)
        done += max(1, found.schedules - 1)
        if found.failure is not None:
            failures.append(f"{found.failure}\n{again(portion.scenario, found.failure.shrunk)}")
    return Done(portion.scenario, done, time.process_time() - begin, tuple(failures))


def again(scenario: str, trace: Trace) -> str:
    """How to see a failure again."""
    return f"python3 dev.py run python -m tests.worlds.long --only {scenario} --replay {shlex.quote(str(trace))}"


def see_again(scenario: str, trace: Trace) -> int:
    """Run one schedule, and print what is wrong and what its choices mean; the status says whether it fails."""
    seen = replay(CATALOGUE[scenario].play, trace)
    print(*seen.notes, *([f"these did not come up: {seen.unused}"] if seen.unused else []), sep="\n")
    if seen.error is None:
        print("it holds")
        return 0
    traceback.print_exception(seen.error, file=sys.stdout)
    return 1


def _begin() -> None:
    """Ctrl-C is for the process that writes the result; the others are there to compute, and to be nice."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)


def run_all(portions: list[Portion], jobs: int, console: Console) -> list[Done]:
    """Run them in some processes, with a progress bar."""
    context = multiprocessing.get_context("spawn")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    results: list[Done] = []
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("schedules", total=sum(portion.schedules for portion in portions))
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
        futures: list[Future[Done]] = [pool.submit(run, portion) for portion in portions]
        try:
            for future in as_completed(futures):
                done = future.result()
                results.append(done)
                progress.advance(bar, done.schedules)
                if not console.is_terminal and len(results) % TOLD_EVERY == 0:
                    console.print(f"{sum(each.schedules for each in results):,} schedules")
                for failure in done.failures:
                    console.print(f"{done.scenario}: {failure}", markup=False, highlight=False)
        except KeyboardInterrupt:
            console.print("interrupted: what there is is written")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return results


def page(results: list[Done], seconds: float, jobs: int, seed: int) -> Iterator[str]:
    """The lines of the result."""
    schedules, spent, found = Counter[str](), Counter[str](), Counter[str]()
    for done in results:
        schedules[done.scenario] += done.schedules
        spent[done.scenario] += round(1000 * done.seconds)
        found[done.scenario] += len(done.failures)
    machine, known = describe(), versions()
    yield "# Schedules"
    yield ""
    yield f"- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, {sum(schedules.values()):,} schedules in {seconds:.0f} s"
    yield f"- {machine['cpu']}, {machine['cores']} cores, {jobs} processes, python {known['python']}"
    yield f"- the code of {_commit()}; seeds from {seed}"
    yield ""
    yield "| scenario | schedules | failed | per second of one core |"
    yield "|---|---|---|---|"
    for name, count in schedules.most_common():
        yield f"| {name} | {count:,} | {found[name]} | {1000 * count / max(1, spent[name]):.0f} |"
    yield ""
    for done in results:
        for failure in done.failures:
            yield from (f"{done.scenario} failed:", "", "```text", failure, "```", "")


def _commit() -> str:
    asked = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=ROOT, capture_output=True, text=True)  # noqa: S607  # whichever git it is
    return asked.stdout.strip() or "an unknown commit"


def main() -> int:
    """Run it, and say whether nothing was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.worlds.long",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--schedules", type=int, default=SCHEDULES, metavar="N", help="in all; 1,000,000")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first schedule of each scenario; 0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; one a core")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(CATALOGUE), metavar="SCENARIO")
    parser.add_argument("--replay", metavar="TRACE", help="this one schedule of the one scenario that --only names")
    parser.add_argument("--output", type=Path, default=TARGET, metavar="FILE", help="where the result goes")
    options = parser.parse_args()
    if options.replay is not None:
        if len(options.only) != 1:
            parser.error("--replay is for one scenario: name it with --only")
        return see_again(options.only[0], Trace.parse(options.replay))
    begin = time.monotonic()
    portions = shared_out(options.schedules, options.seed, options.only)
    results = run_all(portions, options.jobs, Console(stderr=True))
    failed = sum(len(done.failures) for done in results)
    options.output.write_text("\n".join(page(results, time.monotonic() - begin, options.jobs, options.seed)) + "\n")
    print(f"{sum(done.schedules for done in results):,} schedules, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
