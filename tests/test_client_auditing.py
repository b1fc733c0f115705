"""The client asks a server whether all is well, and reads its answer with care."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.client import Audit, Client, Patience
from streaming.errors import ServerError
from streaming.rules.evidence import Repair, Violation
from tests.scripted_server import TASK_ID, said_json, scripted

pytestmark = pytest.mark.usefixtures("each_client")

PATIENCE = Patience(retry_s=0.0)

VIOLATION = {"invariant": "seq_without_holes", "task_id": TASK_ID, "detail": "3 follows 1"}
REPAIR = {"invariant": "tallies_right", "task_id": None, "done": "starting was 1, and is 0"}
ANSWER = {"checked": {"live": 1}, "whole": True, "found": 1, "violations": [VIOLATION], "repaired": [REPAIR]}


async def test_an_audit_is_violations_and_repairs() -> None:
    async with scripted(said_json(ANSWER)) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.audit()
        await client.audit(limit=0, repair=True)

    assert found == Audit(
        {"live": 1},
        True,
        1,
        [Violation("seq_without_holes", TASK_ID, "3 follows 1")],
        [Repair("tallies_right", None, "starting was 1, and is 0")],
    )
    assert [(asked.method, asked.target) for asked in server.asked] == [
        ("GET", "/audit"),
        ("GET", "/audit?limit=0&repair=true"),
    ]


async def test_a_field_that_is_new_is_no_mistake() -> None:
    async with scripted(said_json({**ANSWER, "new": 1})) as server, Client(server.url, patience=PATIENCE) as client:
        assert (await client.audit()).found == 1


@pytest.mark.parametrize("said", [{}, {**ANSWER, "violations": [1]}, {**ANSWER, "found": "many"}])
async def test_what_is_no_audit_is_a_bad_answer(said: dict[str, Any]) -> None:
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(ServerError, match="An audit was expected") as refused:
            await client.audit()

    assert refused.value.code == "bad_answer"


async def test_the_diary_is_passed_on() -> None:
    said = {"time": "", "now": 1.0, "facts_max": 3, "facts": [{"at": 0.5, "fact": "end", "task_id": TASK_ID}]}
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        assert await client.diary() == said

    assert server.asked[0].target == "/audit/diary"
