"""What all commands share that ask a server.

Owns:   their common options, and a client with the patience of a person.
Never:  knows what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from streaming.cli.output import Output, say

if TYPE_CHECKING:
    from streaming.client import Client

Result = TypeVar("Result")

#: A person waits for the answer: say soon that nobody is there, but survive one lost answer.
RETRY_S = 1.0

Url = Annotated[str, typer.Option("--url", envvar="STREAMING_URL", help="Address of the server.", show_default=True)]
Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="Id of the task.", show_default=False)]
DEFAULT_URL = "http://127.0.0.1:8000"


def ask(url: str, work: Callable[[Client], Coroutine[Any, Any, Result]]) -> Result:
    """Run ``work`` with a client of the server at ``url``.

    Raises:
        typer.BadParameter: ``url`` is none.
    """

    async def connected() -> Result:
        async with _client(url) as client:
            return await work(client)

    return asyncio.run(connected())


def _client(url: str) -> Client:
    from streaming.client import Client, Patience

    async def pause(seconds: float) -> None:
        say(f"{url} cannot be reached, or is busy; trying again in {seconds:.1f} s")
        await asyncio.sleep(seconds)

    try:
        return Client(url, patience=Patience(retry_s=RETRY_S, sleep=pause))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
