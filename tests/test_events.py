"""An event is one immutable fact; its payload is text that every reader sees alike."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.events import Event, encode_payload, rfc3339

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_data_comes_back_value_for_value(value: Any) -> None:
    assert Event("0" * 32, 1, "tick", "", encode_payload(value)).data == value


@given(json_values)
def test_a_payload_is_one_line_of_utf8(value: Any) -> None:
    payload = encode_payload(value)

    assert "\n" not in payload
    assert "\r" not in payload
    assert json.loads(payload.encode()) == value


def test_a_payload_is_compact_and_not_escaped() -> None:
    assert encode_payload({"a": [1, "ä🦊"]}) == '{"a":[1,"ä🦊"]}'


def test_data_is_a_new_value_each_time_so_that_no_reader_changes_it_for_another() -> None:
    event = Event("0" * 32, 1, "tick", "", "[]")
    event.data.append(1)

    assert event.data == []


def test_an_event_cannot_be_changed() -> None:
    event = Event("0" * 32, 1, "tick", "", "{}")

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 2  # type: ignore[misc]  # the point


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], "\ud800", {"\udfff": 1}])
def test_what_json_or_utf8_cannot_carry_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError):
        encode_payload(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {("a",): 1}, 1j])
def test_what_has_no_json_form_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        encode_payload(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ValueError, match="Circular"):
        encode_payload(value)


def test_a_value_nested_too_deeply_is_refused_and_does_no_harm() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(RecursionError):
        encode_payload(value)


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "[[[["
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda value: [1, value], lambda value: (value,), lambda value: {"a": value, "b": 1}],
    ids=["list", "tuple", "object"],
)
def test_nesting_can_be_limited(wrap: Callable[[Any], Any]) -> None:
    whole = nested(50, wrap)
    assert encode_payload(whole, depth_max=50) == encode_payload(whole)
    with pytest.raises(RecursionError, match="more than 50 levels"):
        encode_payload(nested(51, wrap), depth_max=50)


def test_any_number_of_brackets_beside_each_other_is_not_deep() -> None:
    assert encode_payload([[], {}] * 50, depth_max=2)


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_000_000_000.5, "2001-09-09T01:46:40.500000Z"),
        (1_793_534_400, "2026-11-01T12:00:00.000000Z"),
    ],
)
def test_times_are_rfc3339_in_utc_with_microseconds(wall_s: float, text: str) -> None:
    assert rfc3339(wall_s) == text


@given(st.floats(-1e9, 1e11) | st.integers(-(10**15), 10**17).map(lambda micros: micros / 1e6))
@example(0.999_999_5)
@example(1.999_999_6)
@example(-0.000_000_6)
@example(1_793_534_400.123_456_5)
def test_a_time_is_rounded_as_python_rounds_it(wall_s: float) -> None:
    text = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    assert rfc3339(wall_s) == text


@pytest.mark.parametrize("wall_s", [math.nan, math.inf, 1e20])
def test_what_is_no_time_is_refused(wall_s: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        rfc3339(wall_s)
