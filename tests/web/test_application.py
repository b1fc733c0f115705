"""The outermost layer: nothing internal leaves, nobody from outside gets in, and the server can end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
import structlog

from streaming.engine.journal import RecordQuery
from streaming.errors import HandlerError, IllegalTransition, StoreUnavailable
from streaming.web.application import Application
from streaming.web.request import Receive, Scope, Send
from tests.web.live import Live, live, read_chunk, read_head
from tests.web.test_routes import check_problem


class Wedge(Exception):
    """An error of nobody's."""


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        Wedge("secret"),
        RuntimeError("secret"),
        RecursionError("secret"),
        OSError(5, "secret"),
        KeyError("secret"),
        TimeoutError("secret"),
        IllegalTransition("secret"),
        HandlerError("not_found", "secret"),
        ExceptionGroup("secret", [Wedge("secret")]),
        UnicodeDecodeError("utf-8", b"secret", 0, 1, "secret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_text_of_an_exception_leaves_and_the_log_has_the_request(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with live() as here:
        task_id = await here.counted()
        failing(here, error, monkeypatch)
        with structlog.testing.capture_logs() as lines:
            get = await here.http.get(f"/tasks/{task_id}")
            head = await here.http.head(f"/tasks/{task_id}")
        detail = check_problem(get, 500, "internal")["detail"]
        assert head.status_code == 500
        for answer in (get, head):
            assert "secret" not in answer.text + str(answer.headers)
        failed = [line for line in lines if line["event"] == "a request failed"]
        assert len(failed) == 2
        assert detail.endswith(f"request {failed[0]['request_id']}.")
        assert (failed[0]["path"], failed[0]["exc_info"]) == (f"/tasks/{task_id}", True)
        monkeypatch.undo()
        assert (await here.http.get(f"/tasks/{task_id}")).status_code == 200
    assert caplog.records == []  # nor does asgineer or uvicorn see it


def failing(here: Live, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look-up of a task raise."""

    async def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(here.coordinator, "get", fail)


async def test_the_log_has_the_traceback_and_the_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with live() as here:
        task_id = await here.counted()
        failing(here, Wedge("secret"), monkeypatch)
        await here.http.get(f"/tasks/{task_id}")
    logged = capsys.readouterr().out
    assert "Traceback" in logged
    assert "secret" in logged
    assert f"task_id={task_id}" in logged


async def test_an_error_that_is_told_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:
        task_id = await here.counted()
        failing(here, StoreUnavailable("The disk is full.", retry_after_s=7.2), monkeypatch)
        answer = await here.http.get(f"/tasks/{task_id}")
        assert check_problem(answer, 503, "store_unavailable")["detail"] == "The disk is full."
        assert answer.headers["retry-after"] == "8"


async def test_headers_that_are_no_text_are_no_error() -> None:
    async with live() as here:
        task_id = await here.counted()
        for header in (b"X-Odd: \xff\xfe", b"Accept: \xff", b"Content-Type: \xff", b"Cookie: a\xe9b"):
            answer = await here.exchange(
                b"GET /tasks/%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (task_id.encode(), header)
            )
            assert answer.status == 200


async def test_each_request_is_a_line_at_debug_and_at_no_other_level(capsys: pytest.CaptureFixture[str]) -> None:
    with structlog.testing.capture_logs() as lines:
        async with live() as here:
            await here.http.get("/healthz", params={"token": "secret"})
            await here.http.get("/nothing")
            task_id = await here.counted()
            await here.all_sse(f"/tasks/{task_id}/events")
            ours = [line for line in lines if line["event"] == "request"]
    assert {line["log_level"] for line in ours} == {"debug"}
    assert [(line["method"], line["path"], line["status"]) for line in ours[:2]] == [
        ("GET", "/healthz", 200),
        ("GET", "/nothing", 404),
    ]
    assert (ours[-1]["path"], ours[-1]["status"]) == (f"/tasks/{task_id}/events", 200)
    assert "secret" not in str(lines)


# -- who may come in -------------------------------------------------------------------------------------------------


async def call(here: Live, scope: dict[str, Any], *received: dict[str, Any]) -> list[dict[str, Any]]:
    """Call the application as a server would."""
    messages, sent = list(received), []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await here.app(scope, receive, send)  # type: ignore[arg-type]  # a plain dict is what servers pass
    return sent


def scope(server: Any, path: str = "/healthz", method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "server": server}


@pytest.mark.parametrize("path", ["/healthz", "/tasks", "/nothing", "/events"])
async def test_an_address_that_others_reach_is_refused_before_anything_is_looked_at(path: str) -> None:
    async with live() as here:
        start, body = await call(here, scope(("192.168.1.2", 8000), path))
        assert start["status"] == 403
        assert b'"code":"forbidden"' in body["body"]
        assert b"STREAMING_INSECURE_PUBLIC=true" in body["body"]


@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("::1", 8000), ("/run/x.sock", None)])
async def test_this_machine_is_served(server: Any) -> None:
    async with live() as here:
        assert (await call(here, scope(server)))[0]["status"] == 200


async def test_the_operator_may_open_the_server() -> None:
    async with live(insecure_public=True) as here:
        assert (await call(here, scope(("192.168.1.2", 8000))))[0]["status"] == 200
        assert (await call(here, scope(None)))[0]["status"] == 200


async def test_a_connection_over_another_address_of_this_machine_is_refused() -> None:
    """The socket listens on every address; what counts is the one the client has come by, and no header."""
    came_by = "127.0.0.1"

    def elsewhere(app: Application) -> Any:
        async def over(scope: Scope, receive: Receive, send: Send) -> None:
            assert scope["server"] == ("127.0.0.1", here.port)  # not that of the socket
            await app({**scope, "server": (came_by, here.port)}, receive, send)

        return over

    async with live(host="0.0.0.0", wrap=elsewhere) as here:  # noqa: S104  # that is the test
        asked = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert (await here.exchange(asked)).status == 200
        came_by = "192.168.1.2"
        check_problem(await here.exchange(asked), 403, "forbidden")


# -- what is not HTTP ------------------------------------------------------------------------------------------------


async def test_a_websocket_is_refused_before_it_is_one() -> None:
    async with live() as here:
        sent = await call(here, {"type": "websocket", "path": "/events"}, {"type": "websocket.connect"})
        assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_a_request_for_a_websocket_is_a_request() -> None:
    async with live() as here:
        answer = await here.exchange(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert answer.status == 200


async def test_a_lifespan_belongs_to_somebody_else() -> None:
    async with live() as here:
        assert await call(here, {"type": "lifespan"}, {"type": "lifespan.startup"}) == []


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_an_idle_server_ends_at_once() -> None:
    async with live() as here:
        await here.counted()
        await here.until(lambda: not here.app._requests)
        async with asyncio.timeout(0.5):
            assert await here.app.end(600) == 0


async def test_the_end_waits_for_answers_that_are_on_their_way() -> None:
    async with live() as here:
        task_id = await here.start()
        waiting = asyncio.create_task(here.http.get(f"/tasks/{task_id}", params={"wait_s": 60}))
        await here.until(lambda: here.readers == 1)
        ending = asyncio.create_task(here.app.end(600))
        await asyncio.sleep(0)
        here.puppet.finish(task_id)
        async with asyncio.timeout(10):
            assert await ending == 0
        assert (await waiting).json()["status"] == "completed"


async def test_the_end_does_not_wait_for_an_upload_that_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with live(body_timeout_s=600) as here, here.raw() as (reader, writer):
        writer.write(
            b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        await here.until(lambda: bool(here.app._requests))
        assert await here.app.end(0.02) == 1
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await here.until(lambda: not here.app._requests)
    assert caplog.records == []


@pytest.mark.usefixtures("path")
async def test_a_stream_is_no_request_any_more_and_the_end_waits_for_it() -> None:
    async with live() as here, here.raw() as (reader, writer):
        task_id = await here.start()
        writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await read_chunk_behind_a_head(reader)
        assert (len(here.app._requests), here.app.heartbeat.open) == (0, 1)
        ending = asyncio.create_task(here.app.end(600))
        await here.until(lambda: here.app._all_over._waiter is not None)
        assert not ending.done()
        here.puppet.finish(task_id)
        async with asyncio.timeout(10):
            assert await ending == 0
        while await read_chunk(reader):
            pass


@pytest.mark.usefixtures("path")
async def test_the_end_counts_each_stream_and_each_request_that_it_cuts_off() -> None:
    head = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    async with live(body_timeout_s=600) as here, here.raw() as (reader, writer), here.raw() as (_, uploading):
        task_id = await here.start()
        writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await read_chunk_behind_a_head(reader)
        uploading.write(head)
        await here.until(lambda: bool(here.app._requests))
        assert await here.app.end(0.02) == 2
        await here.quiet()
        await here.until(lambda: not here.app._requests)


async def read_chunk_behind_a_head(reader: asyncio.StreamReader) -> bytes:
    """What a stream says first."""
    assert (await read_head(reader)).status == 200
    return await read_chunk(reader)


async def test_a_page_of_somebody_else_starts_nothing_under_any_name() -> None:
    async with live() as here:
        body = b'{"type":"countdown"}'
        head = f"POST /tasks HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: {len(body)}\r\n".encode()
        answer = await here.exchange(
            head + b"Content-Type: application/json\r\nOrigin: http://elsewhere.example\r\n\r\n" + body
        )

        check_problem(answer, 403, "forbidden")
        assert list(await here.coordinator.list(RecordQuery())) == []
