"""Several tasks at once: a bar for each on a terminal, plain lines elsewhere.

Owns:   `open_board`, which chooses by where the output goes.
Never:  waits for events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from streaming.cli.displays import bars_wanted, brief
from streaming.cli.output import printable
from streaming.events import Event
from streaming.rules.lifecycle import TERMINAL

#: A line must fit beside others; the whole data of an event may be long.
WIDTH = 110

#: Without a bar, progress is worth a line when it has come so much further.
STEP_PERCENT = 20.0


class Board(Protocol):
    """Where events are shown."""

    def show(self, name: str, event: Event) -> None:
        """Show one event of the task of this name."""


@contextmanager
def open_board(names: Sequence[str]) -> Iterator[Board]:
    """Make a board for tasks of these names."""
    if not bars_wanted():
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("  {task.description:<10}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    )
    with Progress(*columns) as progress:
        bars = {name: progress.add_task(name, total=100, message="") for name in names}

        class Bars:
            def show(self, name: str, event: Event) -> None:
                if event.type == "progress":
                    data = event.data
                    message = printable(data.get("message") or "")
                    progress.update(bars[name], completed=data["percent"], message=message)
                elif event.type in TERMINAL:
                    progress.update(bars[name], message=event.type)

        yield Bars()


class _Lines:
    def __init__(self) -> None:
        self._shown_percent: dict[str, float] = {}

    def show(self, name: str, event: Event) -> None:
        if event.type == "progress" and not self._far_enough(name, event.data["percent"]):
            return
        line = f"  {name:<10}  {brief(event)}"
        print(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}...", flush=True)

    def _far_enough(self, name: str, percent: float) -> bool:
        far = percent >= self._shown_percent.get(name, 0.0) + STEP_PERCENT
        if far:
            self._shown_percent[name] = percent
        return far
