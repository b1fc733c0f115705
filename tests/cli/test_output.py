"""What is printed, on terminals and elsewhere."""

from __future__ import annotations

import sys

import pytest

from streaming.cli.output import Output, print_fields, print_receipt, print_table, printable, receipt_words, say
from streaming.records import CancelOutcome, CancelReceipt, TaskStatus
from tests.scripted_server import TASK_ID, TIME, record


def test_text_from_elsewhere_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\nc\x9b\u202e é") == "a�[2Jb�c�� é"


def test_what_joins_letters_and_keeps_them_apart_is_part_of_the_text() -> None:
    words = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} می\N{ZERO WIDTH NON-JOINER}خواهم"

    assert printable(words) == words


def test_what_is_said_is_not_data(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello\r")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "streaming: hello�\n")


def test_fields_that_say_nothing_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("a", None), ("long", [1]), ("b", "text")])
    print_fields([])

    assert capsys.readouterr().out == "long  [1]\nb     text\n"


def test_on_a_terminal_a_table_has_headings_and_is_complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    print_table(["id", "what"], [["x" * 50, "[bold]"]])

    out = capsys.readouterr().out
    assert "id" in out
    assert out.count("x") == 50
    assert "[bold]" in out


def test_an_id_can_be_copied_from_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(["id", "what", "when"], [[TASK_ID, "x" * 40, TIME]])

    assert TASK_ID in capsys.readouterr().out


def test_a_receipt_is_told_in_one_sentence() -> None:
    told = [
        CancelReceipt(TIME, "me"),
        CancelReceipt(TIME, "me", "x", TIME, TIME, CancelOutcome.STOPPED),
        CancelReceipt(TIME, "me", "x", TIME, None, CancelOutcome.IGNORED, "x.py:5"),
    ]

    assert [receipt_words(receipt) for receipt in told] == [
        f"cancel requested: requested {TIME} by me.",
        f"cancel stopped: requested {TIME} by me, delivered {TIME}, stopped {TIME}.",
        f"cancel ignored: requested {TIME} by me, delivered {TIME}, still running at x.py:5.",
    ]


def test_a_task_without_a_receipt_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_receipt(record(TaskStatus.RUNNING), Output.TEXT)

    assert TASK_ID in capsys.readouterr().out
