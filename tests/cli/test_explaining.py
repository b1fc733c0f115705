"""``streaming why``: a sentence, and the lines below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

from tests.scripted_server import ScriptedServer, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

TASK_ID = "0" * 31 + "1"


def stack(function: str, waits_for: str, *frames: tuple[str, bool], **more: Any) -> dict[str, Any]:
    lines = [{"where": where, "own": own} for where, own in frames]
    return {"function": function, "waits_for": waits_for, "frames": lines, "tasks": [], "more": 0, **more}


ANSWER = {
    "sentence": "It waits at a.py:3 in run for 3 asyncio tasks, the first of which sleeps at a.py:9 in inner.",
    "reason": "tasks",
    "stack": stack(
        *("run", "tasks", ("a.py:3 in run", True), ("taskgroups.py:1 in __aexit__", False)),
        tasks=[stack("inner", "sleep", ("a.py:9 in in\x1bner", True))],
        more=2,
    ),
}


def test_a_sentence_and_the_lines_with_those_behind_them_further_in(streaming: Streaming, script: Script) -> None:
    server = script(said_json(ANSWER))
    result = streaming("why", TASK_ID, url=server.url)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        ANSWER["sentence"],
        "    a.py:3 in run",
        "  . taskgroups.py:1 in __aexit__",
        "    + inner (sleep)",
        "        a.py:9 in in\N{REPLACEMENT CHARACTER}ner",
        "    + 2 more",
    ]
    assert server.asked[0].target == f"/tasks/{TASK_ID}/why"


def test_a_document_for_programs(streaming: Streaming, script: Script) -> None:
    result = streaming("why", TASK_ID, "-o", "json", url=script(said_json(ANSWER)).url)

    assert json.loads(result.stdout) == ANSWER


def test_a_task_without_a_handler_has_only_its_sentence(streaming: Streaming, script: Script) -> None:
    said = {"sentence": "It has ended: completed.", "reason": "completed", "stack": None}

    assert streaming("why", TASK_ID, url=script(said_json(said)).url).stdout == "It has ended: completed.\n"


def test_a_task_that_is_not_there_is_not_found(streaming: Streaming, real_url: str) -> None:
    assert streaming("why", TASK_ID, url=real_url).exit_code == 3
