"""What is printed where: data on stdout, everything else on stderr.

Rules of this file:

- On a terminal lists are tables; elsewhere they are lines of columns with tabs between them, for other programs.
- Text that came from a server or a handler cannot move the cursor, colour the screen or start a new line.

Owns:   `say` and `hint`, documents, records and tables.
Never:  asks a server for anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streaming.records import CancelReceipt, Record


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


def say(text: str) -> None:
    """Tell the person at the keyboard; never data."""
    print(f"streaming: {printable(text)}", file=sys.stderr, flush=True)


def hint(text: str) -> None:
    """Tell the person at the keyboard what may be done next; where nobody sits there is nobody to do it."""
    if sys.stderr.isatty():
        say(f"next: {text}")


#: Join letters and emoji, or keep letters apart: without them Persian and Hindi are misspelt.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def printable(value: object) -> str:
    """One line of text without control characters."""
    return "".join(
        letter if letter.isprintable() or letter in _JOINERS else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )


def print_document(document: object) -> None:
    """Print one machine-readable document."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values below each other; what is None has nothing to say."""
    known = [(name, value) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name:<{width}}  {printable(_text(value))}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    lines = [[printable(_text(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_drawn(headings, lines)
        return
    for line in lines:
        print("\t".join(line))


def print_record(record: Record, output: Output) -> None:
    """Print everything that is known of a task."""
    document = record.as_json()
    if output is Output.JSON:
        print_document(document)
    else:
        print_fields((name, value) for name, value in document.items() if value != [])


def print_receipt(record: Record, output: Output) -> None:
    """Print what became of a cancel; the whole record as JSON."""
    if output is Output.JSON or record.cancel is None:
        print_record(record, output)
    else:
        print_fields([("task", record.id), ("status", record.status), *record.cancel.as_json().items()])


def receipt_words(receipt: CancelReceipt) -> str:
    """A cancel receipt in one sentence."""
    told = [f"requested {receipt.requested_at} by {receipt.by}"]
    told += [f"delivered {receipt.delivered_at}"] if receipt.delivered_at else []
    told += [f"stopped {receipt.stopped_at}"] if receipt.stopped_at else []
    told += [f"still running at {receipt.where}"] if receipt.where else []
    return f"cancel {receipt.outcome}: {', '.join(told)}."


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _print_drawn(headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        table.add_row(*map(Text, line))
    console = Console()
    longest = max((len(line[0]) for line in lines), default=0)
    if longest <= console.width // 2:
        table.columns[0].min_width = longest  # a name or an id, to be copied
    console.print(table)
