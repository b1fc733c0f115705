"""The query of a URL.

Owns:   reading parameters, and refusing those that have no meaning here.
Never:  knows what a parameter is for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from streaming.errors import BadFilter, BadRequest, QueryTooLarge

FIELDS_MAX = 64

#: The parameter with the credential of those who cannot send headers (EventSource).
STREAM_TOKEN = "stream_token"  # noqa: S105  # only its name

_WHOLE = re.compile(r"[0-9]{1,18}\Z")
#: As programs write a float: down to 0.00012345678901234567, and 1e-05 below that.
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,24})?(?:[eE][+-]?[0-9]{1,3})?\Z")


class Query:
    """The parameters of one request.

    Args:
        query_string: undecoded.
        names: the parameters that have a meaning here.
        with_filter: all others are for `rules.query` to read, and to refuse.

    Attributes:
        names: as given.
        others: names and values of all other parameters, in their order.

    Raises:
        BadRequest: it cannot be decoded.
        BadFilter: a parameter has no meaning here.
    """

    __slots__ = ("_values", "names", "others")

    def __init__(self, query_string: bytes, names: Sequence[str], *, with_filter: bool = False) -> None:
        self.names = tuple(names)
        self.others: list[tuple[str, str]] = []
        self._values: dict[str, list[str]] = {}
        for name, value in _pairs(query_string):
            if name in names:
                self._values.setdefault(name, []).append(value)
            elif with_filter:
                self.others.append((name, value))
            else:
                possible = ", ".join(names) or "none"
                raise BadFilter(f"There is no query parameter {name[:64]!r} here; possible: {possible}.")

    def text(self, name: str) -> str | None:
        """The value of a parameter that may be given once; None without it.

        Raises:
            BadFilter: it is given twice.
        """
        values = self._values.get(name, [None])
        if len(values) > 1:
            raise BadFilter(f"The query parameter {name!r} is given {len(values)} times; once is possible.")
        return values[0]

    def word(self, name: str) -> str | None:
        """Like `text`, but never empty.

        Raises:
            BadFilter: it is empty, or given twice.
        """
        value = self.text(name)
        if value == "":
            raise BadFilter(f"The query parameter {name!r} needs a value.")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """The values of a parameter that takes several, by commas or repeated, in their order; empty without it.

        Raises:
            BadFilter: one of them is empty.
        """
        words = [word.strip() for value in self._values.get(name, ()) for word in value.split(",")]
        if "" in words:
            raise BadFilter(f"The query parameter {name!r} needs a value, or several with commas between.")
        return tuple(words)

    def yes(self, name: str) -> bool:
        """Whether a parameter is ``true``; no without it.

        Raises:
            BadFilter: it is neither ``true`` nor ``false``.
        """
        text = self.text(name)
        if text not in (None, "true", "false"):
            raise BadFilter(f"{name} must be true or false, not {text[:64]!r}.")
        return text == "true"

    def whole(self, name: str, *, least: int = 0, most: float = math.inf) -> int | None:
        """A whole number; None without it.

        Raises:
            BadFilter: it is no whole number between ``least`` and ``most``.
            QueryTooLarge: it is a larger one.
        """
        text = self.text(name)
        if text is None:
            return None
        if not _WHOLE.match(text) or not least <= int(text) <= most:
            refused = QueryTooLarge if _WHOLE.match(text) and int(text) > most else BadFilter
            raise refused(f"{name} must be a whole number {_bounds(least, most)}, not {text[:64]!r}.")
        return int(text)

    def seconds(self, name: str, *, most: float) -> float:
        """A duration in seconds; 0 without it.

        Raises:
            BadFilter: it is no number between 0 and ``most``.
        """
        text = self.text(name)
        if text is None:
            return 0.0
        if not _NUMBER.match(text) or float(text) > most:
            raise BadFilter(f"{name} must be a number of seconds {_bounds(0, most)}, not {text[:64]!r}.")
        return float(text)


def _bounds(least: float, most: float) -> str:
    return f"from {least:g}" if most == math.inf else f"from {least:g} to {most:g}"


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except UnicodeDecodeError:
        raise BadRequest("The query of the URL is not percent-encoded UTF-8.") from None
    except ValueError:
        raise QueryTooLarge(f"The query of the URL has more than {FIELDS_MAX} parameters.") from None
