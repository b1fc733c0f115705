"""What the server says about itself."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.rules.breaker import Circuit
from streaming.web.status import _store_json, health
from tests.kit import TestedStore
from tests.web.live import live
from tests.web.test_routes import check_problem


@task(run_in="loop", timeout_s=5, on_interrupt="restart", attempts_max=2)
async def greet(ctx: TaskContext, name: str, times: int = 1) -> None:
    """Say hello.

    More words that are not shown.
    """


async def test_types_show_how_to_start_each_of_them() -> None:
    async with live([greet]) as here:
        types = {each["name"]: each for each in (await here.http.get("/types")).json()["types"]}
        assert list(types) == ["count", "greet", "puppet", "sleeper"]
        shown = types["greet"]
        schema = shown.pop("params_schema")
        assert shown == {
            "name": "greet",
            "description": "Say hello.",
            "run_in": "loop",
            "timeout_s": 5,
            "on_interrupt": "restart",
            "attempts_max": 2,
            "max_running": None,
            "retry": {"retries": 0, "backoff_s": 1.0, "backoff_max_s": 300.0, "on": []},
            "queue_timeout_s": None,
            "heartbeat_timeout_s": None,
            "total_timeout_s": None,
        }
        assert schema["required"] == ["name"]
        assert schema["properties"]["times"] == {"default": 1, "title": "Times", "type": "integer"}
        assert schema["additionalProperties"] is False
        assert types["count"]["timeout_s"] == 3600


async def test_no_type_promises_more_time_than_the_server_gives() -> None:
    async with live([greet], timeout_max_s=2) as here:
        types = (await here.http.get("/types")).json()["types"]
        assert {each["timeout_s"] for each in types} == {2}


async def test_a_healthy_server_says_what_it_is() -> None:
    async with live() as here:
        answer = await here.http.get("/healthz")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "status": "ok",
            "version": version("streaming"),
            "store": {"kind": "memory", "durable": False, "survives": "nothing"},
        }


def test_a_file_says_what_it_survives() -> None:
    def store(**settings: str) -> dict[str, object]:
        return _store_json(Settings.model_validate({"store_url": "sqlite:///x.db", **settings}))

    assert store() == {
        "kind": "sqlite",
        "durable": True,
        "survives": "a crash of the process",
        "synchronous": "normal",
    }
    assert store(sqlite_synchronous="full")["survives"] == "a power cut"


async def test_a_ready_server_says_so_until_it_drains() -> None:
    async with live() as here:
        ready = await here.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "warnings": []})
        await here.coordinator.shutdown(0.01)
        check_problem(await here.http.get("/readyz"), 503, "draining")
        assert (await here.http.get("/healthz")).status_code == 200


async def test_a_server_without_its_store_is_alive_and_not_ready() -> None:
    store = TestedStore(Settings())
    async with live(journal=store) as here:
        store.away = True
        await here.http.post("/tasks", json={"type": "sleeper"})
        check_problem(await here.http.get("/readyz"), 503, "store_unavailable")
        assert (await here.http.get("/healthz")).status_code == 200
        store.away = False
        await here.until(lambda: here.coordinator.ready)
        assert (await here.http.get("/readyz")).status_code == 200


def test_a_database_says_what_it_is_and_whether_it_is_left_alone_but_not_where() -> None:
    settings = Settings(store_url="postgresql+psycopg://me:secret@there/tasks")
    known = {"kind": "postgresql", "durable": True, "survives": "a crash of the process"}
    assert json.loads(health(settings, None).body)["store"] == known
    assert json.loads(health(settings, Circuit.HALF_OPEN).body)["store"] == {**known, "breaker": "half_open"}


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"insecure_public": True}, 1),
        ({}, 0),
        ({"insecure_public": True, "api_keys": "a-key-of-enough-letters:anna"}, 0),
    ],
)
async def test_a_server_that_is_open_to_everybody_says_so(settings: dict[str, Any], warned: int) -> None:
    async with live(**settings) as here:
        warnings = (await here.http.get("/readyz")).json()["warnings"]

    assert len(warnings) == warned
    assert all("insecure_public" in warning for warning in warnings)


async def test_where_credentials_are_wanted_nobody_is_told_what_runs_here() -> None:
    async with live(api_keys="a-key-of-enough-letters:anna") as here:
        assert (await here.http.get("/healthz")).json() == {"status": "ok"}
