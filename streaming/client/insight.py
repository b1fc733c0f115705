"""Why a task is still running, as the server says it.

Owns:   the answer to that question.
Never:  works anything out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from streaming.client.answers import bad_answer, first_line


@dataclass(frozen=True, slots=True)
class Line:
    """One line of code: ``file.py:12 in function``, and whether it is the handler's own."""

    where: str
    own: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A chain of lines, and what its last one waits for.

    Attributes:
        function: with which it begins.
        waits_for: a word.
        frames: its lines, the outermost first.
        tasks: the asyncio tasks that it waits for.
        more: so many of them are not told.
    """

    function: str
    waits_for: str
    frames: tuple[Line, ...]
    tasks: tuple[Waiting, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task is still running, or how it has ended.

    Attributes:
        sentence: for people.
        reason: in one word, for programs.
        stack: where its handler stands; None where it has none there.
        document: the whole answer.
    """

    sentence: str
    reason: str
    stack: Waiting | None
    document: Mapping[str, Any] = field(default_factory=dict)


_why = TypeAdapter(Why)


def why_from(document: Mapping[str, Any]) -> Why:
    """Read the answer.

    Raises:
        ServerError: code ``bad_answer``; this is none.
    """
    try:
        return _why.validate_python({**document, "document": document})
    except ValidationError as error:
        raise bad_answer(f"Why a task is running was expected: {first_line(error)}") from error
