"""What the commands ``python -m benchmarks.spine`` and ``python -m benchmarks.status`` have in common.

Owns:   their arguments, the order of the rounds, what is shown meanwhile, which files are written, the exit status.
Uses:   benchmarks.report (what is written).
Never:  knows what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from benchmarks import machine
from benchmarks.figure import FULL, QUICK, Figure, Flaw, Scale
from benchmarks.report import Report, Result, number, write
from benchmarks.server import running

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3

_EXAMPLES = """
figures: {names}
A part of a name stands for all{usual} that have it.

examples:
  python -m benchmarks.{name:<32} {what}, {rounds} rounds; writes benchmarks/results/{name}.*
  python -m benchmarks.{quick:<32} one short round of each
  python -m benchmarks.{two:<32} some of them
  python -m benchmarks.{often:<32} one of them, more often
  python -m benchmarks.{table:<32} only the table

Files are written by a full run only: all figures of a file, and not quick. The exit status is 0 if every goal was
reached, 1 if not, 2 if the command was not understood.
"""

_progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Command:
    """One of the commands.

    Attributes:
        name: its module, and its first file.
        description: what it measures.
        files: the figures of each file; those of the first one are measured unless others are named.
        notes: what has to be known about the figures, one line each.
        full: the size of a run.
        quick: the size of a short one.
        around: what has to be there while it runs.
    """

    name: str
    description: str
    files: Mapping[str, Sequence[Figure]]
    notes: Sequence[str] = ()
    full: Scale = FULL
    quick: Scale = QUICK
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def figures(self) -> dict[str, Figure]:
        """By name, in the order in which they run."""
        return {figure.name: figure for figures in self.files.values() for figure in figures}

    @property
    def usual(self) -> list[str]:
        """The names of what is measured unless others are named."""
        return [figure.name for figure in self.files[self.name]]


def run(command: Command, arguments: Sequence[str] | None = None, *, results: Path = RESULTS) -> int:
    """Run a command, and return its exit status.

    Args:
        command: which.
        arguments: from the command line by default.
        results: where its files go.
    """
    given = _parser(command).parse_args(arguments)
    names = [name for names in given.figure for name in names] or command.usual
    machine.pin_client()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, command.around():
        try:
            report = runner.run(_measure(command, names, quick=given.quick, rounds=given.rounds))
        except Flaw as flaw:
            _progress.print(f"[red]nothing was measured:[/red] {escape(str(flaw))}")
            return 1
    show(report.as_markdown())
    _write(command, report, results)
    return 0 if report.reached else 1


def show(report: str) -> None:
    """Print Markdown, for people or into a file."""
    if sys.stdout.isatty():
        Console().print(Markdown(report))
    else:
        print(report)


def _parser(command: Command) -> argparse.ArgumentParser:
    name, figures = command.name, list(command.figures)
    epilog = _EXAMPLES.format(
        names=" ".join(figures),
        usual="" if len(command.files) == 1 else " of the first file, or else of the others,",
        name=name,
        what="all figures" if len(command.files) == 1 else "all figures of its first file",
        rounds=ROUNDS,
        quick=f"{name} --quick",
        two=f"{name} {' '.join(figures[1:3])}",
        often=f"{name} {figures[0]} --rounds 7",
        table=f"{name} --quick > {name}.md",
    )
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=command.description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def named(text: str) -> list[str]:
        found = _named(text, command.usual) or _named(text, figures)
        if not found:
            raise argparse.ArgumentTypeError(f"there is no {text!r}; possible: {', '.join(figures)}")
        return found

    usual = "all" if len(command.files) == 1 else "all of the first file"
    parser.add_argument("figure", nargs="*", type=named, metavar="FIGURE", help=f"which; {usual} by default")
    parser.add_argument("--quick", action="store_true", help="shorter, and one round")
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"rounds of each; {ROUNDS} by default")
    return parser


def _named(text: str, figures: Sequence[str]) -> list[str]:
    """The figures that a name, or a part of one between dashes, stands for."""
    return [figure for figure in figures if text in (figure, *figure.split("-"))]


def positive(text: str) -> int:
    """A number on a command line.

    Raises:
        ArgumentTypeError: it is none, or below 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)


async def _measure(command: Command, names: Sequence[str], *, quick: bool, rounds: int | None) -> Report:
    """Measure round by round, not figure by figure, so that a bad minute of the machine hits one round of each."""
    rounds = rounds or (1 if quick else ROUNDS)
    results = [Result(command.figures[name]) for name in dict.fromkeys(names)]
    async with running() as server:
        loop = server.loop
    begin_s, begin_foreign_s = time.monotonic(), machine.foreign_cpu_s()
    for round_number in range(1, rounds + 1):
        for result in results:
            await _round(result, command.quick if quick else command.full, f"{round_number}/{rounds}")
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    foreign_cores = (machine.foreign_cpu_s() - begin_foreign_s) / (time.monotonic() - begin_s)
    notes = [*command.notes, *([_smaller(command)] if quick else [])]
    return Report(date, quick, rounds, loop, foreign_cores, machine.describe(), machine.versions(), notes, results)


def _smaller(command: Command) -> str:
    """How a quick run differs from what the titles say."""
    full, quick = asdict(command.full), asdict(command.quick)
    return "quick: " + ", ".join(f"{name} {quick[name]:,g}" for name in quick if quick[name] != full[name])


async def _round(result: Result, scale: Scale, label: str) -> None:
    """Measure one figure once; a broken promise is a result, and the other figures go on."""
    line = f"{label}  {result.figure.name:<15} "
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


def _write(command: Command, report: Report, results: Path) -> None:
    """Write those files all figures of which were measured in full."""
    measured = {result.figure.name for result in report.results}
    for file, figures in command.files.items():
        if report.quick or not measured.issuperset(figure.name for figure in figures):
            continue
        write(report.only(figures), results, file)
        _progress.print(f"wrote {results}/{file}.md and {file}.json")
