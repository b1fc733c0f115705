"""What the server says about itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.rules.breaker import Circuit
from streaming.web.status import _store_json, health
from tests.kit import TestedStore
from tests.web.live import Live, live
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
        problem = check_problem(await here.http.get("/readyz"), 503, "draining", "drain")
        assert 0 <= problem["drain"].pop("stops_in_s") <= 0.01
        assert problem["drain"] == {"finish": 0, "stop": 0, "unknown": 0, "types": {}, "tasks": []}
        assert (await here.http.get("/healthz")).status_code == 200


@asynccontextmanager
async def draining(here: Live, grace_s: float = 30.0) -> AsyncIterator[None]:
    """A drain that goes on."""
    leaving = asyncio.create_task(here.coordinator.shutdown(grace_s))
    await here.until(lambda: here.coordinator.draining)
    yield
    await here.coordinator.shutdown(0)
    await leaving


async def test_a_server_that_stops_says_what_becomes_of_its_tasks() -> None:
    async with live() as here:
        sleeping = await here.start("sleeper")
        await here.until(lambda: bool(here.coordinator.running()))
        async with draining(here):
            drain = check_problem(await here.http.get("/readyz"), 503, "draining", "drain")["drain"]
        assert 0 < drain.pop("stops_in_s") <= 30
        counts = {"finish": 0, "stop": 0, "unknown": 1}
        assert drain == {
            **counts,
            "types": {"sleeper": counts},
            "tasks": [{"id": sleeping, "type": "sleeper", "outlook": "unknown"}],
        }


#: What a caller shows, and whose tasks it is told of; None: nobody's.
CALLERS = [
    ({}, None),
    ({"authorization": "Bearer wrong"}, None),
    ({"authorization": "Bearer a-key-of-enough-letters", "x-api-key": "a-key-of-enough-letters"}, None),
    ({"x-api-key": "b-key-that-reads-nothing"}, None),
    ({"x-api-key": "a-key-of-enough-letters"}, {"anna"}),
    ({"x-api-key": "c-key-of-enough-letters"}, {"carl"}),
    ({"x-api-key": "r-key-of-enough-letters"}, {"anna", "carl"}),
]
KEYS = (
    "a-key-of-enough-letters:anna,b-key-that-reads-nothing:anna:tasks:write,"
    "c-key-of-enough-letters:carl,r-key-of-enough-letters:root:admin"
)


@pytest.mark.parametrize(("headers", "owners"), CALLERS)
async def test_of_which_tasks_it_is_said_only_to_who_may_see_them(
    headers: dict[str, str], owners: set[str] | None
) -> None:
    async with live(api_keys=KEYS) as here:
        whose = {}
        for name in ("anna", "carl"):
            answer = await here.http.post(
                "/tasks", json={"type": "sleeper"}, headers={"x-api-key": f"{name[0]}-key-of-enough-letters"}
            )
            whose[answer.json()["id"]] = name
        await here.until(lambda: len(here.coordinator.running()) == 2)
        async with draining(here):
            answer = await here.http.get("/readyz", headers=headers)
        drain = check_problem(answer, 503, "draining", "drain")["drain"]
        assert drain["unknown"] == 2
        assert ("tasks" in drain, "types" in drain) == (owners is not None, owners is not None)
        if owners is not None:
            assert {whose[task["id"]] for task in drain["tasks"]} == owners
            assert drain["types"]["sleeper"]["unknown"] == len(owners)


async def test_a_stream_token_opens_no_look_at_the_drain() -> None:
    async with live(api_keys=KEYS) as here:
        key = {"x-api-key": "a-key-of-enough-letters"}
        task_id = (await here.http.post("/tasks", json={"type": "sleeper"}, headers=key)).json()["id"]
        token = (await here.http.post(f"/tasks/{task_id}/stream-token", headers=key)).json()["token"]
        async with draining(here):
            drain = (await here.http.get("/readyz", params={"stream_token": token})).json()["drain"]
        assert "tasks" not in drain


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
