"""A page cursor comes back as it was given, to the list it was given for, or not at all."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadCursor
from streaming.records import Record
from streaming.rules.filters import FilterLimits
from streaming.rules.query import parse_question
from streaming.rules.sorting import DEFAULT_ORDER, Order, parse_sort, sort_key
from streaming.web.paging import read_cursor, write_cursor
from tests.rules.tasks import RECORDS

ORDERS = st.sampled_from(
    ["id", "-created_at", "-priority,progress,-key", "heartbeat_at", "status,attempt,-timeout_s"]
).map(parse_sort)
KEY = ("2026-11-01T12:00:00.000000Z", "0123456789abcdef" * 2)
ASKED = '["failed","..."]'
CURSOR = write_cursor(KEY, DEFAULT_ORDER, ASKED)


def forged(place: str) -> str:
    """A cursor whose check is right, whatever is in it."""
    raw = place.encode()
    return urlsafe_b64encode(blake2b(raw, digest_size=6).digest() + raw).rstrip(b"=").decode()


def forged_key(*key: object) -> str:
    digest = blake2b(ASKED.encode(), digest_size=6).hexdigest()
    return forged(json.dumps(["-created_at,-id", digest, *key], separators=(",", ":")))


@given(RECORDS, ORDERS, st.text(st.characters(codec="utf-8")))
def test_a_cursor_comes_back_as_it_was_given(record: Record, order: tuple[Order, ...], asked: str) -> None:
    key = sort_key(record, order)

    cursor = write_cursor(key, order, asked)

    assert read_cursor(cursor, order, asked) == key
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert cursor.isascii()


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="next_cursor"):
        read_cursor(text, DEFAULT_ORDER, ASKED)


@given(st.integers(0, len(CURSOR) - 1), st.sampled_from("Aa0_-.=% é"))
def test_a_tampered_cursor_is_refused(index: int, letter: str) -> None:
    tampered = CURSOR[:index] + letter + CURSOR[index + 1 :]
    if tampered == CURSOR:
        return
    with pytest.raises(BadCursor, match="not one of ours"):
        read_cursor(tampered, DEFAULT_ORDER, ASKED)


@pytest.mark.parametrize("text", ["", CURSOR + "=", CURSOR + "A", CURSOR[:-1], " " + CURSOR, CURSOR + "\n"])
def test_a_cursor_with_more_or_less_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="not one of ours"):
        read_cursor(text, DEFAULT_ORDER, ASKED)


@pytest.mark.parametrize("sort", ["created_at", "-created_at,id", "id", "-updated_at"])
def test_a_cursor_of_another_order_is_refused_by_both_names(sort: str) -> None:
    with pytest.raises(BadCursor) as caught:
        read_cursor(CURSOR, parse_sort(sort), ASKED)

    assert "belongs to the sort order -created_at,-id, not to" in caught.value.detail


def test_a_cursor_of_other_filters_is_refused_as_that() -> None:
    with pytest.raises(BadCursor, match="belongs to other filters"):
        read_cursor(CURSOR, DEFAULT_ORDER, '["active","..."]')


def test_a_cursor_outlives_the_time_its_preset_was_asked_at() -> None:
    first, later = (
        parse_question([("preset", "stale")], FilterLimits(), now=f"2026-11-01T12:00:{second}Z", stale_s=300)
        for second in ("00", "59")
    )

    assert first.filter != later.filter
    assert read_cursor(write_cursor(KEY, first.order, first.asked), later.order, later.asked) == KEY


@pytest.mark.parametrize(
    "place",
    [
        "",
        "null",
        "[]",
        "{}",
        '["id"]',
        '["id","x"]',
        "[" * 100_000,
        "[NaN,1,2]",
        '["a","\\ud800","b"]',
        '[ "id","x","y"]',
    ],
)
def test_a_forged_cursor_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(BadCursor, match="not one of ours"):
        read_cursor(forged(place), DEFAULT_ORDER, ASKED)


@pytest.mark.parametrize(
    "key", [(), (KEY[0],), (*KEY, "x"), (None, KEY[1]), (1, KEY[1]), (KEY[0], {}), (KEY[0], "\0"), (KEY[0], True)]
)
def test_a_forged_key_that_no_record_has_is_refused(key: tuple[object, ...]) -> None:
    assert read_cursor(forged_key(*KEY), DEFAULT_ORDER, ASKED) == KEY
    with pytest.raises(BadCursor, match="not one of ours"):
        read_cursor(forged_key(*key), DEFAULT_ORDER, ASKED)


def test_a_forged_order_is_not_told_back_at_length() -> None:
    with pytest.raises(BadCursor) as caught:
        read_cursor(forged(json.dumps(["x" * 10_000, "a", "b"], separators=(",", ":"))), DEFAULT_ORDER, ASKED)

    assert len(caught.value.detail) < 400
