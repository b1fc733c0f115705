"""The contract with the installed uvicorn: behind its ``send`` is the connection."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
import uvloop
from structlog.testing import capture_logs

from streaming.web.transport import abort, when_lost
from tests.web.live import live


async def never_ends(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
    assert abort(send)
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def cut_connection(http: Any) -> None:
    """Serve one request with this protocol and see its connection cut."""
    config = uvicorn.Config(never_ends, port=0, http=http, ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            while piece := await reader.read(1000):
                data += piece
    assert not data.endswith(b"0\r\n\r\n")
    async with asyncio.timeout(5):
        while server.server_state.tasks:  # noqa: ASYNC110  # uvicorn does not tell
            await asyncio.sleep(0.001)
    assert not server.server_state.connections
    writer.close()
    await server.shutdown()


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_of_uvicorn_is_found_and_cut(
    http: str, loop_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(cut_connection(http))
    assert [record.levelname for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize(
    "send", [None, print, [].append, SimpleNamespace(__self__=SimpleNamespace(transport=SimpleNamespace(abort=1)))]
)
def test_any_other_send_is_left_alone(send: Any) -> None:
    assert abort(send) is False


@pytest.mark.parametrize("send", [None, print, [].append, SimpleNamespace(__self__=SimpleNamespace(transport=None))])
def test_under_another_server_nobody_is_told_of_a_lost_connection(send: Any) -> None:
    when_lost(send, lambda: pytest.fail("nobody knows"))


async def test_whoever_waits_is_told_once_that_a_connection_is_lost() -> None:
    """Though nobody has read the body."""
    told: list[None] = []
    waits, over = asyncio.Event(), asyncio.Event()

    def heard() -> None:
        told.append(None)
        over.set()

    def waiting(_: Any) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            when_lost(send, heard)
            waits.set()
            await over.wait()

        return app

    async with live(wrap=waiting) as here:
        async with here.raw() as (_, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody")
            await waits.wait()
            assert not told
        await over.wait()
        await here.until(lambda: not here.server.server_state.connections)
    assert len(told) == 1


async def test_a_request_that_is_cut_off_is_no_mistake_of_ours() -> None:
    """The server is told one step of the loop later, and would miss an answer meanwhile."""

    def cutting(_: Any) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert abort(send)

        return app

    async with live(wrap=cutting) as here:
        with capture_logs() as lines:
            async with here.raw() as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        assert [line for line in lines if line["log_level"] == "error"] == []
