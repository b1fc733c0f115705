"""Questions to the list of tasks, and what comes back.

Owns:   filters -> query parameters; counts, histories, statistics and bulk answers as values.
Never:  knows which fields there are: the server says so. Of operators it knows which ones split their value at commas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from streaming.client.answers import bad_answer, first_line
from streaming.rules.history import Span
from streaming.rules.statistics import Statistics

Answer = TypeVar("Answer")

Value: TypeAlias = str | float | bool | datetime

#: Filters by name, with an operator in brackets or without: ``{"progress[lt]": 50}``. Several values are a sequence, or
#: one text with commas; one value that has a comma is a sequence of one. None is no filter.
Filters: TypeAlias = Mapping[str, "Value | Sequence[Value] | None"]


#: What can be asked for besides filters; these names take no operator.
_NO_FILTERS = frozenset({"q", "preset", "sort", "group_by", "limit", "dry_run", "window", "by"})

#: Operators whose values the server splits at commas and strips of blanks, and the one that takes a single value as it
#: is; no operator is one, too.
_EXACT = MappingProxyType({"": "eq", "in": "eq", "nin": "ne"})

_SEVERAL = frozenset({*_EXACT, "between"})


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
        ValueError: a name is given twice; a filter has no values: nothing would be left out by it; or it has several,
            and the server would read them as others.
    """
    query: dict[str, str] = {}
    known: set[str] = set()
    for name, value in ((name, value) for given in filters for name, value in (given or {}).items()):
        if value is None:
            continue
        sent, text = _parameter(name, value)
        for each in (name, sent):
            if each in known:
                raise ValueError(f"The filter {each!r} is given twice.")
        known |= {name, sent}
        query[sent] = text
    return query


def _parameter(name: str, value: Value | Sequence[Value]) -> tuple[str, str]:
    """The name and the text by which the server gets exactly these values."""
    if isinstance(value, str) and "," in value:
        return name, value  # several, as they stand in a URL
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not given:
        raise ValueError(f"The filter {name!r} has no values.")
    texts = [_written(each) for each in given]
    if name not in _NO_FILTERS:
        field, operator = _parts(name)
        if len(texts) > 1:
            _check_several(name, operator, texts)
        elif operator in _EXACT and _is_read_otherwise(texts[0]):
            name = f"{field}[{_EXACT[operator]}]"
    return name, ",".join(texts)


def _parts(name: str) -> tuple[str, str]:
    """The field and the operator."""
    field, _, operator = name.partition("[")
    # It is split for tags only; and a task that has all of one tag has any of it.
    return field, "" if name == "tag[contains]" else operator.removesuffix("]")


def _check_several(name: str, operator: str, texts: Sequence[str]) -> None:
    if operator not in _SEVERAL:
        raise ValueError(f"The filter {name!r} takes one value, not {len(texts)}; several go with [in] or [nin].")
    for text in filter(_is_read_otherwise, texts):
        way = "give the ends as [gte] and [lte]" if operator == "between" else "ask for it alone"
        raise ValueError(
            f"The filter {name!r} has several values, and {text!r} has a comma, or blanks at its ends, that would be"
            f" lost among them: {way}."
        )


def _is_read_otherwise(text: str) -> bool:
    """Whether the server, where it takes several values, reads something else from this one."""
    return "," in text or text != text.strip()


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
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
