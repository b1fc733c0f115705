"""Which way PostgreSQL takes to its rows: by the index that is meant.

It guesses how many rows there are. Where it guesses wrong it reads all there are to find a few; and of a statement that
it has prepared while a table was empty it keeps the plan while that one fills.

Owns:   the settings of its planner.
Never:  is asked about SQLite, which takes the index that there is.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

#: What reads more than it was asked for.
DETOURS = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit")

#: What takes all rows, and not the index that has them in their order.
SORTS = ("enable_sort", "enable_incremental_sort")


def without(names: Sequence[str]) -> str:
    """The SQL that forbids some ways, for what is left of a transaction."""
    return "; ".join(f"SET LOCAL {name} = off" for name in names)


def by_index(connection: Connection) -> None:
    """For what is left of the transaction, use the index that has the rows in the order that is asked for."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(without((*DETOURS, *SORTS)))


def by_any_plan(connection: Connection) -> None:
    """For what is left of the transaction, go any way: all rows have to be looked at."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = DEFAULT" for name in DETOURS))
