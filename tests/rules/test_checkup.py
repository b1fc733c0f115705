"""What is well, what is odd and what does not work, in tables; whatever is not well says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from streaming.rules.checkup import (
    DISK_MUST,
    DISK_SHOULD,
    FILES_BESIDE,
    Access,
    judge_access,
    judge_disk,
    judge_files,
    judge_holder,
    judge_limits,
    judge_port,
    judge_schema,
    judge_software,
    judge_survival,
    judge_ticking,
)
from streaming.rules.finding import Finding, Verdict

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM


def said(findings: Iterable[Finding]) -> list[tuple[str, Verdict]]:
    """Checks and verdicts; what is not well has an advice, and only that."""
    listed = list(findings)
    for each in listed:
        assert bool(each.advice) is (each.verdict is not OK), each
        assert each.found
    return [(each.check, each.verdict) for each in listed]


def access(**given: Any) -> Access:
    return Access(**{"host": "127.0.0.1", "loopback": True, "insecure": False, "configured": False, "keys": 0, **given})


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, OK),
        ({"loopback": False}, PROBLEM),
        ({"loopback": False, "insecure": True}, WARNING),
        ({"loopback": False, "configured": True}, OK),
        ({"loopback": False, "keys": 2}, OK),
        ({"loopback": False, "keys": None}, OK),  # the store says why it could not be asked
        ({"keys": 1}, OK),
        ({"insecure": True}, OK),  # on loopback it opens nothing
    ],
)
def test_who_is_let_in(given: dict[str, Any], verdict: Verdict) -> None:
    assert said(judge_access(access(**given))) == [("credentials", verdict)]


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"short": ["anna"], "configured": True}, ("credentials", WARNING)),
        ({"short": ["anna"], "configured": True, "loopback": False}, ("credentials", PROBLEM)),
        ({"readable": ["STREAMING_JWT_SECRET_FILE"], "configured": True}, ("credentials", WARNING)),
        ({"any_origin": True}, ("origins", WARNING)),
    ],
)
def test_what_is_weak(given: dict[str, Any], more: tuple[str, Verdict]) -> None:
    assert said(judge_access(access(**given))) == [("credentials", OK), more]


def test_pages_of_all_sites_may_call_where_each_needs_a_credential() -> None:
    assert said(judge_access(access(any_origin=True, configured=True))) == [("credentials", OK)]


@pytest.mark.parametrize(
    ("soft", "hard", "verdict", "words"),
    [
        (10_000 + FILES_BESIDE, 10_000 + FILES_BESIDE, OK, ""),
        (9_999 + FILES_BESIDE, 2**20, WARNING, "ulimit -n 10512"),
        (1024, 4096, WARNING, "LimitNOFILE"),
        (64, 64, PROBLEM, "LimitNOFILE"),
    ],
)
def test_open_files(soft: int, hard: int, verdict: Verdict, words: str) -> None:
    finding = judge_files(soft, hard, 10_000, 5_000)

    assert said([finding]) == [("open files", verdict)]
    assert words in finding.advice


def test_streams_count_as_well_where_they_are_more() -> None:
    assert judge_files(10_512, 10_512, 100, 20_000).verdict is WARNING


def test_limits_that_do_not_go_together() -> None:
    assert said(judge_limits(10_000, 5_000, 15)) == []
    assert said(judge_limits(5_000, 5_000, 15)) == [("limits", WARNING)]
    assert said(judge_limits(10_000, 5_000, 60)) == [("limits", WARNING)]


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(DISK_SHOULD, OK), (DISK_SHOULD - 1, WARNING), (DISK_MUST, WARNING), (DISK_MUST - 1, PROBLEM), (0, PROBLEM)],
)
def test_the_disk(free: int, verdict: Verdict) -> None:
    finding = judge_disk(free, 2**40, "/var/lib")

    assert said([finding]) == [("disk", verdict)]
    assert "1024.0 GiB are free in /var/lib" in finding.found


def test_the_schema() -> None:
    assert (
        said([judge_schema(None, "0005", older=False), judge_schema("0005", "0005", older=False)])
        == [("schema", OK)] * 2
    )
    older = judge_schema("0001", "0005", older=True)
    newer = judge_schema("0009", "0005", older=False)
    assert said([older, newer]) == [("schema", PROBLEM)] * 2
    assert "streaming db upgrade" in older.advice
    assert "upgrade the program" in newer.advice


def test_who_has_the_database() -> None:
    assert said([judge_holder(None, serving=True), judge_holder("process 7", serving=True)]) == [("lock", OK)] * 2
    other = judge_holder("process 7", serving=False)
    assert said([other]) == [("lock", WARNING)]
    assert other.found.startswith("Process 7 uses")


@pytest.mark.parametrize(
    ("kind", "synchronous", "verdict", "words"),
    [
        ("memory", "normal", WARNING, "nothing"),
        ("sqlite", "normal", OK, "last moments"),
        ("sqlite", "full", OK, "power cut, on disks"),
        ("postgresql", "normal", OK, "power cut, on disks"),
    ],
)
def test_what_the_store_survives(kind: str, synchronous: str, verdict: Verdict, words: str) -> None:
    finding = judge_survival(kind, synchronous)
    assert said([finding]) == [("durability", verdict)]
    assert words in finding.found


@pytest.mark.parametrize(
    ("missing", "verdict", "words"),
    [
        ([], OK, ""),
        (["uvloop"], WARNING, "speedups"),
        (["httptools"], PROBLEM, "again"),
        (["uvloop", "uvicorn"], PROBLEM, ""),
    ],
)
def test_the_software(missing: list[str], verdict: Verdict, words: str) -> None:
    versions = {name: None if name in missing else "1.0" for name in ("Python", "uvicorn", "httptools", "uvloop")}
    finding = judge_software(versions)
    assert said([finding]) == [("software", verdict)]
    assert words in finding.advice


@pytest.mark.parametrize(
    ("taken", "answer", "verdict"),
    [
        (None, None, OK),
        ("Address in use", "ours", OK),
        ("Address in use", "other", PROBLEM),
        ("Permission denied", None, PROBLEM),
    ],
)
def test_the_port(taken: str | None, answer: str | None, verdict: Verdict) -> None:
    assert said([judge_port(taken, answer, "127.0.0.1:8000")]) == [("port", verdict)]


@pytest.mark.parametrize(
    ("went_s", "wall_s", "back", "verdict"),
    [
        (0.02, 0.0201, False, OK),
        (0.02, 0.2, False, WARNING),
        (0.02, -3600.0, False, WARNING),
        (0.02, 0.02, True, PROBLEM),
        (0.0, 0.0, False, PROBLEM),
    ],
)
def test_the_clocks_of_the_machine(went_s: float, wall_s: float, back: bool, verdict: Verdict) -> None:
    assert said([judge_ticking(went_s, wall_s, back=back)]) == [("clock", verdict)]
