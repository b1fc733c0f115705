"""The operator's commands, with places for what a client may choose.

Owns:   how a command is written in the setting ``STREAMING_COMMANDS``; which values fit its places.
Never:  runs anything; splits a value, or lets one become an option, the program, or more than a part of one argument.

A pattern is matched by the engine of pydantic, whose time grows with the length of the value and never faster: there
is no pattern that takes long. In return, it has no look-around and no references back.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from streaming.errors import FieldError, HandlerError, InvalidSettings

#: Characters of one value, and values of one command, at most.
VALUE_LENGTH_MAX = 1024
VALUES_MAX = 32

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_PATTERN_SHOWN_MAX = 200

#: How a pattern begins that may fit what begins with a dash.
_DASHES = ("-", r"\-")


@dataclass(frozen=True, slots=True)
class Place:
    """What may stand in one place.

    Args:
        pattern: what the whole value must fit.

    Raises:
        ValueError: this is no pattern.
    """

    pattern: str
    _fits: TypeAdapter[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile it: alone first, so that no parenthesis of its own closes ours."""
        _compiled(self.pattern)
        object.__setattr__(self, "_fits", _compiled(rf"\A(?:{self.pattern})\z"))

    def takes(self, value: str) -> bool:
        """Whether this value may stand here: one that begins with a dash only if the pattern begins with one, too."""
        if len(value) > VALUE_LENGTH_MAX or "\0" in value:
            return False
        if value.startswith("-") and not self.pattern.startswith(_DASHES):
            return False
        try:
            self._fits.validate_python(value, strict=True)
        except ValidationError:
            return False
        return True


def _compiled(pattern: str) -> TypeAdapter[str]:
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        raise ValueError(f"{pattern!r} is no pattern: {str(error).splitlines()[-1].strip()}") from None


@dataclass(frozen=True, slots=True)
class Template:
    """One command.

    Attributes:
        argv: the program, and its arguments with ``{name}`` in the place of each value.
        places: what may stand there, by name.
    """

    argv: Sequence[str]
    places: Mapping[str, Place]

    def fill(self, values: Mapping[str, str]) -> list[str]:
        """The program and its arguments, with these values.

        Raises:
            HandlerError: ``bad_value``: one is missing, is too many, or does not fit.
        """
        if wrong := sorted(values.keys() ^ self.places.keys()):
            wanted = ", ".join(sorted(self.places)) or "none"
            raise HandlerError("bad_value", f"These values have to be given: {wanted}. Wrong is {wrong[0][:64]!r}.")
        for name, place in self.places.items():
            if not place.takes(values[name]):
                raise HandlerError(
                    "bad_value",
                    f"The value of {name!r} does not fit {place.pattern[:_PATTERN_SHOWN_MAX]}, "
                    f"is longer than {VALUE_LENGTH_MAX} characters, or looks like an option.",
                )
        if not self.places:
            return list(self.argv)
        names = re.compile("{(" + "|".join(self.places) + ")}")  # in one step: no value is looked through for places
        return [names.sub(lambda match: values[match[1]], argument) for argument in self.argv]


def read_commands(commands: Mapping[str, str | Mapping[str, Any]]) -> dict[str, Template]:
    """Read the setting.

    Args:
        commands: by name, a command line, or ``{"argv": [...], "params": {name: pattern}}``.

    Raises:
        InvalidSettings: one of them is wrong; the message names it.
    """
    return {name: _read(name, command) for name, command in commands.items()}


def _read(name: str, command: str | Mapping[str, Any]) -> Template:
    try:
        if isinstance(command, str):
            return Template(_from_here(shlex.split(command)), {})
        if unknown := sorted(command.keys() - {"argv", "params"}):
            raise ValueError(f"there is no {unknown[0][:64]!r}; possible are argv and params")
        argv, params = command.get("argv"), command.get("params", {})
        if not isinstance(argv, list) or not argv or not all(isinstance(argument, str) for argument in argv):
            raise ValueError("argv is a list of texts, the first of them the program")
        if not isinstance(params, dict) or len(params) > VALUES_MAX:
            raise ValueError(f"params names at most {VALUES_MAX} places, with a pattern for each")
        return Template(_from_here(argv), {place: _place(place, pattern, argv) for place, pattern in params.items()})
    except ValueError as error:
        _refuse(f"command {name[:64]!r}: {error}")


def _place(name: str, pattern: object, argv: Sequence[str]) -> Place:
    if not _NAME.match(name):
        raise ValueError(f"{name[:64]!r} is no name of a place: a letter, then letters, digits and _, in lower case")
    if "{" + name + "}" in argv[0]:
        raise ValueError("the program itself is no place for a value")
    if not any("{" + name + "}" in argument for argument in argv[1:]):
        raise ValueError(f"no argument has a place {{{name}}}")
    if not isinstance(pattern, str):
        raise ValueError(f"the pattern of {name!r} is no text")
    return Place(pattern)


def _from_here(argv: Sequence[str]) -> list[str]:
    """A program that is named by a relative path is looked for from here, not from the directory that it runs in."""
    program, *arguments = argv
    return [os.path.abspath(program) if "/" in program else program, *arguments]


def _refuse(message: str) -> NoReturn:
    raise InvalidSettings(f"STREAMING_COMMANDS: {message}", errors=[FieldError("STREAMING_COMMANDS", message)])
