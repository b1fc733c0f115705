"""What a number may be that somebody has set for a simulated world.

Owns:   the check of such a number, and what is said of one that is wrong.
Never:  knows what the numbers mean, or changes one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

#: The most that is finite.
FINITE = sys.float_info.max


def check_probabilities(of: object, names: Iterable[str]) -> None:
    """Look whether fields are probabilities.

    Args:
        of: who has them.
        names: of the fields.

    Raises:
        ValueError: one is not from 0 to 1.
    """
    for name in names:
        check(of, name, most=1.0)


def check(of: object, name: str, *, least: float = 0.0, most: float = FINITE) -> None:
    """Look whether a field, or each number in it, is within its bounds.

    Args:
        of: who has it.
        name: of the field.
        least: what it is at least.
        most: what it is at most.

    Raises:
        ValueError: it is not, or it has no number at all.
    """
    value = getattr(of, name)
    numbers = value if isinstance(value, tuple | list) else (value,)
    if not numbers:
        raise ValueError(f"{name} of {type(of).__name__} has nothing in it: it needs one number at least")
    for number in numbers:
        if not least <= number <= most:  # a NaN is within no bounds
            raise ValueError(f"{name} of {type(of).__name__} is {number!r}: it must be {_words(least, most)}")


def _words(least: float, most: float) -> str:
    if most < FINITE:
        return f"from {least:g} to {most:g}"
    return f"at least {least:g}" if most == math.inf else f"at least {least:g}, and finite"
