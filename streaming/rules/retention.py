"""How long tasks and their events are kept, by task type.

Rules of this file:

- The policy is a JSON object: ``{"*": {"records": {"age_s": ..., "count": ..., "bytes": ...}, "events": {...}},
  "http_fetch": {...}}``. ``*`` is every type.
- What is said of a type wins over what is said of ``*``, and that over the default, field by field. ``null`` is no
  limit. The default keeps records for 30 days, and events as long as their record.
- Of several limits the one that is reached first counts.

Owns:   `Retention`, what it may say, and its default; how many of the oldest are too many.
Never:  deletes anything, or knows what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, cast

from streaming.rules.times import earlier

DAY_S = 86_400
RECORDS_AGE_DAYS = 30

#: The most that may be said: a thousand years, and what a database counts up to.
AGE_MAX_S = 365_000 * DAY_S
WHOLE_MAX = 2**63 - 1

#: The name that stands for every type.
EVERY_TYPE = "*"

_PARTS = ("records", "events")
_FIELDS = ("age_s", "count", "bytes")
_DEFAULT: Mapping[str, Mapping[str, Any]] = {"records": {"age_s": RECORDS_AGE_DAYS * DAY_S}}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept; None is no limit.

    Attributes:
        age_s: what is not older: records since they ended, events since they were told.
        count: so many of the newest: terminal records of the type, events of each task.
        bytes: as many of the newest as have so many bytes together, counted in the same way.
    """

    age_s: float | None = None
    count: int | None = None
    bytes: int | None = None

    @property
    def limited(self) -> bool:
        """Whether anything is ever removed."""
        return (self.age_s, self.count, self.bytes) != (None, None, None)

    def surplus(self, oldest: Iterable[tuple[str, int]], *, count: int, size: int, now: str) -> int:
        """How many of the oldest are not kept.

        Args:
            oldest: (time, bytes) of the oldest, the oldest first; not all of them need be given, or are looked at.
            count: how many there are in all.
            size: bytes of all of them.
            now: the time, RFC 3339.

        Returns:
            So many of ``oldest``, from the first on: the first that is kept is followed by none that is not.
        """
        cutoff = "" if self.age_s is None else earlier(now, self.age_s)
        gone = 0
        for time, its_size in oldest:
            if time >= cutoff and not _over(count, self.count) and not _over(size, self.bytes):
                break
            gone, count, size = gone + 1, count - 1, size - its_size
        return gone


def _over(number: int, most: int | None) -> bool:
    return most is not None and number > most


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the tasks of a type: of their records, which take their events with them, and of their events."""

    records: Bounds
    events: Bounds


@dataclass(frozen=True, slots=True)
class Retention:
    """The policy of an instance.

    Attributes:
        said: what was said of which type, as `parse_retention` has checked it.
    """

    said: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def for_type(self, name: str) -> Kept:
        """What is kept of the tasks of this type."""
        return Kept(*(self._bounds(name, part) for part in _PARTS))

    def _bounds(self, name: str, part: str) -> Bounds:
        places = (_DEFAULT, self.said.get(EVERY_TYPE, {}), self.said.get(name, {}))
        return Bounds(**{field: value for place in places for field, value in place.get(part, {}).items()})


def parse_retention(value: object) -> Retention:
    """Read a policy.

    Args:
        value: the JSON value.

    Returns:
        The policy; of ``{}`` the default.

    Raises:
        ValueError: something in it is wrong; the text names every place by its path, and what would be right.
    """
    problems = list(_problems("", value, _check_type))
    if problems:
        raise ValueError("; ".join(problems))
    return Retention(cast(dict[str, Any], value))


#: Finds what is wrong with the value at a path.
_Check = Callable[[str, object], Iterator[str]]


def _problems(path: str, value: object, check: _Check, names: Sequence[str] | None = None) -> Iterator[str]:
    """Look at an object and, with ``check``, at each of its members."""
    if not isinstance(value, dict):
        yield f"{path}: must be an object".removeprefix(": ")
        return
    for name, member in value.items():
        inner = f"{path}.{name}".removeprefix(".")
        if names is not None and name not in names:
            yield f"{inner}: unknown; possible are {', '.join(names)}"
        else:
            yield from check(inner, member)


def _check_type(path: str, value: object) -> Iterator[str]:
    return _problems(path, value, _check_part, _PARTS)


def _check_part(path: str, value: object) -> Iterator[str]:
    return _problems(path, value, _check_field, _FIELDS)


def _check_field(path: str, value: object) -> Iterator[str]:
    if path.endswith(".age_s"):
        if value is not None and not _is_number(value, int | float, AGE_MAX_S):
            yield f"{path}: must be a number over 0 and at most {AGE_MAX_S}, or null"
    elif value is not None and not _is_number(value, int, WHOLE_MAX):
        yield f"{path}: must be a whole number over 0 and at most {WHOLE_MAX}, or null"


def _is_number(value: object, kind: type[int] | UnionType, most: float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and 0 < value <= most
