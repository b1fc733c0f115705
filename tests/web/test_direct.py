"""A stream writes to its connection itself: what it needs of the installed uvicorn, and what else HTTP lets happen."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streaming.web import direct
from streaming.web.application import Application
from streaming.web.direct import NEEDED, DirectProtocol
from streaming.web.portable import PortableConnection
from streaming.web.protocol import ProblemProtocol
from streaming.web.request import Receive, Request, Scope, Send
from streaming.web.stream import Stream
from tests.web.live import Live, RawAnswer, live, read_answer, read_chunk, read_head

pytestmark = pytest.mark.clock("each")

#: Methods of uvicorn's protocol that are extended or called, and attributes of a connection that are read.
METHODS = ["on_message_begin", "on_body", "pause_writing", "resume_writing", "connection_lost", "on_response_complete"]
ATTRIBUTES = ["cycle", "transport", "scope", "headers", "loop", "flow"]

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]).encode()


class Connected:
    """A connection with a task to ask for."""

    def __init__(self, here: Live, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task_id: str) -> None:
        self.here = here
        self.reader = reader
        self.writer = writer
        self.task_id = task_id
        self.path = f"/tasks/{task_id}/events"

    @property
    def protocol(self) -> ProblemProtocol:
        """The server's side."""
        mine = self.writer.get_extra_info("sockname")
        (found,) = [each for each in self.here.server.server_state.connections if each.client == mine]  # type: ignore[union-attr]  # no WebSocket is served
        assert isinstance(found, ProblemProtocol)
        return found

    async def ask(self, *headers: str) -> RawAnswer:
        """Ask for the stream, and read its head."""
        self.writer.write(get(self.path, *headers))
        return await self.head()

    async def head(self) -> RawAnswer:
        """The head of a stream."""
        head = await read_head(self.reader)
        assert head.status == 200
        assert head.headers["transfer-encoding"] == "chunked"
        return head

    async def rest(self) -> bytes:
        """Let the task end, and read the stream up to its last chunk."""
        self.here.puppet.finish(self.task_id)
        return await self.body()

    async def body(self) -> bytes:
        """The stream up to its last chunk."""
        body = b""
        while chunk := await read_chunk(self.reader):
            body += chunk
        return body

    async def whole(self) -> bytes:
        """What the stream of a task that has ended is."""
        return (await self.here.http.get(self.path)).content

    async def health(self) -> int:
        """Ask for something else."""
        self.writer.write(HEALTH)
        return (await read_answer(self.reader)).status


@asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[Connected]:
    async with live(**settings) as here, here.raw() as (reader, writer):
        yield Connected(here, reader, writer, await here.start())


def on_direct_path(here: Live) -> list[bool]:
    """Of each open stream, whether it has its connection."""
    streams = [each for each in here.app.heartbeat._streams if isinstance(each, Stream)]
    assert len(streams) == here.app.heartbeat.open
    return [isinstance(each._connection, DirectProtocol) for each in streams]


# -- the contract ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_uvicorn_still_has_the_method(name: str) -> None:
    assert callable(getattr(HttpToolsProtocol, name))


async def test_uvicorn_still_has_the_attributes_of_a_connection_and_of_a_cycle() -> None:
    async with connected() as each:
        assert await each.health() == 200
        protocol = each.protocol
        assert [name for name in ATTRIBUTES if getattr(protocol, name, None) is None] == []
        assert [name for name in NEEDED if not hasattr(protocol.cycle, name)] == []
        assert protocol.flow.write_paused is False


async def test_a_stream_has_its_connection_and_no_task() -> None:
    async with connected() as each:
        await each.ask()
        await each.here.until(lambda: not each.here.server.server_state.tasks)
        assert on_direct_path(each.here) == [True]
        assert await each.rest() == await each.whole()


async def test_nothing_is_lent_where_a_cycle_has_not_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "NEEDED", (*NEEDED, "what_the_next_uvicorn_has_not"))
    async with connected() as each:
        await each.ask()
        assert on_direct_path(each.here) == [False]
        assert await each.rest() == await each.whole()
        assert await each.health() == 200


async def test_nothing_is_lent_twice_or_to_somebody_else() -> None:
    async with connected() as each:
        await each.ask()
        protocol = each.protocol
        stream = protocol._stream
        assert stream is not None
        assert not protocol.lend(protocol.cycle.send, stream)
        assert not protocol.lend(print, stream)
        assert not protocol.lend(None, stream)
        assert await each.rest() == await each.whole()
        assert not protocol.lend(protocol.cycle.send, stream)
        protocol.finish()
        assert (protocol._lent, protocol._stream) == (None, None)
        assert await each.health() == 200


async def test_a_connection_that_has_enough_when_it_is_lent_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    send = RequestResponseCycle.send

    async def fills_up(self: RequestResponseCycle, message: Any) -> None:
        await send(self, message)
        if message["type"] == "http.response.start" and self.scope["path"].endswith("/events"):
            self.flow.pause_writing()

    monkeypatch.setattr(RequestResponseCycle, "send", fills_up)
    async with connected() as each:
        await each.ask()
        each.here.puppet.finish(each.task_id)
        await each.here.ended(each.task_id)
        protocol = each.protocol
        assert protocol._stream is not None
        assert each.reader._buffer == b""  # type: ignore[attr-defined]  # of asyncio
        monkeypatch.undo()
        protocol.resume_writing()
        protocol.pause_writing()  # before the stream could go on
        assert (await each.here.http.get("/healthz")).status_code == 200
        assert each.reader._buffer == b""  # type: ignore[attr-defined]  # of asyncio
        protocol.resume_writing()
        assert await each.body() == await each.whole()


def requests() -> list[Request]:
    """All that are in memory."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Request)]


async def test_nothing_of_a_request_is_kept_for_its_stream() -> None:
    others = requests()
    async with connected() as each:
        await each.ask("X-Large: " + "x" * 1000)
        await each.here.until(lambda: not each.here.server.server_state.tasks)
        assert [kept for kept in requests() if kept not in others] == []
        protocol = each.protocol
        assert [*protocol.scope, *protocol.headers] == []
        assert await each.rest() == await each.whole()
        assert await each.health() == 200


async def test_the_request_of_a_portable_stream_is_kept_as_long_as_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectProtocol, "lend", lambda *_: False)
    others = requests()
    async with connected() as each:
        await each.ask()
        (stream,) = each.here.app.heartbeat._streams
        assert isinstance(stream, Stream)
        assert isinstance(stream._connection, PortableConnection)
        del stream
        assert await each.rest() == await each.whole()
        await each.here.quiet()
        await each.here.until(lambda: not each.here.server.server_state.tasks)
        assert [kept for kept in requests() if kept not in others] == []


class Listening:
    """A middleware that passes on what is sent, and waits for the end of the connection beside it."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.listeners: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = asyncio.Event()

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                begun.set()

        if scope["path"].endswith("/events"):
            self.listeners.append(asyncio.create_task(listen()))
            await begun.wait()
        await self._app(scope, receive, send)


async def test_who_waits_for_the_end_of_a_connection_beside_a_stream_is_not_left_waiting() -> None:
    async with connected(wrap=Listening) as each:
        await each.ask()
        await read_chunk(each.reader)
        assert on_direct_path(each.here) == [True]
        each.writer.close()
        await each.here.quiet()
        (listener,) = each.here.asgi.listeners
        await each.here.until(listener.done)


# -- several requests on one connection --------------------------------------------------------------------------------


@pytest.mark.usefixtures("path")
async def test_a_connection_serves_the_next_requests_behind_a_stream() -> None:
    async with connected() as each:
        await each.ask()
        whole = await each.rest()
        for _ in range(2):
            assert await each.health() == 200
            await each.ask()
            assert await each.body() == whole
        assert await each.health() == 200


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while the stream runs"])
async def test_a_request_behind_a_stream_is_answered_behind_it(late: bool) -> None:
    """A stream has its connection unless the request behind it is there already."""
    async with connected() as each:
        each.writer.write(get(each.path) + (b"" if late else HEALTH))
        await each.head()
        assert on_direct_path(each.here) == [late]
        if late:
            each.writer.write(HEALTH)
            await each.here.until(lambda: bool(each.protocol.pipeline))
        assert await each.rest() == await each.whole()
        assert (await read_answer(each.reader)).status == 200
        assert await each.health() == 200


@pytest.mark.usefixtures("path")
async def test_a_stream_behind_another_request_comes_behind_its_answer() -> None:
    async with connected() as each:
        each.writer.write(HEALTH + get(each.path))
        assert (await read_answer(each.reader)).status == 200
        await each.head()
        assert await each.rest() == await each.whole()
        assert await each.health() == 200


@pytest.mark.usefixtures("path")
async def test_several_streams_on_one_connection_come_one_after_the_other() -> None:
    async with connected() as each:
        each.writer.write(get(each.path) * 3)
        await each.head()
        bodies = [await each.rest()]
        for _ in range(2):
            await each.head()
            bodies.append(await each.body())
        assert bodies == [await each.whole()] * 3
        assert await each.health() == 200


async def test_the_body_of_a_request_behind_a_stream_is_its_own() -> None:
    start = b'{"type": "sleeper"}'
    async with connected() as each:
        await each.ask()
        head = f"Content-Length: {len(start)}"
        each.writer.write(get("/tasks", "Content-Type: application/json", head, method="POST") + start)
        await each.here.until(lambda: bool(each.protocol.pipeline))
        assert await each.rest() == await each.whole()
        assert (await read_answer(each.reader)).status == 201


# -- the end of a connection -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("path")
async def test_a_connection_that_is_to_be_closed_is_closed_behind_the_last_chunk() -> None:
    async with connected() as each:
        head = await each.ask("Connection: close")
        assert head.headers["connection"] == "close"
        assert await each.rest() == await each.whole()
        assert await each.reader.read() == b""


def received(client: socket.socket) -> bytes:
    """All that has come to a socket."""
    received = b""
    with contextlib.suppress(BlockingIOError):
        while more := client.recv(2**20):
            received += more
    return received


@pytest.mark.usefixtures("path")
async def test_an_end_that_waited_for_room_ends_the_connection_once() -> None:
    """All that waited leaves at once, and the last chunk too: asyncio must not be told to close while it says so."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with live() as here:
        task_id = await here.start()
        with socket.create_connection(("127.0.0.1", here.port)) as client:
            client.setblocking(False)
            client.sendall(get(f"/tasks/{task_id}/events", "Connection: close"))
            await here.until(lambda: here.readers == 1)
            (stream,) = here.app.heartbeat._streams
            while not stream.sending:
                here.puppet.emit(task_id, data="x" * 50_000)
                await asyncio.sleep(0)
            here.puppet.finish(task_id)
            await here.ended(task_id)
            answer = received(client)  # the server has no turn meanwhile: from now on there is room for all
            loop = asyncio.get_running_loop()
            while more := await loop.sock_recv(client, 2**20):
                answer += more
            assert answer.endswith(b"\r\n0\r\n\r\n")
            await here.quiet()
    assert problems == []


@pytest.mark.usefixtures("path")
async def test_a_graceful_shutdown_ends_a_connection_with_its_stream() -> None:
    async with connected() as each:
        await each.ask()
        each.protocol.shutdown()
        assert await each.rest() == await each.whole()
        assert await each.reader.read() == b""


@pytest.mark.usefixtures("path")
async def test_a_graceful_shutdown_between_two_streams_ends_a_connection_at_once() -> None:
    async with connected() as each:
        await each.ask()
        await each.rest()
        each.protocol.shutdown()
        assert await each.reader.read() == b""


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("way", ["half closed", "reset"])
async def test_who_hangs_up_leaves_nothing(way: str) -> None:
    async with connected() as each:
        await each.ask()
        if way == "reset":
            linger = struct.pack("ii", 1, 0)
            each.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            each.writer.transport.abort()
        else:
            each.writer.write_eof()
        await each.here.quiet()
        await each.here.until(lambda: len(each.here.server.server_state.connections) <= 1)  # that of the client


@pytest.mark.usefixtures("path")
async def test_no_http_behind_a_stream_ends_the_connection_and_is_not_answered() -> None:
    async with connected() as each:
        await each.ask()
        seen = await read_chunk(each.reader)
        each.writer.write(b"garbage\r\n\r\n")
        await each.here.quiet()
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in await each.reader.read()
        each.here.puppet.finish(each.task_id)
        await each.here.ended(each.task_id)
        assert (await each.whole()).startswith(seen)


# -- bodies and other versions -----------------------------------------------------------------------------------------

LARGE = b"x" * 200_000
BODIES = {
    "small": (f"Content-Length: {len(b'small')}", b"small"),
    "large": (f"Content-Length: {len(LARGE)}", LARGE),
    "in chunks": ("Transfer-Encoding: chunked", b"5\r\nsmall\r\n30d40\r\n" + LARGE + b"\r\n0\r\nTrailer: x\r\n\r\n"),
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("late", [False, True], ids=["at once", "while the stream runs"])
@pytest.mark.parametrize("body", BODIES)
async def test_a_body_that_nobody_needs_does_not_disturb_a_stream(body: str, late: bool) -> None:
    header, data = BODIES[body]
    async with connected() as each:
        each.writer.write(get(each.path, header) + (b"" if late else data))
        await each.head()
        if late:
            each.writer.write(data)
        await each.writer.drain()
        for number in range(3):
            each.here.puppet.emit(each.task_id, data={"n": number})
        assert await each.rest() == await each.whole()
        assert await each.health() == 200
        await each.ask()
        assert await each.body() == await each.whole()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("late", [False, True], ids=["at once", "while the stream runs"])
async def test_who_leaves_behind_a_large_body_is_missed_at_once(late: bool) -> None:
    header, data = BODIES["large"]
    async with connected() as each:
        each.writer.write(get(each.path, header) + (b"" if late else data))
        await each.head()
        await read_chunk(each.reader)
        if late:
            each.writer.write(data)
        await each.writer.drain()
        each.writer.close()
        await each.here.quiet()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while the stream runs"])
async def test_nothing_of_a_body_is_kept_while_a_stream_runs(late: bool) -> None:
    header, data = BODIES["large"]
    async with connected() as each:
        each.writer.write(get(each.path, header) + (b"" if late else data))
        await each.head()
        if late:
            each.writer.write(data)
        await each.writer.drain()
        await each.here.http.get("/healthz")
        assert not each.protocol.cycle.body
        assert await each.rest() == await each.whole()


@pytest.mark.usefixtures("path")
async def test_a_client_that_waits_for_leave_to_send_a_body_gets_its_stream() -> None:
    async with connected() as each:
        answer = await each.ask("Content-Length: 5", "Expect: 100-continue")
        assert answer.status == 200
        assert (await read_chunk(each.reader)).startswith(b"retry: ")
        each.writer.write(b"small")
        await each.rest()
        assert await each.health() == 200


@pytest.mark.usefixtures("path")
async def test_who_asks_for_the_head_of_a_stream_gets_no_stream() -> None:
    async with connected() as each:
        each.writer.write(get(each.path, method="HEAD"))
        head = await read_head(each.reader)
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await each.health() == 200
        await each.here.quiet()


@pytest.mark.usefixtures("path")
async def test_an_older_http_gets_no_stream() -> None:
    async with connected() as each:
        each.writer.write(get(each.path, version="1.0"))
        answer = await read_answer(each.reader)
        assert (answer.status, answer.json()["code"]) == (426, "upgrade_required")
        assert await each.reader.read() == b""
        await each.here.quiet()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine, with its key in the same file."""
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch -days 2 -subj /CN=localhost"
    wanted = [*options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(made), "-out", str(made.with_suffix(".crt"))]
    subprocess.run(["openssl", "req", *wanted, *files], check=True, capture_output=True)  # noqa: S607  # as installed
    made.write_bytes(made.read_bytes() + made.with_suffix(".crt").read_bytes())
    return made


@pytest.mark.usefixtures("path")
async def test_a_stream_over_tls_is_the_same(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    async with live(certificate=certificate) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=trusting)
        each = Connected(here, reader, writer, await here.start())
        await each.ask()
        for _ in range(3):
            here.puppet.emit(each.task_id, data="x" * 100_000)
        assert await each.rest() == await each.whole()
        assert await each.health() == 200
        await each.ask("Connection: close")
        assert await each.body() == await each.whole()
        assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_frozen_reader_over_tls_is_cut_off(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    async with live(certificate=certificate, send_timeout_s=0.4, keepalive_s=0.4) as here:
        task_id = await here.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=trusting, limit=1)
        writer.write(get(f"/tasks/{task_id}/events"))
        await here.until(lambda: here.readers == 1)
        assert on_direct_path(here) == [True]
        for _ in range(200):
            here.puppet.emit(task_id, data="x" * 100_000)
        await here.quiet()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        del reader
