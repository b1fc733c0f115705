"""Tell progress in whole percents.

Owns:   the rule that a task reports at most one hundred times, however many steps it takes.
Never:  emits anything: it only says when it is time to.
"""

from __future__ import annotations


class Meter:
    """Turns an amount that is done into a percentage that is worth telling.

    Args:
        total: the whole amount, in any unit; 0 means there is nothing to measure.
    """

    __slots__ = ("_told", "_total")

    def __init__(self, total: int) -> None:
        self._total = total
        self._told = 0

    def reached(self, done: int) -> float | None:
        """The percentage, the first time it is reached; None where there is nothing new to tell."""
        if not self._total:
            return None
        percent = min(100, done * 100 // self._total)
        if percent <= self._told:
            return None
        self._told = percent
        return float(percent)


def readable(size_bytes: int) -> str:
    """A number of bytes for people, such as ``12.3 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
