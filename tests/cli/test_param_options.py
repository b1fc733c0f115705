"""Words of a command line become parameters, or an error that says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.cli.param_options import Options, WrongOption, example

SCHEMA: dict[str, Any] = {
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {"type": "string"},
        "count": {"type": "integer", "default": 10},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "how": {"enum": ["fast", "slow", 3]},
        "dry_run": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "pairs": {"type": "array", "items": {"type": "array"}},
        "more": {},
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"per_host": {"type": "integer"}, "deep": {"type": "object", "properties": {"x": {}}}},
        },
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
OPTIONS = Options(SCHEMA, {"--url", "--timeout-s"})


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["--count", "5"], {"count": 5}),
        (["--count=-5"], {"count": -5}),
        (["--count", "-5"], {"count": -5}),
        (["--params.count", "5", "--params.url=u"], {"count": 5, "url": "u"}),
        (["--ratio", "1"], {"ratio": 1}),
        (["--ratio", "1e3"], {"ratio": 1000.0}),
        (["--ratio", "null"], {"ratio": None}),
        (["--how", "slow"], {"how": "slow"}),
        (["--how", "3"], {"how": 3}),
        (["--dry-run"], {"dry_run": True}),
        (["--dry_run"], {"dry_run": True}),
        (["--no-dry-run"], {"dry_run": False}),
        (["--params.no-dry-run"], {"dry_run": False}),
        (["--dry-run=false"], {"dry_run": False}),
        (["--names", "a", "--names", "b,c"], {"names": ["a", "b,c"]}),
        (["--names", '["a", "b"]', "--names", "c"], {"names": ["a", "b", "c"]}),
        (["--names", "[a"], {"names": ["[a"]}),
        (["--sizes", "1", "--sizes=2"], {"sizes": [1, 2]}),
        (["--pairs", "[[1], [2]]"], {"pairs": [[1], [2]]}),
        (["--more", '{"a": 1}'], {"more": {"a": 1}}),
        (["--more", "text"], {"more": "text"}),
        (["--more", "NaN"], {"more": "NaN"}),
        (["--more="], {"more": ""}),
        (["--limits.per-host", "3", "--limits.deep.x", "y"], {"limits": {"per_host": 3, "deep": {"x": "y"}}}),
        (["--limits.per_host", "3"], {"limits": {"per_host": 3}}),
        (["--limits", '{"per_host": 3}'], {"limits": {"per_host": 3}}),
        (["--headers.X-A", "1"], {"headers": {"X-A": "1"}}),
        (["--more", "--count"], {"more": "--count"}),
    ],
)
def test_words_become_values(words: list[str], params: dict[str, Any]) -> None:
    assert OPTIONS.read(words) == (params, [])


def test_what_is_no_option_is_left() -> None:
    assert OPTIONS.read(["a=1", "--count", "2", "b", "-x", "--"]) == ({"count": 2}, ["a=1", "b", "-x", "--"])


@pytest.mark.parametrize(
    ("words", "option", "right"),
    [
        (["--count", "x"], "--count", "'x' is not a whole number like 5."),
        (["--count", "1.5"], "--count", "whole number"),
        (["--count", "true"], "--count", "whole number"),
        (["--ratio", "Infinity"], "--ratio", "a number like 0.5"),
        (["--count"], "--count", "it needs a value: --count 10"),
        (["--how", "slwo"], "--how", "none of fast, slow, 3. Did you mean slow?"),
        (["--how", "zzz"], "--how", "none of fast, slow, 3."),
        (["--dry-run=maybe"], "--dry-run", "true or false"),
        (["--no-dry-run=true"], "--no-dry-run", "takes no value"),
        (["--sizes", "x"], "--sizes", "whole number"),
        (["--pairs", "1"], "--pairs", "JSON list"),
        (["--limits", "[]"], "--limits", "a JSON object"),
        (["--limits", "{}", "--limits", "{}"], "--limits", "given twice"),
        (["--limits", '{"a": 1}', "--limits.deep", "1"], "--limits.deep", "a JSON object"),
        (["--count", "1", "--params.count", "2"], "--params.count", "given twice"),
        (["--cuont", "5"], "--cuont", "Did you mean --count?"),
        (["--timout-s", "5"], "--timout-s", "Did you mean --timeout-s?"),
        (["--zzzzz", "5"], "--zzzzz", "the parameters are: --params.url, --count"),
        (["--no-count"], "--no-count", "no such option"),
        (["--limits.other", "1"], "--limits.other", "no such option"),
        (["--headers.", "1"], "--headers.", "no such option"),
        (["--ratio", "null", "--ratio.x", "1"], "--ratio.x", "no such option"),
    ],
)
def test_an_error_names_the_option_and_what_would_be_right(words: list[str], option: str, right: str) -> None:
    with pytest.raises(WrongOption) as raised:
        OPTIONS.read(words)

    assert raised.value.option == option
    assert right in str(raised.value)


def test_what_is_in_an_object_that_was_given_as_another_value_is_refused() -> None:
    schema = {"properties": {"a": {"type": "object", "properties": {"b": {}}}}}
    with pytest.raises(WrongOption, match="'b' is given as a whole"):
        Options({"properties": {"a": {"type": "object", "properties": {"b": {"type": "object"}}}}}).read(
            ["--a", '{"b": 1}', "--a.b.c", "2"]
        )
    assert Options(schema).read(["--a", "{}", "--a.b", "2"]) == ({"a": {"b": 2}}, [])


def test_a_type_that_takes_anything_takes_any_option() -> None:
    options = Options({"additionalProperties": True, "properties": {}})

    assert options.read(["--film", "seven", "--take", "7"]) == ({"film": "seven", "take": 7}, [])
    assert example(options) == []


def test_names_are_those_that_a_person_may_type() -> None:
    assert OPTIONS.names[:3] == ["--params.url", "--count", "--ratio"]
    assert "--no-dry-run" in OPTIONS.names


def test_a_field_of_the_server_has_its_option() -> None:
    assert OPTIONS.option_at("params.url") == "--params.url"
    assert OPTIONS.option_at("params.limits.per_host") == "--limits.per-host"
    assert OPTIONS.option_at("params.names.0") == "--names"
    assert OPTIONS.option_at("params.nothing") is None


def test_an_example_is_read_by_itself() -> None:
    assert example(OPTIONS) == ["--params.url", "https://example.com/"]
    assert OPTIONS.read(example(OPTIONS)) == ({"url": "https://example.com/"}, [])
    optional = Options({"properties": {"on": {"type": "boolean"}, "n": {"type": "integer"}, "x": {}}})
    assert example(optional) == ["--on", "--n", "1"]
    assert optional.read(example(optional)) == ({"on": True, "n": 1}, [])
