"""The commands that ask something of one task: once more, more time, an input, and that its result was seen.

Owns:   their options.
Uses:   client (the requests).
Never:  decides about tasks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from streaming.cli.asking import DEFAULT_URL, Format, TaskId, Url, ask
from streaming.cli.output import Output, hint, print_document, print_record

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.client.options import Limits

_NONE = "none"


def _limit(help: str) -> Any:
    return typer.Option(metavar="SECONDS|none", help=help, show_default=False)


def retry(task_id: TaskId, url: Url = DEFAULT_URL, output: Format = Output.TEXT) -> None:
    """Start a task that has ended once more, and show the new one.

    Examples:
        streaming retry 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
    """

    async def work(client: Client) -> None:
        record = await client.retry(task_id)
        print_record(record, output)
        hint(f"streaming watch {record.id} follows it; streaming cancel {record.id} ends it")

    ask(url, work)


def extend(
    task_id: TaskId,
    timeout_s: Annotated[str | None, _limit("One run.")] = None,
    queue_timeout_s: Annotated[str | None, _limit("The wait for a turn.")] = None,
    heartbeat_timeout_s: Annotated[str | None, _limit("Silence in a run.")] = None,
    total_timeout_s: Annotated[str | None, _limit("From the start to the end.")] = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Give a task more time, or less, and show it.

    Each time counts from where it has counted before: --timeout-s from the
    beginning of the run, not from now. none takes a limit away.

    Examples:
        streaming extend 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --timeout-s 600
        streaming extend 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --total-timeout-s none
    """
    given = {
        "timeout_s": timeout_s,
        "queue_timeout_s": queue_timeout_s,
        "heartbeat_timeout_s": heartbeat_timeout_s,
        "total_timeout_s": total_timeout_s,
    }
    limits = {name: _seconds(name, text) for name, text in given.items() if text is not None}
    if not limits:
        raise typer.BadParameter(f"Say which time: {', '.join(map(_option, given))}.")

    async def work(client: Client) -> None:
        print_record(await client.extend(task_id, **cast("Limits", limits)), output)

    ask(url, work)


def send_input(
    task_id: TaskId,
    data: Annotated[str, typer.Argument(metavar="DATA", help="JSON, or else text.", show_default=False)],
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Send something into a task, and show the seq of its event.

    Examples:
        streaming input 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b '{"answer": 42}'
        streaming input 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b yes
    """
    from streaming.cli.words import value_from

    value: Any = value_from(data)

    async def work(client: Client) -> None:
        seq = await client.send_input(task_id, value)
        if output is Output.JSON:
            print_document({"seq": seq})
        else:
            print(seq)

    ask(url, work)


def ack(task_id: TaskId, url: Url = DEFAULT_URL, output: Format = Output.TEXT) -> None:
    """Say that the result of a task was seen, and show the task.

    Examples:
        streaming ack 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
    """

    async def work(client: Client) -> None:
        print_record(await client.ack(task_id), output)

    ask(url, work)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _seconds(name: str, text: str) -> float | None:
    """A number of seconds, or None for ``none``."""
    if text == _NONE:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise typer.BadParameter(f"{text!r} is no number of seconds, nor {_NONE}.", param_hint=_option(name))
    return seconds
