"""The night's work is made of commands that exist, and what became of them is told as it was."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests import nightly
from tests.nightly import Ended, Part, page, parts
from tests.nightly import run as run_part

README = (nightly.ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", parts(["python3.13"]), ids=lambda part: part.what)
def test_each_part_is_a_command_that_exists(part: Part) -> None:
    program, *words = part.command
    if program == "python":
        assert words[0] == "-m"
        assert importlib.util.find_spec(words[1]) is not None
    else:
        assert program == "pytest"
        assert all((nightly.ROOT / word).exists() for word in words if word.endswith(".py"))
    assert part.shown.endswith(" ".join(part.command))


def test_the_readme_names_the_command() -> None:
    assert "python3 dev.py run python -m tests.nightly" in README


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``dev.py`` that does what it is told, in a few words."""
    said = "print('first', end='\\n\\n')\nprint('|' + os.environ.get('MORE', ''), *sys.argv[2:])\nprint()\n"
    (tmp_path / "dev.py").write_text(f"import os, sys\n{said}sys.exit('bad' in sys.argv)\n")
    monkeypatch.setattr(nightly, "ROOT", tmp_path)
    return tmp_path


def test_a_part_is_run_and_its_status_and_its_last_line_are_kept(project: Path) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=200)

    good = run_part(Part("one", "something", ("good", "word"), {"MORE": "7"}), console)
    bad = run_part(Part("two", "something else", ("bad",), python=sys.executable), console)

    assert (good.status, good.said, bad.status, bad.said) == (0, "|7 good word", 1, "| bad")
    assert "MORE=7 python3 dev.py run good word" in shown.getvalue()
    assert "first" in shown.getvalue()
    rows = [line for line in page([good, bad]) if line.startswith("| something")]
    assert [row.split(" | ")[2] for row in rows] == ["ok", "**failed** with status 1"]
    assert rows[0].endswith("| /7 good word |")


def test_what_is_asked_for_runs_and_is_written_down(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = project / "night.md"
    monkeypatch.setattr(sys, "argv", ["nightly", "requests", "--python", sys.executable, "--output", str(target)])

    assert nightly.main() == 0

    assert [line.split(" | ")[0] for line in target.read_text().splitlines()[7:]] == [
        "| 50,000 requests made from our own OpenAPI",
        f"| all tests on {sys.executable}",
    ]
    capsys.readouterr()


def test_a_night_that_is_interrupted_or_fails_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = project / "night.md"
    monkeypatch.setattr(sys, "argv", ["nightly", "--output", str(target)])

    def ends(part: Part, console: Console) -> Ended:
        if part.name == "requests":
            raise KeyboardInterrupt
        return Ended(part, 3, 1.0, "no luck")

    monkeypatch.setattr(nightly, "run", ends)

    assert nightly.main() == 1

    assert target.read_text().splitlines()[-1].startswith("| kill -9 under load, 200 times on one file | `KILL_")
    assert "interrupted" in capsys.readouterr().err


def test_a_part_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightly", "nonsense"])

    with pytest.raises(SystemExit):
        nightly.main()

    assert "nonsense" in capsys.readouterr().err
