"""The parameters of a task type as options of a command line.

Rules of this file:

- ``count`` is ``--count``, ``limits.per_host`` is ``--limits.per-host``, a list is repeated or one JSON list, a boolean
  is ``--flag`` or ``--no-flag``, whatever is an object may be one JSON object.
- ``--params.count`` is always the same as ``--count``; for a name that the command has for itself it is the only way.
- What a schema says of values beyond their kind is for the server to check.

Owns:   `Options`: what words mean by a schema, and what would be right where they mean nothing.
Uses:   cli.schema (what is in it).
Never:  asks a server, or prints.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streaming.cli.schema import MISSING, Kind, Parameter, parameters_of, sample, shown
from streaming.events import encode_payload

PREFIX = "params."


_RIGHT = {
    Kind.BOOLEAN: "true or false",
    Kind.INTEGER: "a whole number like 5",
    Kind.NUMBER: "a number like 0.5",
    Kind.OBJECT: 'a JSON object like {"name": "value"}',
    Kind.LIST: "repeated values, or a JSON list like [1, 2]",
}


class WrongOption(ValueError):
    """An option cannot be what was given.

    Args:
        option: which one.
        message: what is wrong, and what would be right.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class Options:
    """What words mean by a schema.

    Args:
        schema: of the parameters.
        taken: options that the command has for itself, with their dashes.

    Attributes:
        parameters: all that the schema has.
        open: whether there may be others.
    """

    def __init__(self, schema: Mapping[str, Any], taken: Collection[str] = ()) -> None:
        self.parameters = parameters_of(schema)
        self._taken = frozenset(taken)
        self.open = schema.get("additionalProperties", True) is not False
        self._by_name: dict[str, Parameter] = {}
        for parameter in self.parameters:
            for name in (parameter.name, ".".join(parameter.path)):
                self._by_name.setdefault(name, parameter)

    def option_of(self, parameter: Parameter) -> str:
        """The option of a parameter, with its dashes."""
        option = f"--{parameter.name}"
        return f"--{PREFIX}{parameter.name}" if option in self._taken else option

    def option_at(self, field: str) -> str | None:
        """The option of a field as a server names it: ``params.limits.per_host``; None if it has none."""
        path = tuple(field.removeprefix(PREFIX).split("."))
        found = [parameter for parameter in self.parameters if parameter.path == path[: len(parameter.path)]]
        return self.option_of(max(found, key=lambda each: len(each.path))) if found else None

    @property
    def names(self) -> list[str]:
        """All options, with their dashes; booleans with both."""
        return [name for parameter in self.parameters for name in self.names_of(parameter)]

    def names_of(self, parameter: Parameter) -> list[str]:
        """The option of a parameter, and what a boolean has besides."""
        option = self.option_of(parameter)
        return [option, f"--no-{option[2:]}"] if parameter.kind is Kind.BOOLEAN else [option]

    def read(self, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Read options; gives the parameters, and the words that are none of them.

        Raises:
            WrongOption: there is no such option, it lacks its value, or the value is of another kind.
        """
        params: dict[str, Any] = {}
        rest: list[str] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if not is_option(word):
                rest.append(word)
                continue
            option, equals, value = word.partition("=")
            parameter, negated = self._find(option)
            if negated and equals:
                raise WrongOption(option, f"it takes no value: {option} alone, or --{parameter.name}=true|false.")
            if parameter.kind is Kind.BOOLEAN and not equals:
                _put(params, parameter, not negated, option)
                continue
            if not equals:
                if not left:
                    raise WrongOption(option, f"it needs a value: {option} {sample(parameter)}")
                value = left.pop(0)
            _put(params, parameter, _value(parameter, value, option), option)
        return params, rest

    def _find(self, option: str) -> tuple[Parameter, bool]:
        name = option[2:].removeprefix(PREFIX)
        for known, negated in ((name, False), (_positive(option[2:]), True)):
            parameter = self._by_name.get(known) or self._by_name.get(known.replace("_", "-"))
            if parameter is not None and (not negated or parameter.kind is Kind.BOOLEAN):
                return parameter, negated
        opened = self._opened(name)
        if opened is not None:
            return opened, False
        raise WrongOption(option, self._unknown(option))

    def _opened(self, name: str) -> Parameter | None:
        """A name that is not in the schema, where it allows such."""
        head, dot, last = name.rpartition(".")
        if not dot:
            return Parameter((name,), Kind.ANY) if self.open and name else None
        above = self._by_name.get(head) or self._by_name.get(head.replace("_", "-"))
        if above is None or not above.open or not last:
            return None
        inner = above.item or Parameter((), Kind.ANY)
        return Parameter((*above.path, last), inner.kind, choices=inner.choices, item=inner.item)

    def _unknown(self, option: str) -> str:
        close = difflib.get_close_matches(option, [*self.names, *sorted(self._taken)], 1)
        if close:
            return f"there is no such option. Did you mean {close[0]}?"
        return f"there is no such option; the parameters are: {', '.join(self.names) or 'none'}."


def _positive(name: str) -> str:
    """``no-x`` without its no, also behind the prefix."""
    return name.removeprefix(PREFIX).removeprefix("no-").removeprefix(PREFIX)


def is_option(word: str) -> bool:
    """Whether a word is an option by its form."""
    return word.startswith("--") and len(word) > len("--")


def _put(params: dict[str, Any], parameter: Parameter, value: Any, option: str) -> None:
    """Set a value in objects in objects.

    Raises:
        WrongOption: it is there already.
    """
    inner: Any = params
    for name in parameter.path[:-1]:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            raise WrongOption(option, f"{name!r} is given as a whole already.")
    last = parameter.path[-1]
    if parameter.kind is Kind.LIST and isinstance(inner.get(last), list) and isinstance(value, list):
        inner[last] = [*inner[last], *value]
    elif last in inner:
        raise WrongOption(option, "it is given twice.")
    else:
        inner[last] = value


def _value(parameter: Parameter, text: str, option: str) -> Any:
    """The value that a word is.

    Raises:
        WrongOption: it is none of this parameter.
    """
    if parameter.nullable and text == "null" and (parameter.kind is not Kind.TEXT or parameter.choices):
        return None
    if parameter.choices:
        return _choice(parameter, text, option)
    if parameter.kind is Kind.TEXT:
        return text
    if parameter.kind is Kind.LIST:
        return _list(parameter, text, option)
    value = _json(text)
    if parameter.kind is Kind.ANY:
        return text if value is MISSING else value
    if not _is_a(parameter.kind, value):
        raise WrongOption(option, f"{text[:80]!r} is not {_RIGHT[parameter.kind]}.")
    return value


def _choice(parameter: Parameter, text: str, option: str) -> Any:
    for choice in parameter.choices:
        if shown(choice) == text:
            return choice
    close = difflib.get_close_matches(text, list(map(shown, parameter.choices)), 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise WrongOption(option, f"{text[:80]!r} is none of {', '.join(map(shown, parameter.choices))}.{hint}")


def _list(parameter: Parameter, text: str, option: str) -> list[Any]:
    """A JSON list, or one value of a list."""
    value = _json(text) if text.startswith("[") else MISSING
    if isinstance(value, list):
        return value
    item = parameter.item or Parameter((), Kind.ANY)
    if item.kind is Kind.LIST:
        raise WrongOption(option, f"{text[:80]!r} is not {_RIGHT[Kind.LIST]}.")
    return [_value(item, text, option)]


def _json(text: str) -> Any:
    """The JSON value that a text is; `MISSING` if it is none."""
    try:
        value = json.loads(text)
        encode_payload(value)  # NaN, Infinity and 1e999 are not JSON
    except (ValueError, RecursionError):
        return MISSING
    return value


def _is_a(kind: Kind, value: Any) -> bool:
    if kind is Kind.OBJECT:
        return isinstance(value, dict)
    if kind is Kind.BOOLEAN:
        return isinstance(value, bool)
    numbers = (int,) if kind is Kind.INTEGER else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


def example(options: Options) -> list[str]:
    """Words of a command line that give what must be given, or else one value that may be."""
    simple = [each for each in options.parameters if each.kind is not Kind.OBJECT]
    needed = [each for each in simple if each.required] or simple[:2]
    return [
        word
        for each in needed
        for word in (
            [options.option_of(each)] if each.kind is Kind.BOOLEAN else [options.option_of(each), sample(each)]
        )
    ]
