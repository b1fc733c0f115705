"""How events look, by where they go."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from streaming.cli.board import open_board
from streaming.cli.displays import bars_wanted, display, time_left
from streaming.cli.output import Output
from streaming.events import rfc3339
from streaming.rules.sse import envelope
from tests.scripted_server import TIME, event


def terminal(monkeypatch: pytest.MonkeyPatch, *, out: bool = True, err: bool = True) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: out)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: err)
    monkeypatch.setenv("TERM", "xterm")


PROGRESS = event(2, "progress", {"percent": 40.0, "message": "two \x1b of [red]five"})
SILENT = event(3, "progress", {"percent": 50.0, "message": None})
END = event(4, "completed", {"result": "[bold]\x07"})


def test_bars_are_for_people_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not bars_wanted()
    terminal(monkeypatch)
    assert bars_wanted()
    terminal(monkeypatch, out=False)
    assert not bars_wanted()
    terminal(monkeypatch, err=False)
    assert not bars_wanted()
    terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not bars_wanted()


def test_json_stays_json_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(monkeypatch)
    with display(Output.JSON, "title") as show:
        show(PROGRESS)

    assert capsys.readouterr().out == f"{envelope(PROGRESS)}\n"


def test_a_plain_line_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with display(Output.TEXT, "title") as show:
        show(event(1, "tick", {"n": 5}))

    assert capsys.readouterr() == (f'{TIME}\t1\ttick\t{{"n":5}}\n', "")


@pytest.mark.parametrize(
    ("elapsed_s", "percent", "words"),
    [
        (10, 50, "7-15 s left"),
        (100, 50, "1-2 min left"),
        (7200, 50, "1-3 h left"),
        (60, 99, "1 s left"),
        (60, 100, "0 s left"),
        (60, 0.5, ""),
        (0, 50, ""),
    ],
)
def test_how_long_it_may_go_on_is_a_range(elapsed_s: float, percent: float, words: str) -> None:
    began = dataclasses.replace(event(2, "running", {"attempt": 1}), time=rfc3339(1e9))
    progress = dataclasses.replace(event(3, "progress", {"percent": percent}), time=rfc3339(1e9 + elapsed_s))

    assert time_left(began, progress) == words


def test_a_bar_says_how_long_it_may_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(monkeypatch)
    with display(Output.TEXT, "t") as show:
        show(dataclasses.replace(event(1, "running"), time=rfc3339(1e9)))
        show(dataclasses.replace(PROGRESS, time=rfc3339(1e9 + 40)))

    assert "38-96 s left" in capsys.readouterr().err


def test_progress_moves_a_bar_and_other_events_pass_above_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(monkeypatch)
    with display(Output.TEXT, "[t]itle") as show:
        for each in (event(1), PROGRESS, SILENT, END):
            show(each)

    out, err = capsys.readouterr()
    assert out == ""
    assert "12:00:00  tick" in err
    assert "[bold]" in err
    assert "[t]itle" in err
    assert " 50%" in err
    assert "percent" not in err
    assert "\x07" not in err


def test_a_board_has_lines_for_steps_of_progress_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with open_board(["a", "b"]) as board:
        for percent in (0.0, 19.0, 20.0, 39.0, 45.0, 64.0, 65.0):
            board.show("a", event(1, "progress", {"percent": percent}))
        board.show("b", event(1, "tick", {"text": "x" * 500}))

    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(":")[2] for line in lines[:3]] == ["20.0}", "45.0}", "65.0}"]
    assert len(lines) == 4
    assert len(lines[3]) <= 110


def test_a_board_has_a_bar_for_each_task_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(monkeypatch)
    with open_board(["alpha", "beta"]) as board:
        for each in (event(1), PROGRESS, SILENT):
            board.show("alpha", each)
        board.show("beta", event(5, "cancelled"))

    out = capsys.readouterr().out
    assert "50%" in out
    assert "cancelled" in out
    assert "tick" not in out
