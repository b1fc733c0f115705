"""A query says what it means, or is refused with the names of what would mean something."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.errors import BadFilter, BadRequest
from streaming.web.query import FIELDS_MAX, Query


def query(text: str | bytes, *names: str) -> Query:
    return Query(text.encode() if isinstance(text, str) else text, names or ("a", "b"))


def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(BadFilter, match=r"'c' here; possible: a, b\."):
        query("c=1")
    with pytest.raises(BadFilter, match="possible: none"):
        Query(b"c=1", ())


@pytest.mark.parametrize("raw", [b"a=%ff", b"%ff=1", b"a=\xff"])
def test_what_is_no_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        query(raw)


def test_more_parameters_than_anybody_needs_are_refused() -> None:
    with pytest.raises(BadRequest, match=str(FIELDS_MAX)):
        query("&".join(["a=1"] * (FIELDS_MAX + 1)))
    assert len(query("&".join(["a=1"] * FIELDS_MAX)).words("a")) == FIELDS_MAX


def test_others_are_left_to_the_filter_in_their_order() -> None:
    asked = Query(b"c=1&a=2&b%5Bgt%5D=%20&c=&a=3", ("a",), with_filter=True)
    assert asked.names == ("a",)
    assert asked.words("a") == ("2", "3")
    assert asked.others == [("c", "1"), ("b[gt]", " "), ("c", "")]


def test_yes_is_true_and_no_is_false() -> None:
    assert query("a=true").yes("a")
    assert not query("a=false").yes("a")
    assert not query("").yes("a")


@pytest.mark.parametrize("text", ["a=", "a", "a=1", "a=True", "a=yes", "a=true&a=true"])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(BadFilter):
        query(text).yes("a")


def test_a_text_is_given_once_and_may_be_blank() -> None:
    assert query("a=x%20y").text("a") == "x y"
    assert query("a=").text("a") == ""
    assert query("a").text("a") == ""
    assert query("b=1").text("a") is None
    with pytest.raises(BadFilter, match="2 times"):
        query("a=1&a=1").text("a")


def test_a_word_is_never_blank() -> None:
    assert query("a=x").word("a") == "x"
    assert query("").word("a") is None
    with pytest.raises(BadFilter, match="needs a value"):
        query("a=").word("a")


def test_words_come_by_commas_or_repeated() -> None:
    assert query("a=z,%20y&a=x").words("a") == ("z", "y", "x")
    assert query("").words("a") == ()


@pytest.mark.parametrize("text", ["a=", "a=x,", "a=,", "a=x&a="])
def test_a_blank_word_is_refused(text: str) -> None:
    with pytest.raises(BadFilter, match="needs a value"):
        query(text).words("a")


def test_a_whole_number_stays_within_its_bounds() -> None:
    assert query("a=0").whole("a") == 0
    assert query("a=7").whole("a", least=1, most=7) == 7
    assert query("").whole("a") is None


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "0", "8", "9" * 19, "٣", "1_0", "%2B1", "1%0A"])
def test_what_is_no_whole_number_in_bounds_is_refused(value: Any) -> None:
    with pytest.raises(BadFilter, match="from 1 to 7"):
        query(f"a={value}").whole("a", least=1, most=7)


def test_an_open_bound_is_not_named() -> None:
    with pytest.raises(BadFilter, match="whole number from 0, not"):
        query("a=x").whole("a")


def test_seconds_may_have_decimals() -> None:
    assert query("a=0.25").seconds("a", most=60) == 0.25
    assert query("a=60").seconds("a", most=60) == 60
    assert query("").seconds("a", most=60) == 0


@pytest.mark.parametrize("seconds", [1e-05, 5e-324, 0.00012345678901234567, 2 / 3, 1e1])
def test_seconds_may_be_as_a_program_writes_a_float(seconds: float) -> None:
    assert query(f"a={seconds}").seconds("a", most=60) == seconds


@pytest.mark.parametrize("value", ["", "-1", "60.1", "x", "inf", "nan", "7e1", "1e", "1e999", ".5"])
def test_what_is_no_duration_in_bounds_is_refused(value: Any) -> None:
    with pytest.raises(BadFilter, match="from 0 to 60"):
        query(f"a={value}").seconds("a", most=60)
