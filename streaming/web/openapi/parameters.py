"""What a request may carry besides its body: parts of the path, queries, headers.

Owns:   the description of each parameter, by name.
Uses:   rules.fields (the filters, with their operators and values).
Never:  says which operation takes which (``web.openapi.operations``).
"""

from __future__ import annotations

from typing import Any

from streaming.config import Settings
from streaming.records import Priority
from streaming.rules.fields import FIELDS, NUMBER_MAX, TAGS_MAX, TEXT_MAX, Field, Kind, Operator
from streaming.rules.filters import TEXT, WORDS_MAX
from streaming.rules.patterns import WILDCARDS_MAX
from streaming.rules.presets import Preset
from streaming.rules.query import PRESET, SORT
from streaming.rules.sorting import FIELDS_MAX
from streaming.rules.statistics import WINDOW_DAYS_MAX, Bucket
from streaming.web.audit import TASKS_MOST
from streaming.web.beats import COUNT_DEFAULT, COUNT_MAX, INTERVAL_DEFAULT_S, INTERVAL_MAX_S
from streaming.web.events import PAGE_DEFAULT as EVENTS_DEFAULT
from streaming.web.listing import GROUPS
from streaming.web.listing import PAGE_DEFAULT as TASKS_DEFAULT
from streaming.web.openapi.answers import PRIORITY, STATUS, TASK_ID, Schema, ref
from streaming.web.openapi.examples import PARAMETERS
from streaming.web.openapi.version import Version
from streaming.web.openapi.watches import parameters_of_watches
from streaming.web.statistics import WINDOW_DEFAULT

Parameter = dict[str, Any]

#: The parameter with every field and operator in brackets.
COMPARISONS = "comparisons"

#: The names of those that say which tasks are meant.
QUESTION = (*FIELDS, COMPARISONS, TEXT, PRESET)

_ID_PATTERN = "^[0-9]{1,18}$"
_ONE: Schema = {"type": "string", "minLength": 1}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX}
_PART: Schema = {**_NAME, "pattern": "^[^,]+$"}


def parameters(settings: Settings) -> dict[str, Parameter]:
    """All parameters of all operations.

    Args:
        settings: the limits.
    """
    found = {
        "task_id": {"name": "id", "in": "path", "required": True, "description": "Of the task.", "schema": TASK_ID},
        "file": {
            "name": "file",
            "in": "path",
            "required": True,
            "description": "Its name.",
            "schema": {"type": "string", "pattern": "^[a-z_]+[.](css|html|js|svg)$"},
        },
        **_headers(),
        **_of_one_task(settings),
        **_of_events(settings),
        **parameters_of_watches(settings),
        **_of_beats(),
        **_of_statistics(settings),
        **_of_an_audit(settings),
        **_of_a_list(settings),
        **{name: _bare(field, settings) for name, field in FIELDS.items()},
        COMPARISONS: _comparisons(settings),
        "version": _query(
            "version",
            "Of OpenAPI.",
            {"type": "string", "enum": list(map(str, Version)), "default": str(Version.V3_1)},
            example=str(Version.V3_2),
        ),
    }
    return {name: {**each, **_example(name)} for name, each in found.items()}


def _example(name: str) -> Parameter:
    return {"example": PARAMETERS[name]} if name in PARAMETERS else {}


def _query(name: str, description: str, schema: Schema, **more: Any) -> Parameter:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _several(name: str, description: str, items: Schema, **limits: Any) -> Parameter:
    """A parameter with several values, and commas between."""
    schema = {"type": "array", "items": items, "minItems": 1, **limits}
    return _query(name, description, schema, style="form", explode=False)


def _headers() -> dict[str, Parameter]:
    return {
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key with the same body gives the same task for 24 hours, with status 200.",
            "schema": {"type": "string", "pattern": r"^[\x20-\x7e]{1,255}$"},
        },
        "Last-Event-ID": {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The last id that was seen; everything behind it follows. It wins over the query.",
            "schema": {"type": "string", "pattern": _ID_PATTERN},
        },
        "traceparent": {
            "name": "traceparent",
            "in": "header",
            "description": "Where in which trace the request belongs (W3C Trace Context); ignored if it is wrong.",
            "schema": {"type": "string"},
        },
        "tracestate": {
            "name": "tracestate",
            "in": "header",
            "description": "What goes with `traceparent`; ignored if it is wrong.",
            "schema": {"type": "string"},
        },
    }


def _of_one_task(settings: Settings) -> dict[str, Parameter]:
    return {
        "wait_s": _query(
            "wait_s",
            "Seconds to wait for the end of the task, at most.",
            {"type": "number", "minimum": 0, "maximum": settings.wait_max_s, "default": 0},
        )
    }


def _of_events(settings: Settings) -> dict[str, Parameter]:
    words = {"type": "string", "pattern": "^[^,]+$"}
    return {
        "last_event_id": _query(
            "last_event_id",
            "As Last-Event-ID, for those who cannot send headers.",
            {"type": "string", "pattern": _ID_PATTERN},
        ),
        "tail": _query(
            "tail",
            "Begin so many events before the head; a cursor wins.",
            {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        ),
        "event_limit": _query(
            "limit",
            "Events on a page, at most; only with application/json.",
            {"type": "integer", "minimum": 1, "maximum": settings.page_max, "default": EVENTS_DEFAULT},
        ),
        "event_type": _several("type", "Only events of these types.", words),
        "event_task_type": _several("task_type", "Only events of tasks of these types.", words),
        "event_tag": _query("tag", "Only events of tasks with this tag.", _ONE),
    }


def _of_beats() -> dict[str, Parameter]:
    return {
        "beats": _query(
            "count",
            "How many beats.",
            {"type": "integer", "minimum": 1, "maximum": COUNT_MAX, "default": COUNT_DEFAULT},
        ),
        "interval_s": _query(
            "interval_s",
            "Seconds between two of them.",
            {"type": "number", "minimum": 0, "maximum": INTERVAL_MAX_S, "default": INTERVAL_DEFAULT_S},
        ),
    }


def _of_statistics(settings: Settings) -> dict[str, Parameter]:
    return {
        "window": _query(
            "window",
            f"How far back: a number of seconds, minutes, hours or days, at most {WINDOW_DAYS_MAX}d.",
            {
                "type": "string",
                "pattern": "^[1-9][0-9]{0,8}[smhd]$",
                "default": WINDOW_DEFAULT,
                "examples": ["15m", "24h", "7d"],
            },
        ),
        "figures_type": _several("type", "Only tasks of these types.", _PART, maxItems=settings.filter_values_max),
        "by": _query("by", "Also by hour or day, in UTC.", {"type": "string", "enum": list(map(str, Bucket))}),
    }


def _of_an_audit(settings: Settings) -> dict[str, Parameter]:
    return {
        "repair": _query("repair", "Put right what can be put right safely.", {"type": "boolean", "default": False}),
        "audit_limit": _query(
            "limit",
            "Live tasks whose logs are read, at most, and as many that have ended.",
            {"type": "integer", "minimum": 0, "maximum": TASKS_MOST, "default": settings.audit_tasks_max},
        ),
    }


def _of_a_list(settings: Settings) -> dict[str, Parameter]:
    sortable = [name for name, field in FIELDS.items() if field.sortable]
    return {
        TEXT: _query(
            TEXT,
            f"1 to {WORDS_MAX} words that the task must all have: in its type, tags, key, external id, error and the "
            "texts of its parameters. Letters and digits count, case does not.",
            {"type": "string", "minLength": 1, "maxLength": TEXT_MAX},
        ),
        PRESET: _query(
            PRESET,
            "A saved question; the other parameters narrow it.",
            {"type": "string", "enum": list(map(str, Preset))},
        ),
        SORT: _several(
            SORT,
            "The order; a minus puts the greatest first. Newest first without it.",
            {"type": "string", "enum": [f"{sign}{name}" for name in sortable for sign in ("", "-")]},
            maxItems=FIELDS_MAX,
            uniqueItems=True,
        ),
        "limit": _query(
            "limit",
            "Tasks on a page, at most.",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": settings.page_max,
                "default": min(TASKS_DEFAULT, settings.page_max),
            },
        ),
        "cursor": _query("cursor", "The next_cursor of the page before.", _ONE),
        "group_by": _several(
            "group_by",
            "Also how many for each combination of their values.",
            {"type": "string", "enum": list(GROUPS)},
            uniqueItems=True,
        ),
        "bulk_limit": _query(
            "limit",
            "Tasks that are taken, at most: the first in the order of sort.",
            {"type": "integer", "minimum": 1, "maximum": settings.bulk_max, "default": settings.bulk_max},
        ),
        "dry_run": _query("dry_run", "Only say how many would be taken.", {"type": "boolean", "default": False}),
    }


# -- filters -----------------------------------------------------------------------------------------------------------


def _bare(field: Field, settings: Settings) -> Parameter:
    """A field without an operator: one value, or any of several."""
    return _several(
        field.name,
        f"Only tasks with this {field.name}, or any of these.",
        _value(field, part=True),
        maxItems=settings.filter_values_max,
    ) | {"example": [_value_of(field)]}


def _value_of(field: Field) -> Any:
    """A value that somebody could ask for."""
    if field.kind is Kind.NUMBER:
        return 50
    if field.kind is Kind.TIME:
        return "2026-11-20T21:53:03.970647Z"
    return str(field.choices[0]) if field.choices else "nightly"


def _comparisons(settings: Settings) -> Parameter:
    """Every field with every operator; as an object, since so many parameters would be no help to anybody."""
    properties = {
        f"{field.name}[{operator}]": _compared(field, operator)
        for field in FIELDS.values()
        for operator in field.operators
    }
    schema = {
        "type": "object",
        "additionalProperties": False,
        "maxProperties": settings.filter_terms_max,
        "properties": properties,
    }
    return _query(
        COMPARISONS,
        "Fields with an operator in brackets, each a parameter of its own: `created_at[gte]=2026-11-01T00:00:00Z`. "
        "A task must pass all of them. What is null is not equal: of all operators only ne, nin and null are true for "
        f"it. At most {settings.filter_terms_max} filters with {settings.filter_values_max} values each.",
        schema,
        style="form",
        explode=True,
    )


def _compared(field: Field, operator: Operator) -> Schema:
    if operator is Operator.NULL:
        return {"type": "boolean"}
    if operator is Operator.BETWEEN:
        return {"type": "string", "pattern": "^[^,]+,[^,]+$", "description": "Two values; both ends count."}
    if operator in (Operator.IN, Operator.NIN) or (operator is Operator.CONTAINS and field.kind is Kind.TAGS):
        most = f"; at most {TAGS_MAX}" if operator is Operator.CONTAINS else ""
        return {"type": "string", "minLength": 1, "description": f"Values, with commas between{most}."}
    if operator in (Operator.LIKE, Operator.ILIKE):
        wild = (
            rf"A pattern: % is any run of characters, _ is one, \ takes the next one as it is; {WILDCARDS_MAX} at most."
        )
        return {**_NAME, "description": wild}
    return _value(field, part=False)


def _value(field: Field, *, part: bool) -> Schema:
    """One value of a field; ``part`` of a list with commas, or alone."""
    if field.kind is Kind.NUMBER:
        return {"type": "number", "minimum": -NUMBER_MAX, "maximum": NUMBER_MAX}
    if field.kind is Kind.TIME:
        return {"type": "string", "format": "date-time"}
    if field.choices:
        return ref(PRIORITY if isinstance(field.choices[0], Priority) else STATUS)
    return _PART if part else _NAME
