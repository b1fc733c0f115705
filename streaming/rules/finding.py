"""What a look at a set-up has found, and how bad that is.

Owns:   the words for verdicts; which of several is the worst.
Never:  looks at anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check has ended, from the best to the worst."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNREACHABLE = "unreachable"


#: From the best to the worst.
_ORDER = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was looked at, in a word or two.
        verdict: how bad it is.
        found: what is so.
        advice: what to do about it; empty where nothing is to be done.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"check": self.check, "verdict": self.verdict.value, "found": self.found, "advice": self.advice}


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of all; ok if there is none."""
    return max((finding.verdict for finding in findings), key=_ORDER.index, default=Verdict.OK)
