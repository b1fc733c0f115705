"""Which key does what: decisions without a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.cli.top.view import SEARCH_MAX, Action, Mode, Verb, View, press, window

IDS = ["a", "b", "c", "d"]


def after(keys: list[str], view: View | None = None, ids: list[str] | None = None) -> tuple[View, list[Action]]:
    view, actions = view or View(), []
    for key in keys:
        view, action = press(view, key, IDS if ids is None else ids, 2)
        actions += [action] if action else []
    return view, actions


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        (["j"], "b"),
        (["down", "down"], "c"),
        (["j", "k"], "a"),
        (["up"], "a"),
        (["page down"], "c"),
        (["G", "j"], "d"),
        (["end", "page up"], "b"),
        (["G", "g"], "a"),
        (["G", "home"], "a"),
    ],
)
def test_keys_move_the_selection_inside_the_list(keys: list[str], selected: str) -> None:
    assert after(keys) == (View(selected=selected), [])


def test_a_selection_stays_with_its_task_and_moves_to_the_first_when_that_is_gone() -> None:
    view, _ = after(["j", "j"])

    assert view.index(["new", *IDS]) == 3
    assert view.index(["a", "b"]) == 0
    assert press(view, "j", ["new", *IDS])[0].selected == "d"


def test_in_an_empty_list_nothing_is_selected_opened_or_cancelled() -> None:
    assert after(["j", "G", "enter", "c", "k"], ids=[]) == (View(), [])


def test_enter_opens_the_events_of_a_task_and_escape_goes_back() -> None:
    view, actions = after(["j", "enter"])
    assert (view, actions) == (View(Mode.EVENTS, "b", "b"), [Action(Verb.OPEN, "b")])

    view, _ = after(["k", "up", "page up", "j"], view)
    assert view.back == 3
    assert after(["page down", "page down"], view)[0].back == 0
    assert after(["end"], view)[0].back == 0
    for key in ("escape", "left", "backspace"):
        assert after([key], view) == (View(selected="b"), [Action(Verb.CLOSE)])


def test_a_cancel_is_asked_for_and_only_y_is_a_yes() -> None:
    asked, actions = after(["j", "c"])
    assert (asked.mode, asked.asked, actions) == (Mode.QUESTION, "b", [])
    assert after(["x", "j", "down", "Y", " "], asked) == (asked, [])
    for no in ("n", "escape", "enter", "q"):
        assert after([no], asked) == (View(selected="b"), [])
    assert after(["y"], asked) == (View(selected="b"), [Action(Verb.CANCEL, "b")])


def test_a_cancel_in_the_events_means_the_opened_task_and_goes_back_there() -> None:
    opened, _ = after(["j", "enter"])
    view, actions = after(["c", "y"], opened)

    assert (view, actions) == (opened, [Action(Verb.CANCEL, "b")])


def test_a_question_is_about_its_task_though_the_list_changes() -> None:
    asked, _ = after(["j", "c"])

    assert press(asked, "y", ["other"])[1] == Action(Verb.CANCEL, "b")


def test_a_search_takes_every_letter() -> None:
    view, actions = after(["/", "q", "c", " ", "ü", "backspace", "up"])
    assert (view.mode, view.search, actions) == (Mode.SEARCH, "qc ", [])
    kept, _ = after(["enter"], view)
    assert kept == View(search="qc ")
    assert after(["escape"], kept)[0].search == ""
    assert after(["escape"], view)[0] == View()
    assert len(after(["/", *"x" * 200])[0].search) == SEARCH_MAX


def test_p_holds_the_screen_and_asks_again_when_it_goes_on() -> None:
    held, actions = after(["p"])
    assert (held.paused, actions) == (True, [])
    assert after(["p"], held) == (View(), [Action(Verb.REFRESH)])


def test_q_leaves_the_list_and_the_events() -> None:
    assert after(["q"])[1] == [Action(Verb.QUIT)]
    assert after(["q"], replace(View(), mode=Mode.EVENTS, opened="a"))[1] == [Action(Verb.QUIT)]
    assert after(["r"])[1] == [Action(Verb.REFRESH)]


KEYS = ["q", "j", "k", "enter", "escape", "c", "p", "/", "y", "n", "x", "up", "page up", "backspace", "r", "G", "tab"]


@given(st.lists(st.sampled_from(KEYS)), st.lists(st.lists(st.sampled_from(IDS), unique=True), min_size=1))
def test_whatever_is_typed_nothing_is_cancelled_without_a_y_and_opened_and_mode_agree(
    keys: list[str], lists: list[list[str]]
) -> None:
    view, asked = View(), ""
    for number, key in enumerate(keys):
        before = view
        view, action = press(view, key, lists[number % len(lists)])
        if action is not None and action.verb is Verb.CANCEL:
            assert (key, action.task_id) == ("y", asked)
        asked = view.asked
        assert (view.mode is Mode.QUESTION) == bool(view.asked)
        assert view.mode is not Mode.EVENTS or view.opened
        assert view.back >= 0
        assert press(before, key, lists[number % len(lists)])[0] == view


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 60))
def test_a_window_has_the_selected_line_and_no_more_than_there_is_room(place: int, count: int, lines: int) -> None:
    shown = window(min(place, max(0, count - 1)), count, lines)

    assert len(shown) == min(count, lines)
    assert not shown or (shown[0] >= 0 and shown[-1] < count)
    assert not shown or min(place, count - 1) in shown
