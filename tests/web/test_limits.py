"""Each limit of a request is counted once where it is hit, told to those who guard the server, and not before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from streaming import task
from streaming.observe import security
from streaming.observe.security import FloodGuard
from tests.web.live import live
from tests.web.test_matrix import bearer, guarded

#: Settings, what is just possible, what is one beyond, the code, and the name that is counted.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, str]] = {
    "bytes of a body": (
        {"body_bytes_max": 1024},
        {"method": "POST", "path": "/tasks", "content": json.dumps({"type": "sleeper"}).ljust(1024)},
        {"method": "POST", "path": "/tasks", "content": json.dumps({"type": "sleeper"}).ljust(1025)},
        "body_too_large",
        "body_too_large",
    ),
    "levels of a body": (
        {"json_depth_max": 3},
        {
            "method": "POST",
            "path": "/tasks",
            "content": '{"type": "count", "params": {"x": []}}',
            "code": "invalid_params",
        },
        {"method": "POST", "path": "/tasks", "content": '{"type": "count", "params": {"x": [[]]}}'},
        "bad_json",
        "json_too_deep",
    ),
    "names of an object": (
        {"json_members_max": 2},
        {
            "method": "POST",
            "path": "/tasks",
            "content": '{"type": "count", "params": {"n": 1, "x": 2}}',
            "code": "invalid_params",
        },
        {"method": "POST", "path": "/tasks", "content": '{"type": "count", "params": {"n": 1, "x": 2, "y": 3}}'},
        "bad_json",
        "json_too_wide",
    ),
    "values of a body": (
        {"json_values_max": 5},
        {
            "method": "POST",
            "path": "/tasks",
            "content": '{"type": "count", "params": {"n": "a,[{\\"],"}, "tags": ["a"]}',
            "code": "invalid_params",
        },
        {"method": "POST", "path": "/tasks", "content": '{"type": "count", "params": {"n": "1,2"}, "tags": ["a", 2]}'},
        "bad_json",
        "json_too_wide",
    ),
    "a page": (
        {"page_max": 5},
        {"path": "/tasks?limit=5"},
        {"path": "/tasks?limit=6"},
        "bad_filter",
        "query_too_large",
    ),
    "a bulk": (
        {"bulk_max": 5},
        {"method": "POST", "path": "/tasks/cancel?tag=x&limit=5"},
        {"method": "POST", "path": "/tasks/cancel?tag=x&limit=6"},
        "bad_filter",
        "query_too_large",
    ),
    "filters": (
        {"filter_terms_max": 2},
        {"path": "/tasks?tag=a&key=b"},
        {"path": "/tasks?tag=a&key=b&type=c"},
        "bad_filter",
        "query_too_large",
    ),
    "values of a filter": (
        {"filter_values_max": 2},
        {"path": "/tasks?type=a,b"},
        {"path": "/tasks?type=a,b,c"},
        "bad_filter",
        "query_too_large",
    ),
    "parameters": (
        {},
        {"path": "/types?" + "&".join(["a=1"] * 64)},
        {"path": "/tasks?" + "&".join(["tag=1"] * 65)},
        "bad_filter",
        "query_too_large",
    ),
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a guard against floods of its own."""
    monkeypatch.setattr(security, "_guard", FloodGuard(security._report, lambda: 0.0))


@pytest.mark.parametrize("name", CASES)
async def test_at_the_limit_nothing_is_counted_and_one_beyond_it_is(name: str) -> None:
    settings, possible, beyond, code, counted = CASES[name]
    async with live(**settings) as here:

        async def ask(method: str = "GET", path: str = "", content: str | None = None, code: str = "") -> Any:
            headers = {"content-type": "application/json"} if content is not None else {}
            return await here.http.request(method, path, content=content, headers=headers)

        answer = await ask(**possible)
        assert answer.status_code < 300 or answer.json()["code"] == possible.get("code"), answer.text
        assert not any(here.app.limits_hit.values())
        with capture_logs() as lines:
            refused = await ask(**beyond)
        assert refused.status_code >= 400
        assert refused.json()["code"] == code
        assert {name: count for name, count in here.app.limits_hit.items() if count} == {counted: 1}
        told = [(line["limit"], line["principal"], line["address"]) for line in lines if line["event"] == "limit_hit"]
        assert told == [(counted, "anonymous", "127.0.0.1")]


@task
async def talkative() -> str:
    """Return more than may be kept."""
    return "x" * 10_000


async def test_a_limit_that_a_task_hits_is_told_with_who_has_started_it() -> None:
    async with live([talkative], event_bytes_max=1000) as here:
        with capture_logs() as lines:
            await here.ended(await here.start("talkative"))
        told = [
            (line["limit"], line["principal"], line.get("address")) for line in lines if line["event"] == "limit_hit"
        ]

    assert told == [("result_too_large", "anonymous", None)]


async def test_a_full_queue_is_told_with_who_has_found_it_full() -> None:
    async with live(max_running=1, max_pending=1) as here:
        await here.start("sleeper")
        await here.start("sleeper")
        with capture_logs() as lines:
            assert (await here.http.post("/tasks", json={"type": "sleeper"})).status_code == 429
        assert [line["limit"] for line in lines if line["event"] == "limit_hit"] == ["too_many_tasks"]


async def test_what_is_forbidden_is_told_with_who_wanted_it() -> None:
    async with guarded() as (here, store, gate):
        anna = store.make("anna", frozenset())
        await gate.refresh()
        with capture_logs() as lines:
            refused = await here.http.get("/tasks", headers=bearer(anna))
        assert refused.status_code == 403
        (told,) = [line for line in lines if line["event"] == "forbidden"]
        assert (told["principal"], told["address"], told["path"]) == ("anna", "127.0.0.1", "/tasks")
        assert told["by"].startswith("key:")
        assert "tasks:read" in told["reason"]
        assert anna not in str(lines)


async def test_a_url_has_a_length_under_a_server_of_somebody_else() -> None:
    """Ours has counted it already; another one hands over whatever has come."""
    async with live(url_bytes_max=100) as here:
        for more, status in ((0, 404), (1, 414)):
            scope = {
                "type": "http", "method": "GET", "path": "/", "raw_path": b"/" + b"x" * (99 + more), "headers": [],
                "query_string": b"", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
            }  # fmt: skip
            sent: list[Any] = []

            async def send(message: Any, into: list[Any] = sent) -> None:
                into.append(message)

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            await here.app(scope, receive, send)
            assert sent[0]["status"] == status
        assert here.app.limits_hit["uri_too_long"] == 1
