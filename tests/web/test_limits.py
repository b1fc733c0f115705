"""Each limit of a request is counted once where it is hit, told to those who guard the server, and not before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.web.live import live

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
        assert [line["limit"] for line in lines if line["event"] == "limit_hit"] in ([counted], [])
