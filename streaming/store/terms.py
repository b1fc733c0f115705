"""What tasks can be found by goes with them.

Owns:   the delete of many terms by the key of their table, on both databases.
Never:  looks for the terms of a task: nothing but its record says which these are.

A list of row values is no way to do it: neither database looks them up one by one, but reads the whole table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy import Connection

#: A row of ``terms``.
Term = tuple[str, str, str]

DELETES = MappingProxyType(
    {
        "sqlite": (
            "DELETE FROM terms WHERE (kind, term, task_id) IN (SELECT json_extract(value, '$[0]'), "
            "json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))"
        ),
        "postgresql": (
            "DELETE FROM terms USING unnest(%s::text[], %s::text[], %s::text[]) AS gone (kind, term, task_id) "
            "WHERE terms.kind = gone.kind AND terms.term = gone.term AND terms.task_id = gone.task_id"
        ),
    }
)


def delete_terms(connection: Connection, rows: Sequence[Term]) -> None:
    """Delete these rows; those that are not there are no matter."""
    if not rows:
        return
    dialect = connection.dialect.name
    connection.exec_driver_sql(DELETES[dialect], parameters(dialect, rows))


def parameters(dialect: str, rows: Sequence[Term]) -> tuple[object, ...]:
    """What the statement of a database takes."""
    return (json.dumps(rows),) if dialect == "sqlite" else tuple(list(column) for column in zip(*rows, strict=True))
