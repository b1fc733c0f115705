"""The window of the feed against a plain list."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadCursor
from streaming.events import Event
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from streaming.rules.feed import FeedFilter, FeedItem, FeedWindow, feed_batch
from streaming.rules.log import BATCH_BYTES_MAX, BATCHES_KEPT, Batch, Reading
from streaming.rules.sse import feed_frame

TIME = "2026-11-01T12:00:00.000000Z"
ALL = FeedFilter()


def item(
    position: int,
    type: str = "tick",
    task_type: str = "count",
    tags: tuple[str, ...] = (),
    size: int = 2,
    created_by: str = "ann",
    tenant: str | None = None,
) -> FeedItem:
    event = Event("0" * 32, position, type, TIME, '"' + "x" * (size - 2) + '"')
    return FeedItem(position, event, task_type, tags, created_by, tenant)


def window_of(*items: FeedItem, items_max: int = 1000) -> FeedWindow:
    window = FeedWindow()
    for each in items:
        window.append(each, items_max=items_max)
    return window


def positions(found: Batch | Reading) -> list[int]:
    assert isinstance(found, Batch)
    return [event.seq for event in found.events]  # `item` gives the seq of the position


items = st.builds(
    item,
    st.just(0),
    st.sampled_from(["tick", "tock", "running"]),
    st.sampled_from(["count", "fetch"]),
    st.sampled_from([(), ("a",), ("a", "b")]),
    st.sampled_from([2, 100, 30_000, 70_000]),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from([None, "ann", "acme"]),
)
filters = st.builds(
    FeedFilter,
    st.frozensets(st.sampled_from(["tick", "tock", "running", "none"]), max_size=2),
    st.frozensets(st.sampled_from(["count", "fetch", "none"]), max_size=2),
    st.sampled_from([None, "a", "b", "none"]),
    st.none()
    | st.builds(
        Principal,
        st.sampled_from(["ann", "cid"]),
        st.sampled_from([SCOPES_DEFAULT, frozenset(Scope)]),
        st.sampled_from([None, "ann", "acme"]),
    ),
)


@st.composite
def feeds(draw: st.DrawFn) -> list[FeedItem]:
    position, feed = draw(st.integers(0, 5)), []
    for each in draw(st.lists(items, max_size=25)):
        position += draw(st.integers(1, 3))  # positions grow, but may have holes
        event = Event(each.event.task_id, position, each.event.type, TIME, each.event.payload)
        feed.append(replace(each, position=position, event=event))
    return feed


def plainly_wanted(wanted: FeedFilter, each: FeedItem) -> bool:
    if wanted.types and each.event.type not in wanted.types:
        return False
    if wanted.task_types and each.task_type not in wanted.task_types:
        return False
    if wanted.tag is not None and wanted.tag not in each.tags:
        return False
    return wanted.principal is None or wanted.principal.sees(each.created_by, each.tenant)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (None, [1, 2, 3, 4, 5]),
        (Principal("ann", SCOPES_DEFAULT), [1]),
        (Principal("acme", SCOPES_DEFAULT), []),
        (Principal("ann", SCOPES_DEFAULT, "acme"), [3, 4]),
        (Principal("dan", SCOPES_DEFAULT, "acme"), [3, 4]),
        (Principal("ann", SCOPES_DEFAULT, "ann"), []),
        (Principal("root", frozenset({Scope.ADMIN})), [1, 2, 3, 4, 5]),
    ],
)
def test_a_principal_gets_the_events_of_tasks_that_are_there_for_it(
    principal: Principal | None, expected: list[int]
) -> None:
    of_nobody = FeedItem(5, Event("0" * 32, 5, "tick", TIME, "{}"), "count")
    window = window_of(
        item(1, created_by="ann"),
        item(2, created_by="bob"),
        item(3, created_by="ann", tenant="acme"),
        item(4, created_by="bob", tenant="acme"),
        of_nobody,
    )

    assert positions(window.after(0, FeedFilter(principal=principal))) == expected


@given(feeds(), filters, st.integers(0, 30), st.floats(0, 1))
def test_a_reader_gets_all_it_wants_of_what_is_kept_once_and_in_order(
    feed: list[FeedItem], wanted: FeedFilter, items_max: int, part: float
) -> None:
    window = window_of(*feed, items_max=items_max)
    cursor = round(part * window.last)
    kept = feed[max(0, len(feed) - items_max) :]
    lowest = feed[len(feed) - len(kept) - 1].position if len(kept) < len(feed) else 0
    if cursor < min(lowest, window.last):
        assert window.after(cursor, wanted) is Reading.BELOW
        return
    expected = [each.event for each in kept if each.position > cursor and plainly_wanted(wanted, each)]

    collected: list[Event] = []
    while isinstance(found := window.after(cursor, wanted), Batch):
        assert found.last > cursor
        assert len(found.sse) <= BATCH_BYTES_MAX or len(found.events) == 1
        assert found.sse == b"".join(feed_frame(event, event.seq) for event in found.events)
        cursor = found.last
        collected.extend(found.events)

    assert found is Reading.WAIT
    assert cursor == window.last
    assert collected == expected


def test_a_reader_that_wants_nothing_of_it_still_gets_on() -> None:
    window = window_of(item(1), item(2))

    found = window.after(0, FeedFilter(types=frozenset({"other"})))

    assert found == Batch((), 2, b"")


def test_a_batch_that_is_full_ends_before_the_event_that_does_not_fit() -> None:
    large = item(3, size=BATCH_BYTES_MAX)
    batch = feed_batch([item(1), item(2, "tock"), large], FeedFilter(types=frozenset({"tick"})), 0)

    assert positions(batch) == [1]
    assert batch.last == 2  # the unwanted one was looked at, the large one was not
    assert positions(feed_batch([large, item(4)], ALL, 2)) == [3]


def test_all_followers_at_one_place_with_the_same_filter_share_the_same_bytes() -> None:
    window = window_of(item(1), item(2, "tock"))
    ticks = FeedFilter(types=frozenset({"tick"}))

    assert window.after(0, ticks) is window.after(0, FeedFilter(types=frozenset({"tick"})))
    assert positions(window.after(0, ticks)) == [1]
    assert positions(window.after(0, ALL)) == [1, 2]


def test_few_joined_batches_are_kept_however_many_places_there_are() -> None:
    window = window_of(*map(item, range(1, 100)))
    first = window.after(0, ALL)
    for cursor in range(1, BATCHES_KEPT):
        window.after(cursor, ALL)
    assert window.after(0, ALL) is first

    window.after(BATCHES_KEPT, ALL)

    assert window.after(0, ALL) is not first
    assert window.after(0, ALL) == first


def test_a_joined_batch_is_not_shown_to_a_follower_once_there_is_more() -> None:
    window = window_of(item(1))
    assert positions(window.after(0, ALL)) == [1]

    window.append(item(2), items_max=1000)

    assert positions(window.after(0, ALL)) == [1, 2]


def test_the_window_counts_what_it_keeps() -> None:
    window = window_of(*map(item, range(1, 10)), items_max=4)
    assert (window.kept, window.lowest) == (4, 5)

    window.advance(10)

    assert (window.kept, window.lowest) == (0, 10)


def test_what_nobody_followed_is_below_the_window() -> None:
    window = FeedWindow(5)
    window.advance(9)

    assert window.after(8, ALL) is Reading.BELOW
    assert window.after(9, ALL) is Reading.WAIT
    window.append(item(10), items_max=10)
    assert positions(window.after(9, ALL)) == [10]
    assert window.after(8, ALL) is Reading.BELOW


def test_to_advance_forgets_what_was_kept_for_readers_that_have_left() -> None:
    window = window_of(item(1), item(2))

    window.advance(3)

    assert window.after(0, ALL) is Reading.BELOW


@pytest.mark.parametrize("cursor", [-1, 3, 10**18])
def test_a_cursor_beyond_the_feed_is_refused_with_where_it_stands(cursor: int) -> None:
    with pytest.raises(BadCursor, match=f"{cursor} is no position of the feed: it stands at 2"):
        window_of(item(1), item(2)).after(cursor, ALL)


@given(filters, items)
def test_a_filter_restricts_by_each_of_its_parts(wanted: FeedFilter, each: FeedItem) -> None:
    assert wanted.wants(each) is plainly_wanted(wanted, each)
