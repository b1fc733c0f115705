"""The command: ``python -m benchmarks.spine``.

Owns:   its arguments, the order of the rounds, what is shown meanwhile, the exit status.
Uses:   benchmarks.figures (what is measured), benchmarks.report (what is written).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from benchmarks import machine
from benchmarks.figure import FULL, QUICK, Flaw, Scale
from benchmarks.figures import FIGURES
from benchmarks.report import Report, Result, number, write
from benchmarks.server import running

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3

_EXAMPLES = f"""
figures: {" ".join(FIGURES)}

examples:
  python -m benchmarks.spine                      all figures, {ROUNDS} rounds; writes benchmarks/results/spine.*
  python -m benchmarks.spine --quick              all figures, one short round
  python -m benchmarks.spine burst latency        two of them
  python -m benchmarks.spine starts --rounds 7    one of them, more often
  python -m benchmarks.spine --quick > spine.md   only the table

The files are written by a full run only: all figures, not quick. The exit status is 0 if every goal was
reached, 1 if not, 2 if the command was not understood.
"""

_progress = Console(stderr=True, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    given = _parser().parse_args(arguments)
    machine.pin_client()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            report = runner.run(_run(given.figure or list(FIGURES), quick=given.quick, rounds=given.rounds))
        except Flaw as flaw:
            _progress.print(f"[red]nothing was measured:[/red] {escape(str(flaw))}")
            return 1
    if sys.stdout.isatty():
        Console().print(Markdown(report.as_markdown()))
    else:
        print(report.as_markdown())
    if len(report.results) == len(FIGURES) and not report.quick:
        write(report, RESULTS)
        _progress.print(f"wrote {RESULTS}/spine.md and spine.json")
    return 0 if report.reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spine",
        description="Measure the product against its goals: the real server in a process of its own, over HTTP.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figure", nargs="*", type=_name, metavar="FIGURE", help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="shorter, and one round")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"rounds of each; {ROUNDS} by default")
    return parser


def _name(text: str) -> str:
    if text not in FIGURES:
        raise argparse.ArgumentTypeError(f"there is no {text!r}; possible: {', '.join(FIGURES)}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)


async def _run(names: Sequence[str], *, quick: bool, rounds: int | None) -> Report:
    """Measure round by round, not figure by figure, so that a bad minute of the machine hits one round of each."""
    rounds = rounds or (1 if quick else ROUNDS)
    results = [Result(FIGURES[name]) for name in dict.fromkeys(names)]
    async with running() as server:
        loop = server.loop
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    for round_number in range(1, rounds + 1):
        for result in results:
            await _round(result, QUICK if quick else FULL, f"{round_number}/{rounds}")
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    foreign_cores = (machine.foreign_cpu_s() - begin_foreign_s) / (time.monotonic() - begin_s)
    return Report(date, quick, rounds, loop, foreign_cores, machine.describe(), machine.versions(), results)


async def _round(result: Result, scale: Scale, label: str) -> None:
    """Measure one figure once; a broken promise is a result, and the other figures go on."""
    line = f"{label}  {result.figure.name:<12}"
    if _progress.is_terminal:
        _progress.print(f"{line}...", end="\r")
    begin_s = time.monotonic()
    try:
        values = await result.figure.measure(scale)
    except Flaw as flaw:
        result.flaws.append(str(flaw))
        _progress.print(f"{line}[red]broken:[/red] {escape(str(flaw))}")
        return
    result.rounds.append(values)
    metrics = result.figure.metrics
    shown = ", ".join(f"{metric.key} {number(values[metric.key])}" for metric in metrics)
    _progress.print(f"{line}{shown}  [dim]({time.monotonic() - begin_s:.0f} s)[/dim]")


if __name__ == "__main__":
    sys.exit(main())
