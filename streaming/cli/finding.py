"""The commands that find tasks: list, count, show.

Owns:   their options, and how what was found is printed.
Uses:   client (the questions), cli.filters, cli.table and cli.details.
Never:  changes anything.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import DEFAULT_URL, Format, TaskId, Url, ask
from streaming.cli.filters import Preset, Statuses, Tags, Terms, Types, Words, fields_from, filters_from
from streaming.cli.output import Output, print_document, print_table, say

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.records import Progress, Record

LIMIT_DEFAULT = 50

#: Tasks under one task that are shown.
CHILDREN_MAX = 100


class ListOutput(StrEnum):
    """How a list is printed."""

    TEXT = "text"
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"


ListFormat = Annotated[
    ListOutput,
    typer.Option(
        "--output",
        "-o",
        help="text: a table on a terminal, else tabs; table; json; ndjson: a task a line.",
        show_default=True,
    ),
]


def list_tasks(
    status: Statuses = None,
    type: Types = None,
    tag: Tags = None,
    query: Words = None,
    filter: Terms = None,
    preset: Preset = None,
    sort: Annotated[
        str | None, typer.Option(help="Fields with commas; a minus puts the greatest first.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default="50")] = None,
    all: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    url: Url = DEFAULT_URL,
    output: ListFormat = ListOutput.TEXT,
) -> None:
    r"""List tasks, newest first.

    On a terminal they are a table that fits it. Elsewhere the columns are id,
    type, status, percent, message and created_at, with tabs between them.

    Examples:
        streaming list --status running --status pending
        streaming list --preset failed --filter 'created_at\[gte]=2026-11-01'
        streaming list --type http_fetch --all -o ndjson | jq .result
    """
    if all and limit is not None:
        raise typer.BadParameter("--all and --limit exclude each other.", param_hint="--all")
    filters = filters_from(status, type, tag, query, filter, preset)
    most = None if all else limit or LIMIT_DEFAULT

    async def work(client: Client) -> None:
        found = client.tasks(filters, sort=sort, limit=most)
        if output is ListOutput.NDJSON:
            async for record in found:
                print(json.dumps(record.as_json(), ensure_ascii=False), flush=True)
            return
        records = [record async for record in found]
        _print_list(records, output)
        if sys.stdout.isatty() and len(records) == most:
            say(f"these are the first {most}; --all shows all of them")

    ask(url, work)


def _print_list(records: list[Record], output: ListOutput) -> None:
    if output is ListOutput.JSON:
        print_document([record.as_json() for record in records])
    elif output is ListOutput.TABLE or sys.stdout.isatty():
        _print_drawn(records)
    else:
        print_table(
            [],
            [[task.id, task.type, task.status.value, *_progress(task.progress), task.created_at] for task in records],
        )


def _print_drawn(records: list[Record]) -> None:
    from streaming.cli.table import Look, lines_of

    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    width = shutil.get_terminal_size().columns
    for line in lines_of(records, Look(width, time.time(), ascii_only)):
        print(line)


def _progress(progress: Progress | None) -> tuple[float | None, str | None]:
    return (None, None) if progress is None else (progress.percent, progress.message)


def count_tasks(
    status: Statuses = None,
    type: Types = None,
    tag: Tags = None,
    query: Words = None,
    filter: Terms = None,
    preset: Preset = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(help="status, type, priority, created_by, error; several with commas.", show_default=False),
    ] = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Count tasks, in all or for each combination of values.

    Examples:
        streaming count --status running
        streaming count --group-by status,type
    """
    filters, fields = filters_from(status, type, tag, query, filter, preset), fields_from(group_by or ())

    async def work(client: Client) -> None:
        found = await client.count(filters, group_by=fields or None)
        if output is Output.JSON:
            print_document({"count": found.count, "groups": [*found.groups]})
        elif fields:
            names = [*fields, "count"]
            print_table(names, [[group.get(name) for name in names] for group in found.groups])
        else:
            print(found.count)

    ask(url, work)


def show(task_id: TaskId, url: Url = DEFAULT_URL, output: Format = Output.TEXT) -> None:
    """Show everything that is known of a task, its history, and its children.

    Examples:
        streaming show 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
        streaming show 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b -o json | jq .result
    """
    from streaming.cli.details import print_details

    async def work(client: Client) -> None:
        record, history = await client.get(task_id), await client.history(task_id)
        children = [child async for child in _children(client, task_id)]
        if output is Output.JSON:
            document = {
                "history": [span.as_json() for span in history],
                "children": [each.as_json() for each in children],
            }
            print_document({**record.as_json(), **document})
            return
        print_details(record, history, children)
        if len(children) == CHILDREN_MAX:
            say(f"these are the first {CHILDREN_MAX} children; all: streaming list --filter parent={task_id} --all")

    ask(url, work)


def _children(client: Client, task_id: str) -> AsyncIterator[Record]:
    return client.tasks(parent=task_id, sort="created_at", limit=CHILDREN_MAX)
