"""How ``streaming top`` looks: as many lines as the terminal has, none wider than it is.

Owns:   `Shown`, all that is on a screen, and `draw`.
Uses:   cli.table (the columns), cli.feedline (colours, and how an event looks).
Never:  asks a server, reads a clock or the size of a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import set_cell_size
from rich.text import Text

from streaming.cli.displays import brief
from streaming.cli.feedline import STYLES
from streaming.cli.output import printable
from streaming.cli.table import Look, Plan, lines_of
from streaming.cli.top.view import Mode, View, window
from streaming.events import Event
from streaming.records import Record, TaskStatus

#: The id goes early: that of the selected task is in the last line but one.
PLAN = Plan(
    ("status", "type", "bar", "%", "eta", "age", "attempt", "who", "id", "message"),
    ("message", "id", "who", "attempt", "bar", "eta", "age", "type", "%"),
    two_lines=False,
)

#: Title, counts and headings above the tasks; the selected task and the keys below.
_ABOVE, _BELOW = 2, 2

_KEYS = {
    Mode.LIST: "q quit  j/k move  enter events  c cancel  p pause  / search",
    Mode.EVENTS: "esc back  j/k scroll  end newest  c cancel  q quit",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is on a screen.

    Attributes:
        view: what is looked at.
        records: the tasks that match, in their order.
        counts: tasks by status.
        events: of the task that is opened.
        url: of the server.
        rate: events in a second.
        store: what is known of the server's readiness.
        notice: what has happened, or is the matter.
        trouble: whether the notice is bad news.
    """

    view: View
    records: Sequence[Record] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[Event] = ()
    url: str = ""
    rate: float = 0.0
    store: str = ""
    notice: str = ""
    trouble: bool = False


def draw(shown: Shown, look: Look, height: int) -> Text:
    """The whole screen."""
    room = max(1, height - _ABOVE - _BELOW)
    middle = _events(shown, room) if shown.view.opened else _tasks(shown, look, room)
    lines = [_title(shown), _counts(shown), *middle[:room]]
    lines += [Text()] * (height - _BELOW - len(lines))
    lines += [_about(shown), _keys(shown)]
    return Text("\n").join(_fit(line, look.width) for line in lines[:height])


def page_of(height: int) -> int:
    """Lines that a page of tasks or events has."""
    return max(1, height - _ABOVE - _BELOW - 1)


def _fit(line: Text, width: int) -> Text:
    line = line.copy()
    line.truncate(width, overflow="crop")
    return line


def _title(shown: Shown) -> Text:
    paused = ("  PAUSED", "bold yellow") if shown.view.paused else ""
    notice = (f"  {shown.notice}", "bold red" if shown.trouble else "yellow") if shown.notice else ""
    if shown.trouble:  # what is the matter comes first where there is little room
        return Text.assemble(("streaming top", "bold"), notice, paused)
    return Text.assemble(
        ("streaming top", "bold"),
        paused,
        f"  {shown.rate:.1f} events/s",
        f"  {shown.store}" if shown.store else "",
        f"  {printable(shown.url)}",
        notice,
    )


def _counts(shown: Shown) -> Text:
    """Those that have not ended always, the others where there are any."""
    line = Text()
    for status in TaskStatus:
        number = shown.counts.get(status.value, 0)
        if number or status in (TaskStatus.PENDING, TaskStatus.RUNNING):
            line.append(f"{status.value} {number}  ", STYLES.get(status.value, ""))
    return line


def _tasks(shown: Shown, look: Look, room: int) -> list[Text]:
    headings, *rows = lines_of(shown.records, look, PLAN)
    ids = [record.id for record in shown.records]
    place = shown.view.index(ids)
    lines = [Text(headings, "bold")]
    for number in window(place, len(rows), room - 1):
        style = STYLES.get(shown.records[number].status.value, "")
        chosen = number == place
        lines.append(Text(set_cell_size(rows[number], look.width) if chosen else rows[number], style))
        if chosen:
            lines[-1].stylize("reverse")
    if not rows:
        lines.append(Text("No task has this in it." if shown.view.search else "There are no such tasks.", "dim"))
    return lines


def _events(shown: Shown, room: int) -> list[Text]:
    end = max(min(len(shown.events), room), len(shown.events) - shown.view.back)
    lines = []
    for event in shown.events[max(0, end - room) : end]:
        lines.append(Text(f"{event.seq:>5}  {brief(event)}", STYLES.get(event.type, "")))
    return lines or [Text("No event has come yet.", "dim")]


def _about(shown: Shown) -> Text:
    """The selected task, whose id is whole and can be copied."""
    ids = [record.id for record in shown.records]
    task_id = shown.view.opened or (ids[shown.view.index(ids)] if ids else "")
    found = f"  {len(ids)} found" if shown.view.search else ""
    back = f"  {shown.view.back} back" if shown.view.opened and shown.view.back else ""
    return Text(f"{printable(task_id)}{back}{found}", "dim")


def _keys(shown: Shown) -> Text:
    view = shown.view
    if view.mode is Mode.QUESTION:
        return Text(f"Cancel {printable(view.asked)}? y/n", "bold yellow")
    if view.mode is Mode.SEARCH:
        return Text(f"/{view.search}_  enter keeps, esc clears", "bold")
    searched = f"/{view.search}  " if view.search else ""
    return Text(searched + _KEYS[view.mode], "dim")
