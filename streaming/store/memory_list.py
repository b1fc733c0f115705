"""The list of the memory store.

Owns:   which of its tasks a query or a filter finds, in which order; how many there are.
Uses:   rules.filters and rules.sorting, as they are; pages.
Never:  keeps or changes a task.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from streaming.engine.journal import RecordPage, RecordQuery
from streaming.records import Record
from streaming.rules.fields import FIELDS
from streaming.rules.filters import Filter
from streaming.rules.sorting import DEFAULT_ORDER, in_order, is_after, sort_key
from streaming.rules.words import words_of
from streaming.store.memory_task import MemoryTask
from streaming.store.pages import Values, most_first, page_of

Ages = Sequence[tuple[str, str]]


def page(tasks: Mapping[str, MemoryTask], ages: Ages, query: RecordQuery) -> RecordPage:
    """One page of records.

    Args:
        tasks: all, by id.
        ages: (created_at, id) of all, ascending.
        query: which, and in which order.
    """
    found = _newest_first(tasks, ages, query) if query.order == DEFAULT_ORDER else _sorted(tasks, query)
    return page_of(((tasks[each.id].snapshot(), tasks[each.id].record_bytes()) for each in found), query)


def count(tasks: Iterable[MemoryTask], filter: Filter, group_by: Sequence[str]) -> list[tuple[Values, int]]:
    """How many records there are, for each combination of values."""
    fields = [FIELDS[name] for name in group_by]
    counts: Counter[Values] = Counter() if fields else Counter({(): 0})
    for task in tasks:
        if is_wanted(task.record, filter):
            values = (field.get(task.record) for field in fields)
            counts[tuple(None if value is None else str(value) for value in values)] += 1
    return most_first(counts)


def is_wanted(record: Record, filter: Filter) -> bool:
    """As `Filter.matches`; words are only made of a record that needs them."""
    return all(term.matches(record) for term in filter.terms) and (
        filter.text is None or filter.words <= words_of(record)
    )


def _newest_first(tasks: Mapping[str, MemoryTask], ages: Ages, query: RecordQuery) -> Iterator[Record]:
    """What most ask for: nothing is sorted, and nothing in front of the place or behind the page is looked at."""
    end = len(ages) if query.after is None else bisect_left(ages, cast(tuple[str, str], query.after))
    records = (tasks[ages[index][1]].record for index in range(end - 1, -1, -1))
    return (record for record in records if is_wanted(record, query.filter))


def _sorted(tasks: Mapping[str, MemoryTask], query: RecordQuery) -> list[Record]:
    records = (task.record for task in tasks.values())
    return in_order(
        (record for record in records if is_wanted(record, query.filter) and _is_behind(record, query)), query.order
    )


def _is_behind(record: Record, query: RecordQuery) -> bool:
    return query.after is None or is_after(sort_key(record, query.order), query.after, query.order)
