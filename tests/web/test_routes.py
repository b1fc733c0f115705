"""Each path knows its methods; whatever else is asked for is a 4xx of one shape, never a 500."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.ambiguous import OTHER_WAYS_TO_AUDIT
from tests.web.live import RawAnswer, live

ID = "0" * 31 + "1"
ABSENT = "f" * 32

ROUTES = {
    "/tasks": {"GET", "POST", "DELETE", "HEAD", "OPTIONS"},
    "/tasks/count": {"GET", "HEAD", "OPTIONS"},
    "/tasks/cancel": {"POST", "OPTIONS"},
    f"/tasks/{ID}": {"GET", "DELETE", "PATCH", "HEAD", "OPTIONS"},
    f"/tasks/{ID}/cancel": {"POST", "OPTIONS"},
    f"/tasks/{ID}/retry": {"POST", "OPTIONS"},
    f"/tasks/{ID}/extend": {"POST", "OPTIONS"},
    f"/tasks/{ID}/input": {"POST", "OPTIONS"},
    f"/tasks/{ID}/ack": {"POST", "OPTIONS"},
    f"/tasks/{ID}/history": {"GET", "HEAD", "OPTIONS"},
    f"/tasks/{ID}/events": {"GET", "POST", "HEAD", "OPTIONS"},
    "/events": {"GET", "HEAD", "OPTIONS"},
    "/types": {"GET", "HEAD", "OPTIONS"},
    "/healthz": {"GET", "HEAD", "OPTIONS"},
    "/readyz": {"GET", "HEAD", "OPTIONS"},
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def check_problem(answer: Any, status: int, code: str, *more: str) -> dict[str, Any]:
    """Assert that an answer is a problem of the one shape, and has no more members than those."""
    found = answer.status if isinstance(answer, RawAnswer) else answer.status_code
    assert found == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert list(body) == ["type", "title", "status", "code", "detail", "errors", *more]
    assert (body["type"], body["status"], body["code"]) == ("about:blank", status, code)
    assert body["detail"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    return body


async def test_each_path_answers_its_methods_and_names_them_for_all_others() -> None:
    async with live() as here:
        assert await here.counted() == ID
        for path, known in ROUTES.items():
            for method in METHODS:
                if method in known:
                    continue
                answer = await here.http.request(method, path)
                if method == "HEAD":
                    assert (answer.status_code, answer.content) == (405, b"")
                else:
                    check_problem(answer, 405, "method_not_allowed")
                assert set(answer.headers["allow"].split(", ")) == known
            options = await here.http.options(path)
            assert (options.status_code, options.content) == (204, b"")
            assert set(options.headers["allow"].split(", ")) == known


@pytest.mark.parametrize("path", ["/tasks", f"/tasks/{ID}", "/types", "/healthz", "/readyz", "/nothing"])
async def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    async with live() as here:
        await here.counted()
        get = await here.http.get(path)
        head = await here.http.head(path)

        assert head.status_code == get.status_code
        assert head.content == b""
        ignored = {"date"}
        assert {k: v for k, v in head.headers.items() if k not in ignored} == {
            k: v for k, v in get.headers.items() if k not in ignored
        }
        assert int(get.headers["content-length"]) == len(get.content)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/events", "text/event-stream"),
        (f"/tasks/{ID}/events", "text/event-stream"),
        (f"/tasks/{ID}/events", "application/x-ndjson"),
    ],
)
async def test_head_on_a_stream_has_its_headers_and_runs_nothing(path: str, accept: str) -> None:
    async with live() as here:
        assert await here.start("sleeper") == ID
        async with here.raw() as (reader, writer):
            ask = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
            for _ in range(2):  # the connection is free again at once
                writer.write(ask)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert f"content-type: {accept}".encode() in head
                assert b"content-length" not in head
        await here.quiet()


async def test_head_on_a_stream_that_has_nothing_more_is_204_as_get_is() -> None:
    async with live() as here:
        await here.counted()
        headers = {"Last-Event-ID": "6"}
        assert (await here.http.head(f"/tasks/{ID}/events", headers=headers)).status_code == 204
        assert (await here.http.head(f"/tasks/{ABSENT}/events")).status_code == 404


NO_PATHS = [
    "/page",
    "/page/",
    "/page/nothing.js",
    "//",
    "/nothing",
    "/tasks/",
    "//tasks",
    "/tasks//",
    f"/tasks/{ID}/",
    f"/tasks/{ID}/nothing",
    f"/tasks/{ID}/events/",
    f"/tasks/{ID}/events/1",
    f"/tasks//{ID}",
    f"/tasks/{ID}//events",
    "/tasks/.",
    "/tasks/..",
    "/tasks/../healthz",
    "/./healthz",
    "/healthz%00",
    "/healthz/",
    "/tasks/%00",
    f"/tasks/{ID}%00",
    f"/tasks/{ID}%0a",
    f"/tasks/{ID[:-1]}%2F",
    f"/tasks%2F{ID}",
    f"/tasks/{ID}%2Fevents",
    "/tasks/" + "A" * 32,
    "/tasks/" + "0" * 31,
    "/tasks/" + "0" * 33,
    "/tasks/" + "%D9%A0" * 32,  # arabic zeros
    "/tasks/%ff%fe",
    "/tasks/%zz",
    "/tasks/" + "a" * 8_000,
    "/tasks/" + "%61" * 2_700,
    "/tasks/" + "a/" * 4_000,
    "/tasks/';DROP%20TABLE%20task;--",
    "/metrics/",
]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "OPTIONS"])
async def test_a_path_that_is_none_is_404_and_nothing_is_looked_up(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live() as here:
        await here.counted()

        async def never(*_: Any) -> Any:
            raise AssertionError("looked up")

        monkeypatch.setattr(here.coordinator, "get", never)
        monkeypatch.setattr(here.coordinator, "watch", never)
        for path in NO_PATHS:
            answer = await here.exchange(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            check_problem(answer, 404, "not_found")
            assert len(answer.body) < 1000


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_has_no_second_way_to_be_written(method: str) -> None:
    """A proxy in front of us may have a rule for one path: whatever means the same to others is none to us."""
    async with live() as here:
        assert (await here.http.get("/audit")).status_code == 200
        for path in OTHER_WAYS_TO_AUDIT:
            answer = await here.exchange(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert answer.status == 404, path


async def test_a_target_may_name_its_host() -> None:
    async with live() as here:
        target = b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await here.exchange(target)).status == 200


async def test_escaped_letters_are_not_the_letters() -> None:
    async with live() as here:
        task_id = await here.counted()
        answer = await here.exchange(f"GET /tasks/%30{task_id[1:]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        check_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "?wait_s=5"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/events"),
        ("GET", "/history"),
        ("HEAD", "/events"),
    ],
)
async def test_a_task_that_does_not_exist_is_404(method: str, path: str) -> None:
    async with live() as here:
        answer = await here.http.request(method, f"/tasks/{ABSENT}{path}")
        if method == "HEAD":
            assert answer.status_code == 404
        else:
            assert ABSENT in check_problem(answer, 404, "not_found")["detail"]


@pytest.mark.parametrize(
    ("method", "path", "possible"),
    [
        ("POST", "/tasks", "none"),
        ("GET", f"/tasks/{ID}", "wait_s"),
        ("DELETE", f"/tasks/{ID}", "none"),
        ("GET", f"/tasks/{ID}/history", "none"),
        ("POST", f"/tasks/{ID}/cancel", "wait_s"),
        ("GET", f"/tasks/{ID}/events", "last_event_id, tail, stream_token"),
        ("GET", "/events", "type, task_type, tag, last_event_id, tail"),
    ],
)
async def test_an_unknown_query_parameter_is_told_the_known_ones(method: str, path: str, possible: str) -> None:
    async with live() as here:
        task_id = await here.counted()
        answer = await here.http.request(method, path, params={"staus": "running"})
        detail = check_problem(answer, 400, "bad_filter")["detail"]
        assert f"possible: {possible}." in detail
        assert (await here.http.get(f"/tasks/{task_id}")).status_code == 200


async def test_probes_may_ask_with_any_query() -> None:
    async with live() as here:
        for path in ("/healthz", "/readyz", "/types"):
            assert (await here.http.get(path, params={"probe": "1"})).status_code == 200


async def test_the_application_may_be_mounted_below_a_path() -> None:
    async with live() as here:
        here.server.config.root_path = "/api"
        assert (await here.http.get("/healthz")).status_code == 200
