"""An event of the feed as a line."""

from __future__ import annotations

import json
import sys

import pytest

from streaming.cli.feedline import STYLES, columns, document, liner
from streaming.cli.output import Output
from streaming.records import TaskStatus
from tests.scripted_server import TASK_ID, TIME, event


def test_a_document_is_the_event_and_its_position_in_one_line() -> None:
    line = document(7, event(2, "tick", {"text": "Ü\n"}))

    assert "\n" not in line
    assert json.loads(line) == {
        "position": 7,
        "seq": 2,
        "task_id": TASK_ID,
        "type": "tick",
        "time": TIME,
        "data": {"text": "Ü\n"},
    }


def test_columns_cannot_be_broken_by_what_is_in_them() -> None:
    assert columns(7, event(2, "tick")) == f"7\t{TIME}\t{TASK_ID}\t2\ttick\t{{}}"
    assert "\t".join(["2", "odd", '{"text":"\\u001b\\t"}']) in columns(1, event(2, "odd", {"text": "\x1b\t"}))


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_has_colours_unless_they_are_not_wanted(
    plain: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    if not plain:
        monkeypatch.delenv("NO_COLOR")
    show = liner(Output.TEXT)
    show(1, event(1, "failed", {"error": {"message": "[red]no\x1b[0m luck" + "!" * 40}}))
    show(2, event(2, "pending"))

    first, second = capsys.readouterr().out.splitlines()
    assert ("\x1b[1;31mfailed" in first) is not plain
    assert "[red]no\\u001b[0m luck" in first  # not markup, not cut, in one line
    assert second.rstrip("\x1b[0m").endswith("pending")


def test_every_status_has_a_colour() -> None:
    assert {status.value for status in TaskStatus} <= STYLES.keys()
