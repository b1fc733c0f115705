"""``streaming prove``: which handler is meant, what is said, how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from streaming.cli import proving

Streaming = Callable[..., Result]

MODULE = """
import asyncio
from streaming import TaskContext, task

@task("polite")
async def waits(ctx: TaskContext, seconds: float = 1) -> None:
    print("at work")
    await asyncio.sleep(seconds)

async def rude(ctx: TaskContext, word: str = "x") -> None:
    try:
        await asyncio.sleep(1)
    except BaseException:
        pass
    await asyncio.sleep(1)

number = 1
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tmp_path.joinpath("proved_tasks.py").write_text(MODULE)
    tmp_path.joinpath("broken_tasks.py").write_text("1 / 0")
    tmp_path.joinpath("needy_tasks.py").write_text("import no_such_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("proved_tasks", "broken_tasks", "needy_tasks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["proved_tasks:waits", "proved_tasks:polite"])
def test_a_handler_that_holds(name: str, streaming: Streaming) -> None:
    result = streaming("prove", name, "seconds=2")

    assert result.exit_code == 0
    assert result.stdout.startswith("polite holds: 1 of 1 awaits, 7 runs")
    assert "at work" in result.stderr


def test_a_handler_that_does_not(streaming: Streaming) -> None:
    result = streaming("prove", "proved_tasks:rude", "word=a b")

    assert result.exit_code == 1
    assert "rude DOES NOT HOLD" in result.stdout
    assert "swallowed-cancel at proved_tasks.py:12 in rude" in result.stdout
    assert "see it again: streaming prove proved_tasks:rude 'word=a b' --fault cancel --point 1" in result.stdout


def test_what_it_says_can_be_seen_again(streaming: Streaming) -> None:
    result = streaming("prove", "proved_tasks:rude", "--fault", "cancel", "--point", "1", "-o", "json")

    verdict = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (verdict["ok"], verdict["points"], verdict["swept"], verdict["runs"]) == (False, 2, 1, 3)
    assert verdict["findings"][0]["kind"] == "swallowed-cancel"
    assert verdict["findings"][0]["shown_by"] == {"cancel": [1]}


def test_a_built_in_type_has_a_name(streaming: Streaming) -> None:
    result = streaming("prove", "countdown", "--param-json", '{"count": 2}', "--seed", "3", "--points", "1")

    assert result.exit_code == 0
    assert result.stdout.startswith("countdown holds: 1 of 2 awaits")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nonsense"], 3, "no built-in type 'nonsense', but checksum, command, countdown"),
        (["no_such:handler"], 3, "There is no module 'no_such'."),
        (["proved_tasks.sub:handler"], 3, "There is no module 'proved_tasks.sub'."),
        (["proved_tasks:number"], 3, "Module 'proved_tasks' has no handler 'number'."),
        (["broken_tasks:handler"], 2, "ZeroDivisionError: division by zero"),
        (["needy_tasks:handler"], 2, "No module named 'no_such_module'"),
        (["countdown", "count=x"], 2, "count"),
        (["countdown", "count"], 2, "not of the form name=value"),
        (["external", "film=7"], 2, "external runs outside"),
        (["countdown", "--fault", "fire"], 2, "there is no 'fire'"),
        (["proved_tasks:rude", "--point", "9"], 2, "there is no point 9: this handler has 2"),
    ],
)
def test_what_cannot_be_proved_is_said(words: list[str], status: int, said: str, streaming: Streaming) -> None:
    result = streaming("prove", *words)

    assert result.exit_code == status
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_person_sees_how_far_it_is(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with proving._bar("my handler") as tell:
        tell(1, 4)
        tell(2, 4)

    assert "my handler" in capsys.readouterr().err
