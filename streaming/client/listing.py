"""Questions to the list of tasks, and what comes back.

Owns:   filters -> query parameters; counts, histories, statistics and bulk answers as values.
Never:  knows which fields and operators there are: the server says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from streaming.client.answers import bad_answer, first_line
from streaming.rules.history import Span
from streaming.rules.statistics import Statistics

Answer = TypeVar("Answer")

Value: TypeAlias = str | float | bool | datetime

#: Filters by name, with an operator in brackets or without: ``{"progress[lt]": 50}``. Several values are a sequence, or
#: one text with commas. None is no filter.
Filters: TypeAlias = Mapping[str, "Value | Sequence[Value] | None"]


@dataclass(frozen=True, slots=True)
class Count:
    """How many tasks there are.

    Attributes:
        count: in all.
        groups: for each combination of values that there is, these values by field, and ``count``; most first.
    """

    count: int
    groups: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A task with which a bulk was not done, and why."""

    id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Bulk:
    """What became of a bulk cancel or delete.

    Attributes:
        matched: tasks that it took.
        done: those that were cancelled or deleted.
        refused: those that were not.
        more: whether there are others, for another call.
    """

    matched: int
    done: int
    refused: tuple[Refused, ...] = ()
    more: bool = False


_count, _bulk, _spans = TypeAdapter(Count), TypeAdapter(Bulk), TypeAdapter(list[Span])
_statistics = TypeAdapter(Statistics)


def query_of(*filters: Filters | None) -> dict[str, str]:
    """Write filters as query parameters.

    Raises:
        ValueError: a name is given twice, or a filter has no values: nothing would be left out by it.
    """
    query: dict[str, str] = {}
    for name, value in ((name, value) for given in filters for name, value in (given or {}).items()):
        if value is None:
            continue
        if name in query:
            raise ValueError(f"The filter {name!r} is given twice.")
        query[name] = _written(name, value)
    return query


def _written(name: str, value: Value | Sequence[Value]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, Sequence):
        if not value:
            raise ValueError(f"The filter {name!r} has no values.")
        return ",".join(_written(name, each) for each in value)
    return str(value)


def count_from(document: dict[str, Any]) -> Count:
    """Read the answer of a count.

    Raises:
        ServerError: code ``bad_answer``; this is none.
    """
    return _read(_count, document, "A count")


def history_from(changes: Sequence[Any]) -> list[Span]:
    """Read a history.

    Raises:
        ServerError: code ``bad_answer``; this is none.
    """
    documents = [
        {**each, "status": each.get("to"), "before": each.get("from")} if isinstance(each, dict) else each
        for each in changes
    ]
    return _read(_spans, documents, "A history")


def bulk_from(document: dict[str, Any], done: str) -> Bulk:
    """Read the answer of a bulk; ``done`` is the name under which it tells how many.

    Raises:
        ServerError: code ``bad_answer``; this is none.
    """
    return _read(_bulk, {**document, "done": document.get(done)}, "The answer of a bulk")


def statistics_from(document: dict[str, Any]) -> Statistics:
    """Read statistics.

    Raises:
        ServerError: code ``bad_answer``; these are none.
    """
    parts = {"by_type": ("types", "type"), "by_time": ("buckets", "start")}
    try:
        named = {name: {each[key]: each for each in document[place]} for name, (place, key) in parts.items()}
    except (KeyError, TypeError) as error:
        raise bad_answer(f"Statistics were expected: {first_line(error)}") from error
    return _read(_statistics, {**document, **named}, "Statistics")


def _read(adapter: TypeAdapter[Answer], document: object, what: str) -> Answer:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise bad_answer(f"{what} was expected: {first_line(error)}") from error
