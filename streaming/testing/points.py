"""The await points of a handler, and which of them are tried if there are too many.

Owns:   `Point`; the choice: every place of the code first, then as evenly as possible.
Uses:   testing.place.
Never:  runs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streaming.testing.place import Place


@dataclass(frozen=True, slots=True)
class Point:
    """The end of one step of the handler, or of an asyncio task of its own.

    Attributes:
        number: 1 for the first step of a run.
        place: where the task stands now.
        waits: whether it waits for something that is not there yet.
        ends: whether the task is one of the handler's own, and has just ended.
    """

    number: int
    place: Place
    waits: bool
    ends: bool


def chosen(points: Sequence[Point], points_max: int) -> list[Point]:
    """Choose points to try.

    Args:
        points: of a run, in order.
        points_max: how many at most.

    Returns:
        In order: all of them if there are no more; else the first of each place, the last of each place, and others
        as evenly as possible.
    """
    if len(points) <= points_max:
        return list(points)
    firsts: dict[object, Point] = {}
    lasts: dict[object, Point] = {}
    for point in points:
        key = (point.place.lines, point.ends, point.waits)
        firsts.setdefault(key, point)
        lasts[key] = point
    step = len(points) / points_max
    evenly = [points[int(index * step)] for index in range(points_max)]
    taken = dict.fromkeys([*firsts.values(), *lasts.values(), *evenly])
    return sorted(list(taken)[:points_max], key=lambda point: point.number)
