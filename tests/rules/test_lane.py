"""Who is first among the tasks of one type, where those of a principal that is full have to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.lane import REMOVED_MAX, Lane


def test_the_first_place_of_all_principals_is_first() -> None:
    lane = Lane(frozenset())
    lane.push((2.0, 0), "a", "anna")
    lane.push((1.0, 1), "b", "bert")

    assert lane.first() == ((1.0, 1), "b")
    lane.push((0.0, 2), "c", "anna")
    assert lane.first() == ((0.0, 2), "c")


def test_an_empty_lane_has_nobody() -> None:
    lane = Lane(frozenset())
    lane.offer("anna")

    assert (lane.first(), len(lane), lane.size) == (None, 0, 0)


def test_nobody_of_a_principal_that_is_full_is_first() -> None:
    full = {"anna"}
    lane = Lane(full)
    lane.push((0.0, 0), "a", "anna")
    lane.push((1.0, 1), "b", "bert")

    assert lane.first() == ((1.0, 1), "b")
    full.add("bert")
    assert lane.first() is None
    full.clear()
    lane.offer("bert")
    assert lane.first() == ((1.0, 1), "b")
    lane.offer("anna")
    assert lane.first() == ((0.0, 0), "a")


def test_who_comes_while_its_principal_is_full_is_found_when_it_is_not() -> None:
    full = set[str]()
    lane = Lane(full)
    lane.push((5.0, 0), "late", "anna")
    full.add("anna")
    lane.push((1.0, 1), "early", "anna")
    full.clear()
    lane.offer("anna")

    assert lane.first() == ((1.0, 1), "early")


@pytest.mark.parametrize("principals", [1, 1000])
def test_what_is_removed_is_not_kept(principals: int) -> None:
    """Also where nobody asks who is first, which would clean up on its way."""
    lane = Lane(frozenset())
    lane.push((0.0, -1), "first", "first")
    for number in range(5000):
        lane.push((float(number), number), str(number), str(number % principals))
        lane.remove(str(number), str(number % principals))

    assert lane.size < 100
    assert len(lane) == 1


def test_what_is_left_of_many_principals_is_no_more_than_they_need() -> None:
    lane = Lane(frozenset())
    for number in range(1000):
        lane.push((float(number), number), str(number), str(number))
    for number in range(1, 1000):
        lane.remove(str(number), str(number))

    assert lane.size < 100
    assert lane.first() == ((0.0, 0), "0")


def test_what_stands_at_the_front_twice_is_not_kept() -> None:
    lane = Lane(frozenset())
    for number in range(1000):  # each is before all others of its principal
        lane.push((-float(number), number), str(number), "anna")

    assert lane.size <= 1000 + 2 * 1 + REMOVED_MAX
    assert lane.first() == ((-999.0, 999), "999")


moves = st.tuples(
    st.sampled_from(("push", "push", "push", "remove", "take", "take", "close", "open")),
    st.sampled_from("abcdefgh"),
    st.integers(0, 20),
)


@given(st.lists(moves, max_size=80))
def test_a_lane_has_the_first_that_a_sorted_list_has(given: list[tuple[str, str, int]]) -> None:
    full, arrived = set[str](), 0
    lane, waiting = Lane(full), dict[str, tuple[float, int]]()
    for move, id, since in given:
        principal = "xyz"[ord(id) % 3]
        open_ones = {each: place for each, place in waiting.items() if "xyz"[ord(each) % 3] not in full}
        first = min(((place, each) for each, place in open_ones.items()), default=None)
        if move == "push" and id not in waiting:
            arrived += 1
            waiting[id] = (float(since), arrived)
            lane.push(waiting[id], id, principal)
        elif move == "remove" and id in waiting:
            del waiting[id]
            lane.remove(id, principal)
        elif move == "take":
            assert lane.first() == first
            if first is not None:
                del waiting[first[1]]
                lane.remove(first[1], "xyz"[ord(first[1]) % 3])
        elif move == "close":
            full.add(principal)
        elif move == "open" and principal in full:
            full.remove(principal)
            lane.offer(principal)

        assert len(lane) == len({"xyz"[ord(each) % 3] for each in waiting})
