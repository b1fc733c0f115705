"""Tasks as a table that fits its terminal.

Rules of this file:

- An id is never cut: who sees a task can copy its id. Where there is no room for a status beside it, a task has two
  lines.
- Columns that do not fit are left out in one order, that of the `Plan`.

Owns:   the columns, their widths, and what is in them.
Uses:   cli.output (what can be printed).
Never:  reads a clock, or asks how wide a terminal is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from streaming.cli.output import printable
from streaming.events import seconds_of
from streaming.records import Record

BAR_CELLS = 10
BETWEEN = "  "

#: Columns that may be narrower than what is in them, and how narrow.
_LEAST = {"type": 8, "message": 12, "who": 8}

_UNITS = ((86_400.0, "d", 2), (3600.0, "h", 2), (60.0, "m", 1))


@dataclass(frozen=True, slots=True)
class Look:
    """How tasks are to be shown.

    Attributes:
        width: cells of a line.
        now_s: seconds since 1970-01-01, for ages.
        ascii_only: the output can show nothing else.
    """

    width: int
    now_s: float
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Which columns a table has.

    Attributes:
        names: in their order.
        left_out: those that may be missing; the first of these goes first.
        two_lines: a task has two lines, rather than that its first two columns are cut.
    """

    names: Sequence[str]
    left_out: Sequence[str]
    two_lines: bool = True


#: For a list that is printed once.
LIST = Plan(
    ("id", "status", "bar", "%", "eta", "age", "type", "message"), ("message", "eta", "bar", "age", "type", "%")
)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: Sequence[str]
    natural: int
    least: int


def lines_of(records: Sequence[Record], look: Look, plan: Plan = LIST) -> list[str]:
    """Draw tasks, in their order, below their headings."""
    columns = [_column(name, [_CELLS[name](record, look) for record in records]) for name in plan.names]
    if plan.two_lines and _needed(columns[:2]) > look.width:
        return [line for record in records for line in _two_lines(record, look)]
    shown = _shown(columns, look.width, plan)
    rows = [[column.name for column, _ in shown]]
    rows += [[column.cells[number] for column, _ in shown] for number in range(len(records))]
    return [
        BETWEEN.join(_fit(cell, width, look) for cell, (_, width) in zip(row, shown, strict=True)).rstrip()
        for row in rows
    ]


def _column(name: str, cells: Sequence[str]) -> _Column:
    natural = max(map(_cells, [name, *cells]))
    return _Column(name, cells, natural, min(natural, _LEAST.get(name, natural)))


def _shown(columns: Sequence[_Column], width: int, plan: Plan) -> list[tuple[_Column, int]]:
    """The columns that there is room for, with their widths: the first ones take what is left over."""
    shown = list(columns)
    for name in plan.left_out:
        if _needed(shown) <= width:
            break
        shown = [column for column in shown if column.name != name]
    spare = width - _needed(shown)
    widths = []
    for column in shown:
        more = min(spare, column.natural - column.least)
        spare -= more
        widths.append((column, column.least + more))
    return widths


def _needed(columns: Sequence[_Column]) -> int:
    return sum(column.least for column in columns) + len(BETWEEN) * (len(columns) - 1)


def _two_lines(record: Record, look: Look) -> list[str]:
    cells = filter(None, (_CELLS[name](record, look) for name in ("status", "%", "age", "type", "message")))
    return [printable(record.id), _fit(BETWEEN + BETWEEN.join(cells), look.width, look).rstrip()]


def _fit(text: str, width: int, look: Look) -> str:
    """The text in exactly so many cells."""
    from rich.cells import set_cell_size

    if _cells(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + ("~" if look.ascii_only else "…")


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


# -- what is in the columns --------------------------------------------------------------------------------------------


def _percent(record: Record, look: Look) -> str:
    return "" if record.progress is None else f"{record.progress.percent:.0f}%"


def _bar(record: Record, look: Look) -> str:
    if record.progress is None:
        return ""
    done, left = ("#", ".") if look.ascii_only else ("█", "░")
    full = int(record.progress.percent / 100 * BAR_CELLS)
    return done * full + left * (BAR_CELLS - full)


def _eta(record: Record, look: Look) -> str:
    if record.eta is None:
        return ""
    times = (record.eta.earliest, record.eta.latest)
    earliest, latest = (brief_duration(seconds_of(time) - look.now_s) for time in times)
    return earliest if earliest == latest else f"{earliest}-{latest}"


def _age(record: Record, look: Look) -> str:
    return brief_duration(look.now_s - seconds_of(record.created_at))


def _message(record: Record, look: Look) -> str:
    if record.error is not None:
        return printable(record.error.message)
    return "" if record.progress is None else printable(record.progress.message or "")


_CELLS: Mapping[str, Callable[[Record, Look], str]] = MappingProxyType(
    {
        "id": lambda record, look: printable(record.id),
        "status": lambda record, look: record.status.value,
        "bar": _bar,
        "%": _percent,
        "eta": _eta,
        "age": _age,
        "type": lambda record, look: printable(record.type),
        "message": _message,
        "attempt": lambda record, look: str(record.attempt),
        "who": lambda record, look: printable(record.created_by),
    }
)


def brief_duration(seconds: float) -> str:
    """Seconds in few letters: ``42s``, ``5m``, ``30h``, ``9d``; 0s for what is over."""
    for unit_s, letter, least in _UNITS:
        if seconds >= unit_s * least:
            return f"{seconds / unit_s:.0f}{letter}"
    return f"{max(0.0, seconds):.0f}s"
