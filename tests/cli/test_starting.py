"""``start`` and ``run``: every option reaches the server, and nothing that was not said."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.scripted_server import TASK_ID, ScriptedServer, block, record, refused, said_json, streamed

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

OPTIONS = [
    *("--timeout-s", "60", "--queue-timeout-s", "5", "--heartbeat-timeout-s", "6", "--total-timeout-s", "7"),
    *("--priority", "high", "--key", "k", "--if-running", "replace", "--external-id", "e", "--retries", "3"),
    *("--backoff-s", "2", "--retry-on", "timed_out", "--retry-on", "OSError", "--cancel-unwatched-s", "30"),
    *("--keep-until-ack", "--tag", "a", "--tag", "b"),
]
ASKED_FOR = {
    "timeout_s": 60,
    "queue_timeout_s": 5,
    "heartbeat_timeout_s": 6,
    "total_timeout_s": 7,
    "priority": "high",
    "key": "k",
    "if_running": "replace",
    "external_id": "e",
    "retry": {"retries": 3, "backoff_s": 2, "on": ["timed_out", "OSError"]},
    "on_unwatched": {"cancel_after_s": 30},
    "keep_until_ack": True,
    "tags": ["a", "b"],
}
STARTED = said_json(record().as_json(), 201)
WHOLE = streamed(block(1, "pending"), block(2, "completed", {"result": 1}))


def test_a_start_says_nothing_that_was_not_asked_for(streaming: Streaming, script: Script) -> None:
    server = script(STARTED)

    result = streaming("start", "external", "film=7", url=server.url)

    assert result.exit_code == 0
    assert TASK_ID in result.stdout
    assert server.asked[0].json == {"type": "external", "params": {"film": 7}}


def test_a_start_asks_for_everything(streaming: Streaming, script: Script) -> None:
    server = script(STARTED)

    result = streaming("start", "x", "--param-json", '{"a": [1]}', *OPTIONS, "-o", "json", url=server.url)

    assert result.exit_code == 0
    assert json.loads(result.stdout)["id"] == TASK_ID
    assert server.asked[0].json == {"type": "x", "params": {"a": [1]}, **ASKED_FOR}


def test_a_run_asks_for_the_same(streaming: Streaming, script: Script) -> None:
    server = script(STARTED, WHOLE)

    result = streaming("run", "x", *OPTIONS, "-o", "json", url=server.url)

    assert result.exit_code == 0
    assert server.asked[0].json == {"type": "x", "params": {}, **ASKED_FOR}


@pytest.mark.parametrize(
    "words",
    [["--priority", "highest"], ["--if-running", "kill"], ["--retries", "x"], ["--timeout-s", "x"], ["film"]],
)
@pytest.mark.parametrize("command", ["start", "run"])
def test_what_cannot_be_is_a_usage_error(command: str, words: list[str], streaming: Streaming) -> None:
    assert streaming(command, "x", *words).exit_code == 2


@pytest.mark.parametrize(("status", "code", "exit_code"), [(409, "key_busy", 4), (422, "invalid_params", 2)])
def test_a_refusal_has_its_exit_status(
    status: int, code: str, exit_code: int, streaming: Streaming, script: Script
) -> None:
    server = script(refused(status, code, "It goes on."))

    result = streaming("start", "x", "--key", "k", url=server.url)

    assert result.exit_code == exit_code
    assert "It goes on." in result.stderr
