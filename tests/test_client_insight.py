"""The client asks why a task is still running, and reads the answer with care."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.client import Client, Patience
from streaming.client.insight import Line, Waiting
from streaming.errors import ServerError, TaskNotFound
from tests.scripted_server import TASK_ID, said_json, scripted

pytestmark = pytest.mark.usefixtures("each_client")

PATIENCE = Patience(retry_s=0.0)

BRANCH = {"function": "inner", "waits_for": "lock", "frames": [], "tasks": [], "more": 0}
STACK = {"function": "run", "waits_for": "tasks", "frames": [{"where": "a.py:1 in run", "own": True}], "more": 2}
ANSWER = {"sentence": "It waits.", "reason": "tasks", "stack": {**STACK, "tasks": [BRANCH]}, "status": "running"}


async def test_the_answer_is_a_sentence_a_word_and_a_stack() -> None:
    async with scripted(said_json(ANSWER)) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.why(TASK_ID)

    assert (found.sentence, found.reason, found.document) == ("It waits.", "tasks", ANSWER)
    inner = Waiting("inner", "lock", (), (), 0)
    assert found.stack == Waiting("run", "tasks", (Line("a.py:1 in run", True),), (inner,), 2)
    assert [(asked.method, asked.target) for asked in server.asked] == [("GET", f"/tasks/{TASK_ID}/why")]


@pytest.mark.parametrize("said", [{}, {**ANSWER, "sentence": 1}, {**ANSWER, "stack": {**STACK, "tasks": [1]}}])
async def test_what_is_no_answer_to_it_is_a_bad_answer(said: dict[str, Any]) -> None:
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(ServerError, match="Why a task is running was expected") as refused:
            await client.why(TASK_ID)

    assert refused.value.code == "bad_answer"


async def test_a_task_that_is_not_there_is_not_found() -> None:
    problem = {
        "type": "about:blank",
        "status": 404,
        "code": "not_found",
        "title": "Not Found",
        "detail": "No.",
        "errors": [],
    }
    async with scripted(said_json(problem, 404)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(TaskNotFound):
            await client.why(TASK_ID)
