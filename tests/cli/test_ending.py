"""One task or many are ended on the command line; nobody ends many without having said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from streaming.cli import ending
from streaming.records import CancelOutcome, CancelReceipt
from tests.scripted_server import TASK_ID, TIME, Answer, ScriptedServer, record, refused, said, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]


def bulk(matched: int, done: int, *codes: str, more: bool = False) -> Answer:
    refusals = [{"id": f"{number:032x}", "code": code, "detail": "No."} for number, code in enumerate(codes)]
    return said_json({"matched": matched, "cancelled": done, "deleted": done, "refused": refusals, "more": more})


class Person:
    """Somebody at a terminal."""

    class stdin:
        @staticmethod
        def isatty() -> bool:
            return True


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Sit somebody down who answers all questions like this, and remember the questions."""

    def sit(answer: bool) -> list[str]:
        asked: list[str] = []

        def confirm(text: str, **how: Any) -> bool:
            asked.append(text)
            return answer

        monkeypatch.setattr(ending, "sys", Person())
        monkeypatch.setattr("typer.confirm", confirm)
        return asked

    return sit


# -- one -------------------------------------------------------------------------------------------------------------


def test_cancel_prints_the_receipt(streaming: Streaming, script: Script) -> None:
    receipt = CancelReceipt(TIME, "me", "wrong file", TIME, TIME, CancelOutcome.IGNORED, "x.py:5")
    server = script(said_json(record(cancel=receipt).as_json(), 202))
    text = streaming("cancel", TASK_ID, "--reason", "wrong file", "--wait-s", "5", url=server.url)
    document = streaming("cancel", TASK_ID, "-o", "json")

    assert text.exit_code == 0
    assert server.asked[0].json == {"reason": "wrong file"}
    assert "outcome       ignored\nwhere         x.py:5\n" in text.stdout
    assert json.loads(document.stdout)["cancel"]["outcome"] == "ignored"


def test_delete_takes_one_task_without_a_question(streaming: Streaming, script: Script) -> None:
    server = script(said(204))
    result = streaming("delete", TASK_ID, url=server.url)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"streaming: task {TASK_ID} is deleted\n")
    assert (server.asked[0].method, server.asked[0].target) == ("DELETE", f"/tasks/{TASK_ID}")


def test_a_task_that_goes_on_is_not_deleted(streaming: Streaming, script: Script) -> None:
    server = script(refused(409, "task_active"), said_json(record().as_json()))
    assert streaming("delete", TASK_ID, url=server.url).exit_code == 4


@pytest.mark.parametrize("command", ["cancel", "delete"])
@pytest.mark.parametrize("words", [[], [TASK_ID, "--tag", "a"], ["--yes"], ["--dry-run"]])
def test_it_is_one_task_or_filters(command: str, words: list[str], streaming: Streaming, script: Script) -> None:
    server = script(bulk(1, 1))
    result = streaming(command, *words, url=server.url)

    assert (result.exit_code, server.asked) == (2, [])
    assert "not both" in result.stderr


def test_only_one_task_is_waited_for(streaming: Streaming, script: Script) -> None:
    server = script(bulk(1, 1))
    assert streaming("cancel", "--tag", "a", "--wait-s", "5", "--yes", url=server.url).exit_code == 2
    assert server.asked == []


# -- many ------------------------------------------------------------------------------------------------------------


def test_many_are_cancelled_once_somebody_has_said_yes(
    streaming: Streaming, script: Script, person: Callable[[bool], list[str]]
) -> None:
    asked = person(True)
    server = script(bulk(2, 0), bulk(2, 2))
    result = streaming("cancel", "--tag", "a", "--reason", "enough", "-f", "progress[lt]=5", url=server.url)

    assert result.exit_code == 0
    assert asked == ["2 tasks to cancel. Go on?"]
    assert [(each.method, each.target) for each in server.asked] == [
        ("POST", "/tasks/cancel?tag=a&progress%5Blt%5D=5&dry_run=true"),
        ("POST", "/tasks/cancel?tag=a&progress%5Blt%5D=5"),
    ]
    assert server.asked[1].json == {"reason": "enough"}
    assert result.stdout == "matched    2\ncancelled  2\nrefused    0\nmore       false\n"


def test_nothing_is_done_once_somebody_has_said_no(
    streaming: Streaming, script: Script, person: Callable[[bool], list[str]]
) -> None:
    asked = person(False)
    server = script(bulk(1, 0, more=True))
    result = streaming("delete", "--preset", "failed", url=server.url)

    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "streaming: nothing was done\n")
    assert asked == ["At least 1 task to delete. Go on?"]
    assert [each.target for each in server.asked] == ["/tasks?preset=failed&dry_run=true"]


def test_where_nobody_can_be_asked_yes_must_be_said(streaming: Streaming, script: Script) -> None:
    server = script(bulk(3, 0), bulk(3, 3))
    refused = streaming("delete", "--tag", "a", url=server.url)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert len(server.asked) == 1

    done = streaming("delete", "--tag", "a", "--yes", "-o", "json", url=server.url)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"matched": 3, "deleted": 3, "refused": [], "more": False}
    assert server.asked[1].target == "/tasks?tag=a"


def test_nothing_to_do_needs_no_question(streaming: Streaming, script: Script) -> None:
    result = streaming("cancel", "--tag", "a", url=script(bulk(0, 0)).url)

    assert result.exit_code == 0
    assert result.stdout.startswith("matched    0\n")


def test_a_dry_run_only_tells(streaming: Streaming, script: Script) -> None:
    server = script(bulk(7, 0))
    result = streaming("cancel", "--tag", "a", "--dry-run", "--yes", url=server.url)

    assert result.exit_code == 0
    assert "matched    7\n" in result.stdout
    assert [each.target for each in server.asked] == ["/tasks/cancel?tag=a&dry_run=true"]


def test_it_goes_on_as_long_as_there_are_more(streaming: Streaming, script: Script) -> None:
    server = script(bulk(3, 2, "not_found", more=True), bulk(3, 3, more=True), bulk(1, 1))
    result = streaming("delete", "--tag", "a", "--yes", "-o", "json", url=server.url)

    report = json.loads(result.stdout)
    assert (report["matched"], report["deleted"], len(report["refused"]), report["more"]) == (7, 6, 1, False)
    assert result.exit_code == 4
    assert f"streaming: {0:032x} not_found: No.\n" in result.stderr


@pytest.mark.parametrize(
    ("answer", "status"),
    [(bulk(3, 1, "store_unavailable", more=True), 5), (bulk(2, 0, "task_terminal", "not_found", more=True), 4)],
)
def test_it_stops_where_going_on_does_not_help(
    answer: Answer, status: int, streaming: Streaming, script: Script
) -> None:
    server = script(answer)
    result = streaming("cancel", "--tag", "a", "--yes", url=server.url)

    assert result.exit_code == status
    assert len(server.asked) == 1
    assert "more       true\n" in result.stdout


def test_a_store_that_is_away_is_unavailable(streaming: Streaming, script: Script) -> None:
    server = script(refused(503, "store_unavailable", retry_after="60"))
    assert streaming("cancel", "--tag", "a", "--yes", url=server.url).exit_code == 5


def test_a_real_server_ends_many(streaming: Streaming, real_url: str) -> None:
    import asyncio

    from streaming.client import Client

    async def start() -> None:
        async with Client(real_url) as client:
            for _ in range(3):
                await client.start("countdown", {"count": 600, "interval": 60}, tags=["bulk"])

    asyncio.run(start())
    assert streaming("count", "--tag", "bulk", url=real_url).stdout == "3\n"
    cancelled = streaming("cancel", "--tag", "bulk", "--yes", "-o", "json")
    assert json.loads(cancelled.stdout) == {"matched": 3, "cancelled": 3, "refused": [], "more": False}
    shown = streaming(
        "list", "--tag", "bulk", "--filter", "created_at[gte]=2026-01-01", "--sort", "created_at", "-o", "ndjson"
    )
    ids = [json.loads(line)["id"] for line in shown.stdout.splitlines()]
    assert len(ids) == 3
    for task_id in ids:
        assert streaming("watch", task_id).exit_code == 1
    assert "cancelled" in streaming("show", ids[0]).stdout
    deleted = streaming("delete", "--tag", "bulk", "--yes", "-o", "json")
    assert json.loads(deleted.stdout) == {"matched": 3, "deleted": 3, "refused": [], "more": False}
    assert streaming("show", ids[0]).exit_code == 3
    assert streaming("list", "--filter", "colour=red").exit_code == 2
