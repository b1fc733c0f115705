"""What all commands share that ask a server.

Owns:   their common options, and a client with the patience of a person.
Uses:   cli.tokens (who is calling).
Never:  knows what is asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from streaming.cli.output import Output, say

if TYPE_CHECKING:
    from streaming.client import Client, Patience
    from streaming.client.credentials import TokenSource

Result = TypeVar("Result")

#: A person waits for the answer: say soon that nobody is there, but survive one lost answer.
RETRY_S = 1.0

Url = Annotated[str, typer.Option("--url", envvar="STREAMING_URL", help="Address of the server.", show_default=True)]
Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="Id of the task.", show_default=False)]
DEFAULT_URL = "http://127.0.0.1:8000"


def ask(url: str, work: Callable[[Client], Coroutine[Any, Any, Result]], *, patience: Patience | None = None) -> Result:
    """Run ``work`` with a client of the server at ``url``.

    Args:
        url: of the server.
        work: what is to be asked.
        patience: how long to wait; None is that of a person, who is told about each pause.

    Raises:
        typer.BadParameter: ``url`` is none.
        InvalidSettings: the environment names a credential that is none.
    """
    from streaming.cli.tokens import VARIABLE, token_from
    from streaming.errors import Unauthenticated

    token = token_from(os.environ)

    async def connected() -> Result:
        async with _client(url, token, patience) as client:
            return await work(client)

    try:
        return asyncio.run(connected())
    except Unauthenticated:
        if token is None:
            say(f"no credential was sent: {VARIABLE} can have it, or a file that {VARIABLE}_FILE names")
        raise


def _client(url: str, token: TokenSource | None, patience: Patience | None) -> Client:
    from streaming.client import Client, Patience

    async def pause(seconds: float) -> None:
        say(f"{shown_address(url)} cannot be reached, or is busy; trying again in {seconds:.1f} s")
        await asyncio.sleep(seconds)

    try:
        return Client(url, patience=patience or Patience(retry_s=RETRY_S, sleep=pause), token=token)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def shown_address(url: str) -> str:
    """An address without the user and the password that may stand in it."""
    scheme, slashes, rest = url.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
