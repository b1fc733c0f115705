"""The command ``streaming top``.

Owns:   its options, and which terminals it needs.
Uses:   cli.top.session (all of it).
Never:  draws anything.
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import DEFAULT_URL, RETRY_S, Url, ask, shown_address
from streaming.cli.exits import Exit
from streaming.cli.filters import Preset, Statuses, Tags, Terms, Types, Words, filters_from
from streaming.cli.output import say

if TYPE_CHECKING:
    from streaming.cli.top.session import Session
    from streaming.client import Client

LIMIT_DEFAULT = 100

#: Terminals that say of themselves that their cursor does not move.
_CANNOT = ("", "dumb", "unknown")


def top(
    status: Statuses = None,
    type: Types = None,
    tag: Tags = None,
    query: Words = None,
    filter: Terms = None,
    preset: Preset = None,
    sort: Annotated[
        str | None, typer.Option(help="Fields with commas; a minus puts the greatest first.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = LIMIT_DEFAULT,
    url: Url = DEFAULT_URL,
) -> None:
    """Watch the tasks of a server on the whole screen, as they are now.

    Keys: arrows or j and k move, enter shows the events of a task and
    escape goes back, c cancels one (it asks), p holds the screen,
    / searches in what is shown, q leaves.

    Exit status: 0 left, 2 usage or no terminal, 4 not allowed, 5 no server.

    Examples:
        streaming top
        streaming top --preset active --sort -priority,created_at
        streaming top --type http_fetch --status running
    """
    filters = filters_from(status, type, tag, query, filter, preset)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in _CANNOT:
        say("top needs a terminal that can move its cursor; elsewhere use streaming list or streaming tail")
        raise typer.Exit(Exit.USAGE)
    raise typer.Exit(_sit(url, filters, sort, limit))


def _sit(url: str, filters: dict[str, str], sort: str | None, limit: int) -> Exit:
    from streaming.cli.top.session import Session
    from streaming.client import Patience

    sessions: list[Session] = []

    async def pause(seconds: float) -> None:
        await sessions[0].pause(seconds)

    async def work(client: Client) -> Exit:
        sessions.append(Session(client, filters, sort, limit, shown_address(url)))
        return await sessions[0].run()

    return ask(url, work, patience=Patience(retry_s=RETRY_S, give_up_s=math.inf, sleep=pause))
