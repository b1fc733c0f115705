"""One immutable fact of a task, and the moment it happened.

Owns:   the event, its payload text, and the one time format of the product.
Never:  orders events (``rules.log``), frames them for a wire (``rules.sse``), or reads a clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: Types that the server itself writes; no handler may emit them. Every status is one of them as well.
BUILT_IN_TYPES = frozenset(
    {
        "progress",
        "log",
        "cancel_requested",
        "cancel_ignored",
        "deadline_warning",
        "gap",
        "input",
        "stale",
        "stalled",
        "unwatched",
    }
)

#: Levels of nesting in what a handler emits or returns. More could be written here, and not be read somewhere else.
DEPTH_MAX = 200

#: Nearly all times are of the second that it is.
SECONDS_KEPT = 16

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one task.

    Attributes:
        task_id: the task.
        seq: its place in the task's log, from 1, without holes.
        type: what happened.
        time: when, RFC 3339 in UTC with microseconds.
        payload: the data as JSON text; it is stored and sent as it is, so that every reader sees the same bytes.
    """

    task_id: str
    seq: int
    type: str
    time: str
    payload: str

    @property
    def data(self) -> Any:
        """The payload as a new Python value."""
        return json.loads(self.payload)


def encode_payload(data: object, *, depth_max: int | None = None) -> str:
    """Make JSON text of ``data``.

    Args:
        data: anything that RFC 8259 can express.
        depth_max: levels of nesting, at most; without it, as many as there is room for on the stack just here.

    Returns:
        Compact JSON, not escaped to ASCII, without line breaks.

    Raises:
        TypeError: a value has no JSON form.
        ValueError: NaN, an infinity, a reference to itself, or a lone surrogate that UTF-8 cannot carry.
        RecursionError: nested too deeply.
    """
    text = _to_json(data)
    if not text.isascii():
        text.encode()  # UnicodeEncodeError, a ValueError, for lone surrogates
    if depth_max is not None and is_deeper(data, depth_max, brackets=text.count("[") + text.count("{")):
        raise RecursionError(f"it is nested in more than {depth_max} levels")
    return text


def is_deeper(value: object, depth_max: int, *, brackets: int) -> bool:
    """Whether a JSON value has more than ``depth_max`` levels; looks at one level after the other.

    Args:
        value: what was encoded or decoded.
        depth_max: levels of nesting.
        brackets: how many of them open in its text. Few cannot be nested deeply: most values need no look.
    """
    if brackets <= depth_max:
        return False
    level = [value]
    for _ in range(depth_max):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list | tuple)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


def seconds_of(time: str) -> float:
    """Read a time that `rfc3339` has written.

    Args:
        time: RFC 3339.

    Returns:
        Seconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: it is none.
    """
    return datetime.fromisoformat(time).timestamp()


def rfc3339(wall_s: float) -> str:
    """Write a time as RFC 3339 in UTC, in one fixed width, so that texts sort like times.

    Args:
        wall_s: seconds since 1970-01-01T00:00:00Z.

    Returns:
        For example ``2026-11-01T12:00:00.000000Z``.
    """
    fraction, whole = math.modf(wall_s)
    seconds, microseconds = divmod(int(whole) * 1_000_000 + round(fraction * 1_000_000), 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds:06d}Z"


@lru_cache(SECONDS_KEPT)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
