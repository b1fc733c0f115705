"""Statements of the hot path, as text that is compiled once, and what the two databases say in different words.

Owns:   how rows are inserted; how a commit gets its positions, and learns to which logs it may write.
Uses:   SQLAlchemy Core to write the SQL, schema.
Never:  decides what is written.

Why not ``executemany`` on SQLite: its driver gives up the interpreter lock for every row and has to get it back from a
busy event loop. A statement with many rows gives it up once, which is up to twice as fast, and far steadier under load.
On PostgreSQL ``executemany`` sends all rows before it waits for the first answer, which has measured faster there than
statements with many rows or arrays; `Database.one_trip` does the same with all statements of a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Integer,
    ScalarSelect,
    Table,
    Text,
    and_,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from streaming.rules.lifecycle import LIVE, TERMINAL
from streaming.store.schema import LAST_POSITION, events, feed, tasks

Same = Literal["refuse", "replace", "ignore"]

#: Older builds of SQLite take no more in one statement.
_VARIABLES_MAX = 999

#: Stands for a NUL where there can be none: the replacement character of Unicode.
_NO_NUL = "\N{REPLACEMENT CHARACTER}"

#: By the name of the dialect of a connection; and how a parameter looks in the driver's own SQL.
_DIALECTS: Mapping[str, Callable[[], Dialect]] = MappingProxyType(
    {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect}
)
_MARKS = MappingProxyType({"sqlite": "?", "postgresql": "%s"})


def run(connection: Connection, statement: str, values: Sequence[Any] = ()) -> Any:
    """Run a text of the hot path, and return what SQLAlchemy or the driver returns: it can be asked for its rows.

    On SQLite it goes to the driver itself: SQLAlchemy's part of such a statement takes longer than the database's.
    """
    if connection.dialect.name == "sqlite":
        return driver_of(connection).execute(statement, values)
    return connection.exec_driver_sql(statement, values)


def driver_of(connection: Connection) -> Any:
    """The driver's own connection below one of SQLAlchemy."""
    return connection.connection.driver_connection


class Statement:
    """One statement for both databases, in the words of their drivers; compiled when it is first needed.

    Args:
        statement: its constants are written out, what is bound is ``text("?")``.
    """

    def __init__(self, statement: ClauseElement) -> None:
        @cache
        def text_for(name: str) -> str:
            options = {"literal_binds": True}
            return str(statement.compile(dialect=_DIALECTS[name](), compile_kwargs=options)).replace("?", _MARKS[name])

        self._text_for = text_for

    def text(self, connection: Connection) -> str:
        """The SQL for this connection."""
        return self._text_for(connection.dialect.name)


class RowInsert:
    """Inserts rows of one table.

    Args:
        table: rows have its columns, in its order.
        same: what becomes of a row whose primary key is there already: it is refused, or takes the place of the other
            one (``replace``), or is left out (``ignore``).
    """

    def __init__(self, table: Table, *, same: Same = "refuse") -> None:
        insert = table.insert() if same == "refuse" else table.insert().prefix_with(f"OR {same.upper()}")
        columns = [column.name for column in table.columns]

        @cache
        def text(rows: int) -> str:
            statement = insert.values([dict.fromkeys(columns)] * rows)
            return str(statement.compile(dialect=sqlite.dialect()))

        self._text = text
        self._text_of_one = _insert_of_one(table, same)
        self._rows_max = _power_of_two(_VARIABLES_MAX // len(columns))

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert ``rows`` in their order."""
        if connection.dialect.name == "sqlite":
            self._run_many(connection, rows)
        elif rows:
            connection.exec_driver_sql(self._text_of_one, [storable(connection, row) for row in rows])

    def _run_many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Sizes are powers of two, so that few texts serve all."""
        start = 0
        while start < len(rows):
            size = min(self._rows_max, _power_of_two(len(rows) - start))
            values = tuple(chain.from_iterable(rows[start : start + size]))
            run(connection, self._text(size), values)
            start += size


def storable(connection: Connection, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row that the database takes: a text of PostgreSQL cannot hold a NUL. JSON writes it in other characters.

    So no name, reason or error code stops a commit, whoever has chosen it.
    """
    if connection.dialect.name == "sqlite":
        return row
    return tuple(value.replace("\0", _NO_NUL) if isinstance(value, str) and "\0" in value else value for value in row)


def _insert_of_one(table: Table, same: Same) -> str:
    """PostgreSQL's statement for one row."""
    insert = postgresql.insert(table).values({column.name: text("?") for column in table.columns})
    if same == "ignore":
        insert = insert.on_conflict_do_nothing()
    elif same == "replace":
        rest = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
        insert = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)
    return str(insert.compile(dialect=_DIALECTS["postgresql"]())).replace("?", "%s")


def _power_of_two(number: int) -> int:
    """The largest one that is not above ``number``."""
    return 1 << (number.bit_length() - 1)


# -- where the feed and the logs end -----------------------------------------------------------------------------------


def _last_seq(rows: FromClause) -> ScalarSelect[int]:
    return select(func.max(events.c.seq)).where(events.c.task_id == rows.c.id).scalar_subquery()


def _goes_on(rows: FromClause, status: ColumnElement[str] | None = None) -> tuple[ColumnElement[bool], ...]:
    end = select(events.c.task_id).where(events.c.task_id == rows.c.id, events.c.type.in_(sorted(TERMINAL)))
    return (rows.c.status if status is None else status).in_(sorted(LIVE)), ~end.exists()


# SQLite: one row tells all, and takes a JSON list of ids, so that one text serves any number of them. The plus keeps it
# off the index of the status, which would lead to all that is live (https://www.sqlite.org/optoverview.html).
_ids = select(func.json_each(text("?")).table_valued("value").c.value)
_status_alone = literal_column("+tasks.status", Text)
_heads = select(func.json_group_object(tasks.c.id, _last_seq(tasks))).where(
    tasks.c.id.in_(_ids), *_goes_on(tasks, _status_alone)
)
_SQLITE_HEADS = Statement(select(LAST_POSITION.scalar_subquery(), _heads.scalar_subquery()))

# PostgreSQL: the lock on the one row of `feed` comes first. Whoever else would write waits for it, so that positions
# become visible in their order, and what is read behind it is what was committed last. The OFFSET is a fence: the index
# of the status has an entry for each status that any task had since the last vacuum, and is no way to find a few tasks.
_LOCK_FEED = Statement(select(feed.c.position).with_for_update())
_MOVE_FEED = Statement(feed.update().values(position=text("?")))
_named = select(tasks.c.id, tasks.c.status).where(text("tasks.id = ANY(?)")).offset(0).subquery("named")
_HEADS = Statement(select(_named.c.id, _last_seq(_named)).where(*_goes_on(_named)))

# The same, beside a guess of what it will say. A wrong one has to be an error: nothing else stops a transaction whose
# end was sent with it: here a division by zero, of which there is no other.
_lists = func.unnest(text("?::text[]"), text("?::bigint[]"))
_guess = _lists.table_valued("id", "last_seq", name="guess").render_derived()
_status = select(tasks.c.status).where(tasks.c.id == _guess.c.id).scalar_subquery()
_guessed = select(_guess, _status.label("status")).offset(0).subquery("guessed")
_same_seq = func.coalesce(_guessed.c.last_seq == func.coalesce(_last_seq(_guessed), 0), true())
_right = select(func.count()).select_from(_guessed).where(*_goes_on(_guessed), _same_seq).scalar_subquery()
_same_position = select(feed.c.position).where(feed.c.position == text("?")).exists()
_EXPECT = Statement(select(1 // cast(and_(_same_position, _right == text("?")), Integer)))


def heads(connection: Connection, task_ids: Collection[str]) -> tuple[int, dict[str, int]]:
    """Where the feed and some logs end, for whoever is going to write.

    Returns:
        The last position that was given, and the last seq of those of the tasks that go on.
    """
    if connection.dialect.name == "sqlite":
        named = json.dumps(list(task_ids))
        position, found = run(connection, _SQLITE_HEADS.text(connection), (named,)).fetchone()
        return position or 0, {task_id: last_seq or 0 for task_id, last_seq in json.loads(found).items()}
    position = connection.exec_driver_sql(_LOCK_FEED.text(connection)).scalar_one()
    rows = connection.exec_driver_sql(_HEADS.text(connection), (list(task_ids),))
    return position, {task_id: last_seq or 0 for task_id, last_seq in rows}


def expect(connection: Connection, position: int, ends: Mapping[str, int | None]) -> None:
    """Let the transaction fail with `faults.UNEXPECTED` if `heads` would say something else; PostgreSQL only.

    Args:
        connection: in a trip whose first statement this is.
        position: the last one that was given.
        ends: the last seq of each task; None if any will do, but it has to go on.
    """
    connection.exec_driver_sql(_LOCK_FEED.text(connection))
    connection.exec_driver_sql(_EXPECT.text(connection), (position, list(ends), list(ends.values()), len(ends)))


def move_feed(connection: Connection, position: int) -> None:
    """Note the last position that a commit has given; SQLite does so by itself."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_MOVE_FEED.text(connection), (position,))
