"""``retry``, ``extend``, ``input`` and ``ack``: what they ask for, print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from streaming.records import TaskStatus
from tests.scripted_server import TASK_ID, ScriptedServer, record, refused, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

SHOWN = said_json(record(status=TaskStatus.RUNNING).as_json())


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (["retry", TASK_ID], None),
        (["ack", TASK_ID], None),
        (
            ["extend", TASK_ID, "--timeout-s", "60", "--total-timeout-s", "none"],
            {"timeout_s": 60, "total_timeout_s": None},
        ),
        (
            ["extend", TASK_ID, "--queue-timeout-s", "1.5", "--heartbeat-timeout-s", "2"],
            {"queue_timeout_s": 1.5, "heartbeat_timeout_s": 2},
        ),
    ],
)
def test_the_task_is_shown_as_it_is_then(
    command: list[str], body: object, streaming: Streaming, script: Script
) -> None:
    server = script(SHOWN)

    text, document = streaming(*command, url=server.url), streaming(*command, "-o", "json", url=server.url)

    assert (text.exit_code, document.exit_code) == (0, 0)
    assert TASK_ID in text.stdout
    assert json.loads(document.stdout)["status"] == "running"
    assert server.asked[0].target == f"/tasks/{TASK_ID}/{command[0]}"
    assert (server.asked[0].json if server.asked[0].body else None) == body


@pytest.mark.parametrize(
    ("word", "data"),
    [("yes", "yes"), ("5", 5), ('"5"', "5"), ('{"a": [null]}', {"a": [None]}), ("", ""), ("NaN", "NaN")],
)
def test_an_input_is_json_or_text(word: str, data: object, streaming: Streaming, script: Script) -> None:
    server = script(said_json({"seq": 7}, 202))

    text = streaming("input", TASK_ID, word, url=server.url)
    document = streaming("input", TASK_ID, word, "-o", "json", url=server.url)

    assert (text.exit_code, text.stdout, json.loads(document.stdout)) == (0, "7\n", {"seq": 7})
    assert server.asked[0].json == {"data": data}


@pytest.mark.parametrize(
    "words",
    [
        ["extend", TASK_ID],
        ["extend", TASK_ID, "--timeout-s", "soon"],
        ["extend", TASK_ID, "--timeout-s", "inf"],
        ["extend", TASK_ID, "--timeout-s", "nan"],
        ["extend", TASK_ID, "--timeout-s", ""],
        ["input", TASK_ID],
        ["retry"],
        ["ack"],
    ],
)
def test_what_cannot_be_is_a_usage_error(words: list[str], streaming: Streaming, script: Script) -> None:
    server = script(SHOWN)

    assert streaming(*words, url=server.url).exit_code == 2
    assert server.asked == []


@pytest.mark.parametrize("words", [["retry"], ["ack"], ["extend", "--timeout-s", "5"], ["input", "x"]])
@pytest.mark.parametrize(
    ("answer", "exit_code"),
    [(refused(404, "not_found"), 3), (refused(403, "forbidden"), 4), (refused(500, "internal"), 5)],
)
def test_a_refusal_has_its_exit_status(
    words: list[str], answer: object, exit_code: int, streaming: Streaming, script: Script
) -> None:
    server = script(answer)

    assert streaming(words[0], TASK_ID, *words[1:], url=server.url).exit_code == exit_code


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["retry"], "task_active", "is running: only a terminal task can be retried"),
        (["ack"], "task_active", "is running: only a terminal task can be acknowledged"),
    ],
)
def test_a_task_that_goes_on_says_so(
    words: list[str], code: str, said: str, streaming: Streaming, script: Script
) -> None:
    server = script(refused(409, code), SHOWN)

    result = streaming(*words, TASK_ID, url=server.url)

    assert result.exit_code == 4
    assert said in result.stderr
