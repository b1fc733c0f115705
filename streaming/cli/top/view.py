"""What a person at ``streaming top`` looks at, and what each key does to that.

Rules of this file:

- A selection is a task, not a line: it stays with its task while others come and go.
- What changes something on the server is asked for first.

Owns:   `View`, `press`, and the `Action`s that somebody else has to do.
Never:  asks a server, reads a terminal or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from types import MappingProxyType

SEARCH_MAX = 64


class Mode(StrEnum):
    """What keys are about."""

    LIST = "list"
    EVENTS = "events"
    SEARCH = "search"
    QUESTION = "question"


class Verb(Enum):
    """What somebody else has to do."""

    QUIT = "quit"
    OPEN = "open"
    CLOSE = "close"
    CANCEL = "cancel"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody else has to do, and with which task."""

    verb: Verb
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at.

    Attributes:
        mode: what keys are about.
        selected: id of the selected task; empty selects the first.
        opened: id of the task whose events are shown.
        back: events between the newest one and the last that is shown.
        search: only tasks with this in them.
        paused: what is shown stays as it is.
        asked: id of the task whose cancel is in question.
    """

    mode: Mode = Mode.LIST
    selected: str = ""
    opened: str = ""
    back: int = 0
    search: str = ""
    paused: bool = False
    asked: str = ""

    def index(self, ids: Sequence[str]) -> int:
        """Where the selected task is among these; the first one if it is gone."""
        return ids.index(self.selected) if self.selected in ids else 0


Step = tuple[View, Action | None]


def press(view: View, key: str, ids: Sequence[str], page: int = 10) -> Step:
    """What a key does.

    Args:
        view: as it is.
        key: as `cli.keystrokes` names it.
        ids: the tasks in the list that is shown.
        page: lines of a screen.

    Returns:
        The view as it is then, and what is to be done besides.
    """
    return _MODES[view.mode](view, key, ids, max(1, page))


def _in_list(view: View, key: str, ids: Sequence[str], page: int) -> Step:
    place = view.index(ids)
    moved = _moved(key, place, len(ids), page)
    if moved is not None:
        return replace(view, selected=ids[moved] if ids else ""), None
    selected = ids[place] if ids else ""
    match key:
        case "q":
            return view, Action(Verb.QUIT)
        case "p":
            resumed = Action(Verb.REFRESH) if view.paused else None
            return replace(view, paused=not view.paused), resumed
        case "/":
            return replace(view, mode=Mode.SEARCH), None
        case "escape":
            return replace(view, search=""), None
        case "enter" | "right" if selected:
            return replace(view, mode=Mode.EVENTS, selected=selected, opened=selected, back=0), Action(
                Verb.OPEN, selected
            )
        case "c" if selected:
            return replace(view, mode=Mode.QUESTION, selected=selected, asked=selected), None
        case "r":
            return view, Action(Verb.REFRESH)
    return view, None


def _in_events(view: View, key: str, ids: Sequence[str], page: int) -> Step:
    match key:
        case "q":
            return view, Action(Verb.QUIT)
        case "escape" | "left" | "backspace":
            return replace(view, mode=Mode.LIST, opened="", back=0), Action(Verb.CLOSE)
        case "up" | "k":
            return replace(view, back=view.back + 1), None
        case "down" | "j":
            return replace(view, back=max(0, view.back - 1)), None
        case "page up":
            return replace(view, back=view.back + page), None
        case "page down":
            return replace(view, back=max(0, view.back - page)), None
        case "end" | "G":
            return replace(view, back=0), None
        case "c":
            return replace(view, mode=Mode.QUESTION, asked=view.opened), None
    return view, None


def _in_search(view: View, key: str, ids: Sequence[str], page: int) -> Step:
    match key:
        case "enter":
            return replace(view, mode=Mode.LIST), None
        case "escape":
            return replace(view, mode=Mode.LIST, search=""), None
        case "backspace":
            return replace(view, search=view.search[:-1]), None
    if len(key) == 1 and len(view.search) < SEARCH_MAX:
        return replace(view, search=view.search + key), None
    return view, None


def _in_question(view: View, key: str, ids: Sequence[str], page: int) -> Step:
    """Only a y is a yes; what is no answer is none."""
    if key not in ("y", "n", "escape", "enter", "q"):
        return view, None
    settled = replace(view, mode=Mode.EVENTS if view.opened else Mode.LIST, asked="")
    return settled, Action(Verb.CANCEL, view.asked) if key == "y" else None


_MODES: Mapping[Mode, Callable[[View, str, Sequence[str], int], Step]] = MappingProxyType(
    {Mode.LIST: _in_list, Mode.EVENTS: _in_events, Mode.SEARCH: _in_search, Mode.QUESTION: _in_question}
)


def _moved(key: str, place: int, count: int, page: int) -> int | None:
    """Where a key moves the selection; None if it is not for that."""
    places = {
        "up": place - 1,
        "k": place - 1,
        "down": place + 1,
        "j": place + 1,
        "page up": place - page,
        "page down": place + page,
        "home": 0,
        "g": 0,
        "end": count - 1,
        "G": count - 1,
    }
    return None if key not in places else max(0, min(places[key], count - 1))


def window(place: int, count: int, lines: int) -> range:
    """Which of so many lines are shown, so that the one at ``place`` is among them."""
    begin = max(0, min(place - lines // 2, count - lines))
    return range(begin, min(count, begin + max(0, lines)))
