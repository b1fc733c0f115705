"""From the bytes of a terminal to keys.

Rules of this file:

- A key is its letter, or a name: ``up``, ``enter``, ``escape``. What has no meaning here is no key.
- An escape that nothing follows is the key itself; whether something follows only time can tell: `Keystrokes.flush`.

Owns:   `Keystrokes`.
Never:  reads a terminal or a clock.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from types import MappingProxyType

_ESCAPE = "\x1b"

#: What may begin a sequence of several bytes, or be one.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;:<=>?]*[ -/]*[@-~]|O[A-Za-z])")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;:<=>?]*[ -/]*|O)?\Z")

#: A sequence that goes on longer is none.
_SEQUENCE_MAX = 32

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "\r": "enter",
        "\n": "enter",
        "\x7f": "backspace",
        "\x08": "backspace",
        "\t": "tab",
        "\x1b[A": "up",
        "\x1bOA": "up",
        "\x1b[B": "down",
        "\x1bOB": "down",
        "\x1b[C": "right",
        "\x1bOC": "right",
        "\x1b[D": "left",
        "\x1bOD": "left",
        "\x1b[5~": "page up",
        "\x1b[6~": "page down",
        "\x1b[H": "home",
        "\x1bOH": "home",
        "\x1b[1~": "home",
        "\x1b[F": "end",
        "\x1bOF": "end",
        "\x1b[4~": "end",
        "\x1b[3~": "delete",
    }
)


class Keystrokes:
    """Reads keys out of what a terminal sends, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def waiting(self) -> bool:
        """Whether an escape has come, and it is open what it means."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Take the next bytes; the keys that are complete."""
        self._rest += self._decoder.decode(data)
        keys: list[str] = []
        while self._rest:
            length = self._length()
            if length == 0:
                break
            part, self._rest = self._rest[:length], self._rest[length:]
            keys += _keys(part)
        return keys

    def flush(self) -> list[str]:
        """Nothing has followed: an escape that is open was the key."""
        rest, self._rest = self._rest, ""
        return ["escape", *(key for letter in rest[1:] for key in _keys(letter))] if rest else []

    def _length(self) -> int:
        """How many letters the first key has; 0 if that is not known yet."""
        if not self._rest.startswith(_ESCAPE):
            return 1
        whole = _SEQUENCE.match(self._rest)
        if whole is not None:
            return whole.end()
        return 0 if _BEGUN.match(self._rest) and len(self._rest) < _SEQUENCE_MAX else 1


def _keys(part: str) -> list[str]:
    if part == _ESCAPE:
        return ["escape"]
    if part in _NAMES:
        return [_NAMES[part]]
    return [part] if len(part) == 1 and part.isprintable() else []
