"""Every list has one order, and a reader that goes on behind a key misses and repeats nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadFilter
from streaming.records import Priority, Record, TaskStatus
from streaming.rules.fields import FIELDS
from streaming.rules.sorting import (
    DEFAULT_ORDER,
    Key,
    Order,
    in_order,
    is_after,
    is_key,
    parse_sort,
    sort_key,
    sort_text,
)
from tests.rules.tasks import RECORDS

SORTABLE = [field.name for field in FIELDS.values() if field.sortable]
SORTS = st.lists(st.tuples(st.sampled_from(SORTABLE), st.booleans()), min_size=1, max_size=3, unique_by=lambda s: s[0])
ORDERS = SORTS.map(lambda sort: parse_sort(",".join("-" * descending + name for name, descending in sort)))
#: All with ids of their own.
TASKS = st.lists(RECORDS, max_size=12, unique_by=lambda record: record.id)

T0, T1 = "2026-11-01T12:00:00.000000Z", "2026-11-01T12:00:01.000000Z"


def record(number: int, **changes: Any) -> Record:
    plain: dict[str, Any] = {
        "type": "count",
        "status": TaskStatus.RUNNING,
        "params": {},
        "timeout_s": 60.0,
        "created_at": T0,
        "updated_at": T0,
    }
    return Record(id=f"{number:032x}", **{**plain, **changes})


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("created_at", "created_at,id"),
        ("-created_at", "-created_at,-id"),
        ("-created_at,id", "-created_at,id"),
        ("id", "id"),
        ("-priority, created_at", "-priority,created_at,id"),
        ("id,type", "id,type"),
        ("type,-status,progress", "type,-status,progress,id"),
    ],
)
def test_an_order_always_has_the_id(text: str, read: str) -> None:
    assert sort_text(parse_sort(text)) == read


def test_the_default_is_the_newest_first() -> None:
    assert sort_text(DEFAULT_ORDER) == "-created_at,-id"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["cannot be sorted by ''", "possible, with or without a minus: id, type, status"]),
        ("colour", ["cannot be sorted by 'colour'", "created_at"]),
        ("--id", ["'--id'"]),
        ("+id", ["'+id'"]),
        ("id,", ["''"]),
        ("tag", ["'tag'"]),
        ("-error", ["'-error'"]),
        ("type,-type", ["has type twice"]),
        ("-id,id", ["has id twice"]),
        ("type,status,key,id", ["at most 3 fields, not 4"]),
        ("id," * 10_000, ["at most 3 fields, not 10001"]),
        ("x" * 1000, ["'" + "x" * 64 + "'"]),
    ],
)
def test_an_order_that_is_none_is_refused_with_what_would_be(text: str, said: list[str]) -> None:
    with pytest.raises(BadFilter) as caught:
        parse_sort(text)

    for words in said:
        assert words in caught.value.detail
    assert len(caught.value.detail) < 500


@given(ORDERS)
def test_an_order_is_read_as_it_is_written(order: tuple[Order, ...]) -> None:
    # With three fields and the id behind them it is longer than a caller may ask for.
    assert parse_sort(sort_text(order[:3])) == order


# -- what it means -----------------------------------------------------------------------------------------------------


def numbers(order: str, *records: Record) -> list[int]:
    return [int(each.id, 16) for each in in_order(records, parse_sort(order))]


def test_null_comes_before_every_value() -> None:
    some = (record(1, started_at=T0), record(2), record(3, started_at=T1))

    assert numbers("started_at", *some) == [2, 1, 3]
    assert numbers("-started_at", *some) == [3, 1, 2]


def test_priorities_are_sorted_by_rank_and_statuses_by_name() -> None:
    priorities = [record(priority.rank, priority=priority) for priority in Priority]
    statuses = [record(number, status=status) for number, status in enumerate(TaskStatus)]

    assert numbers("-priority", *priorities) == [3, 2, 1, 0]
    assert [each.status for each in in_order(statuses, parse_sort("status"))] == sorted(TaskStatus)


def test_the_first_field_counts_most_and_each_has_its_direction() -> None:
    some = (record(1, attempt=1, type="a"), record(2, attempt=2, type="a"), record(3, attempt=1, type="b"))

    assert numbers("type,-attempt", *some) == [2, 1, 3]
    assert numbers("-attempt,type", *some) == [2, 1, 3]
    assert numbers("attempt,-type", *some) == [3, 1, 2]


@given(TASKS, ORDERS)
def test_an_order_is_total(tasks: list[Record], order: tuple[Order, ...]) -> None:
    keys = [sort_key(each, order) for each in in_order(tasks, order)]

    for place, key in enumerate(keys):
        assert [is_after(other, key, order) for other in keys] == [False] * (place + 1) + [True] * (
            len(keys) - place - 1
        )


@given(RECORDS, ORDERS)
def test_a_key_comes_back_from_json_as_it_was(found: Record, order: tuple[Order, ...]) -> None:
    key = sort_key(found, order)

    assert tuple(json.loads(json.dumps(key))) == key
    assert is_key(json.loads(json.dumps(key)), order)


@pytest.mark.parametrize(
    ("sort", "values", "fits"),
    [
        ("id", ["a"], True),
        ("id", [], False),
        ("id", ["a", "b"], False),
        ("id", [None], False),
        ("id", [1], False),
        ("id", ["\0"], False),
        ("id", ["\ud800"], False),
        ("id", [["a"]], False),
        ("key", [None, "a"], True),
        ("created_at", [None, "a"], False),
        ("status", ["running", "a"], True),
        ("status", [2, "a"], False),
        ("priority", [3, "a"], True),
        ("priority", [4, "a"], False),
        ("priority", [-1, "a"], False),
        ("priority", [1.0, "a"], False),
        ("priority", ["high", "a"], False),
        ("attempt", [1, "a"], True),
        ("attempt", [True, "a"], False),
        ("attempt", ["1", "a"], False),
        ("timeout_s", [1.5, "a"], True),
        ("timeout_s", [float("nan"), "a"], False),
        ("timeout_s", [float("inf"), "a"], False),
        ("timeout_s", [10**400, "a"], False),
        ("progress", [None, "a"], True),
    ],
)
def test_a_key_has_values_that_a_record_can_have(sort: str, values: list[object], fits: bool) -> None:
    assert is_key(values, parse_sort(sort)) is fits


# -- paging ------------------------------------------------------------------------------------------------------------


def page(tasks: dict[str, Record], order: tuple[Order, ...], after: Key | None, limit: int) -> list[Record]:
    """What a store answers."""
    behind = [each for each in tasks.values() if after is None or is_after(sort_key(each, order), after, order)]
    return in_order(behind, order)[:limit]


@dataclasses.dataclass(frozen=True)
class Meanwhile:
    """What happens to a list between two pages."""

    arriving: list[Record]
    leaving: int
    changing: int
    changed: Record


PLACES = st.integers(0, 11)
MEANWHILE = st.builds(Meanwhile, TASKS, PLACES, PLACES, RECORDS)


@given(TASKS, ORDERS, st.integers(1, 4), st.lists(MEANWHILE, max_size=6))
def test_a_task_that_stays_as_it_is_is_seen_exactly_once_and_in_order(
    tasks: list[Record], order: tuple[Order, ...], limit: int, between: list[Meanwhile]
) -> None:
    listed = {each.id: each for each in tasks}
    ever, left, changed = set(listed), set[str](), set[str]()
    seen: list[str] = []
    after: Key | None = None
    rest = iter(between)
    while found := page(listed, order, after, limit):
        seen += [each.id for each in found]
        after = sort_key(found[-1], order)
        event = next(rest, None)
        if event is not None:
            for task_id in list(listed)[event.changing : event.changing + 1]:
                listed[task_id] = dataclasses.replace(event.changed, id=task_id)
                changed.add(task_id)
            for task_id in list(listed)[event.leaving : event.leaving + 1]:
                del listed[task_id]
                left.add(task_id)
            listed |= {each.id: each for each in event.arriving if each.id not in ever}
            ever |= set(listed)

    stayed = [each for each in tasks if each.id not in left | changed]
    ids = {each.id for each in stayed}
    assert [task_id for task_id in seen if task_id in ids] == [each.id for each in in_order(stayed, order)]
    unchanged = [task_id for task_id in seen if task_id not in changed]
    assert len(unchanged) == len(set(unchanged))


def test_a_record_that_has_changed_is_not_behind_itself() -> None:
    order = parse_sort("id,updated_at")
    assert not is_after(("a", "2026"), ("a", "2025"), order)
    assert is_after(("b", "2024"), ("a", "2025"), order)
    assert not is_after(("2025",), ("2025",), order[1:]), "nor is what has the same place"
