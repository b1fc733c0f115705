"""What is expected of a number while something grows, and whether it came out like that.

Owns:   the three kinds of claims: it stays flat, it follows from two costs, it keeps below a line; and their sums.
Never:  measures, or says what is expected of which number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from benchmarks.report import number

#: Size and median, the smallest size first.
Points = Sequence[tuple[float, float]]

TOO_FEW = "too few points"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim.

    Attributes:
        holds: None if there are too few points to say.
        found: what came out, in words.
        curve: what should be at each size, to be drawn; None where there is no such thing.
    """

    holds: bool | None
    found: str
    curve: Callable[[float], float] | None = None


class Claim(Protocol):
    """What is expected of one number."""

    good: ClassVar[str]
    bad: ClassVar[str]

    @property
    def key(self) -> str:
        """Of which number."""

    @property
    def why(self) -> str:
        """The reason to expect it."""

    @property
    def expected(self) -> str:
        """What, in words."""

    @property
    def since(self) -> float:
        """From which size on."""

    def judge(self, points: Points) -> Verdict:
        """Whether it came out like that."""


def word(claim: Claim, verdict: Verdict) -> str:
    """The verdict as it is printed."""
    if verdict.holds is None:
        return "not judged"
    return claim.good if verdict.holds else f"**{claim.bad}**"


@dataclass(frozen=True, slots=True)
class Flat:
    """The greatest median is at most ``factor`` times the least, from a size on."""

    good: ClassVar[str] = "flat"
    bad: ClassVar[str] = "not flat"

    key: str
    why: str
    since: float = 0.0
    factor: float = 2.0

    @property
    def expected(self) -> str:
        return f"flat within a factor of {self.factor:g}{f' from {self.since:,.0f} on' if self.since else ''}"

    def judge(self, points: Points) -> Verdict:
        values = [value for size, value in points if size >= self.since]
        if len(values) < 2:
            return Verdict(None, TOO_FEW)
        ratio = max(values) / min(values) if min(values) > 0 else math.inf
        return Verdict(ratio <= self.factor, f"within a factor of {ratio:.2f}")


@dataclass(frozen=True, slots=True)
class Part:
    """One of two costs: what it is for, with which power of the size it goes, and how much of the size that is."""

    name: str
    power: int
    unit: float = 1.0

    def at(self, size: float) -> float:
        """How much of it there is."""
        return float((size / self.unit) ** self.power)


@dataclass(frozen=True, slots=True)
class Explained:
    """A number per CPU second follows from two costs: its inverse is their sum at each size, within ``factor``."""

    good: ClassVar[str] = "grows as explained"
    bad: ClassVar[str] = "not as explained"

    key: str
    why: str
    parts: tuple[Part, Part]
    factor: float = 1.5
    since: float = 0.0

    @property
    def expected(self) -> str:
        first, second = self.parts
        return f"{first.name} and {second.name} explain it within a factor of {self.factor:g}"

    def judge(self, points: Points) -> Verdict:
        points = [point for point in points if point[0] >= self.since]
        if len(points) < 3:
            return Verdict(None, TOO_FEW)
        if min(value for _, value in points) <= 0:
            return Verdict(False, "nothing at all at one size")
        first, second = self.parts
        one, other = two_costs([(first.at(size), second.at(size), 1 / value) for size, value in points])

        def curve(size: float) -> float:
            return 1 / (one * first.at(size) + other * second.at(size))

        off = max(max(value / curve(size), curve(size) / value) for size, value in points)
        costs = " + ".join(
            f"{number(1e6 * cost)} µs {part.name}" for cost, part in zip((one, other), self.parts, strict=True)
        )
        return Verdict(off <= self.factor, f"{costs}, within a factor of {off:.2f}", curve)


@dataclass(frozen=True, slots=True)
class Below:
    """The median keeps below a line: ``fixed``, and ``each`` for everything that there is."""

    good: ClassVar[str] = "grows as explained"
    bad: ClassVar[str] = "not as explained"

    key: str
    why: str
    fixed: float
    each: float
    unit: str
    since: float = 0.0

    @property
    def expected(self) -> str:
        more = f" and {1_000 * self.each:g} {self.unit} for each 1,000" if self.each else ""
        return f"at most {self.fixed:g} {self.unit}{more}"

    def judge(self, points: Points) -> Verdict:
        shares = [(value / self._line(size), size) for size, value in points if size >= self.since]
        if not shares:
            return Verdict(None, TOO_FEW, self._line)
        share, size = max(shares)
        return Verdict(share <= 1, f"at most {100 * share:.0f} % of that, at {size:,.0f}", self._line)

    def _line(self, size: float) -> float:
        return self.fixed + self.each * size


def two_costs(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """What fits best, by least squares of the relative errors: ``one * a + other * b = sum``, neither below 0.

    Args:
        rows: ``a``, ``b``, ``sum`` of each point.
    """
    relative = [(a / total, b / total) for a, b, total in rows]
    aa = sum(a * a for a, _ in relative)
    bb = sum(b * b for _, b in relative)
    ab = sum(a * b for a, b in relative)
    to_one, to_other = sum(a for a, _ in relative), sum(b for _, b in relative)
    divisor = aa * bb - ab * ab
    if divisor > 1e-12 * aa * bb:
        one = (to_one * bb - to_other * ab) / divisor
        other = (to_other * aa - to_one * ab) / divisor
        if one >= 0 and other >= 0:
            return one, other
    only = [(to_one / aa, 0.0), (0.0, to_other / bb)]
    return min(only, key=lambda costs: sum((costs[0] * a + costs[1] * b - 1) ** 2 for a, b in relative))
