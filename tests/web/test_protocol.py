"""What is no request gets the shape of every other mistake, in time, and nobody holds a connection for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
import struct
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streaming.web.parsing import Parser
from tests.web.live import Live, RawAnswer, live, read_answer, read_chunk, read_head
from tests.web.test_routes import check_problem

NO_HTTP = [
    b"garbage\r\n\r\n",
    b"FROBNICATE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
]

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = (
    b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
START = b'14\r\n{"type": "sleeper" }\r\n'

#: What the parser calls, and what we call or look at: nothing of it is a promise of uvicorn's.
REACHED = [
    "connection_made",
    "connection_lost",
    "data_received",
    "on_message_begin",
    "on_header",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "timeout_keep_alive_handler",
    "_unset_keepalive_if_required",
]


@pytest.mark.parametrize("request_bytes", NO_HTTP)
async def test_what_is_no_http_is_answered_with_a_problem_and_the_connection_ends(
    request_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: what comes behind it is not looked at. And at once, though the rest is still read."""
    monkeypatch.setattr("streaming.web.protocol.LINGER_S", 3600.0)
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    async with live() as here, here.raw() as (reader, writer):
        writer.write(request_bytes)
        answer = await read_answer(reader)
        check_problem(answer, 400, "bad_request")
        assert answer.headers["connection"] == "close"
        writer.write(NO_HTTP[0])
        await here.http.get("/healthz")
        writer.write(HEALTH)
        await writer.drain()
        assert await reader.read() == b""
        await here.http.get("/healthz")
    assert failed == []


@pytest.mark.parametrize("name", REACHED)
def test_uvicorn_still_has_the_method_that_is_extended(name: str) -> None:
    assert callable(getattr(HttpToolsProtocol, name))


def test_our_parser_has_all_that_uvicorn_calls() -> None:
    called = set(re.findall(r"self\.parser\.(\w+)", inspect.getsource(HttpToolsProtocol)))
    assert "feed_data" in called
    assert called - {"set_dangerous_leniencies"} <= set(dir(Parser)), "that one is called for the parser we replace"


async def test_a_client_of_java_starts_a_task_and_goes_on() -> None:
    """It offers h2c with every request, and sends the body in a segment of its own."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB"
    length = b"Content-Type: application/json\r\nContent-Length: 19"
    async with live() as here, here.raw() as (reader, writer):
        for _ in range(2):
            writer.write(b"POST /tasks HTTP/1.1\r\n%s\r\nHost: localhost\r\n%s\r\n\r\n" % (offer, length))
            await here.http.get("/healthz")
            writer.write(b'{"type": "sleeper"}')
            assert (await read_answer(reader)).status == 201
        writer.write(b"GET /tasks/count HTTP/1.1\r\n%s\r\nHost: localhost\r\n\r\n" % offer)
        assert (await read_answer(reader)).json()["count"] == 2


# -- too large --------------------------------------------------------------------------------------------------------


def head(*, url: int = 0, lines: int = 0, value: int = 0) -> bytes:
    """A request with a long URL, many headers, or a long one."""
    more = b"".join(b"X-%d: x\r\n" % number for number in range(lines))
    return b"GET /healthz?%s HTTP/1.1\r\nHost: localhost\r\n%sY: %s\r\n\r\n" % (b"u" * url, more, b"y" * value)


@pytest.mark.parametrize(
    "request_bytes",
    [head(url=2000), head(value=2000), head(lines=20), head(lines=11)],
    ids=["URL", "one header", "many headers", "one header too many"],
)
@pytest.mark.parametrize("piece", [100, 10_000], ids=["in pieces", "at once"])
async def test_a_head_over_its_limits_is_refused_in_pieces_or_at_once(request_bytes: bytes, piece: int) -> None:
    async with live(header_bytes_max=1000, headers_max=12) as here, here.raw() as (reader, writer):
        for start in range(0, len(request_bytes), piece):
            writer.write(request_bytes[start : start + piece])
            await asyncio.sleep(0)
        answer = await read_answer(reader)

        check_problem(answer, 431, "headers_too_large")
        assert await reader.read() == b""


async def test_a_head_just_within_its_limits_is_served() -> None:
    async with live(header_bytes_max=1000, headers_max=12) as here:
        for request_bytes in (head(lines=10), head(url=900), head(value=900)):
            assert (await here.exchange(request_bytes)).status in (200, 400), "400 is about the query"


async def test_a_head_that_never_ends_is_refused_as_soon_as_it_is_too_large() -> None:
    """One header without an end reaches no callback of the parser: it is counted all the same."""
    async with live(header_bytes_max=100_000) as here, here.raw() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        answering, sent = asyncio.create_task(read_answer(reader)), 0
        while not answering.done() and sent < 100_000_000:
            writer.write(b"x" * 10_000)
            sent += 10_000
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0)

        check_problem(await answering, 431, "headers_too_large")
        assert sent < 20_000_000, "what the sockets hold, and no more"


async def test_a_large_body_behind_a_small_head_is_no_large_head() -> None:
    async with live(header_bytes_max=1000) as here:
        body = b'{"type": "sleeper"}' + b" " * 900_000
        request = (
            b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        whole = request % len(body) + body

        assert (await here.exchange(whole)).status == 201
        assert (await here.exchange(whole[:50], whole[50:])).status == 201, "the head ends where the body begins"


async def test_trailers_are_no_headers() -> None:
    """They may not be merged (RFC 9110, 6.5.1): whoever checks headers in front of us has not seen them."""
    async with live() as here:
        answer = await here.exchange(CHUNKED + START, b"0\r\nIdempotency-Key: a\r\nOrigin: https://evil\r\n\r\n")
        assert answer.status == 201
        again = await here.exchange(CHUNKED + START, b"0\r\nIdempotency-Key: a\r\n\r\n")
        assert again.status == 201
        assert again.json()["id"] != answer.json()["id"], "it was no key"


@pytest.mark.parametrize("trailer", [b"x" * 10_000, b"X: y\r\n" * 2000], ids=["one", "many"])
async def test_trailers_without_an_end_are_refused(trailer: bytes) -> None:
    async with live(header_bytes_max=100_000) as here, here.raw() as (reader, writer):
        writer.write(CHUNKED + START + b"0\r\nX: ")
        answering, sent = asyncio.create_task(read_answer(reader)), 0
        while not answering.done() and sent < 100_000_000:
            writer.write(trailer)
            sent += len(trailer)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0)
        check_problem(await answering, 431, "headers_too_large")
        assert sent < 20_000_000
        assert await lost(reader)
        assert (await here.http.get("/tasks/count")).json()["count"] == 0, "half a body starts nothing"


async def test_a_body_that_is_no_http_in_its_middle_is_refused() -> None:
    async with live() as here, here.raw() as (reader, writer):
        writer.write(CHUNKED + b"5\r\n{")
        await here.http.get("/healthz")
        writer.write(b"xxxxxxx")

        check_problem(await read_answer(reader), 400, "bad_request")
        assert await lost(reader)
        await here.until(lambda: not here.app._requests)
        assert (await here.http.get("/tasks/count")).json()["count"] == 0


async def test_an_answer_to_the_next_request_is_not_taken_for_one_to_this() -> None:
    """It is on its way; what comes behind it is no request."""
    async with live() as here, here.raw() as (reader, writer):
        task_id = await here.start()
        writer.write(f"GET /tasks/{task_id}?wait_s=9 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await here.http.get("/healthz")
        writer.write(NO_HTTP[0])
        assert await lost(reader)


async def lost(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends without a byte."""
    with contextlib.suppress(ConnectionError):
        return await reader.read() == b""
    return True


# -- too late ---------------------------------------------------------------------------------------------------------

SOON: dict[str, Any] = {"header_timeout_s": 0.15}


async def trickle(writer: asyncio.StreamWriter, ended: asyncio.Task[RawAnswer] | asyncio.Task[bool]) -> None:
    """A byte every few milliseconds, as long as somebody listens."""
    while not ended.done():
        writer.write(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "begun",
    [b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HEALTH + b"GET /x"],
    ids=["a byte", "a header", "the next one"],
)
async def test_a_head_that_does_not_end_is_answered_and_its_connection_ends(begun: bytes) -> None:
    async with live(**SOON) as here, here.raw() as (reader, writer):
        writer.write(begun)
        if begun.startswith(HEALTH):
            assert (await read_answer(reader)).status == 200
            writer.write(b"y")
        answering = asyncio.create_task(read_answer(reader))
        if b"X: " in begun:
            await trickle(writer, answering)

        check_problem(await answering, 408, "request_timeout")
        assert await lost(reader)


@pytest.mark.parametrize("begun", [b"", b"\r\n\r\n"], ids=["nothing", "empty lines"])
async def test_who_says_nothing_is_told_nothing(begun: bytes) -> None:
    """A browser opens connections that it may need: an answer to no request would be taken for one to the next."""
    async with live(**SOON) as here, here.raw() as (reader, writer):
        writer.write(begun)
        async with asyncio.timeout(5):
            assert await reader.read() == b""


async def test_the_rest_of_a_body_that_nobody_needs_has_its_time_too() -> None:
    async with live(**SOON) as here, here.raw() as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx")
        assert (await read_answer(reader)).status == 200
        ending = asyncio.create_task(lost(reader))
        await trickle(writer, ending)
        assert await ending


async def test_a_connection_that_is_kept_alive_is_not_hurried() -> None:
    """Neither after an answer, nor after the rest of a body that came late, nor after an empty line."""
    body = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    async with live(**SOON) as here, here.raw() as (reader, writer):
        for sent, late in ((HEALTH, b""), (body, b"{}"), (HEALTH, b"\r\n")):
            writer.write(sent)
            assert (await read_answer(reader)).status in (200, 405)
            writer.write(late)
            await asyncio.sleep(2 * SOON["header_timeout_s"])
        writer.write(HEALTH)
        assert (await read_answer(reader)).status == 200
        (protocol,) = [each for each in here.server.server_state.connections if each.client == client_of(writer)]  # type: ignore[union-attr]  # all are of our protocol
        assert protocol._timer is None  # type: ignore[union-attr]  # all are of our protocol


async def test_what_is_answered_late_has_arrived_in_time() -> None:
    async with live(**SOON) as here, here.raw() as (reader, writer):
        task_id = await here.start()
        wait_s = 3 * SOON["header_timeout_s"]
        for piece in (
            b"GET /tas",
            b"ks/%s?wait_s=%f HTTP/1.1\r\n" % (task_id.encode(), wait_s),
            b"Host: localhost\r\n",
            b"\r\n",
        ):
            writer.write(piece)
            await here.http.get("/healthz")  # so that each arrives by itself
        assert (await read_answer(reader)).status == 200


async def test_a_connection_that_was_reset_leaves_nothing_behind() -> None:
    """Not even for the time in which it might have been used again."""
    async with live() as here, here.raw() as (reader, writer):
        writer.write(HEALTH)
        await read_answer(reader)
        (protocol,) = [each for each in here.server.server_state.connections if each.client == client_of(writer)]  # type: ignore[union-attr]  # all are of our protocol
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await here.until(lambda: protocol not in here.server.server_state.connections)
        assert (protocol._timer, protocol.timeout_keep_alive_task) == (None, None)  # type: ignore[union-attr]  # all are of our protocol


def client_of(writer: asyncio.StreamWriter) -> object:
    return writer.get_extra_info("sockname")


@pytest.mark.parametrize(
    "behind", [b"GET /x", b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 5000], ids=["late", "no HTTP", "large"]
)
async def test_nothing_is_written_into_a_stream_that_is_sent_on_the_same_connection(behind: bytes) -> None:
    async with live(**SOON, header_bytes_max=1000) as here, here.raw() as (reader, writer):
        task_id = await here.start()
        writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await read_head(reader)).status == 200
        seen = await read_chunk(reader)
        writer.write(behind)
        await here.http.get("/healthz")
        writer.write(behind[-1:] * 2000)
        await asyncio.sleep(2 * SOON["header_timeout_s"])
        here.puppet.finish(task_id)
        with contextlib.suppress(asyncio.IncompleteReadError, ValueError, ConnectionError):
            while True:
                seen += await read_chunk(reader)
        assert b"HTTP/1.1" not in seen
        await check_whole(here, task_id, seen)


async def check_whole(here: Live, task_id: str, seen: bytes) -> None:
    """What was seen is the beginning of the log."""
    answer = await here.http.get(f"/tasks/{task_id}/events")
    assert answer.content.startswith(seen)
