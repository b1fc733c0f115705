"""The command that follows the events of all tasks.

Rules of this file:

- However it ends, it says from where one can go on.
- A position that is not known is not made up.

Owns:   its options, and what they let through.
Uses:   client (the feed), cli.feedline (how an event looks).
Never:  touches a task.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import DEFAULT_URL, Format, Url, ask
from streaming.cli.exits import Exit
from streaming.cli.feedline import liner
from streaming.cli.filters import Types
from streaming.cli.output import Output, say
from streaming.cli.pipe import on_reader_gone
from streaming.errors import StreamingError
from streaming.events import rfc3339
from streaming.rules.times import earlier, read_length, read_time

if TYPE_CHECKING:
    from streaming.cli.feedline import Show
    from streaming.client import Client, FeedEvent
    from streaming.events import Event

TAIL_DEFAULT = 10


def tail(
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Only events of this type; repeatable.", show_default=False)
    ] = None,
    type: Types = None,
    tag: Annotated[str | None, typer.Option(help="Only of tasks with this tag.", show_default=False)] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only of this task; repeatable.", show_default=False)
    ] = None,
    number: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Begin so many events back.", show_default="10")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin behind this position of the feed.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin at this time, or so long ago, like 15m.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as -o json: one JSON object a line.")] = False,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Follow the events of all tasks, also across a restart of the server.

    Ctrl-C leaves, and says from which position one can go on. In a pipe the
    columns are position, time, task, seq, type and data, with tabs between.

    Exit status: 130 Ctrl-C, 2 usage, 4 not allowed, 5 no server.

    Examples:
        streaming tail
        streaming tail --event failed,timed_out --type http_fetch
        streaming tail --since 15m --json
        streaming tail --after 1200 --task 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
    """
    if sum(each is not None for each in (number, after, since)) > 1:
        raise typer.BadParameter("Say in one way where to begin: --tail, --after or --since.")
    wanted = _wanted(task or (), None if since is None else _time(since, time.time()))
    place = after if since is None else 0
    back = None if place is not None else TAIL_DEFAULT if number is None else number

    async def work(client: Client) -> Exit:
        return await Tail(client, liner(Output.JSON if json else output), wanted).follow(
            after=place, tail=back, event=_list(event), type=_list(type), tag=tag
        )

    raise typer.Exit(ask(url, work))


def _list(words: list[str] | None) -> list[str]:
    return [part.strip() for word in words or () for part in word.split(",") if part.strip()]


def _wanted(tasks: Sequence[str], begins: str | None) -> Callable[[Event], bool]:
    """What passes of that which a server cannot leave out."""
    ids = {part.strip() for word in tasks for part in word.split(",")}
    return lambda event: (not ids or event.task_id in ids) and (begins is None or event.time >= begins)


def _time(text: str, now_s: float) -> str:
    """A time as events have it, from one, from a day, or from how long it is ago.

    Raises:
        typer.BadParameter: it is none of these.
    """
    try:
        return earlier(rfc3339(now_s), read_length(text))
    except ValueError:
        pass  # then it is a time
    try:
        return read_time(f"{text}T00:00:00Z" if len(text) == len("2026-11-01") else text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a time like 2026-11-01T12:00:00Z nor a length like 15m or 7d.", param_hint="--since"
        ) from None


class Tail:
    """One reader of the feed, with Ctrl-C at hand.

    Args:
        client: of the server.
        show: prints an event.
        wanted: which events are printed.
    """

    def __init__(self, client: Client, show: Show, wanted: Callable[[Event], bool]) -> None:
        self._client = client
        self._show = show
        self._wanted = wanted
        self._position: int | None = None
        self._opened = False

    async def follow(
        self, *, after: int | None, tail: int | None, event: list[str], type: list[str], tag: str | None
    ) -> Exit:
        """Print what comes, until Ctrl-C; see `Client.feed` for the arguments.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        self._position = after
        feed = self._client.feed(
            after=after, tail=tail, event_type=event, task_type=type, tag=tag, on_open=self._connected
        )
        reading = asyncio.ensure_future(self._print(feed))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, reading.cancel)
        gone: list[BrokenPipeError] = []

        def leave() -> None:
            gone.append(BrokenPipeError())
            reading.cancel()

        try:
            with on_reader_gone(leave):
                await reading
        except asyncio.CancelledError:
            if gone:
                raise gone[0] from None
            self._say_position()
        except StreamingError:
            self._say_position()
            raise
        return Exit.INTERRUPTED

    async def _print(self, feed: AsyncGenerator[FeedEvent, None]) -> None:
        async with aclosing(feed) as items:
            async for item in items:
                if self._wanted(item.event):
                    self._show(item.position, item.event)
                self._position = item.position

    def _connected(self) -> None:
        if self._opened:
            known = self._position is not None
            say("connected again" if known else "connected again; events of the meantime may be missing")
        self._opened = True

    def _say_position(self) -> None:
        if self._position is None:
            say("nothing has come yet, so there is no position to go on from")
        else:
            say(f"this was position {self._position}; --after {self._position} goes on behind it")
