"""How the screen looks, at every width."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from streaming.cli.table import Look
from streaming.cli.top.screen import PLAN, Shown, draw, page_of
from streaming.cli.top.view import Mode, View
from streaming.events import seconds_of
from streaming.records import Eta, Progress, Record, TaskStatus
from tests.scripted_server import TIME, event, record

NOW_S = seconds_of(TIME) + 90


def task(number: int, **fields: Any) -> Record:
    return record(id=f"{number:032x}", created_by="ada", **fields)


TASKS = [
    task(1, progress=Progress(40.0, "two \x1b[31mof five"), attempt=2, eta=Eta(TIME, TIME)),
    *(task(number) for number in range(2, 50)),
]
SHOWN = Shown(View(), TASKS, {"running": 49, "completed": 7}, url="http://x", rate=2.5, store="ready")


def lines(shown: Shown, width: int = 160, height: int = 20) -> list[str]:
    return draw(shown, Look(width, NOW_S), height).plain.split("\n")


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 4, 5, 24])
@pytest.mark.parametrize(
    "view", [View(), View(Mode.EVENTS, opened="x"), View(Mode.QUESTION, asked="x"), View(Mode.SEARCH, search="ü" * 64)]
)
def test_it_is_never_larger_than_the_terminal(width: int, height: int, view: View) -> None:
    shown = replace(SHOWN, view=view, events=[event(seq, "tick", {"x": "y" * 300}) for seq in range(1, 90)])
    drawn = lines(shown, width, height)

    assert len(drawn) == height
    assert max(map(cell_len, drawn)) <= width


def test_a_wide_screen_has_everything() -> None:
    title, counts, headings, first, *_ = lines(SHOWN, 200)

    assert title == "streaming top  2.5 events/s  ready  http://x"
    assert counts.strip() == "pending 0  running 49  completed 7"
    assert headings.split() == list(PLAN.names)
    assert first.split()[:8] == ["running", "countdown", "████░░░░░░", "40%", "0s", "2m", "2", "ada"]
    assert "two �[31mof five" in first


def test_a_narrow_screen_keeps_status_type_and_percent_and_the_id_below() -> None:
    drawn = lines(SHOWN, 40)

    assert drawn[2].split()[:3] == ["status", "type", "%"]
    assert drawn[-2].strip() == f"{1:032x}"


def test_the_selected_task_is_on_the_screen() -> None:
    chosen = replace(SHOWN, view=View(selected=f"{40:032x}"))
    screen = draw(chosen, Look(100, NOW_S), 12)

    assert f"{40:032x}" in screen.plain.split("\n")[-2]
    reversed_parts = [screen.plain[span.start : span.end] for span in screen.spans if span.style == "reverse"]
    assert len(reversed_parts) == 1
    assert cell_len(reversed_parts[0]) == 100


def test_events_are_shown_from_the_newest_back() -> None:
    events = [event(seq, "tick", {"n": seq}) for seq in range(1, 31)]
    opened = replace(SHOWN, view=View(Mode.EVENTS, opened="x" * 32), events=events)

    assert '{"n":30}' in lines(opened, 100, 14)[11]
    back = lines(replace(opened, view=replace(opened.view, back=5)), 100, 14)
    assert '{"n":25}' in back[11]
    assert "5 back" in back[-2]
    assert '{"n":1}' in lines(replace(opened, view=replace(opened.view, back=10_000)), 100, 14)[2]
    assert "No event" in lines(replace(opened, events=()), 100, 14)[2]


def test_what_is_the_matter_comes_first() -> None:
    bad = replace(SHOWN, notice="no contact; trying again in 4 s", trouble=True, view=View(paused=True))

    assert lines(bad, 60)[0].startswith("streaming top  no contact; trying again in 4 s  PAUSED")
    assert "PAUSED" in lines(replace(SHOWN, view=View(paused=True)), 40)[0]


def test_what_is_asked_and_searched_for_is_in_the_last_line() -> None:
    assert lines(replace(SHOWN, view=View(Mode.QUESTION, asked="abc")))[-1] == "Cancel abc? y/n"
    assert lines(replace(SHOWN, view=View(Mode.SEARCH, search="luck")))[-1].startswith("/luck_")
    kept = lines(replace(SHOWN, view=View(search="luck"), records=()))
    assert kept[-1].startswith("/luck  q quit")
    assert "No task has this in it." in kept[3]
    assert "There are no such tasks." in lines(replace(SHOWN, records=()))[3]


def test_every_status_that_there_is_is_counted() -> None:
    counted = lines(replace(SHOWN, counts={status.value: 1 for status in TaskStatus}))[1]

    assert all(f"{status.value} 1" in counted for status in TaskStatus)
    assert page_of(24) == 19
    assert page_of(1) == 1
