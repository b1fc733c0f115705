"""Lists and counts of records.

Owns:   the statements, their plan, and the bound on what they look at; one page is one snapshot.
Uses:   rules.plan (which way), conditions (what it means), reads (rows as records), pages.
Never:  reads all there is to find a few, or leaves the choice of an index to chance.

The statements have fences: what looks at records is a subquery with a LIMIT, and what chooses and sorts is around it.
So both databases use the index that was meant, and stop as soon as a page is full. Rows are read whole only once they
are chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, RowMapping, Select, Subquery, func, literal_column, select

from streaming.engine.journal import RecordPage, RecordQuery
from streaming.records import Priority
from streaming.rules.filters import Filter
from streaming.rules.plan import Gather, Piece, Source, Walk, choose, orders, sources, walk
from streaming.rules.sorting import Key, Order, is_key
from streaming.store.conditions import (
    behind,
    column_name,
    column_of,
    in_piece,
    in_piece_order,
    is_source,
    matches,
    names_in,
    owner_columns,
    sorted_by,
)
from streaming.store.pages import Values, most_first, page_of
from streaming.store.planner import DETOURS, by_any_plan, without
from streaming.store.reads import PIECEMEAL, RECORDS, Readable
from streaming.store.schema import tasks

_ONE = literal_column("1", Integer)
_PRIORITIES = dict(enumerate(Priority))


class Listing:
    """Answers questions about many records; each call needs a connection of its own, that nothing was read with.

    Args:
        scan_max: how many records one page looks at.
    """

    def __init__(self, scan_max: int) -> None:
        self._scan_max = scan_max

    def records(self, connection: Connection, query: RecordQuery) -> RecordPage:
        """One page.

        Raises:
            BadFilter: this order needs a filter that leaves fewer records.
        """
        with _snapshot(connection):
            possible = walk(query.filter, query.order, query.after)
            fewest = self._fewest(connection, query.filter, or_all=possible is None)
            way = choose(possible, fewest, query.order, self._scan_max, orders(query.filter))
            return _page(_Look(connection, query, way, query.limit + 1, self._scan_max))

    def count(self, connection: Connection, filter: Filter, group_by: Sequence[str]) -> list[tuple[Values, int]]:
        """How many records there are, for each combination of values."""
        with _snapshot(connection):
            source, candidates = self._fewest(connection, filter, or_all=False)
            dialect = connection.dialect.name
            if candidates > self._scan_max:
                by_any_plan(connection)
                groups = [column_of(name, tasks) for name in group_by]
                counting = select(*groups, func.count()).select_from(tasks)
                statement = counting.where(*matches(filter, tasks, dialect, probe=False))
            else:
                names = {"id", *map(column_name, group_by), *names_in(filter)}
                looked = _candidates(names, source, self._scan_max, dialect)
                groups = [column_of(name, looked) for name in group_by]
                statement = select(*groups, func.count()).where(
                    looked.c.id.is_not(None), *matches(filter, looked, dialect)
                )
            counts: Counter[Values] = Counter()
            for *values, found in connection.execute(statement.group_by(*groups)):
                counts[tuple(map(_word, group_by, values))] += found
            return most_first(counts)

    def _fewest(self, connection: Connection, filter: Filter, *, or_all: bool) -> tuple[Source | None, int]:
        """Which condition leaves the fewest records, and how many these are: counted up to one more than may be."""
        source: Source | None = None
        least = self._scan_max + 1
        for each in sources(filter):
            found = _count(connection, each, least)
            if found < least:
                source, least = each, found
        if or_all and least > self._scan_max:
            least = _count(connection, None, least)
        return source, least


def _count(connection: Connection, source: Source | None, most: int) -> int:
    table, conditions = is_source(source, connection.dialect.name)
    rows = select(_ONE).select_from(table).where(*conditions).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(rows)).scalar_one()


def _candidates(names: set[str], source: Source | None, most: int, dialect: str) -> Subquery:
    """Some columns of all records that one condition leaves; of those that are gone, only nulls."""
    rows = select(*(tasks.c[name] for name in sorted(names)))
    table, conditions = is_source(source, dialect)
    if table is tasks:
        rows = rows.where(*conditions)
    else:
        its = select(table.c.task_id).where(*conditions).distinct().limit(most).subquery("its")
        # SQLite begins an outer join at its left side, whatever it knows of the other one.
        rows = rows.select_from(its.outerjoin(tasks, tasks.c.id == its.c.task_id))
    return rows.limit(most).subquery("looked")


def _word(field: str, value: Any) -> str | None:
    """A value as the API writes it; what nobody of ours has written stays what it is, as far as it is a text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(_PRIORITIES.get(value, value)) if field == "priority" else str(value)


# -- a page ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Look:
    """One look at the records, which gives the rows of a page in their order.

    Attributes:
        connection: with a snapshot.
        query: what is asked.
        way: how it is answered.
        rows_max: rows of the page, at most.
        scan_max: records to look at, at most.
        end: the place of the last record that was looked at, where there may be others behind it.
    """

    connection: Connection
    query: RecordQuery
    way: Gather | Walk
    rows_max: int
    scan_max: int
    end: Key | None = None

    def rows(self) -> Generator[RowMapping]:
        """The rows."""
        self.end = None
        return self._gathered(self.way) if isinstance(self.way, Gather) else self._walked(self.way)

    def _gathered(self, way: Gather) -> Generator[RowMapping]:
        looked = _candidates(self._names(), way.source, self.scan_max, self._dialect)
        chosen = self._chosen(looked).where(looked.c.id.is_not(None)).order_by(*sorted_by(self.query.order, looked))
        yield from self._read(chosen.limit(self.rows_max), self.query.order)

    def _walked(self, way: Walk) -> Generator[RowMapping]:
        rows_left, scan_left = self.rows_max, self.scan_max
        for piece in way.pieces:
            columns = (tasks.c[name] for name in sorted(self._names() | owner_columns(way.lead)))
            looked = self._passed(way, piece, *columns).limit(scan_left).subquery("looked")
            chosen = self._chosen(looked).limit(rows_left)
            if self._dialect != "sqlite":  # where a subquery is read in its order, and nobody knows
                chosen = chosen.order_by(*in_piece_order(way.lead, piece, looked))
            found = 0
            for row in self._read(chosen, piece.order):
                found += 1
                yield row
            rows_left -= found
            if rows_left == 0:
                return
            self.end = self._last_passed(way, piece, scan_left)
            if self.end is not None:
                return
            scan_left -= self._count_passed(way, piece, scan_left)

    @property
    def _dialect(self) -> str:
        return self.connection.dialect.name

    def _names(self) -> set[str]:
        """The columns that are looked at."""
        return {"id", *names_in(self.query.filter), *(column_name(each.field) for each in self.query.order)}

    def _chosen(self, looked: Subquery) -> Select[Any]:
        """The ids of what is wanted of that, behind the place of the page."""
        query = self.query
        place = [] if query.after is None else [behind(query.order, query.after, looked)]
        return select(looked.c.id).where(*matches(query.filter, looked, self._dialect), *place)

    def _read(self, chosen: Select[Any], order: Sequence[Order]) -> Iterator[RowMapping]:
        """Whole rows, one by one, in the order of the choice."""
        ids = chosen.subquery("chosen")
        statement = RECORDS.select_from(ids.outerjoin(tasks, tasks.c.id == ids.c.id))
        if self._dialect != "sqlite":  # which keeps the order of an outer join, and would sort whole rows here
            statement = statement.order_by(*sorted_by(order, tasks))
        with self.connection.execute(statement, execution_options=PIECEMEAL) as rows:
            yield from rows.mappings()

    def _passed(self, way: Walk, piece: Piece, *columns: ColumnElement[Any]) -> Select[Any]:
        """What a walk passes in one piece."""
        return (
            select(*columns)
            .select_from(tasks)
            .where(*in_piece(way.lead, piece, tasks, self._dialect))
            .order_by(*in_piece_order(way.lead, piece, tasks))
        )

    def _last_passed(self, way: Walk, piece: Piece, number: int) -> Key | None:
        """The place of the record of this number, counted from 1."""
        fields = [each.field for each in self.query.order]
        columns = (column_of(field, tasks) for field in fields)
        row = self.connection.execute(self._passed(way, piece, *columns).offset(number - 1).limit(1)).one_or_none()
        return None if row is None else way.place(dict(zip(fields, row, strict=True)), self.query.order)

    def _count_passed(self, way: Walk, piece: Piece, most: int) -> int:
        passed = self._passed(way, piece, _ONE).limit(most).subquery()
        return self.connection.execute(select(func.count()).select_from(passed)).scalar_one()


def _page(look: _Look) -> RecordPage:
    """Take a page; look again, and further, where too many records in the way cannot be read."""
    while True:
        with closing(look.rows()) as rows:
            readable = Readable(rows)
            page = page_of(readable, look.query)
        if page.more is None and readable.asked == look.rows_max:
            look.rows_max *= 2
        elif page.more is None and look.end is not None and not is_key(look.end, look.query.order):
            look.scan_max *= 2
        else:
            readable.report()
            return RecordPage(page.records, more=page.more or look.end, damaged=tuple(readable.damaged))


# -- what a question runs in -------------------------------------------------------------------------------------------


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """All statements inside see the same, and find it by indexes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")
    else:
        connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL plan_cache_mode = force_custom_plan; "
            + without(DETOURS)
        )
        yield
