"""How many each principal has, and may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.evidence import Tally
from streaming.rules.limits import Shares


def test_at_the_limit_there_is_no_room_for_one_more() -> None:
    shares = Shares(2)
    shares.change("anna", 1)

    assert shares.has_room("anna")
    assert not shares.has_room("anna", 1)
    shares.change("anna", 1)
    assert not shares.has_room("anna")
    assert shares.has_room("bert", 1)
    shares.change("anna", -1)
    assert shares.has_room("anna")


def test_without_a_limit_there_is_room_for_ever() -> None:
    shares = Shares()
    shares.change("anna", 1_000_000)

    assert shares.has_room("anna", 1_000_000)


def test_of_those_that_have_none_nothing_is_kept() -> None:
    shares = Shares(1)
    for number in range(1000):
        shares.change(str(number), 1)
        shares.change(str(number), -1)

    assert (list(shares), shares.total, shares["7"]) == ([], 0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((-1, 1)))))
def test_what_each_has_is_counted_as_it_comes_and_goes(moves: list[tuple[str, int]]) -> None:
    shares, things = Shares(), list[str]()
    for principal, by in moves:
        if by > 0:
            things.append(principal)
        elif principal in things:
            things.remove(principal)
        else:
            continue
        shares.change(principal, by)

        assert {each: shares[each] for each in shares} == {each: things.count(each) for each in set(things)}
        assert shares.total == len(things)
        assert shares.tallies("things", things) == [Tally("things", len(things), len(things))]


@pytest.mark.parametrize("wrong", ["more", "fewer", "nobody"])
def test_who_is_counted_wrong_is_named_and_can_be_counted_anew(wrong: str) -> None:
    shares, things = Shares(3), ["anna", "anna", "bert"]
    shares.recount(things)
    principal, by = {"more": ("anna", 1), "fewer": ("bert", -1), "nobody": ("carl", 1)}[wrong]
    shares.change(principal, by)

    found = things.count(principal)
    named = Tally(f"things of {principal!r}", found + by, found)
    assert shares.tallies("things", things) == [Tally("things", 3 + by, 3), named]
    shares.recount(things)
    assert shares.tallies("things", things) == [Tally("things", 3, 3)]


def test_whoever_is_exempt_always_has_room() -> None:
    shares = Shares(1, "root")
    for who in ("root", "anna"):
        shares.change(who, 1)

    assert shares.has_room("root", 100)
    assert not shares.has_room("anna")
