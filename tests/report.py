"""Run the tests, often, and write TEST_RESULTS.md from what really happened.

    python -m tests.report              one run with coverage, then 20 in a row: more than an hour
    python -m tests.report --runs 3     fewer; 0 leaves them out

Owns:   what TEST_RESULTS.md says; nothing in it is written by hand.
Never:  changes what a test does: it calls the command of the README.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.progress import track

from tests.conftest import PROCESSES
from tests.mutants.table import table
from tests.postgres import programs
from tests.scenarios import ROWS, proofs

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "TEST_RESULTS.md"
RESULTS = ROOT / "benchmarks" / "results"
#: Each file of figures, and the command that writes it.
FIGURES = {
    "speed.md": "benchmarks",
    "growth.md": "benchmarks.growth",
    "spine.md": "benchmarks.spine",
    "status.md": "benchmarks.status",
    "status_memory.md": "benchmarks.status memory",
    "page.md": "benchmarks.page",
    "observe.md": "benchmarks.observe",
    "security.md": "benchmarks.security",
    "proof.md": "benchmarks.proof",
    "schedules.md": "tests.worlds.long",
    "nightly.md": "tests.nightly",
    "soak.md": "benchmarks.soak --minutes 30",
}
PACKAGES = (
    "uvicorn", "httptools", "asgineer", "anyio", "httpx", "SQLAlchemy", "psycopg", "pydantic", "pytest", "hypothesis"
)  # fmt: skip
SLOWEST = 10
#: The tests of the test kit, and those that explore schedules with it.
KIT = ("testing.", "worlds.", "mutants.")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the suite."""

    status: int
    passed: int
    failures: list[str]
    skipped: int
    seconds: float
    slowest: list[tuple[str, float]]
    schedules: int
    kit_s: float
    on_postgres: int
    mutants: list[str]

    @property
    def green(self) -> bool:
        return self.status == 0 and not self.failures and self.passed > 0

    @property
    def failed(self) -> int:
        return len(self.failures)


def run_suite(*options: str) -> Run:
    """Run pytest as the README says, and read what it reports."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        environment = os.environ | {"PYTEST_ADDOPTS": " ".join(["-q", f"--junitxml={report}", *options])}
        begin = time.monotonic()
        command = [sys.executable, "-m", "pytest"]
        status = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL).returncode
        seconds = time.monotonic() - begin
        cases = ElementTree.parse(report).getroot().findall(".//testcase")  # noqa: S314  # written by the pytest we started
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    for case in failed:
        print(f"\n{_name(case)}\n{_why(case)}", file=sys.stderr)
    skipped = [case for case in cases if case.find("skipped") is not None]
    slowest = sorted(((_name(case), float(case.get("time", 0))) for case in cases), key=lambda item: -item[1])
    return Run(
        status=status,
        passed=len(cases) - len(failed) - len(skipped),
        failures=[_name(case) for case in failed],
        skipped=len(skipped),
        seconds=seconds,
        slowest=slowest[:SLOWEST],
        schedules=sum(int(value) for value in _properties(cases, "schedules")),
        kit_s=sum(float(case.get("time", 0)) for case in cases if _name(case).startswith(KIT)) / PROCESSES,
        on_postgres=sum("postgres" in _name(case) for case in cases),
        mutants=sorted(_properties(cases, "mutant")),
    )


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"


def _why(case: ElementTree.Element) -> str:
    return "\n".join(found.text or "" for kind in ("failure", "error") for found in case.iter(kind))


def _properties(cases: list[ElementTree.Element], name: str) -> list[str]:
    """What tests say about themselves (``record_property(name, value)``)."""
    return [item.get("value", "") for case in cases for item in case.iter("property") if item.get("name") == name]


def coverage() -> dict[str, Any]:
    """Coverage of the last run that measured it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", target], cwd=ROOT, check=True)
        report: dict[str, Any] = json.loads(target.read_text())
    return report


def _share(report: dict[str, Any], prefix: str) -> float:
    """Percent of lines and branches that were run, of the files below ``prefix``."""
    done = every = 0
    for name, file in report["files"].items():
        if name.startswith(prefix):
            summary = file["summary"]
            done += summary["covered_lines"] + summary["covered_branches"]
            every += summary["num_statements"] + summary["num_branches"]
    return 100 * done / every


def page(first: Run, report: dict[str, Any], more: list[Run]) -> Iterator[str]:
    """The lines of TEST_RESULTS.md."""
    yield "# Test results"
    yield ""
    yield f"Written by `python3 dev.py run python -m tests.report` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    yield f"{_machine()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {_postgres()},"
    yield f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}."
    yield ""
    yield from _totals(first, report, more)
    yield from _scenarios()
    yield from _mutants(first)
    if more:
        yield from _in_a_row(more)
    yield from _slowest(first)
    yield from _figures()


def _postgres() -> str:
    said = subprocess.check_output([str(programs(16) / "bin" / "postgres"), "--version"], text=True)
    return said.strip().replace("postgres (PostgreSQL)", "PostgreSQL")


def _totals(first: Run, report: dict[str, Any], more: list[Run]) -> Iterator[str]:
    rows = sum(count for _, count in ROWS.values())
    tests = sum(len({name for names in proofs(file).values() for name in names}) for file in ROWS)
    yield "| | |"
    yield "|---|---|"
    yield f"| tests | {first.passed} passed, {first.failed} failed, {first.skipped} skipped |"
    yield f"| of these with a real PostgreSQL, its faults among them | {first.on_postgres} |"
    yield f"| agreed scenarios | {rows}, proven by {tests} tests |"
    yield f"| schedules explored of the code as it is | {first.schedules:,} |"
    yield f"| duration, {PROCESSES} processes, with coverage | {first.seconds:.0f} s |"
    if more:
        longest_s = max(run.seconds for run in more)
        yield f"| duration, {PROCESSES} processes, without coverage | {longest_s:.0f} s at most |"
    yield f"| of this the test kit, its schedules and the planted bugs | about {first.kit_s:.0f} s |"
    yield f"| branch coverage of all | {_share(report, 'streaming/'):.1f} % |"
    yield f"| branch coverage of rules | {_share(report, 'streaming/rules/'):.1f} % |"
    yield f"| branch coverage of engine | {_share(report, 'streaming/engine/'):.1f} % |"
    yield ""


def _scenarios() -> Iterator[str]:
    yield "## Scenarios"
    yield ""
    yield "| file | scenarios | tests |"
    yield "|---|---|---|"
    for file, (module, rows) in ROWS.items():
        found = proofs(file)
        tests = len({name for names in found.values() for name in names})
        yield f"| `{module.replace('.', '/')}.py` | {len(found)} of {rows} | {tests} |"
    yield ""


def _mutants(run: Run) -> Iterator[str]:
    yield "## Planted bugs"
    yield ""
    yield f"{len(run.mutants)} were found by exploring schedules, each in a copy of the package (`tests/mutants`)."
    yield ""
    yield from table(run.mutants)
    yield ""


def _in_a_row(runs: list[Run]) -> Iterator[str]:
    yield f"## {len(runs)} runs in a row"
    yield ""
    green = sum(run.green for run in runs)
    yield f"{green} of {len(runs)} were green, each without coverage, in {PROCESSES} processes."
    for number, run in enumerate(runs, 1):
        for name in run.failures:
            yield f"Run {number} failed in `{name}`."
        if run.status and not run.failures:
            yield f"Run {number} ended with status {run.status}."
    yield ""
    yield "| run | passed | failed | skipped | seconds |"
    yield "|---|---|---|---|---|"
    for number, run in enumerate(runs, 1):
        yield f"| {number} | {run.passed} | {run.failed} | {run.skipped} | {run.seconds:.0f} |"
    yield ""


def _slowest(run: Run) -> Iterator[str]:
    yield f"## The {SLOWEST} slowest tests"
    yield ""
    yield "| test | seconds |"
    yield "|---|---|"
    for name, seconds in run.slowest:
        yield f"| `{name}` | {seconds:.1f} |"
    yield ""


def _figures() -> Iterator[str]:
    """What the benchmark commands wrote, one level lower."""
    yield "## Figures"
    for name, command in FIGURES.items():
        path = RESULTS / name
        if path.exists():
            yield ""
            yield f"From `{path.relative_to(ROOT)}`, which `python3 dev.py run python -m {command}` writes."
            yield ""
            yield _one_level_lower(path.read_text().strip(), path.parent.relative_to(ROOT))


def _one_level_lower(text: str, folder: Path) -> str:
    """The same as a part of a page at the root: its headings, and its links to files beside it."""
    linked = re.sub(r"\]\((?![a-z]+:|/|#)", f"]({folder}/", text)
    return re.sub(r"^#", "###", linked, flags=re.MULTILINE)


def _machine() -> str:
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{platform.system()}, {os.cpu_count()} cores of {models[0] if models else platform.machine()}"


def main() -> int:
    """Run everything, write the file, and say whether all was green."""
    parser = argparse.ArgumentParser(description="Run the tests and write TEST_RESULTS.md.")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="runs in a row after the first; 20")
    runs: int = parser.parse_args().runs
    console = Console(stderr=True)
    console.print("one run with coverage ...")
    first = run_suite("--cov", "--cov-report=")
    report = coverage()
    console.print(f"{first.passed} passed, {first.failed} failed in {first.seconds:.0f} s")
    more = [run_suite() for _ in track(range(runs), "runs in a row", console=console)]
    TARGET.write_text("\n".join(page(first, report, more)) + "\n")
    return 0 if first.green and all(run.green for run in more) else 1


if __name__ == "__main__":
    sys.exit(main())
