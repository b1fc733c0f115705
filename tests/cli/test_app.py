"""The commands in this process: what they ask for, what they print, how they end."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.models import CommandInfo
from typer.testing import Result

from streaming.cli import main
from streaming.cli.app import app
from streaming.config import Settings
from streaming.errors import InvalidTaskType, StoreUnavailable, StreamingError
from streaming.records import TaskError, TaskStatus
from tests.scripted_server import (
    ENDED,
    LOST,
    TASK_ID,
    TIME,
    ScriptedServer,
    block,
    record,
    refused,
    said,
    said_json,
    streamed,
)

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

COMMANDS = ["serve", "demo", "config", "types", "db", "key"]
COMMANDS += ["top", "tail", "replay", "completion"]
COMMANDS += ["run", "start", "watch", "list", "count", "show", "cancel", "delete", "retry", "extend", "input", "ack"]
DONE = block(3, "completed", {"result": 42})
WHOLE = streamed(block(1, "pending"), block(2, "progress", {"percent": 50.0, "message": "half"}), DONE)


# -- help and usage ----------------------------------------------------------------------------------------------------


def test_help_names_every_command(streaming: Streaming) -> None:
    result = streaming("--help")

    assert result.exit_code == 0
    assert all(f" {command} " in result.stdout for command in COMMANDS)


def test_the_version_is_the_one_that_is_installed(streaming: Streaming) -> None:
    result = streaming("--version")

    assert (result.exit_code, result.stdout) == (0, f"{version('streaming')}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, streaming: Streaming) -> None:
    result = streaming(command, "-h")

    assert result.exit_code == 0
    assert command in ("db", "key") or "Examples:" in result.stdout


def test_examples_are_shown_as_they_are_typed(streaming: Streaming) -> None:
    """Brackets are no markup, and nothing else is lost."""
    groups = [(group.name, group.typer_instance) for group in app.registered_groups]
    commands: list[tuple[list[str], CommandInfo]] = [([], command) for command in app.registered_commands]
    commands += [([name or ""], command) for name, group in groups if group for command in group.registered_commands]
    for prefix, command in commands:
        assert command.callback is not None
        shown = streaming(*prefix, command.name or command.callback.__name__, "-h").stdout.splitlines()
        written = (command.callback.__doc__ or "").replace("\\[", "[").splitlines()
        examples = [line.strip() for line in written if line.startswith(" " * 8)]
        assert [line.strip() for line in shown if line.strip() in examples] == examples


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["run"],
        ["run", "countdown", "count"],
        ["run", "countdown", "--param-json", "[1]"],
        ["watch", "x", "--after", "-1"],
        ["list", "--limit", "0"],
        ["show", "x", "--url", "nowhere"],
        ["show", "x", "-o", "xml"],
        ["serve", "--port", "high"],
        ["show", "\udcff"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(words: list[str], streaming: Streaming) -> None:
    result = streaming(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr != ""


def test_the_command_line_loads_neither_the_database_nor_the_server_to_say_its_help() -> None:
    """Time is measured in modules: the clock of a busy machine says nothing."""
    code = "import sys, streaming.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    heavy = {"sqlalchemy", "alembic", "pydantic", "httpx", "uvicorn", "asgineer", "structlog", "asyncio.events"}
    assert heavy & set(loaded) <= {"asyncio.events"}
    assert "streaming.engine" not in loaded


def test_importing_the_entry_point_runs_nothing() -> None:
    assert importlib.import_module("streaming.cli.__main__").main is main


# -- serve -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of servers that would have been run; each leaves with status 7."""
    settings: list[Settings] = []

    def run(given: Settings) -> int:
        settings.append(given)
        return 7

    monkeypatch.setitem(sys.modules, "streaming.server", SimpleNamespace(run=run))
    return settings


def test_serve_takes_the_environment_and_the_line_wins(
    streaming: Streaming, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_PORT", "9000")
    monkeypatch.setenv("STREAMING_GRACE_S", "3")
    monkeypatch.setenv("STREAMING_TASKS", "other")
    where = ["--host", "::1", "--port", "9001", "--store", "memory://"]

    assert streaming("serve", "one", "two", *where, "--insecure-public", "--log-format", "json").exit_code == 7
    assert streaming("serve", "--grace-s", "0").exit_code == 7

    line, environment = served
    assert (line.tasks, line.host, line.port, line.grace_s) == (["one", "two"], "::1", 9001, 3.0)
    assert (line.store_url, line.insecure_public, line.log_format) == ("memory://", True, "json")
    assert (environment.tasks, environment.port, environment.grace_s) == (["other"], 9000, 0.0)
    assert (environment.insecure_public, environment.log_format) == (False, "console")


@pytest.mark.parametrize("workers", ["0", "2", "-1"])
def test_more_than_one_process_is_refused(workers: str, streaming: Streaming, served: list[Settings]) -> None:
    ran = streaming("serve", "--workers", workers)

    assert ran.exit_code == 2
    assert "each would know only its own" in " ".join(ran.stderr.replace("│", " ").split())
    assert served == []


def test_one_process_may_be_asked_for(streaming: Streaming, served: list[Settings]) -> None:
    assert streaming("serve", "--workers", "1").exit_code == 7
    assert len(served) == 1


def test_wrong_settings_are_one_line_and_usage(streaming: Streaming, served: list[Settings]) -> None:
    result = streaming("serve", "--store", "mysql://x", "--port", "99999")

    assert (result.exit_code, served) == (2, [])
    assert result.stderr.count("\n") == 1
    assert "STREAMING_STORE_URL" in result.stderr
    assert "STREAMING_PORT" in result.stderr


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidTaskType("No module 'x'."), 2), (StoreUnavailable("The disk is full."), 5)]
)
def test_a_server_that_cannot_start_is_one_line(
    error: StreamingError, status: int, streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Settings) -> int:
        raise error

    monkeypatch.setitem(sys.modules, "streaming.server", SimpleNamespace(run=fail))
    result = streaming("serve")

    assert (result.exit_code, result.stderr) == (status, f"streaming: {error.detail}\n")


# -- run and watch -----------------------------------------------------------------------------------------------------


def test_run_starts_shows_every_event_and_ends_with_0(streaming: Streaming, script: Script) -> None:
    server = script(said_json(record().as_json(), 201), WHOLE)
    words = ["run", "countdown", "count=3", "name=x y", "--timeout-s", "60", "--tag", "a", "--tag", "b"]
    result = streaming(*words, "--param-json", '{"more": "5"}', url=server.url)

    assert result.exit_code == 0
    assert server.asked[0].json == {
        "type": "countdown",
        "params": {"count": 3, "name": "x y", "more": "5"},
        "timeout_s": 60.0,
        "tags": ["a", "b"],
    }
    assert result.stdout.splitlines() == [
        f"{TIME}\t1\tpending\t{{}}",
        f'{TIME}\t2\tprogress\t{{"percent":50.0,"message":"half"}}',
        f'{TIME}\t3\tcompleted\t{{"result":42}}',
    ]
    assert result.stderr == f"streaming: started task {TASK_ID}\n"


def test_json_is_one_event_a_line(streaming: Streaming, script: Script) -> None:
    result = streaming("watch", TASK_ID, "-o", "json", url=script(WHOLE).url)

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert events[2] == {"seq": 3, "task_id": TASK_ID, "type": "completed", "time": TIME, "data": {"result": 42}}
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("status", ["failed", "cancelled", "timed_out", "interrupted"])
def test_a_task_without_a_result_ends_with_1_and_says_why(status: str, streaming: Streaming, script: Script) -> None:
    end = block(1, status, {"error": {"code": "odd", "message": "no \x1b[31mluck"}})
    result = streaming("watch", TASK_ID, url=script(streamed(end)).url)

    assert result.exit_code == 1
    assert result.stderr == f"streaming: task {TASK_ID} is {status}: no �[31mluck\n"


@pytest.mark.parametrize(
    ("ended", "status"),
    [(record(TaskStatus.COMPLETED), 0), (record(TaskStatus.FAILED, error=TaskError("x", "bad luck")), 1)],
)
def test_a_log_that_is_known_to_its_end_is_judged_by_the_record(
    ended: Any, status: int, streaming: Streaming, script: Script
) -> None:
    server = script(ENDED, said_json(ended.as_json()))
    result = streaming("watch", TASK_ID, "--after", "9", url=server.url)

    assert (result.exit_code, result.stdout) == (status, "")
    assert server.asked[0].headers["last-event-id"] == "9"


def test_watch_goes_on_after_a_break_and_says_so(streaming: Streaming, script: Script) -> None:
    server = script(streamed(b"retry: 100\n", block(1, "pending")), WHOLE)
    result = streaming("watch", TASK_ID, url=server.url)

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert "trying again in 0.1 s" in result.stderr


def test_a_gap_is_shown_and_passed(streaming: Streaming, script: Script) -> None:
    gap = block(9, "gap", {"from": 1, "to": 9, "reason": "retention"})
    result = streaming("watch", TASK_ID, url=script(streamed(gap, block(10, "completed"))).url)

    assert result.exit_code == 0
    assert '{"from":1,"to":9,"reason":"retention"}' in result.stdout


# -- the others --------------------------------------------------------------------------------------------------------


def test_types_prints_columns(streaming: Streaming, script: Script) -> None:
    types = [{"name": "x", "description": "Does.", "params_schema": {"properties": {"a": {"type": "string"}}}}]
    server = script(said_json({"types": types}))
    text, document = streaming("types", url=server.url), streaming("types", "-o", "json")

    assert text.stdout == "x\ta?: string\tDoes.\n"
    assert json.loads(document.stdout) == types


def test_config_prints_all_settings(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_PORT", "9000")
    text, document = streaming("config"), streaming("config", "-o", "json")

    assert "STREAMING_PORT\t9000\t8000\tPort to listen on" in text.stdout
    assert len(json.loads(document.stdout)) == len(text.stdout.splitlines()) == len(Settings.model_fields)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_under_the_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "streaming.cli", "config"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 74
    assert ended.stderr == "streaming: The output cannot be written: No space left on device.\n"


def test_trouble_that_is_not_the_outputs_keeps_its_traceback(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.cli.settings.describe_settings", broken)

    assert isinstance(streaming("config").exception, PermissionError)


def broken() -> None:
    raise PermissionError


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_timeout_that_is_no_number_is_a_usage_error(number: str, streaming: Streaming, script: Script) -> None:
    result = streaming("run", "countdown", "--timeout-s", number, url=script().url)

    assert result.exit_code == 2
    assert "has no JSON form" in result.stderr


def test_config_says_what_is_wrong_with_the_environment(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_PORT", "high")
    result = streaming("config")

    assert result.exit_code == 2
    assert result.stderr.startswith("streaming: STREAMING_PORT: ")


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (refused(404, "not_found"), 3, "There is no task"),
        (refused(403, "forbidden", "Not yours."), 4, "Not yours."),
        (refused(400, "bad_request", "What?"), 2, "What?"),
        (refused(503, "draining", retry_after="60"), 5, "shutting down"),
        (refused(500, "internal", "Sorry."), 5, "Sorry."),
        (said(200, b"<html>"), 5, "JSON was expected"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(
    answer: Any, status: int, words: str, streaming: Streaming, script: Script
) -> None:
    result = streaming("show", "x", url=script(answer).url)

    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_cancel_that_came_too_late_is_not_allowed(streaming: Streaming, script: Script) -> None:
    server = script(refused(409, "task_terminal"), said_json(record(TaskStatus.COMPLETED).as_json()))
    result = streaming("cancel", TASK_ID, url=server.url)

    assert result.exit_code == 4
    assert "it is completed" in result.stderr


def test_wrong_parameters_are_named_one_by_one(streaming: Streaming, script: Script) -> None:
    wrong = [{"field": "params.count", "message": "at least 0"}, {"field": "params.x", "message": "unknown"}]
    server = script(refused(422, "invalid_params", "Wrong.", errors=wrong))
    result = streaming("run", "countdown", "count=-1", url=server.url)

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "streaming: Wrong.",
        "streaming:   params.count: at least 0",
        "streaming:   params.x: unknown",
    ]


def test_an_answer_that_was_lost_is_asked_for_again_and_then_the_server_is_unreachable(
    streaming: Streaming, script: Script
) -> None:
    server = script(LOST)
    result = streaming("show", TASK_ID, url=server.url)

    assert result.exit_code == 5
    assert "cannot be reached" in result.stderr.splitlines()[-1]
    assert len(server.asked) in (2, 3)  # as chance has it: half of a pause is random
