"""A question is a filter, a preset and an order; it stays the same from page to page."""

from __future__ import annotations

import pytest

from streaming.errors import BadFilter
from streaming.rules.filters import Filter, FilterLimits, parse_filter
from streaming.rules.presets import Preset, preset
from streaming.rules.query import Question, parse_question
from streaming.rules.sorting import DEFAULT_ORDER, sort_text

NOW, LATER = "2026-11-21T23:59:59.000000Z", "2026-11-22T00:00:01.000000Z"
LIMITS = FilterLimits(terms_max=2)


def parsed(*pairs: tuple[str, str], now: str = NOW) -> Question:
    return parse_question(iter(pairs), LIMITS, now=now, stale_s=300, besides=("limit",))


def test_nothing_asked_is_everything_newest_first() -> None:
    assert parsed() == Question(Filter(), DEFAULT_ORDER, parsed().asked, restricted=False)


def test_a_sort_order_alone_restricts_nothing() -> None:
    assert not parsed(("sort", "type")).restricted
    assert parsed(("sort", "type")).asked == parsed().asked


@pytest.mark.parametrize("pair", [("type", "a"), ("q", "a"), ("preset", "active")])
def test_everything_else_restricts(pair: tuple[str, str]) -> None:
    assert parsed(pair).restricted
    assert parsed(pair).asked != parsed().asked


@pytest.mark.parametrize("name", Preset)
def test_a_preset_brings_its_filter_and_its_order(name: Preset) -> None:
    found = parsed(("preset", name))

    assert (found.filter, found.order) == preset(name, now=NOW, stale_s=300)


def test_a_preset_takes_further_terms_and_another_order() -> None:
    found = parsed(("preset", "active"), ("type", "a"), ("key", "b"), ("sort", "-updated_at"))

    saved = preset(Preset.ACTIVE, now=NOW, stale_s=300)[0]
    assert found.filter == saved.narrowed(parse_filter([("type", "a"), ("key", "b")], LIMITS))
    assert sort_text(found.order) == "-updated_at,-id"


@pytest.mark.parametrize("name", [Preset.STALE, Preset.COMPLETED_TODAY])
def test_what_was_asked_stays_the_same_while_the_time_goes_on(name: Preset) -> None:
    first, later = parsed(("preset", name), ("type", "a")), parsed(("type", "a"), ("preset", name), now=LATER)

    assert first.filter != later.filter
    assert first.asked == later.asked


def test_a_preset_and_the_filter_it_stands_for_are_not_confused() -> None:
    asked = [parsed(), parsed(("preset", "active")), parsed(("preset", "failed")), parsed(("type", "active"))]

    assert len({each.asked for each in asked}) == 4


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("preset", "done")], "no preset 'done'; possible: active, failed, completed_today, high_priority, stale."),
        ([("preset", "")], "no preset ''"),
        ([("preset", "active"), ("preset", "active")], "preset is given 2 times; once is possible."),
        ([("sort", "id"), ("sort", "type")], "sort is given 2 times"),
        ([("sort", "colour")], "cannot be sorted by 'colour'"),
        ([("colour", "red")], "acked_at, q, preset, sort, limit"),
        ([("type[ne]", "a"), ("type[ne]", "b"), ("type[ne]", "c")], "more than 2 filters"),
    ],
)
def test_what_is_none_is_refused_with_what_would_be(pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(BadFilter) as caught:
        parsed(*pairs)

    assert said in caught.value.detail
