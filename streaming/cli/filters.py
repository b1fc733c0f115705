"""The filters of a command line: which tasks are meant.

Owns:   the options, and what they are as filters of a server; a day that stands for its beginning.
Never:  knows what a filter means; the server says which there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Annotated

import typer

Statuses = Annotated[
    list[str] | None, typer.Option("--status", help="Only with this status; may be repeated.", show_default=False)
]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only of this type; repeatable.", show_default=False)]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag; repeatable.", show_default=False)]
Words = Annotated[
    str | None, typer.Option("--query", "-q", help="Only with all these words in them.", show_default=False)
]
Terms = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", metavar="NAME[OP]=VALUE", help="Any other filter; repeatable.", show_default=False),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="active, failed, completed_today, high_priority or stale.", show_default=False),
]

#: What a server takes beside filters, where a command has it.
_OPTIONS = MappingProxyType({"sort": "--sort", "limit": "--limit", "group_by": "--group-by"})

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def filters_from(
    status: list[str] | None = None,
    type: list[str] | None = None,
    tag: list[str] | None = None,
    query: str | None = None,
    terms: list[str] | None = None,
    preset: str | None = None,
) -> dict[str, str]:
    """Collect the filters; what is given several times means any of its values, as in a URL.

    Args:
        status: any of these.
        type: any of these.
        tag: any of these.
        query: words of the full-text search.
        terms: ``name=value`` or ``name[operator]=value``.
        preset: a saved question.

    Raises:
        typer.BadParameter: a term is none, is an option, or has an operator and is there twice.
    """
    filters: dict[str, str] = {}
    for name, values in (("status", status), ("type", type), ("tag", tag)):
        if values:
            filters[name] = ",".join(values)
    for name, value in map(_split, terms or ()):
        if name in _OPTIONS:
            raise typer.BadParameter(f"{name!r} is no filter, but an option: {_OPTIONS[name]}.", param_hint="--filter")
        if name in filters and name.endswith("]"):
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint="--filter")
        filters[name] = f"{filters[name]},{value}" if name in filters else value
    for name, text in (("q", query), ("preset", preset)):
        if text is not None and name in filters:
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint="--filter")
        if text is not None:
            filters[name] = text
    _check(filters)
    return filters


def _check(filters: dict[str, str]) -> None:
    """Let the client refuse here what it would refuse before a request: ``key= a`` is sent as ``key[eq]``, for one."""
    from streaming.client.listing import query_of

    try:
        query_of(filters)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from None


def _split(term: str) -> tuple[str, str]:
    name, equals, value = term.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{term!r} is not of the form name=value.", param_hint="--filter")
    return name, ",".join(_day_begins(name, part) for part in value.split(","))


def _day_begins(name: str, value: str) -> str:
    """A day where a time is wanted, as the first moment of it in UTC."""
    from streaming.rules.fields import FIELDS, Kind

    field = FIELDS.get(name.partition("[")[0])
    wanted = field is not None and field.kind is Kind.TIME and _DAY.fullmatch(value.strip())
    return f"{value.strip()}T00:00:00Z" if wanted else value


def fields_from(words: Iterable[str]) -> list[str]:
    """Names with commas between, or repeated."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()]
