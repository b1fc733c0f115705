"""Every answer says what a browser may do with it, whoever makes it: a route, a stream, the protocol, a start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from streaming.config import Settings
from streaming.server import Server
from streaming.web.assets import POLICY
from streaming.web.headers import SECURITY
from streaming.web.routes import OF_TASK, PLACES
from streaming.web.waiting import Waiting
from tests.web.ambiguous import HEADS
from tests.web.live import live, read_head

EXPECTED = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


#: What a browser shows as a page has a policy of its own, and may be kept.
OF_A_FILE = {**EXPECTED, "cache-control": "no-cache", "content-security-policy": POLICY}


def check(headers: Any, expected: Mapping[str, str] = EXPECTED) -> None:
    """Assert that an answer has them all, once, and does not tell what it comes from."""
    found = {name: headers.get(name, "").lower() for name in expected}  # as our own reader has them
    assert found == {name: value.lower() for name, value in expected.items()}
    assert "server" not in headers
    assert "x-powered-by" not in headers


def test_the_list_is_the_one_that_is_promised() -> None:
    assert dict(SECURITY) == EXPECTED


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"])
async def test_every_route_and_every_method_answers_with_them(method: str) -> None:
    """Also where there is nothing, no body, a wrong body, or a query that is none."""
    async with live() as here:
        task_id = await here.counted()
        paths = ["/" + "/".join(place) for place in PLACES]
        paths += [
            f"/tasks/{task_id}",
            f"/tasks/{'f' * 32}",
            "/nothing",
            *(f"/tasks/{task_id}/{part}" for part in OF_TASK),
        ]
        statuses = set()
        for path in paths:
            for more in ("", "?nothing=1"):
                async with here.http.stream(method, path + more, headers={"accept": "*/*"}) as answer:
                    statuses.add(answer.status_code)
                    is_file = answer.is_success and answer.headers.get("content-type", "").startswith("text/html")
                    check(answer.headers, OF_A_FILE if is_file else EXPECTED)
        assert len(statuses) > 1


REFUSED = {
    400: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
    403: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n",
    404: b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    405: b"PUT /tasks HTTP/1.1\r\nHost: localhost\r\n\r\n",
    406: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n",
    408: b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    413: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    414: b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    415: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\n{",
    422: b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    426: b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n",
    429: b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    431: HEADS["no Host"].replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
}


@pytest.mark.parametrize("status", REFUSED)
async def test_every_refusal_has_them(status: int) -> None:
    async with live(header_timeout_s=0.2, max_streams=1) as here, here.raw() as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await read_head(reader)).status == 200
        answer = await here.exchange(REFUSED[status])

        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        check(answer.headers)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("asked", ["GET /events", "GET /tasks/{}/events", "POST /tasks"])
async def test_every_stream_has_them(asked: str, accept: str, path: str) -> None:
    async with live() as here:
        body = b'{"type": "sleeper"}' if asked.startswith("POST") else b""
        lines = f"{asked.format(await here.start())} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n"
        lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        async with here.raw() as (reader, writer):
            writer.write(lines.encode() + body)
            head = await read_head(reader)
        if head.status == 406:
            assert "ndjson" in accept
            assert "GET /tasks" not in asked
        else:
            assert head.headers["content-type"].startswith(accept)
            assert head.headers["x-accel-buffering"] == "no"
        check(head.headers)


async def test_a_failure_of_ours_has_them_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:

        async def fails(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("secret words")

        monkeypatch.setattr(here.coordinator, "get", fails)
        answer = await here.http.get(f"/tasks/{'f' * 32}")

        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text
        check(answer.headers)


@pytest.mark.parametrize("server", [Waiting(Settings(store_url="memory://")), Server()], ids=["waiting", "not started"])
async def test_a_server_that_is_not_there_yet_has_them(server: Any) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads a body here")

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/tasks",
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 8000),
    }
    await server(scope, receive, send)

    assert sent[0]["status"] == 503
    check({name.decode(): value.decode() for name, value in sent[0]["headers"]})
