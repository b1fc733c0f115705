"""The command that plays the log of a task as it happened, or faster.

Owns:   its options, its bar, and what the keys do.
Uses:   client (the log), cli.playing (the time), cli.keyboard, cli.displays (how events look).
Never:  follows what happens now: it ends with the last event that there was when it began.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import DEFAULT_URL, Format, TaskId, Url, ask
from streaming.cli.displays import bars_wanted, brief, display
from streaming.cli.exits import Exit
from streaming.cli.output import Output, say

if TYPE_CHECKING:
    from streaming.cli.displays import Show
    from streaming.cli.playing import Tempo
    from streaming.client import Client
    from streaming.events import Event

_AT_ONCE = ("0", "max")


def replay(
    task_id: TaskId,
    speed: Annotated[
        str, typer.Option(metavar="NUMBER|max", help="How much faster than it was; 0 or max: at once.")
    ] = "1",
    first: Annotated[int, typer.Option("--from", min=1, help="Seq of the first event.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="Seq of the last event.", show_default="the last one")
    ] = None,
    max_pause_s: Annotated[
        float | None, typer.Option(min=0, help="Cut longer pauses, and say so.", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Play the log of a task with the pauses between its events.

    Of a task that goes on, what has happened until now. In a terminal the
    space bar stops the time and lets it go on, and q leaves.

    Exit status: 0 played to its end, 2 usage, 3 not found, 130 left before.

    Examples:
        streaming replay 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --speed 10
        streaming replay 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --speed max --from 10 --to 20
        streaming replay 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --max-pause-s 2 -o json
    """
    from streaming.cli.playing import Tempo

    if last is not None and last < first:
        raise typer.BadParameter(f"{last} comes before {first}, which is --from.", param_hint="--to")
    tempo = Tempo(_speed(speed), math.inf if max_pause_s is None else max_pause_s)

    async def work(client: Client) -> Exit:
        head = (await client.get(task_id)).last_seq
        if first > head:
            raise typer.BadParameter(f"The task has {head} events so far.", param_hint="--from")
        end = head if last is None else min(last, head)
        with _shown(output, task_id, first, end) as shown:
            return await _play(client.events(task_id, after=first - 1, until=end), tempo, shown)

    raise typer.Exit(ask(url, work))


def _speed(text: str) -> float:
    """How many seconds pass in one.

    Raises:
        typer.BadParameter: it is no such number.
    """
    if text in _AT_ONCE:
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise typer.BadParameter(
            f"{text!r} is no speed: 1 is as it was, 10 ten times faster, 0 or max at once.", param_hint="--speed"
        )
    return speed


class _Shown:
    """What is seen of a replay."""

    def __init__(self, show: Show, hold: Callable[[bool], None]) -> None:
        self.show = show
        self.hold = hold


async def _play(events: AsyncIterator[Event], tempo: Tempo, shown: _Shown) -> Exit:
    from streaming.cli.keyboard import keyboard
    from streaming.cli.playing import Player

    player = Player(tempo, _say_cut)
    playing = asyncio.ensure_future(player.play(events, shown.show))

    def press(key: str) -> None:
        if key == " ":
            player.hold(not player.held)
            shown.hold(player.held)
        elif key == "q":
            playing.cancel()

    loop = asyncio.get_running_loop()
    stopped: list[signal.Signals] = []
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, _stop, signum, stopped, playing)
    with keyboard(press):
        try:
            await playing
        except asyncio.CancelledError:
            return Exit.TERMINATED if signal.SIGTERM in stopped else Exit.INTERRUPTED
    return Exit.OK


def _stop(signum: signal.Signals, stopped: list[signal.Signals], playing: asyncio.Future[None]) -> None:
    stopped.append(signum)
    playing.cancel()


def _say_cut(pause_s: float, cut_s: float) -> None:
    say(f"a pause of {pause_s + cut_s:.3g} s is cut to {pause_s:.3g} s")


@contextmanager
def _shown(output: Output, task_id: str, first: int, end: int) -> Iterator[_Shown]:
    if output is Output.JSON or not bars_wanted():
        with display(output, task_id) as show:
            yield _Shown(show, lambda held: say("stopped; space goes on" if held else "it goes on"))
        return
    with _bar(first, end) as shown:
        yield shown


@contextmanager
def _bar(first: int, end: int) -> Iterator[_Shown]:
    """Events pass above a bar that says where in the log they are."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    columns = (BarColumn(), TextColumn("{task.fields[seq]} of {task.fields[end]}"), TextColumn("{task.fields[held]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=end - first + 1, seq=first - 1, end=end, held="space stops, q leaves")

        def show(event: Event) -> None:
            progress.console.print(Text(brief(event)), soft_wrap=True)
            progress.update(bar, completed=event.seq - first + 1, seq=event.seq)

        def hold(held: bool) -> None:
            progress.update(bar, held="stopped; space goes on" if held else "")

        yield _Shown(show, hold)
