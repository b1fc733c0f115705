"""The command ``python -m benchmarks``.

Owns:   its arguments, who takes part, which files are written, the exit status.
Uses:   benchmarks.speed.rounds (the run), benchmarks.speed.report (what comes out).
Never:  knows what a workload does.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.markup import escape

from benchmarks import machine
from benchmarks.command import RESULTS, positive, show
from benchmarks.contenders.lineup import CONTENDERS
from benchmarks.figure import Flaw
from benchmarks.speed.report import write
from benchmarks.speed.rounds import Plan, measure
from benchmarks.speed.workload import FULL, QUICK, Scale, Workload
from benchmarks.speed.workloads import WORKLOADS

ROUNDS = 5

_EPILOG = """
workloads:
{workloads}

contenders:
{contenders}

examples:
  python -m benchmarks                                  everything, 5 rounds, about 45 minutes; writes
                                                        benchmarks/results/speed.md, speed.json and pictures
  python -m benchmarks --quick                          smaller, one round, only who is needed: two minutes
  python -m benchmarks W1 W3                            some of the workloads, by number or by name
  python -m benchmarks live --only streaming,node       some of the contenders
  python -m benchmarks W7 --rounds 9                    one of them, more often
  python -m benchmarks --quick > speed.md               only the table

Files are written by a full run only: all workloads, all contenders, and not quick. The exit status is 0 if every goal
that was measured was reached, 1 if not, 2 if the command was not understood.
"""

_progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Scales:
    """How large a run is."""

    full: Scale = FULL
    quick: Scale = QUICK


def run(arguments: Sequence[str] | None = None, *, results: Path = RESULTS, scales: Scales | None = None) -> int:
    """Run the command, and return its exit status.

    Args:
        arguments: from the command line by default.
        results: where its files go.
        scales: other ones than it has.
    """
    given = _parser().parse_args(arguments)
    whole = not given.workload and not given.only and not given.quick
    scales = scales or Scales()
    plan = Plan(
        workloads=list(dict.fromkeys(given.workload)) or list(WORKLOADS.values()),
        only=[name for names in given.only for name in names],
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
        except KeyboardInterrupt:
            _progress.print("interrupted; nothing was written")
            return 130
    show(report.as_markdown())
    if whole:
        for path in write(report, results):
            _progress.print(f"wrote {results.name}/{path.name}")
    return 0 if report.reached else 1


def _parser() -> argparse.ArgumentParser:
    epilog = _EPILOG.format(
        workloads="\n".join(f"  {each.number}  {each.name:<12} {each.title}" for each in WORKLOADS.values()),
        contenders="\n".join(f"  {each.name:<20} {each.about}" for each in CONTENDERS.values()),
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the product beside others that do the same, in turn, on the same core.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workload", nargs="*", type=_workload, metavar="WORKLOAD", help="which; all by default")
    parser.add_argument(
        "--only", action="append", default=[], type=_contenders, metavar="NAME[,NAME]", help="only these contenders"
    )
    parser.add_argument("--quick", action="store_true", help="smaller, one round, and only who is needed")
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"rounds of each; {ROUNDS} by default")
    return parser


def _workload(text: str) -> Workload:
    for each in WORKLOADS.values():
        if text.lower() in (each.name, each.number.lower()):
            return each
    possible = ", ".join(f"{each.number} {each.name}" for each in WORKLOADS.values())
    raise argparse.ArgumentTypeError(f"there is no {text!r}; possible: {possible}")


def _contenders(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTENDERS:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; possible: {', '.join(CONTENDERS)}")
    return names
