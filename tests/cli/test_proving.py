"""``streaming prove``: which handler is meant, what is said, how it ends."""

from __future__ import annotations

import json
import os
import shlex
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

async def broken() -> None:
    await asyncio.sleep(1)
    raise ValueError("no")

number = 1
"""

#: Each has a mistake that only shows with an option.
SPECIAL = """
import asyncio
import time
from streaming import TaskContext

async def slow() -> None:
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep(2)

async def hasty(ctx: TaskContext) -> None:
    await lose_the_cancel(ctx.deadline.remaining_s < 60)

async def ordered() -> None:
    order = []

    async def say(name: str) -> None:
        order.append(name)

    await asyncio.gather(*map(say, "abcdefgh"))
    await lose_the_cancel(order != list("abcdefgh"))

async def impatient() -> None:
    late = False
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(time.sleep, 0.02)
    except TimeoutError:
        late = True
    await lose_the_cancel(late)

async def lose_the_cancel(wanted: bool) -> None:
    try:
        await asyncio.sleep(1)
    except BaseException:
        if not wanted:
            raise
    await asyncio.sleep(1)
"""

#: It writes to stdout in all ways there are.
LOUD = """
import asyncio, os, subprocess, sys

print("imported")
stdout = sys.stdout

async def loud() -> None:
    print("printed")
    print("got hold of", file=stdout)
    os.write(1, b"written\\n")
    subprocess.run(["/bin/echo", "echoed"])
    await asyncio.sleep(1)

async def wrong(number: int) -> None:
    "It takes a number."
"""

TWICE = """
from streaming import task

@task("countdown")
async def mine() -> None:
    "The name is taken."
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tmp_path.joinpath("proved_tasks.py").write_text(MODULE)
    tmp_path.joinpath("special_tasks.py").write_text(SPECIAL)
    tmp_path.joinpath("loud_tasks.py").write_text(LOUD)
    tmp_path.joinpath("twice_tasks.py").write_text(TWICE)
    tmp_path.joinpath("broken_tasks.py").write_text("1 / 0")
    tmp_path.joinpath("needy_tasks.py").write_text("import no_such_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.endswith("_tasks")]:
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


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        ("slow", ["--grace-s", "1"]),
        ("hasty", ["--timeout-s", "30"]),
        ("ordered", ["--seed", "1"]),
        ("impatient", ["--patience-s", "0"]),
    ],
)
def test_the_command_that_shows_it_again_has_all_options(
    handler: str, options: list[str], streaming: Streaming
) -> None:
    words = ["prove", f"special_tasks:{handler}", "--fault", "cancel"]

    plain, first = streaming(*words), streaming(*words, *options)

    assert (plain.exit_code, first.exit_code) == (0, 1)
    _, command = first.stdout.split("see it again: streaming ")
    again = streaming(*shlex.split(command), "-o", "json")
    assert again.exit_code == 1
    [finding] = json.loads(again.stdout)["findings"]
    assert f"{finding['kind']} at {finding['where']}" in first.stdout
    assert finding["again"] == f"streaming {command.strip()}"


def test_only_options_that_say_something_are_in_the_command(streaming: Streaming) -> None:
    words = ["prove", "proved_tasks:rude", "--points", "1", "--seed", "0", "--patience-s", "10", "--fault", "timeout"]

    result = streaming(*words, "--param-json", '{"word": "a b"}')

    again = 'streaming prove proved_tasks:rude --param-json \'{"word": "a b"}\' --points 1 --seed 0 --fault timeout'
    assert f"see it again: {again} --point 1\n" in result.stdout


def test_a_handler_that_ends_otherwise_is_not_proved(streaming: Streaming) -> None:
    words = ["prove", "proved_tasks:broken"]

    result, meant = streaming(*words), streaming(*words, "--ends", "failed")

    assert (result.exit_code, meant.exit_code) == (1, 0)
    assert "broken IS NOT PROVED" in result.stdout
    assert "broken holds" in meant.stdout


def test_stdout_has_the_verdict_and_nothing_else(streaming: Streaming, capfd: pytest.CaptureFixture[str]) -> None:
    result, wrong = (streaming("prove", f"loud_tasks:{name}", "-o", "json") for name in ("loud", "wrong"))

    os.write(1, b"again\n")
    out, err = capfd.readouterr()
    assert json.loads(result.stdout)["ok"]
    assert (result.exit_code, wrong.exit_code, wrong.stdout) == (0, 2, "")
    assert {"imported", "printed", "got hold of"} <= set(result.stderr.splitlines())
    assert {"written", "echoed"} <= set(err.splitlines())
    assert out == "again\n"


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
        (["countdown", "--ends", "badly"], 2, "no handler ends as 'badly': cancelled, completed, failed"),
        (["countdown", "--timeout-s", "-1"], 2, "timeout_s is wrong"),
        (["countdown", "--timeout-s", "100000"], 2, "A number of seconds over 0, at most 86400."),
        (["twice_tasks:mine"], 2, "Two handlers are named 'countdown'"),
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
