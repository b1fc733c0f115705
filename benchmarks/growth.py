"""The command ``python -m benchmarks.growth``: what it costs to have more readers, tasks, events, bytes.

Owns:   its arguments, which files are written, the exit status.
Uses:   benchmarks.growing (the run and the report).
Never:  knows what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.command import RESULTS, positive, show
from benchmarks.figure import Flaw
from benchmarks.growing.growth import FULL, QUICK, Growth, Scale
from benchmarks.growing.lineup import SERIES
from benchmarks.growing.results import write
from benchmarks.growing.rounds import Plan, measure

ROUNDS = 3

_EPILOG = """
series:
{series}

examples:
  python -m benchmarks.growth                   everything, 3 rounds, about 11 minutes; writes
                                                benchmarks/results/growth.md, growth.json and growth.png
  python -m benchmarks.growth --quick           fewer and smaller sizes, one round: about a minute
  python -m benchmarks.growth readers           one of the series
  python -m benchmarks.growth log size --rounds 5
                                                two of them, more often
  python -m benchmarks.growth --quick > growth.md
                                                only the table

Files are written by a full run only: all series, and not quick. The exit status is 0 if everything is flat or grows as
explained, and no promise was broken; 1 if not, 2 if the command was not understood.
"""

_progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Scales:
    """How much is done at each point."""

    full: Scale = FULL
    quick: Scale = QUICK


def run(
    arguments: Sequence[str] | None = None,
    *,
    results: Path = RESULTS,
    scales: Scales | None = None,
    series: Sequence[Growth] = tuple(SERIES.values()),
) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: from the command line by default.
        results: where its files go.
        scales: other ones than it has.
        series: other ones than it has.
    """
    by_name = {each.name: each for each in series}
    given = _parser(by_name).parse_args(arguments)
    scales = scales or Scales()
    wanted = list(dict.fromkeys(given.series)) or list(by_name)
    plan = Plan(
        series=[by_name[name] for name in wanted],
        quick=given.quick,
        rounds=given.rounds or (1 if given.quick else ROUNDS),
        scale=scales.quick if given.quick else scales.full,
    )
    machine.pin_client()
    machine.raise_limit_of_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            report = runner.run(measure(plan, _progress))
        except Flaw as flaw:
            _progress.print(f"[red]nothing was measured:[/red] {escape(str(flaw))}")
            return 1
    show(report.as_markdown())
    if not given.quick and set(wanted) == set(by_name):
        for path in write(report, results):
            _progress.print(f"wrote {results.name}/{path.name}")
    return 0 if report.good else 1


def _parser(series: dict[str, Growth]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure and draw what one CPU second gives while something grows: readers, tasks, a log, events.",
        epilog=_EPILOG.format(series="\n".join(f"  {each.name:<9} {each.title}" for each in series.values())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def named(text: str) -> str:
        if text not in series:
            raise argparse.ArgumentTypeError(f"there is no {text!r}; possible: {', '.join(series)}")
        return text

    parser.add_argument("series", nargs="*", type=named, metavar="SERIES", help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes, and one round")
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"rounds of each; {ROUNDS} by default")
    return parser


if __name__ == "__main__":
    sys.exit(run())
