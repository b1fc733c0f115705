"""The parameters in a JSON Schema, as far as a command line wants to know them.

Owns:   `Parameter`, and `parameters_of`: one for each property, also of objects in objects.
Never:  checks a value; asks a server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: Objects in objects become options so deep; what is below is JSON.
DEPTH_MAX = 4

#: What was not given, as None may be a value.
MISSING: Any = object()


class Kind(StrEnum):
    """What a value is, and what stands for it in a help."""

    BOOLEAN = "true|false"
    INTEGER = "INTEGER"
    NUMBER = "NUMBER"
    TEXT = "TEXT"
    LIST = "LIST"
    OBJECT = "JSON"
    ANY = "VALUE"


_KINDS = {
    "boolean": Kind.BOOLEAN,
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "string": Kind.TEXT,
    "array": Kind.LIST,
    "object": Kind.OBJECT,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that may be given.

    Attributes:
        path: its name, below those of the objects it is in.
        kind: what it is.
        required: whether it must be there.
        default: what it is otherwise; `MISSING` if that is not said.
        description: for people.
        choices: all values that it may have, if they are few.
        item: of what a list is made, or an open object.
        nullable: whether it may be null.
        bounds: what else the schema says, for people.
        example: a value of the schema's own.
        open: an object that has names of its own.
    """

    path: tuple[str, ...]
    kind: Kind
    required: bool = False
    default: Any = MISSING
    description: str = ""
    choices: tuple[Any, ...] = ()
    item: Parameter | None = None
    nullable: bool = False
    bounds: str = ""
    example: Any = MISSING
    open: bool = False

    @property
    def name(self) -> str:
        """As it stands behind ``--``, unless the command has that for itself."""
        return ".".join(self.path).replace("_", "-")

    @property
    def placeholder(self) -> str:
        """What stands for the value in a help."""
        if self.choices:
            return "|".join(map(shown, self.choices))
        if self.kind is Kind.LIST and self.item is not None:
            return f"{self.item.placeholder}..."
        return self.kind.value


def parameters_of(schema: Mapping[str, Any]) -> list[Parameter]:
    """All parameters of a JSON Schema, objects with what is in them."""
    return list(_properties(schema, schema, (), True))


def _properties(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...], required: bool
) -> Iterator[Parameter]:
    properties, needed = schema.get("properties"), schema.get("required")
    needed = needed if isinstance(needed, list) else []
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        parameter, whole = _parameter((*path, name), part, root, required and name in needed)
        yield parameter
        if parameter.kind is Kind.OBJECT and len(path) + 1 < DEPTH_MAX:
            yield from _properties(whole, root, parameter.path, parameter.required)


def _parameter(
    path: tuple[str, ...], part: Any, root: Mapping[str, Any], required: bool
) -> tuple[Parameter, Mapping[str, Any]]:
    """The parameter, and the part of the schema that it comes from without detours."""
    schema, nullable = _plain(part, root)
    choices = _choices(schema)
    kind = Kind.TEXT if choices else _KINDS.get(str(schema.get("type")), Kind.ANY)
    item: Parameter | None = None
    inner = schema.get("items") if kind is Kind.LIST else schema.get("additionalProperties")
    if kind in (Kind.LIST, Kind.OBJECT) and len(path) < DEPTH_MAX:
        item, _ = _parameter((*path, "*"), inner if isinstance(inner, Mapping) else {}, root, False)
    examples = schema.get("examples")
    return (
        Parameter(
            path,
            kind,
            required,
            schema.get("default", MISSING),
            str(schema.get("description") or ""),
            choices,
            item,
            nullable,
            _bounds(schema),
            examples[0] if isinstance(examples, list) and examples else MISSING,
            kind is Kind.OBJECT and (isinstance(inner, Mapping) or inner is True or _is_bare(schema, inner)),
        ),
        schema,
    )


def _is_bare(schema: Mapping[str, Any], inner: Any) -> bool:
    """Whether nothing is said of what is in an object. Where something is, other names are likely mistakes."""
    return inner is None and not schema.get("properties")


def _choices(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    if "const" in schema:
        return (schema["const"],)
    return tuple(schema["enum"]) if isinstance(schema.get("enum"), list) else ()


def _plain(part: Any, root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A part without references and alternatives that are only null, and whether null is one."""
    schema: dict[str, Any] = dict(part) if isinstance(part, Mapping) else {}
    nullable = False
    for _ in range(16):  # a schema may refer to itself
        inner: Any = None
        if "$ref" in schema:
            inner = _referred(str(schema.pop("$ref")), root)
        else:
            for word in ("anyOf", "oneOf", "allOf"):
                several = schema.get(word)
                several = [each for each in several if isinstance(each, Mapping)] if isinstance(several, list) else []
                rest = [each for each in several if each.get("type") != "null"]
                nullable = nullable or len(rest) < len(several)
                if len(rest) == 1:
                    del schema[word]
                    inner = rest[0]
                    break
        if inner is None:
            return _one_type(schema, nullable)
        schema = {**inner, **schema}
    return {}, nullable


def _one_type(schema: dict[str, Any], nullable: bool) -> tuple[dict[str, Any], bool]:
    """``["string", "null"]`` is a string that may be null."""
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return schema, nullable
    rest = [kind for kind in kinds if kind != "null"]
    return {**schema, "type": rest[0] if len(rest) == 1 else None}, nullable or len(rest) < len(kinds)


def _referred(name: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in name.removeprefix("#/").split("/"):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


_BOUNDS = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "to {}"),
    ("exclusiveMaximum", "below {}"),
    ("maxLength", "at most {} letters"),
    ("maxItems", "at most {}"),
)


def _bounds(schema: Mapping[str, Any]) -> str:
    return " ".join(words.format(schema[name]) for name, words in _BOUNDS if name in schema)


def shown(value: Any) -> str:
    """A value as it is typed: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- for people --------------------------------------------------------------------------------------------------------

_SAMPLES = {Kind.BOOLEAN: "true", Kind.INTEGER: "1", Kind.NUMBER: "1.0", Kind.OBJECT: "{}", Kind.ANY: "1"}


def sample(parameter: Parameter) -> str:
    """A value that may be right."""
    for known in (parameter.example, parameter.default):
        if known is not MISSING and known is not None:
            return shown(known)
    if parameter.choices:
        return shown(parameter.choices[0])
    if parameter.kind is Kind.LIST:
        return sample(parameter.item) if parameter.item else "1"
    if parameter.kind is Kind.TEXT:
        return "https://example.com/" if parameter.path[-1:] == ("url",) else "text"
    return _SAMPLES[parameter.kind]
