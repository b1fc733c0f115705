r"""Patterns of ``like``: ``%`` is any run of characters, ``_`` is one, ``\`` takes the next one as it is.

Owns:   reading a pattern, its limit, and whether a text is like it; the cost is at most one length times the other;
        where texts with the same start end.
Never:  knows what the text is.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

WILDCARDS_MAX = 8

#: No store can hold half of a surrogate pair.
_SURROGATES, _BEHIND_SURROGATES = 0xD800, 0xE000
_LAST = "\U0010ffff"

_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Wildcard(Enum):
    """What stands for characters that are not named."""

    RUN = "%"
    ONE = "_"


#: Characters as they are, and wildcards between.
Pattern: TypeAlias = tuple[str | Wildcard, ...]


def read_pattern(text: str) -> Pattern:
    """Read a pattern.

    Returns:
        One entry for each character to match, and for each wildcard.

    Raises:
        ValueError: it ends in the middle of an escape, or has more than `WILDCARDS_MAX` wildcards.
    """
    pattern: list[str | Wildcard] = []
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            escaped = next(letters, None)
            if escaped is None:
                raise ValueError("a pattern cannot end with a single backslash")
            pattern.append(escaped)
        else:
            pattern.append(Wildcard(letter) if letter in "%_" else letter)
    if sum(isinstance(each, Wildcard) for each in pattern) > WILDCARDS_MAX:
        raise ValueError(f"a pattern has at most {WILDCARDS_MAX} wildcards")
    return tuple(pattern)


def is_like(text: str, pattern: Pattern) -> bool:
    """Whether the whole text is what the pattern says.

    A run takes nothing at first, and one character more whenever what follows does not fit. Only the last run met is
    ever asked to: so no pattern takes longer than its length times the text's.
    """
    at = place = 0
    run: tuple[int, int] | None = None
    while place < len(text):
        wanted = pattern[at] if at < len(pattern) else None
        if wanted is Wildcard.RUN:
            at += 1
            run = (at, place)
        elif wanted is Wildcard.ONE or wanted == text[place]:
            at, place = at + 1, place + 1
        elif run is not None:
            at, place = run[0], run[1] + 1
            run = (at, place)
        else:
            return False
    return all(each is Wildcard.RUN for each in pattern[at:])


def fold_ascii(text: str) -> str:
    """Make the letters A to Z small, and no others."""
    return text.translate(_ASCII_LOWER)


def prefix_end(text: str) -> str | None:
    """The first text, by code point, behind all that start with this one; None if there is none."""
    for end in range(len(text) - 1, -1, -1):
        if text[end] != _LAST:
            following = ord(text[end]) + 1
            return text[:end] + chr(_BEHIND_SURROGATES if following == _SURROGATES else following)
    return None
