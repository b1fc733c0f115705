"""Everything that is known of a task is shown, once."""

from __future__ import annotations

import pytest

from streaming.cli.details import GROUPS, print_details
from streaming.records import TaskStatus
from streaming.rules.history import Span
from tests.scripted_server import TASK_ID, TIME, record


def test_every_field_of_a_task_stands_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]

    assert sorted(names) == sorted(record().as_json())


def test_a_task_is_shown_with_its_history_and_its_children(capsys: pytest.CaptureFixture[str]) -> None:
    shown = record(TaskStatus.COMPLETED, result={"a": "é"}, tags=("x", "\x1b[2J"))
    history = [
        Span(1, TaskStatus.PENDING, None, TIME, "anna", "", 1.25),
        Span(2, TaskStatus.RUNNING, TaskStatus.PENDING, TIME, "server", "a\tb", None),
    ]
    print_details(shown, history, [record(id="c" * 32)])

    out = capsys.readouterr().out
    assert f"-- task --\nid          {TASK_ID}\n" in out
    assert 'result        {"a": "é"}\n' in out
    assert "\x1b" not in out
    assert f"-- history --\npending\t{TIME}\tanna\t1.250 s\t\nrunning\t{TIME}\tserver\t\ta�b\n" in out
    assert f"-- children --\n{'c' * 32}\trunning\tcountdown\n" in out


def test_a_task_without_children_says_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_details(record(), [], [])

    out = capsys.readouterr().out
    assert "children" not in out
    assert "cancel" not in out.replace("cancel_after", "")
    assert "parent" not in out
