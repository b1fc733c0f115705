"""``streaming audit``: a table for people, a document for programs, and a status that says if all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.scripted_server import ScriptedServer, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

TASK_ID = "0" * 31 + "1"
VIOLATION = {"invariant": "seq_without_holes", "task_id": TASK_ID, "detail": "3 follows 1"}
REPAIR = {"invariant": "tallies_right", "task_id": None, "done": "starting was 1, and is 0"}


def audited(**fields: Any) -> dict[str, Any]:
    sound = {"checked": {"live": 1, "ended": 2}, "whole": True, "found": 0, "violations": [], "repaired": []}
    return {**sound, **fields}


def test_a_server_on_which_all_is_well(streaming: Streaming, real_url: str) -> None:
    result = streaming("audit", url=real_url)

    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("streaming: all is well (")


def test_a_repair_of_nothing(streaming: Streaming, real_url: str) -> None:
    found = json.loads(streaming("audit", "--repair", "--json", url=real_url).stdout)

    assert (found["found"], found["violations"], found["repaired"]) == (0, [], [])


def test_violations_are_a_table_and_the_status_says_so(streaming: Streaming, script: Script) -> None:
    server = script(said_json(audited(found=1, violations=[VIOLATION], repaired=[REPAIR], whole=False)))
    result = streaming("audit", "--limit", "7", "--repair", url=server.url)

    assert result.exit_code == 1
    assert result.stdout == f"seq_without_holes\t{TASK_ID}\t3 follows 1\n"
    assert result.stderr.splitlines() == [
        "streaming: mended: tallies_right: starting was 1, and is 0",
        "streaming: 1 violations (1 live, 2 ended); there is more: --limit looks at more tasks",
    ]
    assert server.asked[0].target == "/audit?limit=7&repair=true"


@pytest.mark.parametrize("words", [("--json",), ("-o", "json")])
def test_a_document_for_programs(words: tuple[str, ...], streaming: Streaming, script: Script) -> None:
    document = audited(found=1, violations=[VIOLATION], repaired=[REPAIR])
    result = streaming("audit", *words, url=script(said_json(document)).url)

    assert result.exit_code == 1
    assert json.loads(result.stdout) == document


def test_the_diary_is_a_table(streaming: Streaming, real_url: str) -> None:
    assert streaming("run", "countdown", "count=0", url=real_url).exit_code == 0
    result = streaming("audit", "--diary", url=real_url)

    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {len(row) for row in rows} == {4}
    assert any(row[1] == "start" and "type=countdown" in row[3] for row in rows)


def test_the_diary_is_a_document(streaming: Streaming, real_url: str) -> None:
    assert set(json.loads(streaming("audit", "--diary", "--json", url=real_url).stdout)) >= {"now", "facts"}


@pytest.mark.parametrize("words", [("--repair",), ("--limit", "3")])
def test_a_diary_looks_at_nothing(words: tuple[str, ...], streaming: Streaming) -> None:
    result = streaming("audit", "--diary", *words)

    assert result.exit_code == 2
    assert "nothing to repair" in result.stderr


def test_what_is_no_audit_is_said(streaming: Streaming, script: Script) -> None:
    result = streaming("audit", url=script(said_json({"checked": 1})).url)

    assert result.exit_code == 5
    assert "An audit was expected" in result.stderr
