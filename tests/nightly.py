"""All that takes too long for every commit: for a night, on a machine that does nothing else.

    python -m tests.nightly                              all of it, about two hours on two cores
    python -m tests.nightly kills requests               some of it
    python -m tests.nightly suite --python python3.13    and the suite on another Python; give it for each of them

Each part is a command that anybody can run alone; what it needs it starts itself. Ctrl-C writes what there is.

Owns:   which commands these are, and benchmarks/results/nightly.md.
Never:  judges by itself: the status of a command does, and the last line that it says is told.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.machine import describe, versions

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "benchmarks" / "results" / "nightly.md"

#: Characters of the last line that are told.
SAID_MAX = 160


@dataclass(frozen=True, slots=True)
class Part:
    """One command.

    Attributes:
        name: of the part.
        what: is tried.
        command: words, behind ``python3 dev.py run``.
        environment: what it is given besides.
        python: that runs ``dev.py``; None is the one of this process.
    """

    name: str
    what: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None

    @property
    def shown(self) -> str:
        """As one types it."""
        given = [f"{name}={value}" for name, value in self.environment.items()]
        return " ".join([*given, self.python or "python3", "dev.py", "run", shlex.join(self.command)])


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a part.

    Attributes:
        part: which.
        status: of its command.
        seconds: it took.
        said: its last line.
    """

    part: Part
    status: int
    seconds: float
    said: str


def parts(pythons: Sequence[str] = ()) -> list[Part]:
    """All parts, in the order in which they run.

    Args:
        pythons: interpreters on which the suite runs as well.
    """
    module, pytest = ("python", "-m"), ("pytest", "-q")
    kills = (*pytest, "-n", "0", "tests/process/test_kill_rounds.py")
    return [
        Part("kills", "kill -9 under load, 200 times on one file", kills, {"KILL_ROUNDS": "200"}),
        Part("requests", "50,000 requests made from our own OpenAPI", (*module, "tests.fuzz.http")),
        Part("machine", "1,000 sequences of requests against a model", (*module, "tests.fuzz.machine")),
        Part("streams", "20,000 streams as Chromium reads them", (*module, "tests.browser.fuzz")),
        Part("schedules", "1,000,000 schedules of all scenarios", (*module, "tests.worlds.long")),
        Part("soak", "half an hour of mixed load", (*module, "benchmarks.soak", "--minutes", "30")),
        Part("suite", "all tests", pytest),
        *(Part("suite", f"all tests on {python}", pytest, python=python) for python in pythons),
    ]


def run(part: Part, console: Console) -> Ended:
    """Run one; what it writes is shown as it comes."""
    console.rule(part.shown)
    begin = time.monotonic()
    command = [part.python or sys.executable, str(ROOT / "dev.py"), "run", *part.command]
    said = ""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | part.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            console.print(line.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)
            said = line.strip() or said
    return Ended(part, process.returncode, time.monotonic() - begin, said)


def page(ended: Sequence[Ended]) -> Iterator[str]:
    """The lines of the result."""
    machine, known = describe(), versions()
    yield "# A night"
    yield ""
    yield f"- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, written by `python3 dev.py run python -m tests.nightly`"
    yield f"- {machine['cpu']}, {machine['cores']} cores, python {known['python']}"
    yield ""
    yield "| what | command | outcome | minutes | it said |"
    yield "|---|---|---|---|---|"
    for each in ended:
        outcome = "ok" if not each.status else f"**failed** with status {each.status}"
        said = each.said[:SAID_MAX].replace("|", "/")
        yield f"| {each.part.what} | `{each.part.shown}` | {outcome} | {each.seconds / 60:.1f} | {said} |"


def main() -> int:
    """Run what is asked for; the status says whether all was well."""
    names = list(dict.fromkeys(part.name for part in parts()))
    parser = argparse.ArgumentParser(
        prog="python -m tests.nightly", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="PART", help=f"some of: {', '.join(names)}")
    parser.add_argument("--python", action="append", default=[], metavar="PROGRAM", help="run the suite on it as well")
    parser.add_argument("--output", type=Path, default=TARGET, metavar="FILE", help="where the result goes")
    options = parser.parse_args()
    console, ended = Console(stderr=True), list[Ended]()
    try:
        for part in parts(options.python):
            if part.python is not None or part.name in (options.names or names):
                ended.append(run(part, console))
    except KeyboardInterrupt:
        console.print("interrupted: what there is is written")
    options.output.write_text("\n".join(page(ended)) + "\n")
    return 1 if any(each.status for each in ended) else 0


if __name__ == "__main__":
    sys.exit(main())
