"""The values that a server, a database or this version have.

Rules of this file:

- Who does not answer in time has none, and nothing is said.

Owns:   which question stands behind each kind of values.
Uses:   cli.glance (the server), cli.param_options (the parameters of a task type), sqlite3 (API keys).
Never:  imports what takes long.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from streaming.cli.glance import glance

if TYPE_CHECKING:
    from streaming.cli.completion.line import Candidate, Place
    from streaming.cli.param_options import Options

#: Ids that are offered at most, newest first.
TASKS_MAX = 100

_ACTIVE = "pending,running,retrying"
_ENDED = "completed,failed,cancelled,timed_out,interrupted"


def values_at(place: Place) -> list[Candidate]:
    """All values that may stand at a place, and the options of a task type."""
    if place.typed or place.open_option:
        return _of_type(place)
    if isinstance(place.values, list):
        return [(str(each), "") for each in place.values]
    source = _SOURCES.get(place.values or "")
    settings = place.settings or {}
    return [] if source is None else [*source(settings)]


def _get(path: str, settings: Mapping[str, str], name: str) -> list[Mapping[str, Any]]:
    found = glance(path, url=settings.get("--url"))
    items = found.get(name) if isinstance(found, dict) else None
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def _types(settings: Mapping[str, str]) -> Iterable[Candidate]:
    return [(str(each.get("name")), str(each.get("description") or "")) for each in _get("/types", settings, "types")]


def _tasks(statuses: str) -> Callable[[Mapping[str, str]], Iterable[Candidate]]:
    def ask(settings: Mapping[str, str]) -> Iterable[Candidate]:
        wanted = f"status={statuses}&" if statuses else ""
        found = _get(f"/tasks?{wanted}limit={TASKS_MAX}", settings, "tasks")
        return [(str(each.get("id")), f"{each.get('type')} {each.get('status')}") for each in found]

    return ask


def _statuses(settings: Mapping[str, str]) -> Iterable[Candidate]:
    return [(each, "") for each in f"{_ACTIVE},{_ENDED}".split(",")]


def _presets(settings: Mapping[str, str]) -> Iterable[Candidate]:
    return [(each, "") for each in ("active", "failed", "completed_today", "high_priority", "stale")]


def _groups(settings: Mapping[str, str]) -> Iterable[Candidate]:
    return [(each, "") for each in ("status", "type", "priority", "created_by", "error")]


def _fields(form: str, *, sortable: bool) -> Callable[[Mapping[str, str]], Iterable[Candidate]]:
    def names(settings: Mapping[str, str]) -> Iterable[Candidate]:
        from streaming.rules.fields import FIELDS

        return [(form.format(name), "") for name, field in FIELDS.items() if field.sortable or not sortable]

    return names


def _keys(settings: Mapping[str, str]) -> Iterable[Candidate]:
    """Keys of an SQLite file that have not been revoked; of other databases none, as to ask them takes too long."""
    import sqlite3

    url = settings.get("--store") or os.environ.get("STREAMING_STORE_URL") or "sqlite:///streaming.db"
    kind, _, path = url.partition("sqlite:///")
    if kind or not path:
        return []
    try:
        with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=0.5)) as database:
            return [
                (str(id), str(name))
                for id, name in database.execute(
                    "SELECT id, name FROM api_keys WHERE revoked_at IS NULL ORDER BY created_at"
                )
            ]
    except sqlite3.Error:
        return []  # there is no such file, or it is none of ours


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


_SOURCES: Mapping[str, Callable[[Mapping[str, str]], Iterable[Candidate]]] = MappingProxyType(
    {
        "types": _types,
        "tasks": _tasks(""),
        "active": _tasks(_ACTIVE),
        "ended": _tasks(_ENDED),
        "keys": _keys,
        "statuses": _statuses,
        "presets": _presets,
        "groups": _groups,
        "sorts": _fields("{}", sortable=True),
        "filters": _fields("{}=", sortable=False),
    }
)


# -- the parameters of a task type -------------------------------------------------------------------------------------


def _of_type(place: Place) -> list[Candidate]:
    options = _options(place)
    if options is None:
        return []
    if not place.open_option:
        return [
            (name, each.description)
            for each in options.parameters
            for name in options.names_of(each)
            if name not in place.given or each.placeholder.endswith("...")
        ]
    known = {name: each for each in options.parameters for name in (options.option_of(each), f"--params.{each.name}")}
    parameter = known.get(place.open_option)
    return (
        []
        if parameter is None
        else [(each, "") for each in parameter.placeholder.split("|") if "|" in parameter.placeholder]
    )


def _options(place: Place) -> Options | None:
    from streaming.cli.param_options import Options

    for each in _get("/types", place.settings or {}, "types"):
        if each.get("name") == place.type:
            schema = each.get("params_schema")
            return Options(schema if isinstance(schema, dict) else {}, place.own)
    return None
