"""A database that somebody else has damaged in one place serves all the rest: at the start, in lists and streams."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from streaming.config import Settings
from streaming.store import open_store
from tests.web.live import Live, live
from tests.web.test_routes import check_problem

Serve = Callable[[], AbstractAsyncContextManager[Live]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs one server after the other on the same file."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Live]:
        store = open_store(Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}"))
        async with live(journal=store, grace_s=1.0) as here:
            yield here

    return run


COUNT = {"type": "count", "params": {"n": 3}}


async def counted(here: Live, key: str) -> str:
    """A task that was started with a key, and has ended."""
    answer = await here.http.post("/tasks", json=COUNT, headers={"Idempotency-Key": key})
    return str((await here.ended(answer.json()["id"]))["id"])


def damage(folder: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "tasks.db")) as other, other:
        assert other.execute(statement, values).rowcount > 0


@pytest.mark.parametrize("change", ["status = 'foo'", "status = 'running', params = 'no json'"])
async def test_a_task_that_cannot_be_read_is_alone_with_it(serve: Serve, tmp_path: Path, change: str) -> None:
    async with serve() as here:
        first, second, third = [await counted(here, key) for key in ("1", "2", "3")]
    damage(tmp_path, f"UPDATE tasks SET {change} WHERE id = ?", second)  # noqa: S608  # from above

    with structlog.testing.capture_logs() as lines:
        async with serve() as here:
            assert (await here.http.get("/readyz")).status_code == 200
            page = (await here.http.get("/tasks")).json()
            assert [each["id"] for each in page["tasks"]] == [third, first]
            assert [event.event for event in await here.all_sse(f"/tasks/{third}/events")][-1] == "completed"
            for method, path in [("GET", ""), ("GET", "/events"), ("POST", "/cancel")]:
                answer = await here.http.request(method, f"/tasks/{second}{path}")
                assert second in check_problem(answer, 500, "record_damaged")["detail"]
            for headers in ({"Idempotency-Key": "2"}, {"Idempotency-Key": "2", "Accept": "text/event-stream"}):
                answer = await here.http.post("/tasks", json=COUNT, headers=headers)
                assert second in check_problem(answer, 500, "record_damaged")["detail"]

            assert (await here.http.delete(f"/tasks/{second}")).status_code == 204
            assert (await here.http.get(f"/tasks/{second}")).status_code == 404
    errors = [line for line in lines if line["log_level"] == "error"]
    assert {(line["event"], line["task_id"]) for line in errors} == {("a record cannot be read", second)}


@pytest.mark.parametrize("payload", ["'no json'", "CAST(x'22ff22' AS TEXT)", "'{}' || char(10) || 'event: x'"])
async def test_a_stream_goes_on_over_an_event_that_cannot_be_read(serve: Serve, tmp_path: Path, payload: str) -> None:
    async with serve() as here:
        task_id = await here.counted()
    damage(tmp_path, f"UPDATE events SET payload = {payload} WHERE seq IN (4, 6)")  # noqa: S608  # from above

    async with serve() as here:
        events = await here.all_sse(f"/tasks/{task_id}/events")
        assert [event.event for event in events] == ["pending", "running", "tick", "gap", "tick", "gap"]
        assert events[3].json()["data"] == {"from": 4, "to": 4, "reason": "damaged"}
        again = await here.http.get(f"/tasks/{task_id}/events", headers={"Last-Event-ID": "6"})
        assert again.status_code == 204
        page = await here.http.get(f"/tasks/{task_id}/events", headers={"accept": "application/json"})
        assert [event["type"] for event in page.json()["events"]] == [event.event for event in events]
        async with here.sse("/events") as feed:
            assert [(await anext(feed)).event for _ in range(6)] == [event.event for event in events]
        assert (await here.http.get(f"/tasks/{task_id}")).json()["result"] == 3
