"""Pages of others may call where the settings name their origin as it is, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.config import Settings
from streaming.web.cors import EXPOSED, HEADERS, METHODS, cors_headers, preflight
from streaming.web.reply import Reply
from streaming.web.request import Request
from streaming.web.routes import OF_TASK, PLACES, TASK
from tests.web.live import live, read_chunk, read_head

GOOD = "https://good.example"
OTHERS = [
    "null",
    "",
    "*",
    "https://good.example.evil.com",
    "https://evil.com/https://good.example",
    "https://evilgood.example",
    "https://sub.good.example",
    "https://good.example.",
    "https://good.example/",
    "https://good.example:443",
    "https://good.example:8443",
    "https://GOOD.example",
    "HTTPS://good.example",
    "http://good.example",
    " https://good.example",
    "https://good.example https://evil.com",
    "https://good.example, https://good.example",
    "https://g\u00f6\u00f6d.example",
    "https://good.example\t",
]


async def unheard(*_: Any) -> Any:
    """Nobody receives or sends anything here."""


def request(method: str = "GET", **headers: str) -> Request:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/tasks", "query_string": b"", "headers": lines}
    return Request(scope, unheard, unheard)


def asking(origin: str, method: str = "POST") -> Request:
    return request("OPTIONS", origin=origin, access_control_request_method=method)


def settings(*origins: str) -> Settings:
    return Settings(cors_origins=list(origins))


def answered(reply: Reply | None) -> Reply:
    assert reply is not None
    return reply


def opened(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


# -- off --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [GOOD, "http://localhost:8000", *OTHERS])
def test_without_the_setting_nothing_is_said_to_anybody(origin: str) -> None:
    assert preflight(Settings(), asking(origin)) is None
    assert cors_headers(Settings(), request(origin=origin)) == {}


# -- on ---------------------------------------------------------------------------------------------------------------


def test_the_question_of_a_page_that_is_named_is_answered() -> None:
    reply = answered(preflight(settings("https://other.example", GOOD), asking(GOOD)))

    assert (reply.status, reply.body) == (204, b"")
    assert {name: reply.headers[name] for name in opened(reply.headers)} == {
        "access-control-allow-origin": GOOD,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": HEADERS,
        "access-control-expose-headers": EXPOSED,
        "access-control-max-age": "600",
    }
    assert "origin" in reply.headers["vary"]
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_every_method_of_every_route_may_be_asked_for() -> None:
    methods = {method for known in (*PLACES.values(), TASK, *OF_TASK.values()) for method in known}

    assert methods <= set(METHODS.split(", "))


@pytest.mark.parametrize(
    "header",
    [*("authorization", "idempotency-key", "last-event-id", "x-api-key", "content-type"), "traceparent", "tracestate"],
)
def test_what_a_client_sends_may_be_sent(header: str) -> None:
    assert header in HEADERS.split(", ")


@pytest.mark.parametrize("origin", OTHERS)
def test_a_page_that_is_not_named_is_told_nothing(origin: str) -> None:
    refused = answered(preflight(settings(GOOD), asking(origin))) if origin else None
    headers = cors_headers(settings(GOOD), request(origin=origin))

    assert refused is None or (refused.status, opened(refused.headers)) == (403, set())
    assert opened(headers) == set()
    assert "origin" in headers["vary"], "a cache may keep this answer from a page that is named"


def test_an_answer_to_a_page_that_is_named_may_be_read_and_tells_of_the_headers() -> None:
    headers = cors_headers(settings(GOOD), request(origin=GOOD))

    assert headers["access-control-allow-origin"] == GOOD
    assert {"location", "retry-after", "ratelimit"} <= set(headers["access-control-expose-headers"].split(", "))


def test_two_origins_are_none() -> None:
    both = request()
    both._headers = [(b"origin", GOOD.encode()), (b"origin", GOOD.encode())]

    assert opened(cors_headers(settings(GOOD), both)) == set()


def test_whoever_is_no_page_is_told_nothing_and_served() -> None:
    assert opened(cors_headers(settings(GOOD), request())) == set()
    assert preflight(settings(GOOD), request("OPTIONS")) is None
    assert preflight(settings(GOOD), request("OPTIONS", origin=GOOD)) is None
    assert preflight(settings(GOOD), request("GET", origin=GOOD, access_control_request_method="GET")) is None


def test_everybody_may_call_where_it_says_so_but_without_what_a_browser_is_known_by() -> None:
    reply = answered(preflight(settings("*"), asking("https://anybody.example")))
    headers = cors_headers(settings("*"), request(origin="https://anybody.example"))

    assert reply.headers["access-control-allow-origin"] == headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in {**reply.headers, **headers}
    assert opened(cors_headers(settings("*"), request(origin="null"))) == set()


# -- through a server -------------------------------------------------------------------------------------------------


async def test_answers_problems_and_streams_may_be_read_by_a_page_that_is_named_and_by_no_other() -> None:
    async with live(cors_origins=[GOOD]) as here:
        task_id = await here.start()
        for path, status in ((f"/tasks/{task_id}", 200), ("/tasks/nothing", 404), ("/nothing", 404)):
            for origin, told in ((GOOD, GOOD), ("https://good.example.evil.com", None), ("null", None)):
                answer = await here.http.get(path, headers={"origin": origin})
                assert answer.status_code == status
                assert answer.headers.get("access-control-allow-origin") == told
                assert "origin" in answer.headers["vary"]
        for origin, told in ((GOOD, GOOD), ("https://evil.com", None)):
            async with here.raw() as (reader, writer):
                writer.write(
                    f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n".encode()
                )
                head = await read_head(reader)
                assert head.headers.get("access-control-allow-origin") == told
                assert "origin" in head.headers["vary"]
                assert await read_chunk(reader)


async def test_a_page_that_is_named_may_start_a_task_and_any_other_may_not() -> None:
    async with live(cors_origins=[GOOD]) as here:
        for origin, status in ((GOOD, 201), ("https://good.example.evil.com", 403), ("null", 403)):
            asked = {"origin": origin, "access-control-request-method": "POST"}
            assert (await here.http.options("/tasks", headers=asked)).status_code == (204 if status == 201 else 403)
            answer = await here.http.post("/tasks", headers={"origin": origin}, json={"type": "sleeper"})
            assert answer.status_code == status
