"""How a stream of events looks: JSON lines, plain lines, or lines above a progress bar.

Owns:   `display`, which chooses by where the output goes.
Never:  waits for events, or decides what they mean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from streaming.cli.output import Output, printable
from streaming.events import Event, seconds_of
from streaming.records import TaskStatus
from streaming.rules.eta import eta
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import envelope

Show = Callable[[Event], None]

_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


def display(output: Output, title: str) -> AbstractContextManager[Show]:
    """Choose how to show the events of one task.

    Args:
        output: as asked for on the command line.
        title: stands before the bar.

    Returns:
        A context that gives a function to call with each event.
    """
    if output is Output.JSON:
        return _lines(envelope)
    return _bar(title) if bars_wanted() else _lines(plain)


def bars_wanted() -> bool:
    """Whether somebody is there to see a bar move."""
    return sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def plain(event: Event) -> str:
    """Time, seq, type and data with tabs between them."""
    return "\t".join([event.time, str(event.seq), event.type, printable(event.payload)])


def brief(event: Event) -> str:
    """Time of the day, type and data."""
    return printable(f"{event.time[11:19]}  {event.type:<10}  {event.payload}")


@contextmanager
def _lines(form: Callable[[Event], str]) -> Iterator[Show]:
    def show(event: Event) -> None:
        print(form(event), flush=True)

    yield show


def time_left(began: Event, progress: Event) -> str:
    """How long a task may go on by its own progress; both times are of the server's clock.

    Args:
        began: when its run began.
        progress: what it reported last.
    """
    span = eta(seconds_of(progress.time), seconds_of(began.time), progress.data["percent"], ())
    if span is None:
        return ""
    unit_s, unit = next((size, name) for size, name in _UNITS if span[1] >= 2 * size or size == 1)
    earliest, latest = (f"{seconds / unit_s:.0f}" for seconds in span)
    return f"{latest if earliest == latest else f'{earliest}-{latest}'} {unit} left"


@contextmanager
def _bar(title: str) -> Iterator[Show]:
    """Reports of progress move the bar; all other events pass above it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[message]}", markup=False),
    )
    began: Event | None = None
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(printable(title), total=None, left="", message="")

        def show(event: Event) -> None:
            nonlocal began
            if event.type == "progress":
                data, message = event.data, printable(event.data.get("message") or "")
                left = "" if began is None else time_left(began, event)
                progress.update(bar, total=100, completed=data["percent"], left=left, message=message)
                return
            if event.type == TaskStatus.RUNNING:
                began = event
            if event.type in TERMINAL:
                progress.update(bar, left="", message=event.type)
                progress.stop_task(bar)
            progress.console.print(Text(brief(event)), soft_wrap=True)

        yield show
