"""Every example of every help is run against a real server; and what is said to be done next is a command."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from typer.testing import Result

from streaming.cli import exits
from streaming.cli.app import PANELS, app
from streaming.cli.exits import Exit, report
from streaming.errors import NotFound, TaskActive
from streaming.records import TaskStatus
from tests.cli.terminal import terminal

pytestmark = pytest.mark.process

Streaming = Callable[..., Result]

MY_TASKS = '''
import asyncio
from streaming import TaskContext, task

@task
async def import_rows(ctx: TaskContext, path: str = "rows.csv") -> int:
    """Imports."""
    for _ in range(8):
        await asyncio.sleep(0.01)
    return 8
'''

ID = re.compile(r"\b0192f1c2[0-9a-f]{24}\b")

#: What is ours in a line of a shell.
OURS = re.compile(r"streaming [^|>\"]*(?:\"[^\"]*\"[^|>\"]*)*")


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands_of(typer.main.get_command(app)))


def examples_of(command: Any) -> list[str]:
    lines = (command.callback.__doc__ or "").replace("\\[", "[").splitlines()
    return [line.strip() for line in lines if line.startswith(" " * 8)]


EXAMPLES = [line for command in COMMANDS.values() for line in examples_of(command)]


def words_of(line: str) -> list[str]:
    """The words of the command of ours in a line; ``$(...)`` and pipes are the shell's."""
    inner = line[line.index("$(") + 2 : line.rindex(")")] if "$(" in line else line
    found = OURS.search(inner)
    assert found is not None, line
    return shlex.split(found[0])[1:]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_of_itself(name: str) -> None:
    examples = examples_of(COMMANDS[name])

    assert examples
    assert all(f"streaming {name}" in line for line in examples)


def test_every_command_has_its_panel(streaming: Streaming) -> None:
    shown = streaming("--help").stdout

    assert all(f" {panel} " in shown for panel in PANELS)
    assert " Commands " not in shown


# -- each of them ------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: Streaming, real_url: str) -> Path:
    """A directory with what examples speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("STREAMING_URL", real_url)
    monkeypatch.setattr("streaming.cli.typed.HELP_S", 30.0)
    (tmp_path / "my_tasks.py").write_text(MY_TASKS)
    return tmp_path


def task_for(command: str, streaming: Streaming) -> str:
    """A task as the command wants one: running, or ended."""
    going = command in ("cancel", "extend", "input", "why")
    words = ["count=1000", "interval=0.05"] if going else ["count=60", "interval=0"]
    started = json.loads(streaming("start", "countdown", *words, "-o", "json").stdout)["id"]
    if not going:
        streaming("watch", started)
    return str(started)


#: Lines whose end is not 0 here, and why.
ENDS = {
    "http_fetch": {0, 1, 2},  # there may be no network, and its hosts are not opened
    "checksum": {1, 2},  # the operator of this server has allowed no directory
    "tasks.example.org": {1, 5},  # there is no such server
    "key revoke": {3},  # a key of somebody else
}

#: They have no end, need a terminal, or are run as a whole elsewhere.
ELSEWHERE = ("serve", "demo", "top", "tail")


@pytest.mark.parametrize("line", [line for line in EXAMPLES if words_of(line)[0] not in ELSEWHERE])
def test_an_example_does_what_it_says(line: str, place: Path, streaming: Streaming) -> None:
    words = words_of(line)
    if words[0] in ("key", "db", "prune"):
        words = _with_a_database(words, place, streaming)
    if ID.search(line):
        task_id = task_for(words[0], streaming)
        words = [ID.sub(task_id, word) for word in words]
    result = streaming(*words)

    expected = next((ends for part, ends in ENDS.items() if part in line), {0})
    assert result.exit_code in expected, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if "jq" in line:
        assert json.loads(result.stdout.splitlines()[0] if "ndjson" in line else result.stdout or "[]") is not None


def _with_a_database(words: list[str], place: Path, streaming: Streaming) -> list[str]:
    if words[:2] != ["db", "upgrade"]:
        assert streaming("key", "create", "somebody", "--store", "sqlite:///streaming.db").exit_code == 0
    return [word.replace("sqlite:////var/lib/streaming/", f"sqlite:///{place}/") for word in words]


@pytest.mark.parametrize("line", [line for line in EXAMPLES if words_of(line)[0] in ("serve", "demo")])
def test_an_example_that_runs_a_server_is_read(
    line: str, place: Path, streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STREAMING_URL")
    monkeypatch.setitem(sys.modules, "streaming.server", SimpleNamespace(run=lambda settings: 0))
    monkeypatch.setitem(sys.modules, "streaming.cli.demo", SimpleNamespace(run_demo=lambda keep: 0))

    assert streaming(*words_of(line)).exit_code == 0


@pytest.mark.parametrize("line", [line for line in EXAMPLES if words_of(line)[0] in ("top", "tail")])
def test_an_example_that_has_no_end_goes_on_until_ctrl_c(line: str, place: Path, real_url: str) -> None:
    with terminal(*words_of(line), STREAMING_URL=real_url) as screen:
        if "top" in line:
            screen.until("q quit")
        else:
            screen.read(3.0)
            assert screen.process.poll() is None, screen.text
        screen.type("\x03")
        assert screen.ended() == Exit.INTERRUPTED
    assert "Traceback" not in screen.text


# -- what to do next ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("next", exits._NEXT.values())
def test_what_may_be_done_next_is_a_command_that_there_is(next: str) -> None:
    for name in re.findall(r"streaming ((?:key |db )?[a-z]+)", next):
        assert name in COMMANDS, next
    for option in set(re.findall(r"--[a-z-]+", next)) - {"--help"}:
        assert any(option in parameter.opts for command in COMMANDS.values() for parameter in command.params), next


def test_codes_with_a_next_step_are_codes() -> None:
    from streaming import errors

    known = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert set(exits._NEXT) <= known | {"key_busy"}


def test_a_next_step_is_for_people_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(NotFound("There is no task 'x'.")) is Exit.NOT_FOUND
    assert capsys.readouterr().err == "streaming: There is no task 'x'.\n"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert report(TaskActive("x", TaskStatus.RUNNING)) is Exit.NOT_ALLOWED
    assert capsys.readouterr().err.splitlines()[-1] == "streaming: next: streaming cancel ID --wait-s 10 stops it"


def test_after_a_start_it_is_said_how_to_watch_and_to_cancel(real_url: str) -> None:
    with terminal("start", "countdown", "count=0", STREAMING_URL=real_url) as screen:
        assert screen.ended() == 0
    assert re.search(
        r"next: streaming watch [0-9a-f]{32} follows it; streaming cancel [0-9a-f]{32} ends it", screen.text
    )
    with terminal("run", "countdown", "count=100", STREAMING_URL=real_url) as screen:
        screen.until("next: Ctrl-C cancels it")
        screen.type("\x03")
        assert screen.ended() == Exit.INTERRUPTED
