"""A page cursor comes back as it was given, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadCursor
from streaming.events import rfc3339
from streaming.web.paging import read_cursor, write_cursor

TIMES = st.floats(0, 4e9, allow_nan=False).map(rfc3339)
IDS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
CURSOR = write_cursor(rfc3339(1e9), "0123456789abcdef" * 2)


@given(TIMES, IDS)
def test_a_cursor_comes_back_as_it_was_given(created_at: str, task_id: str) -> None:
    cursor = write_cursor(created_at, task_id)

    assert read_cursor(cursor) == (created_at, task_id)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="next_cursor"):
        read_cursor(text)


@given(st.integers(0, len(CURSOR) - 1), st.sampled_from("Aa0_-.=% é"))
def test_a_tampered_cursor_is_refused(index: int, letter: str) -> None:
    tampered = CURSOR[:index] + letter + CURSOR[index + 1 :]
    if tampered == CURSOR:
        return
    with pytest.raises(BadCursor):
        read_cursor(tampered)


@pytest.mark.parametrize("text", ["", CURSOR + "=", CURSOR + "A", CURSOR[:-1], " " + CURSOR, CURSOR + "\n"])
def test_a_cursor_with_more_or_less_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        read_cursor(text)
