"""Statements of the hot path, as text that is compiled once.

Owns:   how many rows are inserted at once.
Uses:   SQLAlchemy Core to write the SQL.
Never:  decides what is written.

Why not ``executemany``: SQLite's driver gives up the interpreter lock for every row and has to get it back from a busy
event loop. A statement with many rows gives it up once, which is up to twice as fast, and far steadier under load.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Literal

from sqlalchemy import ClauseElement, Connection, Table
from sqlalchemy.dialects import sqlite

#: Older builds of SQLite take no more in one statement.
_VARIABLES_MAX = 999


def sql_text(statement: ClauseElement) -> str:
    """SQLite's text of a statement: its constants are written out, what is bound is a question mark."""
    return str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))


class RowInsert:
    """Inserts rows of one table.

    Args:
        table: rows have its columns, in its order.
        same: what becomes of a row whose primary key is there already: it is refused, or takes the place of the other
            one (``replace``), or is left out (``ignore``).
    """

    def __init__(self, table: Table, *, same: Literal["refuse", "replace", "ignore"] = "refuse") -> None:
        insert = table.insert() if same == "refuse" else table.insert().prefix_with(f"OR {same.upper()}")
        columns = [column.name for column in table.columns]

        @cache
        def text(rows: int) -> str:
            statement = insert.values([dict.fromkeys(columns)] * rows)
            return str(statement.compile(dialect=sqlite.dialect()))

        self._text = text
        self._rows_max = _power_of_two(_VARIABLES_MAX // len(columns))

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert ``rows`` in their order; sizes are powers of two, so that few texts serve all."""
        start = 0
        while start < len(rows):
            size = min(self._rows_max, _power_of_two(len(rows) - start))
            values = tuple(chain.from_iterable(rows[start : start + size]))
            connection.exec_driver_sql(self._text(size), values)
            start += size


def _power_of_two(number: int) -> int:
    """The largest one that is not above ``number``."""
    return 1 << (number.bit_length() - 1)
