"""Write bills, one for each customer: steps that are done once, also if the server dies in the middle.

What is done stands in a SQLite file, BILLS_DB, in the same transaction as the bill. See docs/tutorials/batch.md.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import Annotated

from pydantic import Field

from streaming import HandlerError, ThreadContext, task


@task(run_in="thread", on_interrupt="restart", attempts_max=5, timeout_s=60)
def bills(
    ctx: ThreadContext,
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")],
    customers: Annotated[int, Field(ge=1, le=10_000)] = 40,
    pause_s: Annotated[float, Field(ge=0, le=10)] = 0.15,
) -> dict[str, int]:
    """Write the bills of a month."""
    path = os.environ.get("BILLS_DB")
    if not path:
        raise HandlerError("not_configured", "The operator has set no BILLS_DB.")
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table if not exists bills (month text, customer int, primary key (month, customer))")
        (before,) = database.execute("select count(*) from bills where month = ?", [month]).fetchone()
        if before:
            ctx.emit("goes_on", {"after": before})
        for customer in range(before + 1, customers + 1):
            ctx.check()  # between two bills a cancel is welcome
            time.sleep(pause_s)  # stands for the work
            with database:  # one transaction: there is a bill, and it is done, or neither
                database.execute("insert into bills values (?, ?)", [month, customer])
            ctx.steps(customer, customers, f"customer {customer}")
    return {"written": customers - before, "found": before}
