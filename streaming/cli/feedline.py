"""How one event of the feed looks: a line for people, a line of columns, a line of JSON.

Owns:   `liner`, which chooses by where the output goes, and the colours of statuses.
Uses:   cli.output (what can be printed).
Never:  waits for events, or decides what they mean.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from streaming.cli.output import Output, printable
from streaming.events import Event
from streaming.rules.sse import envelope

Show = Callable[[int, Event], None]

#: Colours by status, for events and for tasks; everything else is as the terminal has it. They only repeat words.
STYLES: Mapping[str, str] = MappingProxyType(
    {
        "pending": "dim",
        "running": "cyan",
        "retrying": "yellow",
        "completed": "green",
        "failed": "bold red",
        "cancelled": "yellow",
        "timed_out": "bold red",
        "interrupted": "magenta",
        "cancel_requested": "yellow",
        "cancel_ignored": "bold red",
        "deadline_warning": "yellow",
        "gap": "bold red",
        "progress": "dim",
    }
)


def liner(output: Output) -> Show:
    """Choose how to print the events of the feed.

    Args:
        output: as asked for on the command line.

    Returns:
        What prints one of them, given its position.
    """
    if output is Output.JSON:
        return lambda position, event: print(document(position, event), flush=True)
    if sys.stdout.isatty():
        return _coloured()
    return lambda position, event: print(columns(position, event), flush=True)


def document(position: int, event: Event) -> str:
    """One JSON object: the event, and where it stands in the feed."""
    return json.dumps({"position": position, **json.loads(envelope(event))}, ensure_ascii=False, separators=(",", ":"))


def columns(position: int, event: Event) -> str:
    """Position, time, task, seq, type and data with tabs between them."""
    return "\t".join(
        [str(position), event.time, printable(event.task_id), str(event.seq), event.type, printable(event.payload)]
    )


def _coloured() -> Show:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def show(position: int, event: Event) -> None:
        line = Text.assemble(
            (event.time[11:19], "dim"),
            "  ",
            printable(event.task_id),
            "  ",
            (f"{printable(event.type):<10}", STYLES.get(event.type, "")),
            "  ",
            printable("" if event.payload == "{}" else event.payload),
        )
        line.rstrip()
        console.print(line, soft_wrap=True)

    return show
