"""What is like a pattern, held against regular expressions."""

from __future__ import annotations

import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.patterns import WILDCARDS_MAX, Wildcard, fold_ascii, is_like, prefix_end, read_pattern

storable = st.characters(exclude_categories=["Cs"])

TEXTS = st.text("ab%_\\\n", max_size=8)
PIECES = st.sampled_from(["a", "b", "%", "_", "\\%", "\\_", "\\\\", "\\a", "\n"])
PATTERNS = st.lists(PIECES, max_size=8).map("".join)


def plainly_like(text: str, pattern: str) -> bool:
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(TEXTS, PATTERNS)
def test_a_text_is_like_a_pattern_when_a_regular_expression_says_so(text: str, pattern: str) -> None:
    assert is_like(text, read_pattern(pattern)) is plainly_like(text, pattern)


def test_every_short_text_and_pattern() -> None:
    texts = ["".join(letters) for size in range(6) for letters in product("ab", repeat=size)]
    patterns = ["".join(letters) for size in range(5) for letters in product("ab%_", repeat=size)]

    assert [
        (text, pattern)
        for text, pattern in product(texts, patterns)
        if is_like(text, read_pattern(pattern)) is not plainly_like(text, pattern)
    ] == []


@pytest.mark.parametrize(
    ("text", "pattern", "like"),
    [
        ("fetch_http", "fetch%", True),
        ("fetch_http", "%http", True),
        ("fetch_http", "fetch", False),
        ("fetch_http", "Fetch%", False),
        ("fetch", "fe_ch", True),
        ("feetch", "fe_ch", False),
        ("", "%", True),
        ("", "", True),
        ("", "_", False),
        ("100%", r"100\%", True),
        ("1000", r"100\%", False),
        ("aXbXc", "a%b%c", True),
        ("ab", "ab_", False),
        ("😀", "_", True),
    ],
)
def test_examples(text: str, pattern: str, like: bool) -> None:
    assert is_like(text, read_pattern(pattern)) is like


def test_a_pattern_is_read_once_for_all() -> None:
    assert read_pattern(r"a%\%_") == ("a", Wildcard.RUN, "%", Wildcard.ONE)


@pytest.mark.parametrize("pattern", ["\\", "a%\\", "\\\\\\"])
def test_a_pattern_does_not_end_within_an_escape(pattern: str) -> None:
    with pytest.raises(ValueError, match="backslash"):
        read_pattern(pattern)


def test_a_pattern_has_few_wildcards() -> None:
    assert read_pattern("%_" * (WILDCARDS_MAX // 2) + r"\%\_")
    with pytest.raises(ValueError, match=f"at most {WILDCARDS_MAX} wildcards"):
        read_pattern("%" * WILDCARDS_MAX + "_")


def test_the_worst_pattern_takes_no_longer_than_its_length_times_that_of_the_text() -> None:
    pattern = read_pattern("%" + "a" * 100 + "b%" + "a" * 100 + "b%a%a%a%a%a%c")
    began = time.process_time()

    assert not is_like("a" * 2000, pattern)
    assert time.process_time() - began < 5  # a regular expression would need years


@given(st.text())
def test_only_ascii_letters_are_folded(text: str) -> None:
    assert fold_ascii(text) == "".join(each.lower() if each.isascii() else each for each in text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("a", "b"),
        ("ab", "ac"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("a\ud7ff", "a\ue000"),
        ("\uffff", "\U00010000"),
    ],
)
def test_texts_with_the_same_start_end_where_the_next_start_begins(text: str, end: str | None) -> None:
    assert prefix_end(text) == end


@given(st.text(storable, min_size=1, max_size=3), st.text(storable, max_size=3))
def test_a_text_is_between_a_start_and_its_end_if_it_starts_so(start: str, text: str) -> None:
    end = prefix_end(start)
    assert (start <= text and (end is None or text < end)) is text.startswith(start)
