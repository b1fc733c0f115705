"""The libraries are those of the lock, and an answer about them means what it says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import dependencies
from tests.dependencies import ROOT, judge, main, requirements


def library(name: str, *flaws: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(flaws)}


def flaw(id: str, *aliases: str, fixed: str = "1.1") -> dict[str, Any]:
    return {"id": id, "aliases": list(aliases), "fix_versions": [fixed] if fixed else []}


def report(*found: dict[str, Any]) -> str:
    return json.dumps({"dependencies": found, "fixes": []})


def test_they_are_those_that_a_user_gets_and_all_of_them() -> None:
    listed = {line.split("==")[0] for line in requirements().splitlines()}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

    assert {each.split(" ")[0].partition("[")[0] for each in wanted} <= listed
    assert {"psycopg", "uvloop", "cryptography", "wrapt"} <= listed  # of extras, and what others need
    assert not {"pytest", "mypy", "pip-audit"} & listed
    assert all("--hash=sha256:" in line for line in requirements().splitlines())


def test_what_is_known_is_a_failure_and_is_named() -> None:
    status, said = judge(
        report(library("fine"), library("bad", flaw("PYSEC-1")), library("worse", flaw("X", fixed="")))
    )

    assert status == 1
    assert said == [
        "bad 1.0: PYSEC-1, mended in 1.1",
        "worse 1.0: X, mended in no version",
        "3 of 3 libraries were asked for, 2 findings",
    ]


def test_nothing_known_is_none() -> None:
    assert judge(report(library("fine"))) == (0, ["1 of 1 libraries were asked for, 0 findings"])


@pytest.mark.parametrize("said", ["", "Traceback ...", "[]", "{}", "null"])
def test_without_an_answer_that_is_said(said: str) -> None:
    assert judge(said) == (0, ["nobody could be asked: is there a network?"])


def test_a_library_that_nobody_knows_is_not_taken_for_a_good_one() -> None:
    skipped = {"name": "ours", "skip_reason": "not found"}

    assert judge(report(skipped, library("fine")))[1] == ["1 of 2 libraries were asked for, 0 findings"]


@pytest.mark.parametrize("known_as", ["PYSEC-1", "CVE-1"])
def test_what_does_not_concern_us_has_a_reason(known_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "ACCEPTED", {known_as: "never called"})

    assert judge(report(library("bad", flaw("PYSEC-1", "CVE-1"))))[0] == 0
    assert judge(report(library("bad", flaw("PYSEC-2"))))[0] == 1


def test_the_list_of_them_is_written_down(tmp_path: Path) -> None:
    assert main(["--sbom", str(tmp_path / "sbom.json")]) == 0
    bill = json.loads((tmp_path / "sbom.json").read_text())

    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "streaming")
    assert len(bill["components"]) == len(requirements().splitlines())
    assert all(each["version"] and each["purl"].startswith("pkg:pypi/") for each in bill["components"])
