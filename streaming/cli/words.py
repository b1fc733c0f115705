"""The words of a command line that are values: ``name=value`` pairs.

Owns:   how a word becomes a JSON value.
Never:  knows which parameters a task type has; that is for the server to say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from streaming.events import encode_payload


def params_from(words: Sequence[str], document: str | None) -> dict[str, Any]:
    """Collect a task's parameters.

    Args:
        words: ``name=value`` pairs; a value that is JSON is taken as that, everything else as text.
        document: a JSON object with more parameters.

    Returns:
        The parameters.

    Raises:
        typer.BadParameter: a word is no pair, a name is given twice, or the document is no JSON object.
    """
    params = {} if document is None else _object(document)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is not of the form name=value.")
        if name in params:
            raise typer.BadParameter(f"{name!r} is given twice.")
        params[name] = value_from(value)
    return params


def value_from(text: str) -> Any:
    """The JSON value that ``text`` is, or the text itself."""
    try:
        value = json.loads(text)
        encode_payload(value)  # NaN, Infinity and 1e999 are not JSON
    except (ValueError, RecursionError):
        return text
    return value


def read_document(text: str | None) -> str | None:
    """What ``--params`` names: JSON itself, a file behind an ``@``, or ``-`` for the input.

    Raises:
        typer.BadParameter: the file cannot be read, or is no text.
    """
    if text is None or not (text == "-" or text.startswith("@")):
        return text
    try:
        return _input() if text == "-" else Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{text!r} cannot be read: {error}", param_hint="--params") from None


def _input() -> str:
    return sys.stdin.read()


def _object(document: str) -> dict[str, Any]:
    value = value_from(document)
    if not isinstance(value, dict):
        raise typer.BadParameter("a JSON object was expected.", param_hint="--params")
    return value
