"""What somebody asks for is in no log line, under whichever server: the query of a URL may have a token in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, SOON_S, WAYS, Server, running
from tests.process.test_log_lines import accepts

pytestmark = pytest.mark.process

SECRET = "c2VjcmV0LW9mLXRoZS1jYWxsZXI"  # that is what is looked for

#: uvicorn says all it knows: each request in its access lines, and each scope with all its headers in its traces.
LOUD = ("--access-log", "--log-level", "trace")


async def ask(server: Server, port: int, target: str) -> bytes:
    """One request with a secret wherever one may be; the head of the answer."""
    await server.until(lambda: server.ended or accepts(port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"GET {target}?stream_token={SECRET}&last_event_id={SECRET} HTTP/1.1", "Host: localhost"]
        lines += [f"Authorization: Bearer {SECRET}", f"X-Api-Key: {SECRET}", f"Cookie: a={SECRET}"]
        lines += [f"Last-Event-ID: {SECRET}", f"Referer: http://localhost/?token={SECRET}", "Connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(SOON_S):
            return await reader.read()
    finally:
        writer.close()


TARGETS = ("/tasks", "/events", "/nothing", f"/tasks/{'f' * 32}/events", "/healthz")


@pytest.mark.parametrize(
    ("way", "more"),
    [
        ("uvicorn --loop asyncio", ("--no-server-header", *LOUD)),
        (FORKED, ()),
    ],
)
async def test_no_line_has_the_query_or_a_header_of_a_request(way: str, more: tuple[str, ...], tmp_path: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        command = FORKED if way == FORKED else [*WAYS[way], *more]
        async with running(tmp_path, command, ready=False, port=port, log_level="debug") as server:
            await server.until(lambda: server.ended or '"event": "started"' in "\n".join(server.lines))
            for target in TARGETS:
                answer = await ask(server, port, target)
                assert answer.startswith(b"HTTP/1.1 "), answer
                assert b"\r\nserver:" not in answer.lower()
                assert b"\r\nx-content-type-options: nosniff\r\n" in answer
            server.signal(15)
            assert await server.exited() == 0

    text = "\n".join(server.lines)
    assert '"path": "/nothing"' in text, "what is asked for is told without its query"
    assert SECRET not in text


async def test_no_line_has_it_where_the_application_was_never_started(tmp_path: Path) -> None:
    port, reserved = reserve_port()
    command = [*WAYS["uvicorn --loop asyncio"], "--lifespan", "off"]
    with reserved:
        async with running(tmp_path, command, ready=False, port=port) as server:
            assert (await ask(server, port, "/tasks")).startswith(b"HTTP/1.1 503 ")
            server.signal(15)
            await server.exited()

    assert SECRET not in "\n".join(server.lines)
