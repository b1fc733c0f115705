"""The command that removes by hand what is not to be kept.

Owns:   its options, its words and its bar.
Uses:   engine.retention (the sweep), store (the database itself).
Never:  works beside a server: the lock of the database is taken first. A running server does all this by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.displays import bars_wanted
from streaming.cli.output import Output, print_document
from streaming.cli.stores import Store
from streaming.errors import StoreUnavailable
from streaming.events import rfc3339

if TYPE_CHECKING:
    from streaming.config import Settings
    from streaming.engine.journal import Pruned
    from streaming.engine.retention import Tell
    from streaming.rules.retention import Retention
    from streaming.store.sql import SqlStore

Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would go.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(help="Remove ended tasks that are older, like 7d or 12h.", show_default="STREAMING_RETENTION"),
    ] = None,
    type: Annotated[str | None, typer.Option(help="Only tasks of this type.", show_default=False)] = None,
    store: Store = None,
    output: Format = Output.TEXT,
) -> None:
    """Remove what is not to be kept from a database that no server uses.

    A running server does this by itself, as STREAMING_RETENTION says. Live
    tasks stay, and results that wait for their acknowledgement.

    Exit status: 0 done, 2 usage, 5 the database is in use or cannot be used.

    Examples:
        streaming prune --dry-run
        streaming prune --older-than 7d --type http_fetch
    """
    from streaming.config import load_settings
    from streaming.observe.logs import configure

    settings = load_settings(store_url=store)
    configure(settings)
    done = asyncio.run(_prune(settings, _policy(settings, older_than), type, dry_run=dry_run))
    if output is Output.JSON:
        print_document({"records": done.records, "events": done.events, "dry_run": dry_run})
    else:
        verb = "Would remove" if dry_run else "Removed"
        print(f"{verb} {done.records} tasks, and {done.events} events of others.")


def _policy(settings: Settings, older_than: str | None) -> Retention:
    from streaming.engine.retention import policy_of
    from streaming.rules.retention import parse_retention
    from streaming.rules.times import read_length

    if older_than is None:
        return policy_of(settings)
    try:
        return parse_retention({"*": {"records": {"age_s": read_length(older_than)}}})
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--older-than") from None


async def _prune(settings: Settings, policy: Retention, type: str | None, *, dry_run: bool) -> Pruned:
    from streaming.engine.retention import Sweeper
    from streaming.store import open_database
    from streaming.store.sql import SqlStore

    database = open_database(settings)
    if database.inspect().revision is None:
        database.close()
        raise StoreUnavailable("There is no database at STREAMING_STORE_URL, or an empty one.")
    store = SqlStore(database, settings)
    await store.open()
    try:
        expected = await _rehearse(store, policy, type)
        if dry_run:
            return expected
        sweeper = Sweeper(store, policy, settings, _now)
        with _bar(expected) as tell:
            return await sweeper.sweep(only=type, everything=True, tell=tell)
    finally:
        await store.close()


async def _rehearse(store: SqlStore, policy: Retention, only: str | None) -> Pruned:
    from streaming.engine.journal import Pruned

    expected = Pruned()
    for type in await store.task_types():
        if only in (None, type):
            expected += await store.rehearse(type, policy, now=_now())
    return expected


def _now() -> str:
    return rfc3339(time.time())


@contextmanager
def _bar(expected: Pruned) -> Iterator[Tell]:
    """Shows how far it is, if somebody is there to see."""
    if not bars_wanted():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("removing", total=expected.records + expected.events)
        yield lambda step: progress.advance(bar, step.records + step.events)
