"""Lists of every store, asked without an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streaming.engine.journal import Commit, RecordPage, RecordQuery
from streaming.records import Record
from streaming.rules.filters import Filter
from streaming.store import memory_list, writes
from streaming.store.database import Database
from streaming.store.listing import Listing
from streaming.store.memory_task import MemoryTask
from streaming.store.schema import tasks, terms

Counts = list[tuple[tuple[str | None, ...], int]]


class Asked(Protocol):
    """A store, without an event loop."""

    def fill(self, records: Sequence[Record]) -> None:
        """Have these records and no others."""

    def page(self, query: RecordQuery, scan_max: int) -> RecordPage:
        """One page."""

    def count(self, filter: Filter, group_by: Sequence[str], scan_max: int) -> Counts:
        """How many."""


class AskedMemory:
    def fill(self, records: Sequence[Record]) -> None:
        self._tasks = {record.id: MemoryTask(record) for record in records}
        self._ages = sorted((record.created_at, record.id) for record in records)

    def page(self, query: RecordQuery, scan_max: int) -> RecordPage:
        return memory_list.page(self._tasks, self._ages, query)

    def count(self, filter: Filter, group_by: Sequence[str], scan_max: int) -> Counts:
        return memory_list.count(self._tasks.values(), filter, group_by)


class AskedSql:
    def __init__(self, database: Database) -> None:
        self.database = database

    def fill(self, records: Sequence[Record]) -> None:
        with self.database.writing() as connection:
            connection.execute(tasks.delete())
            connection.execute(terms.delete())
            writes.write(connection, Commit([], created=records))

    def page(self, query: RecordQuery, scan_max: int) -> RecordPage:
        with self.database.reading() as connection:
            return Listing(scan_max).records(connection, query)

    def count(self, filter: Filter, group_by: Sequence[str], scan_max: int) -> Counts:
        with self.database.reading() as connection:
            return Listing(scan_max).count(connection, filter, group_by)
