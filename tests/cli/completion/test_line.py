"""What is wanted where the cursor is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.cli.completion.line import Place, place_of
from streaming.cli.completion.tree import build

TREE = build()


def names(*words: str) -> list[str]:
    return [name for name, _ in place_of(TREE, words).candidates]


def test_commands_are_offered_and_those_of_a_group_behind_it() -> None:
    assert {"run", "replay", "retry"} <= set(names("r"))
    assert set(names("key", "")) == {"create", "list", "revoke"}
    assert names("nonsense", "x", "") == []


def test_options_are_offered_once_and_again_where_they_may_be_repeated() -> None:
    assert "--timeout-s" in names("run", "x", "--t")
    assert "--timeout-s" not in names("run", "--timeout-s", "5", "x", "--t")
    assert "--tag" in names("run", "x", "--tag", "a", "--t")
    assert "-o" in names("list", "-o")
    assert "-o" not in names("list", "-")
    assert {"--version", "--help"} <= set(names("--"))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["run", ""], "types"),
        (["run", "--timeout-s", "5", "co"], "types"),
        (["list", "--status", ""], "statuses"),
        (["list", "--preset", "a"], "presets"),
        (["cancel", ""], "active"),
        (["cancel", "--reason", "x", ""], "active"),
        (["retry", "01"], "ended"),
        (["show", ""], "tasks"),
        (["tail", "--task", ""], "tasks"),
        (["key", "revoke", "a", ""], "keys"),
        (["list", "--sort", ""], "sorts"),
        (["run", "x", "--priority", ""], ["low", "normal", "high", "urgent"]),
        (["list", "-o", "j"], ["text", "table", "json", "ndjson"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["run", "x", "--timeout-s", ""], None),
        (["show", "x", ""], None),
        (["run", "x", "--", "--ti"], None),
    ],
)
def test_the_kind_of_a_value_is_known(words: list[str], values: Any) -> None:
    assert place_of(TREE, words).values == values


def test_a_value_in_the_word_of_its_option_is_one() -> None:
    place = place_of(TREE, ["list", "--status=ru"])

    assert (place.word, place.option, place.values) == ("ru", "--status", "statuses")
    assert place_of(TREE, ["cancel", "--yes=x"]).values is None


def test_a_type_on_the_line_has_options_of_its_own() -> None:
    place = place_of(TREE, ["run", "countdown", "--url", "http://x", "--co"])

    assert (place.typed, place.type, place.settings) == (True, "countdown", {"--url": "http://x"})
    assert "--timeout-s" in place.own
    assert place_of(TREE, ["run", "countdown", "--how", ""]).open_option == "--how"
    assert place_of(TREE, ["run", "countdown", "--how=f"]).open_option == "--how"
    assert not place_of(TREE, ["list", "countdown", "--co"]).typed


WORDS = ["run", "list", "key", "countdown", "--status", "--status=", "-o", "--", "-", "", "--x", "=", "a=b", "ü"]


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_a_line_that_is_wrong_is_no_error(words: list[str]) -> None:
    assert isinstance(place_of(TREE, words), Place)
