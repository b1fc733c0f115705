"""The feed of the memory store, compared with a plain dict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.store.memory_feed import MemoryFeed
from tests.store.samples import event


@given(
    size=st.integers(0, 400),
    removed=st.sets(st.integers(1, 400)),
    after=st.integers(0, 401),
    last=st.integers(0, 401),
)
def test_it_has_what_was_appended_and_not_removed(size: int, removed: set[int], after: int, last: int) -> None:
    feed, model = MemoryFeed(), {}
    for seq in range(1, size + 1):
        model[feed.append(event(1, seq))] = event(1, seq)
    for position in removed & model.keys():
        feed.remove(position)
        del model[position]

    expected = [(position, item) for position, item in model.items() if after < position <= last]
    assert list(feed.after(after, last)) == expected
    assert feed.last_position == size


def test_a_long_hole_costs_nothing() -> None:
    """A quiet task's only event must not hold what a busy one has written and lost behind it."""
    feed = MemoryFeed()
    feed.append(event(1, 1))
    for seq in range(1, 100_001):
        feed.append(event(2, seq))
        if seq > 10:
            feed.remove(seq - 9)
    assert len(feed._chunks) <= 3
    assert len(feed._numbers) == len(feed._chunks)
    assert len(list(feed.after(0, 1_000_000))) == 11
