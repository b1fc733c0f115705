"""A table of tasks fits its terminal, and every id in it can be copied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from streaming.cli.table import Look, brief_duration, lines_of
from streaming.events import rfc3339
from streaming.records import Eta, Progress, Record, TaskError, TaskStatus
from tests.rules.tasks import RECORDS
from tests.scripted_server import TASK_ID, record

NOW_S = 1_793_534_400.0

TASKS = [
    record(
        created_at=rfc3339(NOW_S - 300),
        progress=Progress(45.0, "9 of 20 files, and what a long message there is to read"),
        eta=Eta(rfc3339(NOW_S + 130), rfc3339(NOW_S + 400)),
    ),
    record(
        TaskStatus.INTERRUPTED, id="f" * 32, created_at=rfc3339(NOW_S - 7200), error=TaskError("crash", "It crashed.")
    ),
    record(TaskStatus.PENDING, id="e" * 32, type="a_type_with_a_long_name_indeed", created_at=rfc3339(NOW_S)),
]


def headings(width: int) -> list[str]:
    return lines_of(TASKS, Look(width, NOW_S))[0].split()


def test_a_wide_terminal_shows_everything() -> None:
    head, first, second, third = lines_of(TASKS, Look(200, NOW_S))

    assert head.split() == ["id", "status", "bar", "%", "eta", "age", "type", "message"]
    assert first.split("  ") == [
        *(TASK_ID, "running", "", "", "████░░░░░░", "45%", "2m-7m", "5m", " countdown"),
        *[""] * 10,
        " 9 of 20 files, and what a long message there is to read",
    ]
    assert second.split() == ["f" * 32, "interrupted", "2h", "countdown", "It", "crashed."]
    assert third.split() == ["e" * 32, "pending", "0s", "a_type_with_a_long_name_indeed"]
    assert {line.index(word) for line, word in ((head, "message"), (first, "9 of"), (second, "It "))} == {108}


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, ["id", "status", "bar", "%", "eta", "age", "type", "message"]),
        (90, ["id", "status", "bar", "%", "eta", "age", "type"]),
        (80, ["id", "status", "bar", "%", "age", "type"]),
        (76, ["id", "status", "%", "age", "type"]),
        (60, ["id", "status", "%", "type"]),
        (54, ["id", "status", "%"]),
        (45, ["id", "status"]),
    ],
)
def test_columns_leave_in_one_order(width: int, shown: list[str]) -> None:
    assert headings(width) == shown


def test_a_narrow_terminal_has_two_lines_a_task() -> None:
    lines = lines_of(TASKS, Look(40, NOW_S))

    assert lines[:2] == [TASK_ID, "  running  45%  5m  countdown  9 of 20 …"]
    assert lines[2:] == ["f" * 32, "  interrupted  2h  countdown  It crashe…", "e" * 32, lines[5]]
    assert lines_of(TASKS, Look(40, NOW_S, ascii_only=True))[1].endswith("~")


def test_an_output_that_knows_only_ascii_gets_nothing_else() -> None:
    for width in (40, 60, 80, 200):
        assert "\n".join(lines_of(TASKS, Look(width, NOW_S, ascii_only=True))).isascii()
    assert "####......" in lines_of(TASKS, Look(200, NOW_S, ascii_only=True))[1]


def test_no_tasks_are_headings() -> None:
    assert lines_of([], Look(80, NOW_S))[0].split()[:2] == ["id", "status"]


def test_letters_of_two_cells_and_control_characters_break_no_line() -> None:
    odd = record(type="タスク" * 20, progress=Progress(1.0, "a\x1b[2J\nb"), created_at=rfc3339(NOW_S))
    for width in range(46, 120):
        _, line = lines_of([odd], Look(width, NOW_S))
        assert cell_len(line) <= width
        assert "\x1b" not in line
        assert line.startswith(TASK_ID)


@given(st.lists(RECORDS, max_size=4), st.integers(10, 250))
def test_no_line_is_wider_than_the_terminal_and_every_id_is_whole(records: list[Record], width: int) -> None:
    lines = lines_of(records, Look(width, NOW_S))

    assert all(cell_len(line) <= max(width, 32) for line in lines)
    for each in records:
        assert any(line.startswith(each.id) for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (42.4, "42s"),
        (59, "59s"),
        (60, "1m"),
        (3600, "60m"),
        (7199, "120m"),
        (7200, "2h"),
        (172_800, "2d"),
        (1e9, "11574d"),
    ],
)
def test_durations_are_brief(seconds: float, text: str) -> None:
    assert brief_duration(seconds) == text


def test_an_end_that_is_known_exactly_is_one_time() -> None:
    time = rfc3339(NOW_S + 60)
    assert " 1m " in lines_of([record(eta=Eta(time, time))], Look(200, NOW_S))[1]
