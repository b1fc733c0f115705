"""A handler that imports CSV into a database, batch by batch: steps, rejected rows, and a restart that is safe.

The operator says into which SQLite file: ``IMPORT_DB``.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

from pydantic import Field

from streaming import HandlerError, ThreadContext, task

Row = tuple[str, float]


@task(run_in="thread", on_interrupt="restart", max_running=1)
def batch_import(
    ctx: ThreadContext,
    text: Annotated[str, Field(max_length=500_000, description="CSV with the columns name and price.")],
    batch: Annotated[int, Field(ge=1, le=10_000)] = 100,
) -> dict[str, int]:
    """Import a price list."""
    path = os.environ.get("IMPORT_DB")
    if not path:
        raise HandlerError("not_configured", "The operator has set no IMPORT_DB.")
    ctx.steps(0, 1, "reading")
    rows = list(_read(ctx, text))
    total = 1 + -(-len(rows) // batch)
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table if not exists prices (name text primary key, price real)")
        for step in range(1, total):
            ctx.check()  # between two batches a cancel is welcome; what is imported stays
            ctx.steps(step, total, f"batch {step} of {total - 1}")
            with database:  # one transaction; the same rows again, after a restart, change nothing
                part = itertools.islice(rows, (step - 1) * batch, step * batch)
                database.executemany("insert or replace into prices values (?, ?)", part)
    ctx.steps(total, total)
    return {"imported": len(rows)}


def _read(ctx: ThreadContext, text: str) -> Iterator[Row]:
    """The good rows; each bad one is an event."""
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        try:
            yield row["name"], float(row["price"])
        except (KeyError, TypeError, ValueError):
            ctx.emit("rejected", {"line": reader.line_num, "row": row})
