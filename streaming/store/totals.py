"""How many ended tasks of each type there are, and how large they are: counted along, never counted anew.

Owns:   the statements that keep ``totals`` right, in the transaction of whatever changes them.
Never:  counts a task that has not ended, or that is held until somebody has acknowledged its result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy import Connection, select

from streaming.store.schema import totals
from streaming.store.statements import run

_COUNT = """
INSERT INTO totals (type, records, bytes)
SELECT type, {sign} * count(*), {sign} * sum(log_bytes - trimmed_bytes)
FROM (SELECT type, log_bytes, trimmed_bytes, finished_at, held FROM tasks WHERE id {named}) AS named
WHERE finished_at IS NOT NULL AND NOT held GROUP BY type
ON CONFLICT (type) DO UPDATE SET records = totals.records + excluded.records, bytes = totals.bytes + excluded.bytes
"""
#: The OFFSET keeps PostgreSQL from looking for them by anything but their ids; see `statements.heads`.
_NAMED = MappingProxyType({"sqlite": "IN (SELECT value FROM json_each(?))", "postgresql": "= ANY(%s) OFFSET 0"})
_TEXTS = MappingProxyType(
    {(name, sign): _COUNT.format(sign=sign, named=named) for name, named in _NAMED.items() for sign in (1, -1)}
)


def count_ended(connection: Connection, task_ids: Sequence[str], *, sign: int = 1) -> None:
    """Count tasks in, after they have ended; or out, before they change or go.

    Args:
        connection: in a transaction.
        task_ids: which; those that do not count are left out.
        sign: 1 or -1.
    """
    if task_ids:
        dialect = connection.dialect.name
        named = json.dumps(list(task_ids)) if dialect == "sqlite" else list(task_ids)
        run(connection, _TEXTS[dialect, sign], (named,))


def total_of(connection: Connection, type: str) -> tuple[int, int]:
    """How many ended tasks of a type there are that count, and how many bytes of events they have."""
    row = connection.execute(select(totals.c.records, totals.c.bytes).where(totals.c.type == type)).one_or_none()
    return (0, 0) if row is None else (row.records, row.bytes)
