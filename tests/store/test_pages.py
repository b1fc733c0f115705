"""What an answer about many records carries."""

from __future__ import annotations

import pytest

from streaming.engine.journal import PAGE_BYTES_MAX, RecordQuery
from streaming.rules.sorting import DEFAULT_ORDER, sort_key
from streaming.store.pages import Values, most_first, page_of
from tests.store.samples import record


@pytest.mark.parametrize(
    ("sizes", "limit", "taken", "asked"),
    [
        ([1, 1, 1, 1], 2, 2, 3),
        ([1, 1], 2, 2, 2),
        ([], 2, 0, 0),
        ([PAGE_BYTES_MAX * 2, 1, 1], 9, 1, 2),
        ([PAGE_BYTES_MAX - 1, 1, 1, 1], 9, 2, 3),
        ([1, PAGE_BYTES_MAX], 9, 2, 2),
    ],
)
def test_a_page_ends_when_it_has_enough_and_asks_for_one_more_only(
    sizes: list[int], limit: int, taken: int, asked: int
) -> None:
    left = iter(sizes)
    found = [record(number) for number in range(len(sizes))]
    page = page_of(((each, next(left)) for each in found), RecordQuery(limit=limit))

    assert list(page) == found[:taken]
    assert page.more == (sort_key(page.records[-1], DEFAULT_ORDER) if taken < asked else None)
    assert list(left) == sizes[asked:]


def test_counts_come_most_first_and_of_equal_ones_the_lower_values() -> None:
    counts: dict[Values, int] = {("b",): 1, ("a",): 1, (None,): 1, ("c",): 2, ("",): 1}
    assert most_first(counts) == [(("c",), 2), ((None,), 1), (("",), 1), (("a",), 1), (("b",), 1)]
    assert most_first({}) == []
