"""The fields that can be asked for, and how their values are read."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.records import Priority, Progress, Record, TaskError, TaskStatus
from streaming.rules.fields import FIELDS, NUMBER_MAX, TEXT_MAX, Kind, Operator, is_storable, place

TIME = "2026-11-01T12:00:00.000000Z"
PLAIN = Record("0" * 32, "count", TaskStatus.PENDING, {}, 60.0, TIME, TIME)
FULL = Record(
    id="1" * 32,
    type="fetch",
    status=TaskStatus.FAILED,
    params={},
    timeout_s=30.0,
    created_at="2026-11-01T12:00:00.000001Z",
    updated_at="2026-11-01T12:00:00.000002Z",
    created_by="ann",
    priority=Priority.HIGH,
    key="k",
    external_id="x",
    parent="2" * 32,
    retry_of="3" * 32,
    tags=("a", "b"),
    attempt=2,
    retries_left=1,
    retry_at="2026-11-01T12:00:00.000003Z",
    progress=Progress(40.0),
    heartbeat_at="2026-11-01T12:00:00.000004Z",
    error=TaskError("timed_out", "It took too long."),
    acked_at="2026-11-01T12:00:00.000005Z",
    started_at="2026-11-01T12:00:00.000006Z",
    finished_at="2026-11-01T12:00:00.000007Z",
    tenant="t",
)
VALUES: dict[str, Any] = {"tag": FULL.tags, "error": "timed_out", "progress": 40.0}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_gives_its_value_of_a_record(name: str) -> None:
    assert FIELDS[name].get(FULL) == (VALUES[name] if name in VALUES else getattr(FULL, name))
    assert FIELDS[name].name == name


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_null_only_if_it_may_be(name: str) -> None:
    assert (FIELDS[name].get(PLAIN) is None) is FIELDS[name].nullable
    assert (Operator.NULL in FIELDS[name].operators) is FIELDS[name].nullable


def test_every_kind_has_its_operators() -> None:
    ordered = {"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "between"}
    expected = {
        Kind.TEXT: ordered | {"like", "ilike", "contains", "startswith"},
        Kind.CHOICE: {"eq", "ne", "in", "nin"},
        Kind.NUMBER: ordered,
        Kind.TIME: ordered,
        Kind.TAGS: {"eq", "ne", "in", "nin", "contains"},
    }
    for field in FIELDS.values():
        if field.name == "priority":
            assert set(field.operators) == ordered
        else:
            assert set(field.operators) - {"null"} == expected[field.kind], field.name


def test_every_operator_is_there_for_something() -> None:
    assert set(Operator) == {operator for field in FIELDS.values() for operator in field.operators}


def test_tags_and_errors_have_no_order_to_sort_by() -> None:
    assert {field.name for field in FIELDS.values() if not field.sortable} == {"tag", "error"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("type", "count", "count"),
        ("key", " a,b ", " a,b "),
        ("status", "timed_out", TaskStatus.TIMED_OUT),
        ("priority", "urgent", Priority.URGENT),
        ("attempt", "2", 2.0),
        ("progress", "-1.50e1", -15.0),
        ("progress", "+.5", 0.5),
        ("timeout_s", "1e15", NUMBER_MAX),
        ("timeout_s", "1e-400", 0.0),
        ("created_at", "2026-11-01T13:00:00+01:00", TIME),
        ("tag", "nightly", "nightly"),
    ],
)
def test_a_value_is_read_as_its_field_keeps_it(name: str, text: str, value: object) -> None:
    found = FIELDS[name].read(text)

    assert found == value
    assert type(found) is type(value)


def test_zero_has_no_sign() -> None:
    assert str(FIELDS["progress"].read("-0")) == "0.0"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("status", "done", "'done' is none of pending, running, retrying, completed,"),
        ("status", "Running", "none of pending"),
        ("priority", "1", "none of low, normal, high, urgent"),
        ("attempt", "two", "'two' is no number"),
        ("attempt", "", "no number"),
        ("attempt", "1_000", "no number"),
        ("attempt", "nan", "no number"),
        ("attempt", "inf", "no number"),
        ("attempt", "1e999", "no number from -1e+15 to 1e+15"),
        ("attempt", "1e9999", "no number"),
        ("attempt", "٢", "no number"),
        ("attempt", "0x10", "no number"),
        ("attempt", "1\n", "no number"),
        ("created_at", "yesterday", "RFC 3339 time such as 2026-11-01T12:00:00Z$"),
        ("created_at", "2026-11-01T12:00:00 02:00", "%2B in a URL"),
        ("type", "", "1 to 255 characters, not 0"),
        ("type", "x" * (TEXT_MAX + 1), "1 to 255 characters, not 256"),
        ("tag", "a\0", "NUL"),
        ("key", "\ud800", "surrogate"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_would_be(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\$", "$")):
        FIELDS[name].read(text)


@given(st.floats(-1e15, 1e15))
def test_every_number_can_be_written(number: float) -> None:
    assert FIELDS["progress"].read(repr(number)) == number


@pytest.mark.parametrize("name", FIELDS)
@given(text=st.text())
def test_no_text_is_worse_than_wrong(name: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        FIELDS[name].read(text)


def test_priorities_are_placed_by_rank_and_statuses_by_name() -> None:
    assert [place(priority) for priority in Priority] == [0, 1, 2, 3]
    assert type(place(TaskStatus.FAILED)) is str
    assert place(1.5) == 1.5


def test_a_text_with_a_nul_or_a_lone_surrogate_cannot_be_stored_everywhere() -> None:
    assert is_storable("a é 😀")
    assert not is_storable("\0")
    assert not is_storable("\udfff")
