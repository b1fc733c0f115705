"""What the parts of an instance hold: their tables, by name.

Owns:   the one form in which they are told; which of them may hold something although no task is live.
Never:  looks into one: each part tells its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

#: The ids of the tasks that a table has, or how much it has where it does not have tasks.
Table: TypeAlias = Collection[str] | int
Tables: TypeAlias = Mapping[str, Table]

#: What readers and requests hold that come and go without a task.
BUSY_AT_REST = frozenset({"feed readers", "keys", "batches", "batch in flight"})


def size_of_table(table: Table) -> int:
    """How much a table has."""
    return table if isinstance(table, int) else len(table)
