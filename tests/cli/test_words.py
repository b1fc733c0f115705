"""What a word on the command line means."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from streaming.cli.words import params_from, value_from


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ('"5"', "5"),
        ("", ""),
        ("five", "five"),
        ("a b", "a b"),
        ("{broken", "{broken"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("[" * 100_000, "[" * 100_000),
        ('"\\ud800"', '"\\ud800"'),
        ("http://127.0.0.1:8000/?a=b", "http://127.0.0.1:8000/?a=b"),
    ],
)
def test_what_is_json_is_taken_as_json_and_the_rest_as_text(text: str, value: Any) -> None:
    assert value_from(text) == value
    assert params_from([f"name={text}"], None) == {"name": value}


def test_pairs_and_a_document_come_together() -> None:
    assert params_from(["a=1", "b==x"], '{"c": "5"}') == {"a": 1, "b": "=x", "c": "5"}
    assert params_from([], None) == {}


@pytest.mark.parametrize(
    ("words", "document"),
    [(["a"], None), (["=5"], None), (["a=1", "a=2"], None), (["a=1"], '{"a": 2}'), ([], "[1]"), ([], "{broken")],
)
def test_what_cannot_be_parameters_is_a_usage_error(words: list[str], document: str | None) -> None:
    with pytest.raises(typer.BadParameter):
        params_from(words, document)
