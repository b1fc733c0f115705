"""The fields of a record that can be asked for: their kinds, operators and values.

Owns:   which fields can be filtered and sorted, by which operators; how the value of one is read from text.
Never:  compares a record (``rules.filters``, ``rules.sorting``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from streaming.records import Priority, Record, TaskStatus
from streaming.rules.times import read_time

TEXT_MAX = 255

#: Tags of one task.
TAGS_MAX = 32
NUMBER_MAX = 1e15

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)

#: What a filter compares with: text, time, status or priority; number; yes or no.
Value: TypeAlias = str | float | bool


class Kind(StrEnum):
    """What the values of a field are."""

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    TIME = "time"
    TAGS = "tags"


class Operator(StrEnum):
    """How a field is compared with the values of a filter.

    A comparison with a field that is null is never true, but for ``ne`` and ``nin``, which are: what is not there is
    not equal. ``null`` itself asks for that. Of tags, ``eq`` and ``ne`` ask for one of them, ``in`` for any, ``nin``
    for none and ``contains`` for all. Texts compare by code point, priorities by rank, ``between`` includes both ends.
    """

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NIN = "nin"
    LIKE = "like"
    ILIKE = "ilike"
    NULL = "null"
    BETWEEN = "between"
    CONTAINS = "contains"
    STARTSWITH = "startswith"


_EQUAL = (Operator.EQ, Operator.NE, Operator.IN, Operator.NIN)
_ORDERED = (*_EQUAL, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.BETWEEN)
_MATCHED = (Operator.LIKE, Operator.ILIKE, Operator.CONTAINS, Operator.STARTSWITH)

_OPERATORS = {
    Kind.TEXT: (*_ORDERED, *_MATCHED),
    Kind.CHOICE: _EQUAL,
    Kind.NUMBER: _ORDERED,
    Kind.TIME: _ORDERED,
    Kind.TAGS: (*_EQUAL, Operator.CONTAINS),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record.

    Attributes:
        name: in a filter and in a sort order.
        kind: what its values are.
        get: its value in a record: None for null, the tuple of all for tags.
        nullable: whether it may be null.
        operators: the valid ones.
        choices: all its values; empty where they cannot be listed.
        sortable: whether a list can be sorted by it.
    """

    name: str
    kind: Kind
    get: Callable[[Record], Any]
    nullable: bool
    operators: tuple[Operator, ...]
    choices: tuple[TaskStatus, ...] | tuple[Priority, ...] = ()
    sortable: bool = True

    def read(self, text: str) -> Value:
        """Read one value.

        Raises:
            ValueError: it is none of this field; the message says what would be.
        """
        if self.choices:
            return _choice(text, self.choices)
        if self.kind is Kind.NUMBER:
            return _number(text)
        return _time(text) if self.kind is Kind.TIME else _text(text)


def place(value: Value) -> Any:
    """What a value compares by: the rank of a priority, everything else itself."""
    if isinstance(value, Priority):
        return value.rank
    return value.value if isinstance(value, TaskStatus) else value


def is_storable(text: str) -> bool:
    """Whether every store can hold this text, and so compare with it."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _choice(text: str, choices: tuple[TaskStatus, ...] | tuple[Priority, ...]) -> Value:
    for choice in choices:
        if choice.value == text:
            return choice
    raise ValueError(f"{text[:64]!r} is none of {', '.join(choices)}")


def _number(text: str) -> float:
    if not _NUMBER.match(text) or abs(float(text)) > NUMBER_MAX:
        raise ValueError(f"{text[:64]!r} is no number from -{NUMBER_MAX:g} to {NUMBER_MAX:g}")
    return float(text) + 0.0  # no negative zero


def _time(text: str) -> str:
    try:
        return read_time(text)
    except ValueError:
        hint = "; a + is written %2B in a URL" if " " in text else ""
        raise ValueError(f"{text[:64]!r} is no RFC 3339 time such as 2026-11-01T12:00:00Z{hint}") from None


def _text(text: str) -> str:
    if not text or len(text) > TEXT_MAX:
        raise ValueError(f"it must have 1 to {TEXT_MAX} characters, not {len(text)}")
    if not is_storable(text):
        raise ValueError("no text holds a NUL or half of a surrogate pair")
    return text


def _field(name: str, kind: Kind, get: Callable[[Record], Any], *, nullable: bool = False) -> Field:
    null = (Operator.NULL,) if nullable else ()
    return Field(name, kind, get, nullable, (*_OPERATORS[kind], *null))


_ALL = (
    _field("id", Kind.TEXT, lambda record: record.id),
    _field("type", Kind.TEXT, lambda record: record.type),
    Field("status", Kind.CHOICE, lambda record: record.status, False, _EQUAL, tuple(TaskStatus)),
    Field("priority", Kind.CHOICE, lambda record: record.priority, False, _ORDERED, tuple(Priority)),
    _field("key", Kind.TEXT, lambda record: record.key, nullable=True),
    _field("external_id", Kind.TEXT, lambda record: record.external_id, nullable=True),
    _field("parent", Kind.TEXT, lambda record: record.parent, nullable=True),
    _field("retry_of", Kind.TEXT, lambda record: record.retry_of, nullable=True),
    _field("created_by", Kind.TEXT, lambda record: record.created_by),
    _field("tenant", Kind.TEXT, lambda record: record.tenant, nullable=True),
    Field("tag", Kind.TAGS, lambda record: record.tags, False, _OPERATORS[Kind.TAGS], sortable=False),
    Field(
        "error",
        Kind.TEXT,
        lambda record: None if record.error is None else record.error.code,
        True,
        (*_OPERATORS[Kind.TEXT], Operator.NULL),
        sortable=False,
    ),
    _field("attempt", Kind.NUMBER, lambda record: record.attempt),
    _field("retries_left", Kind.NUMBER, lambda record: record.retries_left),
    _field(
        "progress",
        Kind.NUMBER,
        lambda record: None if record.progress is None else record.progress.percent,
        nullable=True,
    ),
    _field("timeout_s", Kind.NUMBER, lambda record: record.timeout_s),
    _field("created_at", Kind.TIME, lambda record: record.created_at),
    _field("started_at", Kind.TIME, lambda record: record.started_at, nullable=True),
    _field("updated_at", Kind.TIME, lambda record: record.updated_at),
    _field("finished_at", Kind.TIME, lambda record: record.finished_at, nullable=True),
    _field("heartbeat_at", Kind.TIME, lambda record: record.heartbeat_at, nullable=True),
    _field("retry_at", Kind.TIME, lambda record: record.retry_at, nullable=True),
    _field("acked_at", Kind.TIME, lambda record: record.acked_at, nullable=True),
)

#: All fields by name.
FIELDS: Mapping[str, Field] = MappingProxyType({field.name: field for field in _ALL})
