"""What an answer about many records carries.

Owns:   when a page ends and what its place is; in which order counts come.
Uses:   rules.sorting (places).
Never:  looks for records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streaming.engine.journal import PAGE_BYTES_MAX, RecordPage, RecordQuery
from streaming.records import Record
from streaming.rules.sorting import sort_key

Values = tuple[str | None, ...]


def page_of(sized: Iterable[tuple[Record, int]], query: RecordQuery) -> RecordPage:
    """Take what one page may carry: ``query.limit`` records, or fewer that have `PAGE_BYTES_MAX`, but at least one.

    Args:
        sized: records in the order of the query, with their sizes in bytes; no more of them are asked for than one
            behind the page.
        query: the order and the limit count.
    """
    records: list[Record] = []
    size = 0
    for record, record_bytes in sized:
        if len(records) == query.limit or size >= PAGE_BYTES_MAX:
            return RecordPage(records, more=sort_key(records[-1], query.order))
        records.append(record)
        size += record_bytes
    return RecordPage(records)


def most_first(counts: Mapping[Values, int]) -> list[tuple[Values, int]]:
    """Counts in their order: of equal ones, that with the lower values comes first, and null before every value."""
    return sorted(counts.items(), key=lambda item: (-item[1], [(value is not None, value or "") for value in item[0]]))
