"""How long tasks and events are kept: what is said of a type wins, then what is said of all, then the default."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import rfc3339
from streaming.rules.retention import DAY_S, Bounds, Kept, parse_retention

DEFAULT = Kept(records=Bounds(age_s=30 * DAY_S), events=Bounds())


def kept(value: object, type: str = "count") -> Kept:
    return parse_retention(value).for_type(type)


def test_who_says_nothing_keeps_tasks_for_thirty_days_and_all_their_events() -> None:
    assert kept({}) == DEFAULT
    assert DAY_S == 86_400
    assert DEFAULT.records.limited
    assert not DEFAULT.events.limited


def test_what_is_said_of_a_type_wins_field_by_field() -> None:
    value = {
        "*": {"records": {"age_s": 100, "count": 1000}, "events": {"bytes": 1_000_000}},
        "http_fetch": {"records": {"count": 10}, "events": {"age_s": 0.5}},
    }

    assert kept(value) == Kept(Bounds(age_s=100, count=1000), Bounds(bytes=1_000_000))
    assert kept(value, "http_fetch") == Kept(Bounds(age_s=100, count=10), Bounds(age_s=0.5, bytes=1_000_000))


@pytest.mark.parametrize("type", ["*", "count"])
def test_null_is_no_limit_and_wins_like_any_other(type: str) -> None:
    assert kept({"*": {"records": {"age_s": 5}}, type: {"records": {"age_s": None}}}) == Kept(Bounds(), Bounds())


def test_what_is_said_of_one_type_is_said_of_no_other() -> None:
    assert kept({"http_fetch": {"records": {"age_s": 1}, "events": {"count": 1}}}) == DEFAULT


@pytest.mark.parametrize("bounds", [Bounds(age_s=1), Bounds(count=1), Bounds(bytes=1)])
def test_one_limit_is_enough_to_be_limited(bounds: Bounds) -> None:
    assert bounds.limited


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must be an object"),
        (None, "must be an object"),
        ({"*": 5}, "*: must be an object"),
        ({"http_fetch": {"records": []}}, "http_fetch.records: must be an object"),
        ({"*": {"record": {}}}, "*.record: unknown; possible are records, events"),
        ({"*": {"events": {"age": 1}}}, "*.events.age: unknown; possible are age_s, count, bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_retention(value)

    assert str(caught.value) == message


@pytest.mark.parametrize("amount", [0, -1, "1", True, [], math.inf, math.nan, 10**400])
def test_an_age_is_a_number_over_0(amount: object) -> None:
    with pytest.raises(
        ValueError, match=r"^\*\.events\.age_s: must be a number over 0 and at most 31536000000, or null$"
    ):
        parse_retention({"*": {"events": {"age_s": amount}}})


@pytest.mark.parametrize("field", ["count", "bytes"])
@pytest.mark.parametrize("amount", [0, -1, 1.5, "1", True, {}, 2**63])
def test_a_size_is_a_whole_number_over_0(field: str, amount: object) -> None:
    with pytest.raises(
        ValueError, match=rf"^a\.records\.{field}: must be a whole number over 0 and at most {2**63 - 1}, or"
    ):
        parse_retention({"a": {"records": {field: amount}}})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        parse_retention({"a": {"records": {"count": 0}}, "b": {"x": {}}})

    assert [each.split(":")[0] for each in str(caught.value).split("; ") if ":" in each] == ["a.records.count", "b.x"]


ages = st.none() | st.integers(1, 10**9) | st.floats(0.001, 1e9)
sizes = st.none() | st.integers(1, 2**62)
bounds = st.fixed_dictionaries({}, optional={"age_s": ages, "count": sizes, "bytes": sizes})
values = st.dictionaries(
    st.sampled_from(["*", "count", "http_fetch"]),
    st.fixed_dictionaries({}, optional={"records": bounds, "events": bounds}),
)


@given(values, st.sampled_from(["count", "http_fetch", "other"]))
def test_each_field_is_that_of_the_nearest_place_that_says_it(value: dict[str, Any], type: str) -> None:
    found = kept(json.loads(json.dumps(value)), type)

    for part, default in (("records", DEFAULT.records), ("events", DEFAULT.events)):
        for field in ("age_s", "count", "bytes"):
            said = [value[name][part][field] for name in (type, "*") if field in value.get(name, {}).get(part, {})] + [
                getattr(default, field)
            ]
            assert getattr(getattr(found, part), field) == said[0]


# -- what is too many --------------------------------------------------------------------------------------------------

NOW_S = 1_000_000.0
NOW = rfc3339(NOW_S)


def things(*ages_and_sizes: tuple[float, int]) -> list[tuple[str, int]]:
    """Times and sizes of what is so many seconds old, the oldest first."""
    return [(rfc3339(NOW_S - age), size) for age, size in sorted(ages_and_sizes, reverse=True)]


def surplus(bounds: Bounds, found: list[tuple[str, int]]) -> int:
    return bounds.surplus(found, count=len(found), size=sum(size for _, size in found), now=NOW)


@pytest.mark.parametrize(
    ("bounds", "gone"),
    [
        (Bounds(), 0),
        (Bounds(age_s=30), 1),
        (Bounds(age_s=29.5), 2),
        (Bounds(age_s=1), 4),
        (Bounds(count=4), 0),
        (Bounds(count=1), 3),
        (Bounds(bytes=1110), 1),
        (Bounds(bytes=1111), 0),
        (Bounds(bytes=11), 2),
        (Bounds(bytes=9), 3),
        (Bounds(age_s=30, count=2, bytes=1111), 2),
        (Bounds(age_s=1000, count=3, bytes=10), 3),
    ],
)
def test_the_limit_that_is_reached_first_counts(bounds: Bounds, gone: int) -> None:
    assert surplus(bounds, things((40, 1000), (30, 100), (20, 10), (10, 1))) == (gone if gone < 4 else 4)


def test_what_is_just_as_old_as_the_limit_is_kept() -> None:
    assert surplus(Bounds(age_s=30), things((30, 1))) == 0


def test_no_more_is_looked_at_than_the_first_that_is_kept() -> None:
    def found() -> Iterator[tuple[str, int]]:
        yield from things((40, 1), (10, 1))
        raise AssertionError("there was no need to look at this")

    assert Bounds(age_s=30).surplus(found(), count=3, size=3, now=NOW) == 1


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=20),
    st.builds(
        Bounds,
        age_s=st.none() | st.floats(0.001, 100),
        count=st.none() | st.integers(1, 20),
        bytes=st.none() | st.integers(1, 300),
    ),
)
def test_the_newest_that_fit_are_kept_and_never_fewer(ages_and_sizes: list[tuple[float, int]], bounds: Bounds) -> None:
    found = things(*ages_and_sizes)

    gone = surplus(bounds, found)

    def fits(kept: list[tuple[str, int]]) -> bool:
        oldest_s = min((time for time, _ in kept), default=NOW)
        return (
            (bounds.age_s is None or oldest_s >= rfc3339(NOW_S - bounds.age_s))
            and (bounds.count is None or len(kept) <= bounds.count)
            and (bounds.bytes is None or sum(size for _, size in kept) <= bounds.bytes)
        )

    assert fits(found[gone:])
    assert gone == 0 or not fits(found[gone - 1 :])


def test_in_several_steps_as_many_go_as_in_one() -> None:
    found = things(*((age, 7) for age in range(50)))
    bounds = Bounds(age_s=30, count=25, bytes=100)
    left, steps = found, 0
    while gone := bounds.surplus(left[:3], count=len(left), size=7 * len(left), now=NOW):
        left, steps = left[gone:], steps + 1

    assert len(found) - len(left) == surplus(bounds, found) == 36
    assert steps == 12
