"""The commands about the database itself: its schema, and who uses it.

Owns:   the words of ``streaming db``.
Uses:   store (whatever is done to a database).
Never:  asks a server: these commands are for when none runs.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.exits import Exit
from streaming.cli.output import Output, print_document, say
from streaming.cli.stores import Store

if TYPE_CHECKING:
    from streaming.store.database import Database

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]


@app.callback()
def database() -> None:
    """Look after the database: its schema, and who uses it."""


@app.command()
def upgrade(store: Store = None) -> None:
    """Bring the database to the schema of this version.

    Stop the server and make a backup first. All of it is done, or nothing.
    An empty database is set up. Exit status: 0 done, 5 it cannot be.

    Examples:
        streaming db upgrade
        streaming db upgrade --store sqlite:////var/lib/streaming/streaming.db
    """
    from streaming.store.schema import REVISION

    with closing(_open(store)) as made:
        before = made.inspect().revision
        made.open(lambda step: say(f"step {step}"))
    if before == REVISION:
        print(f"The schema is {REVISION} already.")
    else:
        print(f"The schema was {before or 'empty'} and is {REVISION} now.")


@app.command()
def check(store: Store = None, output: Format = Output.TEXT) -> None:
    """Say which schema the database has, and who uses it; change nothing.

    Exit status: 0 it is that of this version, 1 it is not, 5 it cannot be
    used: a table is missing, say.

    Examples:
        streaming db check
        streaming db check -o json | jq -r .revision
    """
    from streaming.store.schema import REVISION

    with closing(_open(store)) as made:
        found = made.inspect()
    current = found.revision == REVISION
    if output is Output.JSON:
        print_document({
            "revision": found.revision, "newest": REVISION, "current": current, "holder": found.holder
        })  # fmt: skip
    else:
        print(f"The schema is {found.revision or 'empty'}; this version has {REVISION}.")
        print(f"It is in use by {found.holder}." if found.holder else "Nobody uses it.")
    raise typer.Exit(Exit.OK if current else Exit.TASK_FAILED)


def _open(store: str | None) -> Database:
    from streaming.config import load_settings
    from streaming.store import open_database

    return open_database(load_settings(store_url=store))
