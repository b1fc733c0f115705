"""``streaming prune``: what it removes, what it leaves, and when it refuses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from streaming.cli import pruning
from streaming.config import Settings
from streaming.engine.journal import Commit, RecordQuery
from streaming.events import Event, rfc3339
from streaming.records import Policy, Record, TaskStatus
from streaming.store import open_database, open_store

Streaming = Callable[..., Result]
DAY_S = 86_400


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with tasks that ended one, two ... six days ago, one that waits for its acknowledgement, one alive."""
    made = f"sqlite:///{tmp_path / 'tasks.db'}"
    asyncio.run(_fill(made))
    return made


async def _fill(url: str) -> None:
    store = open_store(Settings(store_url=url))
    await store.open()
    for days in range(1, 9):
        at = rfc3339(time.time() - days * DAY_S)
        policy, kind = Policy(keep_until_ack=days == 7), "work" if days % 2 else "other"
        made = Record(f"{days:032x}", kind, TaskStatus.RUNNING, {}, 60.0, at, at, policy=policy)
        log = [Event(made.id, seq, "tick", at, "{}") for seq in range(1, 5)]
        await store.commit(Commit(log, created=[made]))
        if days < 8:
            over = Record(made.id, kind, TaskStatus.COMPLETED, {}, 60.0, at, at, policy=policy, finished_at=at)
            await store.commit(Commit([Event(made.id, 5, "completed", at, "{}")], updated=[over]))
    await store.close()


def left(url: str) -> list[int]:
    async def ask() -> list[int]:
        store = open_store(Settings(store_url=url))
        await store.open()
        try:
            return sorted(int(each.id, 16) for each in await store.records(RecordQuery()))
        finally:
            await store.close()

    return asyncio.run(ask())


def test_what_is_older_goes_and_the_rest_stays(streaming: Streaming, url: str) -> None:
    result = streaming("prune", "--older-than", "84h", "--store", url)

    assert (result.exit_code, result.stdout) == (0, "Removed 3 tasks, and 0 events of others.\n")
    assert left(url) == [1, 2, 3, 7, 8]


def test_a_rehearsal_removes_nothing(streaming: Streaming, url: str) -> None:
    result = streaming("prune", "--older-than", "84h", "--store", url, "--dry-run", "-o", "json")

    assert json.loads(result.stdout) == {"records": 3, "events": 0, "dry_run": True}
    assert left(url) == list(range(1, 9))
    assert "Would remove 3" in streaming("prune", "--older-than", "84h", "--store", url, "--dry-run").stdout


def test_only_tasks_of_a_type(streaming: Streaming, url: str) -> None:
    result = streaming("prune", "--older-than", "1h", "--type", "other", "--store", url)

    assert result.stdout == "Removed 3 tasks, and 0 events of others.\n"
    assert left(url) == [1, 3, 5, 7, 8]
    assert streaming("prune", "--type", "unknown", "--store", url).stdout.startswith("Removed 0 tasks")


def test_without_an_age_the_setting_says_what_is_kept(
    streaming: Streaming, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", url)
    monkeypatch.setenv("STREAMING_RETENTION", '{"work": {"records": {"count": 1}}, "other": {"events": {"count": 2}}}')

    dry = streaming("prune", "--dry-run").stdout
    assert streaming("prune").stdout == "Removed 2 tasks, and 11 events of others.\n"
    assert dry == "Would remove 2 tasks, and 11 events of others.\n"
    assert left(url) == [1, 2, 4, 6, 7, 8]


def test_beside_a_server_it_refuses_and_says_who_it_is(streaming: Streaming, url: str) -> None:
    database = open_database(Settings(store_url=url))
    database.open()
    try:
        result = streaming("prune", "--store", url)
        assert result.exit_code == 5
        assert "in use by process" in result.stderr
    finally:
        database.close()
    assert left(url) == list(range(1, 9))


def test_a_database_that_is_not_there_is_not_made(streaming: Streaming, tmp_path: Path) -> None:
    path = tmp_path / "mistyped.db"
    result = streaming("prune", "--store", f"sqlite:///{path}")

    assert result.exit_code == 5
    assert "There is no database" in result.stderr
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--older-than", "soon"], 2, "like 15m, 24h or 7d"),
        (["--older-than", "999999999d"], 2, "must be a number over 0"),
        (["--store", "memory://"], 5, "is no database"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    streaming: Streaming, url: str, words: list[str], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", url)
    result = streaming("prune", *words)

    assert result.exit_code == status
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_wrong_setting_is_named(streaming: Streaming, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_RETENTION", '{"*": {"records": {"age": 1}}}')
    result = streaming("prune", "--store", url)

    assert result.exit_code == 2
    assert "STREAMING_RETENTION: *.records.age: unknown" in result.stderr


def test_somebody_who_looks_sees_a_bar(streaming: Streaming, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "bars_wanted", lambda: True)
    result = streaming("prune", "--older-than", "84h", "--store", url)

    assert "removing" in result.stderr
    assert "100%" in result.stderr
