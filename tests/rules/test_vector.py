"""The place of a reader in several channels: one text for one place, and a word for everything that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadCursor
from streaming.events import Event
from streaming.rules.sse import envelope
from streaming.rules.vector import (
    Vector,
    cursor_block,
    event_block,
    is_task_id,
    over_block,
    parse_vector,
    parse_wish,
)
from tests.rules.test_sse import Reader

A, B = "a" * 32, "b" * 32
POSITIONS = st.integers(0, 10**18 - 1)
IDS = st.text("0123456789abcdef", min_size=32, max_size=32)


def read(text: str, logs_max: int = 2) -> Vector:
    return parse_vector(text, logs_max=logs_max)


@pytest.mark.parametrize(
    ("text", "vector"),
    [
        ("f=0", Vector(0)),
        ("f=1234", Vector(1234)),
        (f"l={A}:0", Vector(None, {A: 0})),
        (f"f=7;l={A}:17;l={B}:3", Vector(7, {A: 17, B: 3})),
        (f"f={10**18 - 1}", Vector(10**18 - 1)),
    ],
)
def test_a_place_has_one_text(text: str, vector: Vector) -> None:
    assert read(text) == vector
    assert str(vector) == text


@given(st.none() | POSITIONS, st.dictionaries(IDS, POSITIONS, max_size=5))
def test_what_is_written_is_what_is_read(feed: int | None, logs: dict[str, int]) -> None:
    vector = Vector(feed, logs)
    if feed is not None or logs:
        assert read(str(vector), 5) == vector


@given(st.text())
def test_what_is_read_is_what_would_be_written(text: str) -> None:
    try:
        vector = read(text)
    except BadCursor:
        return
    assert str(vector) == text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "'' is no part of a cursor"),
        ("17", "'17' is no part of a cursor"),
        ("f", "'f' is no part of a cursor"),
        ("l", "'l' is no part of a cursor"),
        ("f=1;", "'' is no part of a cursor"),
        ("f=1;f=2", "'f=2' is no part of a cursor"),
        (f"l={A}:1;f=2", "'f=2' is no part of a cursor"),
        ("g=1", "'g=1' is no part of a cursor"),
        (" f=1", "' f=1' is no part of a cursor"),
        ("x" * 200, f"'{'x' * 64}' is no part"),
        ("f=", "'' is no position of the feed"),
        ("f=-1", "'-1' is no position of the feed"),
        ("f=01", "'01' is no position of the feed"),
        ("f=1\n", r"'1\n' is no position of the feed"),
        ("f=\u0661", "'\u0661' is no position of the feed"),
        ("f=1000000000000000000", "is no position of the feed"),
        (f"l={A}", f"'' is no position of the log of {A}"),
        (f"l={A}:", f"'' is no position of the log of {A}"),
        (f"l={A}:1:2", f"'1:2' is no position of the log of {A}"),
        (f"l={A.upper()}:1", f"'{A.upper()}' in a cursor is no id of a task"),
        ("l=a:1", "'a' in a cursor is no id of a task"),
        (f"l={B}:1;l={A}:1", f"in the order of their ids, each once: not {A} here"),
        (f"l={A}:1;l={A}:1", f"in the order of their ids, each once: not {A} here"),
        (f"l={A}:1;l={B}:1;l={'c' * 32}:1", "at most 2 logs, and this one has 3"),
    ],
)
def test_what_is_no_place_is_refused_with_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(BadCursor) as refused:
        read(text)
    assert wrong in refused.value.detail


def test_a_wish_is_a_log_and_maybe_a_place_in_it() -> None:
    assert [parse_wish(A), parse_wish(f"{A}:17"), parse_wish("x")] == [(A, 0), (A, 17), ("x", 0)]
    for wrong in (f"{A}:", f"{A}:x", f"{A}:-1", f"{A}:1:2", f"{A}:{10**18}"):
        with pytest.raises(BadCursor, match="is no position of the log of"):
            parse_wish(wrong)


def test_an_id_is_what_tasks_have() -> None:
    assert [is_task_id(text) for text in (A, "0" * 32, "a" * 31, "a" * 33, "G" * 32, "", A + "\n")] == [
        True,
        True,
        *[False] * 5,
    ]


def test_the_blocks_are_what_the_contract_shows() -> None:
    event = Event(A, 17, "tick", "2026-11-01T12:00:00.000000Z", '{"n":1}')
    place = str(Vector(4, {A: 17}))
    reader = Reader()
    for block in (
        cursor_block(Vector(4, {B: 1, A: 16})),
        cursor_block(Vector(None, {})),
        event_block("log", event, place),
        over_block("end", A, place),
    ):
        assert block.endswith(b"\n\n")
        reader.read(block)
    ids, types, data = zip(*reader.dispatched, strict=True)
    assert ids == (f"f=4;l={A}:16;l={B}:1", "", place, place)
    assert types == ("cursor", "cursor", "log", "end")
    assert [json.loads(text) for text in data[:2]] == [{"feed": 4, "logs": {A: 16, B: 1}}, {"feed": None, "logs": {}}]
    assert data[2] == envelope(event)
    assert json.loads(data[3]) == {"task_id": A}
