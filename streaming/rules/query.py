"""A question to the list of tasks: filter, preset and order together.

Owns:   how they combine, and what makes two questions the same one for a page cursor.
Uses:   rules.filters, rules.presets, rules.sorting.
Never:  answers it, or knows of pages and their sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streaming.errors import BadFilter
from streaming.rules.filters import Filter, FilterLimits, parse_filter
from streaming.rules.presets import Preset, preset
from streaming.rules.sorting import DEFAULT_ORDER, Order, parse_sort

#: The parameters that are no filter of a field.
PRESET, SORT = "preset", "sort"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the list.

    Attributes:
        filter: which records.
        order: in which order.
        asked: the canonical text of what was asked. It stays the same from page to page, while the filter of a preset
            moves with the time: a cursor belongs to this text.
        restricted: whether anything was asked for at all, so that not simply every task is meant.
    """

    filter: Filter
    order: tuple[Order, ...]
    asked: str
    restricted: bool


def parse_question(
    pairs: Iterable[tuple[str, str]],
    limits: FilterLimits,
    *,
    now: str,
    stale_s: float,
    besides: Sequence[str] = (),
) -> Question:
    """Read the question of a request: fields, ``q``, ``preset`` and ``sort``.

    Args:
        pairs: names and values, decoded.
        limits: how much the filter may ask; what a preset asks does not count.
        now: RFC 3339.
        stale_s: seconds of silence after which a running task is stale.
        besides: other names that are possible in this request, for the words of an error.

    Raises:
        BadFilter: a name or a value is none; the detail lists the valid ones.
    """
    given = list(pairs)
    own = parse_filter(
        [(name, value) for name, value in given if name not in (PRESET, SORT)], limits, besides=(PRESET, SORT, *besides)
    )
    name, sort = _preset_name(_once(PRESET, given)), _once(SORT, given)
    saved, order = (Filter(), DEFAULT_ORDER) if name is None else preset(name, now=now, stale_s=stale_s)
    return Question(
        saved.narrowed(own),
        order if sort is None else parse_sort(sort),
        json.dumps([name, own.json()]),
        restricted=name is not None or own != Filter(),
    )


def _once(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    values = [value for each, value in pairs if each == name]
    if len(values) > 1:
        raise BadFilter(f"{name} is given {len(values)} times; once is possible.")
    return values[0] if values else None


def _preset_name(text: str | None) -> Preset | None:
    if text is None:
        return None
    if text not in tuple(Preset):
        raise BadFilter(f"There is no preset {text[:64]!r}; possible: {', '.join(Preset)}.")
    return Preset(text)
