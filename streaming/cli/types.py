"""Task types, described for people.

Owns:   a task type's JSON Schema in few words.
Never:  asks a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def rows(types: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Name, parameters and description of each task type, as `Client.types` returns them."""
    return [
        (str(each.get("name")), parameters(each.get("params_schema") or {}), str(each.get("description") or ""))
        for each in types
    ]


def parameters(schema: Mapping[str, Any]) -> str:
    """The parameters of a JSON Schema: ``count?: integer = 10, url: string``."""
    needed = set(schema.get("required", ()))
    return ", ".join(
        f"{name}{'' if name in needed else '?'}: {_kind(part)}{_default(part)}"
        for name, part in schema.get("properties", {}).items()
    )


def _kind(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(map(str, part["enum"]))
    if "anyOf" in part:
        return " or ".join(_kind(each) for each in part["anyOf"])
    return str(part.get("type", "any"))


def _default(part: Mapping[str, Any]) -> str:
    return f" = {part['default']}" if part.get("default") is not None else ""
