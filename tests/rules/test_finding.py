"""Which of several verdicts is the worst, and how a finding looks to programs."""

from __future__ import annotations

import itertools

import pytest

from streaming.rules.finding import Finding, Verdict, worst


def test_nothing_found_is_well() -> None:
    assert worst([]) is Verdict.OK


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(Verdict, 2)))
def test_the_worst_counts_whichever_comes_first(better: Verdict, worse: Verdict) -> None:
    findings = [Finding("a", better, ""), Finding("b", worse, "")]

    assert worst(findings) is worst(reversed(findings)) is worse


def test_a_finding_for_programs() -> None:
    finding = Finding("disk", Verdict.WARNING, "full", "make room")
    assert finding.as_json() == {"check": "disk", "verdict": "warning", "found": "full", "advice": "make room"}
