"""The tutorial in docs/testing.md is done as it stands there: files are written, commands run, their output compared.

The page shows the lines that matter; what is left out stands in between, in this order.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.pages import blocks
from tests.serving import ROOT

PATH = ROOT / "docs" / "testing.md"
PAGE = PATH.read_text(encoding="utf-8")

#: What stands in front of a block that is a step, with the file that it is, or run.
MARK = "tutorial: "

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


class Step(NamedTuple):
    """A file to be written, or a command to be run."""

    what: str
    code: str
    shown: str


def steps() -> list[Step]:
    return [
        Step(block.note.removeprefix(MARK), block.code, block.shown)
        for block in blocks(PATH)
        if block.note.startswith(MARK)
    ]


def output_of(command: str, folder: Path) -> str:
    """What a command prints, run with the environment of these tests."""
    program, *words = shlex.split(command)
    modules = {"pytest": "pytest", "streaming": "streaming.cli"}
    # Other plugins are left out: they take longer to start than the tests.
    environment = os.environ | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "streaming.testing.plugin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
        "PYTEST_ADDOPTS": "",  # those of whoever runs this are not part of the tutorial
    }
    run = [sys.executable, "-m", modules[program], *words]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def missing(shown: str, printed: str) -> Iterator[str]:
    """The lines of the page that the output has not, or not in this order."""
    rest = iter(printed.splitlines())
    for line in shown.splitlines():
        if line != "..." and not any(line.rstrip() in each for each in rest):
            yield line


def test_the_tutorial_works_as_pasted(tmp_path: Path) -> None:
    commands = 0
    for step in steps():
        if step.what != "run":
            (tmp_path / step.what).write_text(step.code, encoding="utf-8")
            continue
        for command in step.code.splitlines():
            commands += 1
            printed = output_of(command, tmp_path)
            assert step.shown, f"{command} shows nothing"
            assert list(missing(step.shown, printed)) == [], f"{command} prints\n{printed}"

    assert commands >= 7


def test_each_file_is_a_whole_one_and_is_used() -> None:
    files = [step.what for step in steps() if step.what != "run"]

    assert files == ["quota.py", "test_quota.py", "quota.py", "report.py", "test_report.py", "report.py", "report.py"]


def test_each_command_of_the_tutorial_is_run() -> None:
    section = PAGE.split("\n## Ten minutes\n")[1].split("\n## ")[0]

    assert section.count("```sh") == sum(step.what == "run" for step in steps())
    assert section.count("```python") == sum(step.what != "run" for step in steps())


@pytest.mark.parametrize(
    ("shown", "printed", "lines"),
    [("a\nb", "a\nx\nb", []), ("b\na", "a\nb", ["a"]), ("a\n...\nc", "a\nb\nc", []), ("d", "a", ["d"])],
)
def test_lines_are_compared_in_their_order(shown: str, printed: str, lines: list[str]) -> None:
    assert list(missing(shown, printed)) == lines
