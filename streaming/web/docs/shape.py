"""JSON Schemas for people: what a value is, what limits it has, what is in it.

A reference is a link, so that nothing is endless. What a schema of a task type says in words that are not known here is
shown as it is.

Owns:   which words of JSON Schema are told, and how.
Never:  checks a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from streaming.web.docs.markup import Html, join, tag
from streaming.web.docs.prose import line, prose

Schema = Mapping[str, Any]

_SCHEMAS = "#/components/schemas/"

#: How limits are told.
_LIMITS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "minimum": lambda value: f"at least {_number(value)}",
        "exclusiveMinimum": lambda value: f"more than {_number(value)}",
        "maximum": lambda value: f"at most {_number(value)}",
        "exclusiveMaximum": lambda value: f"less than {_number(value)}",
        "multipleOf": lambda value: f"a multiple of {_number(value)}",
        "minLength": lambda value: f"at least {value} {_plural('character', value)}",
        "maxLength": lambda value: f"at most {value} {_plural('character', value)}",
        "minItems": lambda value: f"at least {value} {_plural('item', value)}",
        "maxItems": lambda value: f"at most {value} {_plural('item', value)}",
        "uniqueItems": lambda value: "none twice" if value else "",
        "minProperties": lambda value: f"at least {value} {_plural('field', value)}",
        "maxProperties": lambda value: f"at most {value} {_plural('field', value)}",
        "contentMediaType": lambda value: f"as {value}",
        "format": str,
    }
)

#: Words that are told elsewhere, or that say nothing to a reader.
_TOLD = frozenset(
    {
        *_LIMITS,
        *("type", "$ref", "anyOf", "oneOf", "const", "enum", "items", "properties", "required", "description", "title"),
        *("default", "pattern", "discriminator", "additionalProperties", "example", "examples", "$defs"),
    }
)


def anchor(name: str) -> str:
    """The id of the place where a schema is shown.

    Args:
        name: of the schema among the components.
    """
    return f"schema-{name}"


def shape(schema: Schema) -> Html:
    """What a value is, in one line: its type, its limits, its default.

    Args:
        schema: of the value.
    """
    limits = [words(schema[name]) for name, words in _LIMITS.items() if name in schema]
    found: list[str] = [_kind(schema), *(limit for limit in limits if limit)]
    if "pattern" in schema:
        found.append(join("matches ", tag("code", schema["pattern"])))
    if "default" in schema:
        found.append(join("default ", _value(schema["default"])))
    if unknown := {name: value for name, value in schema.items() if name not in _TOLD}:
        found.append(tag("code", _json(unknown)))
    return join(*found, between=", ")


def content(schema: Schema) -> Html | None:
    """What is in an object, field by field; None if there is nothing to tell.

    Args:
        schema: of a value; of a list, what is in its items is told.
    """
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties:
        required = schema.get("required", ())
        return tag("dl", *(_field(name, each, name in required) for name, each in properties.items()), class_="fields")
    inside = [each for each in _parts(schema) if isinstance(each, dict)]
    return join(*filter(None, map(content, inside))) or None


def whole(schema: Schema) -> Html:
    """All there is to tell of a schema.

    Args:
        schema: what is described.
    """
    words = schema.get("description")
    return join(prose(words) if words else None, tag("p", shape(schema), class_="shape"), content(schema))


def _field(name: str, schema: Schema, required: bool) -> Html:
    words = schema.get("description")
    return join(
        tag("dt", tag("code", name), join(" ", tag("span", "required", class_="required")) if required else None),
        tag(
            "dd",
            tag("span", shape(schema), class_="shape"),
            join(" ", line(words)) if words else None,
            content(schema),
        ),
    )


def _parts(schema: Schema) -> Iterable[Any]:
    """The schemas that a schema is made of."""
    yield from schema.get("anyOf", ())
    yield from schema.get("oneOf", ())
    yield schema.get("items")
    yield schema.get("additionalProperties")


def _kind(schema: Schema) -> Html:
    """What a value is."""
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "const" in schema:
        return _value(schema["const"])
    if "enum" in schema:
        return join("one of ", join(*map(_value, schema["enum"]), between=", "))
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return join(*map(shape, schema[name]), between=" or ")
    kinds = schema.get("type", "any JSON value")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return join(*(_typed(str(kind), schema) for kind in kinds), between=" or ")


def _typed(kind: str, schema: Schema) -> Html:
    of = {"array": "items", "object": "additionalProperties"}.get(kind)
    inside = schema.get(of) if of else None
    if not isinstance(inside, dict) or not inside:
        return join(kind)
    told, alone = shape(inside), _kind(inside)
    return join(kind, " of ", told if told == alone else join("(", told, ")"))


def _link(reference: str) -> Html:
    """The name of a schema, and where it stands; one inside of another one stands there."""
    name, _, inside = reference.removeprefix(_SCHEMAS).partition("/")
    shown = inside.rpartition("/")[2] or name
    return tag("a", shown, href=f"#{anchor(name)}")


def _value(value: Any) -> Html:
    return tag("code", _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
