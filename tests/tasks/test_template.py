from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import HandlerError, InvalidSettings
from streaming.tasks.template import VALUE_LENGTH_MAX, VALUES_MAX, Place, read_commands


def filled(argv: list[str], params: dict[str, str], values: dict[str, str]) -> list[str]:
    return read_commands({"it": {"argv": argv, "params": params}})["it"].fill(values)


def test_a_command_line_is_split_as_a_shell_would_and_has_no_places() -> None:
    assert read_commands({"it": "awk '{print $1} {x}' $HOME"})["it"].fill({}) == ["awk", "{print $1} {x}", "$HOME"]


def test_a_list_is_taken_as_it_is() -> None:
    argv = ["curl", "-w", "%{http_code}", '{"a": {"b": 1}}', "", "a b"]
    assert filled(argv, {}, {}) == argv


@pytest.mark.parametrize("program", ["./tool", "bin/tool", "../tool"])
def test_a_program_with_a_relative_path_is_that_of_the_server(program: str) -> None:
    assert filled([program, "./x"], {}, {}) == [os.path.abspath(program), "./x"]


def test_values_stand_in_their_places_once_and_whole() -> None:
    params = {"a": ".*", "b": ".*"}
    values = {"a": "{b}", "b": "x y; $(z)"}
    assert filled(["p", "{a}", "--in={b}", "{a}{b}", "{c}", "{ a}"], params, values) == [
        "p",
        "{b}",
        "--in=x y; $(z)",
        "{b}x y; $(z)",
        "{c}",
        "{ a}",
    ]


@given(st.text(), st.text())
def test_a_value_is_never_more_than_a_part_of_its_argument(a: str, b: str) -> None:
    values = {"a": a, "b": b}
    try:
        argv = filled(["p", "--in={a}", "{b}"], {"a": "(?s).*", "b": "-?(?s).*"}, values)
    except HandlerError:
        assert len(a) > VALUE_LENGTH_MAX or len(b) > VALUE_LENGTH_MAX or "\0" in a + b or a.startswith("-")
    else:
        assert argv == ["p", f"--in={a}", b]


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "", False),
        ("[a-z]*", "", True),
        ("[a-z]+", "abc\n", False),
        ("[a-z]+$", "abc\n", False),
        ("^[a-z]+$", "abc", True),
        ("(?m)^a$", "b\na\nb", False),
        ("[a-z]+", "\nabc", False),
        ("[a-z]+", "abc1", False),
        ("[a-z]+", "1abc", False),
        ("a|b", "a", True),
        ("a|b", "ab", False),
        ("a|b", "xb", False),
        (r"[a-z0-9_]{1,40}\.mp4", "film_1.mp4", True),
        (r"[a-z0-9_]{1,40}\.mp4", "../film.mp4", False),
        (r"[a-z0-9_]{1,40}\.mp4", "film.mp4;x", False),
        (r"[a-z0-9_]{1,40}\.mp4", "filmxmp4", False),
        (".*", "two\nlines", False),
        ("(?s).*", "two\nlines", True),
        ("(?s).*", "a\0b", False),
        ("(?i)abc", "ABC", True),
        ("é+", "éé", True),
        (".*", "x" * VALUE_LENGTH_MAX, True),
        (".*", "x" * (VALUE_LENGTH_MAX + 1), False),
        # what could be an option
        (".*", "-rf", False),
        ("[a-z-]+", "--help", False),
        ("(-[a-z]+)", "-x", False),
        ("[0-9]+|-1", "-1", False),
        ("-?[0-9]+", "-1", True),
        (r"\-?[0-9]+", "-1", True),
        ("-?[0-9]+", "1", True),
        ("-?[0-9]+", "--1", False),
        ("[a-z-]+", "a-b", True),
        (".*", "\u2212x", True),
    ],
)
def test_a_value_fits_its_pattern_as_a_whole(pattern: str, value: str, fits: bool) -> None:
    assert Place(pattern).takes(value) is fits


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*b", "(a|aa)+b", "([a-z]+)*[0-9]", "(x+x+)+y"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """With Python's own engine each of these would run until the end of the universe."""
    assert not Place(pattern).takes("a" * (VALUE_LENGTH_MAX - 1) + "!")
    assert not Place(pattern).takes("x" * VALUE_LENGTH_MAX)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, "a"),
        ({"a": "x"}, "b"),
        ({"a": "x", "b": "x", "c": "x"}, "c"),
        ({"a": "x", "B": "x"}, "B"),
        ({"a": "x", "b": "1"}, "b"),
    ],
)
def test_a_value_that_is_missing_too_many_or_wrong_is_named_and_not_repeated(
    values: dict[str, str], wrong: str
) -> None:
    with pytest.raises(HandlerError) as raised:
        filled(["p", "{a}", "{b}"], {"a": "[a-z]", "b": "[a-z]"}, values)
    assert raised.value.code == "bad_value"
    assert repr(wrong) in raised.value.detail


def test_a_command_without_places_takes_no_values() -> None:
    with pytest.raises(HandlerError, match="none") as raised:
        read_commands({"it": "true"})["it"].fill({"a": "x"})
    assert raised.value.code == "bad_value"


def test_a_value_that_is_refused_is_not_shown() -> None:
    """It may be what somebody has pasted by mistake."""
    with pytest.raises(HandlerError) as raised:
        filled(["p", "{a}"], {"a": "[a-z]"}, {"a": "hunter2"})
    assert "hunter2" not in raised.value.detail


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ({}, "argv"),
        ({"argv": []}, "argv"),
        ({"argv": "ls -l"}, "argv"),
        ({"argv": ["ls", 1]}, "argv"),
        ({"argv": ["ls"], "shell": True}, "'shell'"),
        ({"argv": ["ls"], "params": []}, "params"),
        ({"argv": ["ls", "{a}"], "params": {"a": 1}}, "pattern of 'a'"),
        ({"argv": ["ls", "{a}"], "params": {"a": ["x"]}}, "pattern of 'a'"),
        ({"argv": ["ls", "{a}"], "params": {"a": "("}}, "no pattern"),
        ({"argv": ["ls", "{a}"], "params": {"a": "[z-a]"}}, "no pattern"),
        ({"argv": ["ls", "{a}"], "params": {"a": "x)|(.*"}}, "no pattern"),
        ({"argv": ["ls", "{a}"], "params": {"a": "x)|(?:.*"}}, "no pattern"),
        ({"argv": ["ls", "{a}"], "params": {"a": "(?x)x # )"}}, "no pattern"),
        ({"argv": ["ls", "{a}"], "params": {"a": "(?=x)x"}}, "look-around"),
        ({"argv": ["ls", "{a}"], "params": {"a": r"(x)\1"}}, "backreferences"),
        ({"argv": ["ls", "{a}"], "params": {"a": r"(\w{1000}){1000}"}}, "no pattern"),
        ({"argv": ["ls", "{b}"], "params": {"a": "x"}}, "no argument has a place {a}"),
        ({"argv": ["{a}", "{a}"], "params": {"a": "x"}}, "program itself"),
        ({"argv": ["bin/{a}", "{a}"], "params": {"a": "x"}}, "program itself"),
        ({"argv": ["ls", "{A}"], "params": {"A": "x"}}, "no name of a place"),
        ({"argv": ["ls", "{a b}"], "params": {"a b": "x"}}, "no name of a place"),
        ({"argv": ["ls", "{a|b}"], "params": {"a|b": "x"}}, "no name of a place"),
        ({"argv": ["ls", "{}"], "params": {"": "x"}}, "no name of a place"),
        ({"argv": ["ls"], "params": {f"a{n}": "x" for n in range(VALUES_MAX + 1)}}, f"at most {VALUES_MAX}"),
    ],
)
def test_a_command_that_cannot_be_one_stops_the_start_and_is_named(command: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSettings, match="STREAMING_COMMANDS: command 'encode': ") as raised:
        read_commands({"fine": "true", "encode": command})
    assert why in raised.value.detail
    assert [error.field for error in raised.value.errors] == ["STREAMING_COMMANDS"]


def test_as_many_places_as_there_may_be() -> None:
    params = {f"a{n}": "x" for n in range(VALUES_MAX)}
    argv = ["ls", *(f"{{{name}}}" for name in params)]
    assert filled(argv, params, dict.fromkeys(params, "x")) == ["ls"] + ["x"] * VALUES_MAX
