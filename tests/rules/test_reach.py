"""What the answers of a server mean that is asked from outside."""

from __future__ import annotations

import pytest

from streaming.rules.finding import Finding, Verdict
from streaming.rules.reach import (
    judge_health,
    judge_metrics,
    judge_openness,
    judge_readiness,
    judge_refusal,
    judge_scheme,
    judge_silence,
)

OK, WARNING, PROBLEM, UNREACHABLE = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNREACHABLE


def check(finding: Finding, verdict: Verdict, *words: str) -> None:
    """The verdict, words of it, and an advice wherever something is wrong."""
    assert finding.verdict is verdict
    assert bool(finding.advice) is (verdict is not OK)
    for word in words:
        assert word in finding.found + finding.advice


def test_nobody_answers() -> None:
    check(judge_silence("refused"), UNREACHABLE, "refused")


@pytest.mark.parametrize(
    ("status", "ours", "verdict"),
    [
        (200, True, OK),
        (200, False, PROBLEM),
        (404, False, PROBLEM),
        (502, False, UNREACHABLE),
        (504, False, UNREACHABLE),
        (503, True, PROBLEM),
    ],
)
def test_health(status: int, ours: bool, verdict: Verdict) -> None:
    check(judge_health(status, ours=ours), verdict)


def test_readiness() -> None:
    check(judge_readiness(200, "", []), OK)
    check(judge_readiness(503, "draining", []), WARNING, "draining")
    check(judge_readiness(503, "", []), WARNING, "503")
    check(judge_readiness(200, "", ["insecure_public: open."]), WARNING, "insecure_public")


@pytest.mark.parametrize(
    ("scheme", "local", "token", "verdict"),
    [
        ("https", False, True, OK),
        ("http", True, True, OK),
        ("http", False, False, WARNING),
        ("http", False, True, PROBLEM),
    ],
)
def test_the_scheme(scheme: str, local: bool, token: bool, verdict: Verdict) -> None:
    check(judge_scheme(scheme, local=local, token=token), verdict)


@pytest.mark.parametrize(("status", "local", "verdict"), [(401, False, OK), (200, True, OK), (200, False, PROBLEM)])
def test_the_door(status: int, local: bool, verdict: Verdict) -> None:
    check(judge_openness(status, local=local), verdict)


@pytest.mark.parametrize(("status", "local", "verdict"), [(404, False, OK), (200, True, OK), (200, False, WARNING)])
def test_metrics(status: int, local: bool, verdict: Verdict) -> None:
    check(judge_metrics(status, local=local), verdict)


@pytest.mark.parametrize(
    ("status", "code", "token", "verdict", "words"),
    [
        (426, "upgrade_required", True, PROBLEM, "proxy_http_version 1.1"),
        (401, "unauthenticated", False, PROBLEM, "None was sent"),
        (401, "unauthenticated", True, PROBLEM, "not good"),
        (403, "forbidden", True, PROBLEM, "not good"),
        (429, "too_many_streams", True, WARNING, "too_many_streams"),
        (503, "store_unavailable", True, WARNING, "store_unavailable"),
        (404, "not_found", True, PROBLEM, "404, not_found"),
        (500, "", True, PROBLEM, "500."),
    ],
)
def test_a_refused_stream(status: int, code: str, token: bool, verdict: Verdict, words: str) -> None:
    check(judge_refusal(status, code, token=token), verdict, words)
