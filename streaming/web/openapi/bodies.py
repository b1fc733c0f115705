"""What bodies look like: JSON Schemas of everything that clients send, made of the models that read them.

Owns:   the schemas of the bodies, with the limits of this server; one of a start for each task type.
Uses:   web.fields (the models), engine.registry (what each task type takes).
Never:  repeats a field by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from streaming.config import Settings
from streaming.engine.registry import TaskType
from streaming.web.fields import (
    CancelFields,
    EventFields,
    EventsFields,
    ExtendFields,
    InputFields,
    ReportFields,
    StartFields,
)
from streaming.web.openapi.answers import Schema, ref

#: Bodies that are described; one that has nothing to say is not.
MODELS: tuple[type[BaseModel], ...] = (
    StartFields,
    CancelFields,
    ExtendFields,
    InputFields,
    EventFields,
    EventsFields,
    ReportFields,
)

#: What a report of events may be: one of them, or several.
EVENTS: Schema = {"oneOf": [ref(EventFields.__name__), ref(EventsFields.__name__)]}

_DEFS = "#/$defs/"


def bodies(settings: Settings, task_types: Iterable[TaskType]) -> dict[str, Schema]:
    """All schemas that bodies need.

    Args:
        settings: the limits.
        task_types: what can be started.
    """
    schemas: dict[str, Schema] = copy.deepcopy(_described())
    for schema in schemas.values():
        for each in _all_in(schema):
            if each.get("exclusiveMinimum") == 0:
                each["maximum"] = settings.timeout_max_s
    schemas[EventsFields.__name__]["properties"]["events"]["maxItems"] = settings.report_events_max
    types = sorted(task_types, key=lambda task_type: task_type.name)
    if types:
        schemas[StartFields.__name__] |= _one_of(types)
    for task_type in types:
        schemas |= _start_of(task_type)
    return schemas


@cache
def _described() -> dict[str, Schema]:
    """The models as they describe themselves."""
    _, found = models_json_schema(
        [(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Schema] = found["$defs"]
    for schema in schemas.values():
        for each in _all_in(schema):
            _leave_out(each)
    # What a retry leaves out is as the task type says.
    for each in schemas["RetryFields"]["properties"].values():
        each.pop("default", None)
    return schemas


def _leave_out(schema: Schema) -> None:
    """Names that were made of names; and defaults that say nothing, or less than the truth."""
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if schema.get("default", ...) is None:
        del schema["default"]


def _all_in(schema: Any) -> Iterable[Schema]:
    """A schema and all schemas in it; objects that hold schemas by name come along."""
    if isinstance(schema, dict):
        yield schema
        for part in list(schema.values()):
            yield from _all_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _all_in(part)


# -- a start of each task type -----------------------------------------------------------------------------------------


def start_name(task_type: str) -> str:
    """The name of the schema of a start of this type."""
    return f"Start.{task_type}"


def _params_name(task_type: str) -> str:
    return f"Params.{task_type}"


def _one_of(types: Iterable[TaskType]) -> Schema:
    names = [task_type.name for task_type in types]
    mapping = {name: ref(start_name(name))["$ref"] for name in names}
    return {
        "oneOf": [ref(start_name(name)) for name in names],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }


def _start_of(task_type: TaskType) -> dict[str, Schema]:
    """What a start of this type says of its parameters; all else is as for every start."""
    name = _params_name(task_type.name)
    params = _moved(task_type.schema(), name)
    params.pop("title", None)
    required = ["type", *(["params"] if params.get("required") else [])]
    start = {
        "type": "object",
        "description": task_type.description or f"A start of {task_type.name}.",
        "required": required,
        "properties": {"type": {"const": task_type.name}, "params": ref(name)},
    }
    return {name: params, start_name(task_type.name): start}


#: Where a schema has values, which only look like schemas.
_VALUES = {"default", "const", "enum", "examples"}


def _moved(schema: Any, name: str, key: str = "") -> Any:
    """A schema whose own definitions are below that of this name now."""
    if isinstance(schema, dict):
        inside = {each: part if each in _VALUES else _moved(part, name, each) for each, part in schema.items()}
        mapping = inside.get("mapping")
        if key == "discriminator" and isinstance(mapping, dict):
            inside["mapping"] = {each: _moved(part, name, "$ref") for each, part in mapping.items()}
        return inside
    if isinstance(schema, list):
        return [_moved(each, name) for each in schema]
    if key == "$ref" and isinstance(schema, str) and schema.startswith(_DEFS):
        return f"#/components/schemas/{name}/$defs/{schema.removeprefix(_DEFS)}"
    return schema
