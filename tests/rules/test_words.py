"""Which words a task is found by."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.records import Record, TaskError, TaskStatus
from streaming.rules.words import PARAMS_MAX, WORD_MAX, WORDS_MAX, words_in, words_of

TIME = "2026-11-01T12:00:00.000000Z"


def words(**changes: Any) -> set[str]:
    plain: dict[str, Any] = {"type": "count", "status": TaskStatus.FAILED, "params": {}, "timeout_s": 60.0}
    return set(words_of(Record(id="0" * 32, created_at=TIME, updated_at=TIME, **{**plain, **changes})))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("...", []),
        ("Hello, World", ["hello", "world"]),
        ("http_fetch", ["http", "fetch"]),
        ("a.b-c d", ["a", "b", "c", "d"]),
        ("Straße ÉTÉ", ["strasse", "été"]),
        ("東京 2026", ["東京", "2026"]),
        ("x" * (WORD_MAX + 1) + ".y", ["x" * WORD_MAX, "y"]),
        ("." + "x" * (WORD_MAX + 1), ["x" * WORD_MAX]),
    ],
)
def test_a_word_is_a_run_of_letters_and_digits_without_its_case(text: str, found: list[str]) -> None:
    assert list(words_in(text)) == found


@given(st.text())
def test_a_word_is_made_of_nothing_else(text: str) -> None:
    found = list(words_in(text))

    assert all(word.isalnum() for word in found)
    assert "".join(found) == "".join(filter(str.isalnum, text.casefold())) or max(map(len, found)) == WORD_MAX
    assert [word for each in found for word in words_in(each)] == found


def test_a_record_is_found_by_what_names_it_and_by_what_it_was_given() -> None:
    found = words(
        type="http_fetch",
        tags=("nightly", "EU-west"),
        key="customer 7",
        external_id="CI/42",
        error=TaskError("not_there", "No such page."),
        finished_at="2026-11-01T12:00:00.000000Z",
        params={
            "url": "https://example.org",
            "nested": [{"deep": ("one", ["two"])}],
            "count": 5,
            "on": True,
            "off": None,
        },
    )

    expected = "http fetch nightly eu west customer 7 ci 42 not there no such page https example org one two"
    assert found == set(expected.split())


def test_a_record_is_not_found_by_an_error_that_another_attempt_follows() -> None:
    assert words(error=TaskError("not_there", "No such page.")) == {"count"}


def test_a_plain_record_is_found_by_its_type() -> None:
    assert words() == {"count"}


def test_only_the_beginning_of_large_parameters_counts() -> None:
    filler = "." * (PARAMS_MAX - 3)

    assert words(params={"a": filler, "b": "longer", "c": "behind"}) == {"count", "lon"}
    assert words(params={"a": filler, "b": "end", "c": "behind"}) == {"count", "end"}
    assert words(params={"a": "." * PARAMS_MAX + "x"}) == {"count"}


def test_a_record_has_so_many_words_at_most_and_its_type_is_one_of_them() -> None:
    found = words(params={"a": " ".join(f"w{number}" for number in range(300))})

    assert len(found) == WORDS_MAX
    assert {"count", "w0"} <= found


def test_a_word_that_comes_again_and_again_leaves_room_for_others() -> None:
    assert "last" in words(params={"a": "again " * 100 + "last"})


def test_parameters_may_be_nested_deeper_than_the_stack() -> None:
    value: Any = "bottom"
    for _ in range(100_000):
        value = [value]

    assert "bottom" in words(params={"a": value})


@given(st.recursive(st.text("ab .") | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_the_texts_are_found_wherever_they_are(params: Any) -> None:
    texts = re.findall(r"(?<=')[ab .]*(?=')", repr(values_of(params)))
    expected = [word for text in texts for word in words_in(text)]

    assert words(params={"a": params}) == {"count", *expected}


def values_of(value: Any) -> Any:
    """Without the names of objects."""
    if isinstance(value, dict):
        return [values_of(each) for each in value.values()]
    return [values_of(each) for each in value] if isinstance(value, list) else value
