"""A stream under a server that lends no connection: it drives ``send()`` by hand, and the server does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from streaming.rules.sse import KEEPALIVE
from streaming.web.application import Application
from streaming.web.direct import DirectProtocol
from streaming.web.portable import PortableConnection
from streaming.web.request import Message, Receive, Request, Scope, Send
from streaming.web.stream import Stream
from streaming.web.transport import Torn
from tests.web.asgi import SENDS, SOMEBODY, Exchange, Way, asked, never_waits, waits_a_step, waits_for_a_future
from tests.web.live import Live, live, watchers

pytestmark = pytest.mark.clock("each")

each_way = pytest.mark.parametrize("way", SENDS, ids=lambda way: way.__name__)


# -- a connection by itself --------------------------------------------------------------------------------------------


class Pen:
    """What a connection knows of a stream: it writes what it has, one piece after the other.

    Attributes:
        left: pieces that are still to be written.
        ends: how it ends once they are: ``finish``, ``cut``, or not at all.
        said: what the connection has told it, up to its end.
    """

    connection: PortableConnection

    def __init__(self, *pieces: bytes, ends: str = "finish") -> None:
        self.left = list(pieces)
        self.ends = ends
        self.said: list[str] = []
        self._sending = self._over = False

    def write(self) -> None:
        while self.left and not (self._sending or self._over):
            self.connection.write(self.left.pop(0))
        if not (self._sending or self._over) and self.ends:
            getattr(self.connection, self.ends)()

    def pause(self) -> None:
        self.said.append("pause")
        self._sending = True

    def resume(self) -> None:
        self.said.append("resume")
        assert asyncio.current_task() is None
        self._sending = False
        self.write()

    def lose(self) -> None:
        if self.said[-1:] != ["lose"]:  # it may be told by the watcher and by the request
            self.said.append("lose")
        self._over = True

    def fail(self) -> None:
        self.said.append("fail")
        self._over = True
        self.connection.cut()


class Channel:
    """asgineer's, as far as it matters here."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def carried(exchange: Exchange, pen: Pen) -> None:
    """Let an exchange be the request of a connection."""

    async def carry() -> None:
        request = SimpleNamespace(channel=Channel(exchange.send), send=exchange.send, receive=exchange.receive)
        pen.connection = PortableConnection(cast(Request, request), pen)
        await pen.connection.carry()

    exchange.run(carry())


@each_way
async def test_however_a_server_sends_all_is_sent_in_order_and_as_the_task_of_the_request(way: Way) -> None:
    exchange, pen = Exchange(way), Pen(b"a", b"b", b"c", b"d")
    carried(exchange, pen)
    await exchange.task

    assert exchange.body == b"abcd"
    assert set(exchange.senders) == {(exchange.task, "the request")}
    assert pen.said[-1] == "lose"
    assert "fail" not in pen.said
    assert not watchers()


async def test_a_server_that_does_not_wait_pauses_nobody_and_wakes_nobody() -> None:
    exchange, pen = Exchange(), Pen(*[b"x"] * 100, ends="")
    carried(exchange, pen)
    await until(lambda: len(exchange.messages) == 100)
    woken = exchange.woken
    pen.left = [b"y"] * 100
    asyncio.get_running_loop().call_soon(pen.write)
    await until(lambda: len(exchange.messages) == 200)

    assert exchange.woken == woken == 1
    assert pen.said == ["resume"]
    pen.connection.finish()
    await exchange.task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for does not tell when it changes
            await asyncio.sleep(0)


async def test_a_stream_pauses_while_a_send_waits_and_goes_on_behind_it() -> None:
    exchange, pen = Exchange(waits_a_step), Pen(b"a", b"b")
    carried(exchange, pen)
    await exchange.task

    assert pen.said == ["resume", "pause", "resume", "pause", "resume", "lose"]


def failing(waits: Way, error: Exception) -> Way:
    async def way() -> None:
        await waits()
        raise error

    return way


@pytest.mark.parametrize("waits", [never_waits, waits_a_step, waits_for_a_future], ids=lambda way: way.__name__)
async def test_a_send_that_fails_in_the_hands_of_the_request_fails_the_stream(waits: Way) -> None:
    """One that does not even wait raises to whoever writes."""
    exchange, pen = Exchange(failing(waits, OSError("gone"))), Pen(b"a", b"b")
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    carried(exchange, pen)
    if waits is never_waits:
        await until(lambda: bool(complaints))
        pen.connection.cut()
    with pytest.raises(Torn):
        await exchange.task

    assert exchange.messages == []
    assert pen.said[1:] == (["lose"] if waits is never_waits else ["pause", "fail", "lose"])
    assert not watchers()


class Hanging:
    """A send that waits until it is let go, and notes what happens to it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.said: list[str] = []

    async def __call__(self) -> None:
        self.said.append("waits")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.said.append("is cancelled")
            raise
        finally:
            self.said.append("ends")


@pytest.mark.parametrize("sending", [True, False], ids=["while it sends", "while it waits"])
async def test_a_server_that_cancels_a_request_gets_its_cancellation(sending: bool) -> None:
    hanging = Hanging()
    exchange, pen = Exchange(hanging), Pen(*[b"a"] * sending, ends="")
    carried(exchange, pen)
    await until(lambda: bool(hanging.said) if sending else pen.said == ["resume"])
    exchange.task.cancel("the server ends")
    with pytest.raises(asyncio.CancelledError, match="the server ends"):
        await exchange.task

    assert hanging.said == (["waits", "is cancelled", "ends"] if sending else [])
    assert pen.said[-1] == "lose"
    assert not watchers()


async def test_a_request_that_is_cancelled_before_it_was_taken_over_closes_what_was_begun() -> None:
    hanging = Hanging()
    exchange, pen = Exchange(hanging), Pen(b"a", ends="")
    carried(exchange, pen)
    await until(lambda: pen.said == ["resume", "pause"])
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert hanging.said[-1] == "ends"
    assert not watchers()


async def test_who_cuts_a_connection_that_nobody_can_cut_ends_the_send_that_waits() -> None:
    hanging = Hanging()
    exchange, pen = Exchange(hanging), Pen(b"a", ends="")
    carried(exchange, pen)
    await until(lambda: hanging.said == ["waits"])
    pen.connection.cut()
    with pytest.raises(Torn):
        await exchange.task

    assert hanging.said == ["waits", "is cancelled", "ends"]
    assert exchange.messages == []


async def test_who_cuts_an_idle_connection_tears_it() -> None:
    exchange, pen = Exchange(), Pen(b"a", ends="cut")
    carried(exchange, pen)
    with pytest.raises(Torn):
        await exchange.task

    assert exchange.body == b"a"


@pytest.mark.parametrize("way", [never_waits, waits_a_step])
async def test_a_client_that_leaves_ends_it_all(way: Way) -> None:
    exchange, pen = Exchange(way), Pen(b"a", ends="")
    carried(exchange, pen)
    await until(lambda: exchange.body == b"a")
    exchange.leave()
    await exchange.task

    assert pen.said[-1] == "lose"
    assert not watchers()


async def test_a_client_that_leaves_while_a_send_waits_has_it_finished() -> None:
    """The server knows better than we do when it is to give up."""
    hanging = Hanging()
    exchange, pen = Exchange(hanging), Pen(b"a", b"b")
    carried(exchange, pen)
    await until(lambda: hanging.said == ["waits"])
    exchange.leave()
    await until(lambda: "lose" in pen.said)
    hanging.go.set()
    await exchange.task

    assert exchange.body == b"a"


async def test_a_send_that_begins_in_the_step_in_which_the_client_leaves_is_finished_too() -> None:
    hanging = Hanging()
    exchange, pen = Exchange(hanging), Pen(ends="")
    carried(exchange, pen)
    await until(lambda: pen.said == ["resume"])
    pen.left = [b"a"]
    asyncio.get_running_loop().call_soon(pen.write)
    exchange.leave()
    await until(lambda: "lose" in pen.said)
    hanging.go.set()
    await exchange.task

    assert hanging.said == ["waits", "ends"]
    assert exchange.body == b"a"


async def test_what_a_send_waits_for_is_cancelled_with_it() -> None:
    inner: list[asyncio.Task[Any]] = []

    async def way() -> None:
        inner.append(asyncio.create_task(asyncio.sleep(60)))
        await inner[0]

    exchange, pen = Exchange(way), Pen(b"a", ends="")
    carried(exchange, pen)
    await until(lambda: "pause" in pen.said)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert inner[0].cancelled()


class Lingering(Hanging):
    """One that has to wait once more when it is cancelled, as those with a task group have."""

    async def __call__(self) -> None:
        try:
            await super().__call__()
        finally:
            await asyncio.sleep(0)
            self.said.append("has lingered")


async def test_a_send_that_lingers_when_it_is_cancelled_may_do_so() -> None:
    lingering = Lingering()
    exchange, pen = Exchange(lingering), Pen(b"a", ends="")
    carried(exchange, pen)
    await until(lambda: lingering.said == ["waits"])
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert lingering.said == ["waits", "is cancelled", "ends", "has lingered"]
    assert exchange.task.cancelling() == 1
    assert not watchers()


# -- the application ---------------------------------------------------------------------------------------------------


@each_way
async def test_under_any_server_a_stream_is_what_uvicorn_sends(way: Way) -> None:
    async with live() as here:
        task_id = await here.start()
        path = f"/tasks/{task_id}/events"
        async with asked(here.app, path, way) as exchange:
            for number in range(3):
                here.puppet.emit(task_id)
                await here.until(lambda least=number + 3: exchange.body.count(b"\n\n") >= least)  # type: ignore[misc]  # lambda
            here.puppet.finish(task_id)
            await exchange.task

            assert exchange.complete
            assert exchange.messages[0]["type"] == "http.response.start"
            assert set(exchange.senders) == {(exchange.task, "the request")}
            assert exchange.body == (await here.http.get(path)).content
        await here.quiet()


async def test_no_task_is_woken_for_an_event() -> None:
    async with live() as here:
        task_id = await here.start()
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            await here.until(lambda: b"running" in exchange.body)
            woken = exchange.woken
            for number in range(20):
                here.puppet.emit(task_id)
                await here.until(lambda least=number + 1: exchange.body.count(b"tick") >= 2 * least)  # type: ignore[misc]  # lambda
            assert exchange.woken == woken
            here.puppet.finish(task_id)
            await exchange.task
            assert exchange.woken <= woken + 3, "its end, and that of its watcher"


async def test_what_comes_while_a_send_waits_goes_out_together_behind_it() -> None:
    async with live() as here:
        task_id = await here.start()
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            await here.until(lambda: b"running" in exchange.body)
            hanging = exchange.way = Hanging()
            for _ in range(5):
                here.puppet.emit(task_id)
                await here.until(lambda: here.puppet.orders(task_id).empty())
            here.puppet.finish(task_id)
            await here.ended(task_id)
            assert hanging.said == ["waits"]
            hanging.go.set()
            await exchange.task
            assert len(exchange.messages) == 1 + 1 + 2 + 1, "the head, what was there, two batches, and the end"
            assert exchange.body == (await here.http.get(f"/tasks/{task_id}/events")).content


@pytest.mark.parametrize("waits", [never_waits, waits_a_step], ids=lambda way: way.__name__)
async def test_a_send_that_fails_ends_its_stream_and_no_other(waits: Way) -> None:
    async with live() as here:
        task_id = await here.start()
        path = f"/tasks/{task_id}/events"
        async with asked(here.app, path) as broken, asked(here.app, path) as other:
            await here.until(lambda: b"running" in broken.body and b"running" in other.body)
            broken.way = failing(waits, OSError("gone"))
            with structlog.testing.capture_logs() as lines:
                here.puppet.emit(task_id)
                await broken.task
            assert not broken.complete
            assert [line["path"] for line in lines if line["event"] == "a stream broke off"] == [path]
            await here.until(lambda: b"tick" in other.body)
            assert (here.readers, here.app.heartbeat.open) == (1, 1)


async def test_a_keepalive_that_fails_ends_its_stream_and_keeps_no_other_one_waiting() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with live(keepalive_s=0.08) as here:
        task_id = await here.start()
        path = f"/tasks/{task_id}/events"
        async with asked(here.app, path) as broken, asked(here.app, path) as other:
            await here.until(lambda: b"running" in broken.body and b"running" in other.body)
            broken.way, before = failing(never_waits, OSError("gone")), other.body
            await here.until(lambda: other.body != before)
            await here.until(broken.task.done)
            assert not broken.complete
            assert complaints == []


async def test_a_keepalive_is_sent_as_the_task_of_its_request_and_wakes_it_not() -> None:
    async with live(keepalive_s=0.08) as here:
        task_id = await here.start()
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            await here.until(lambda: b"running" in exchange.body)
            woken = exchange.woken
            await here.until(lambda: exchange.body.count(KEEPALIVE) >= 3)
            assert exchange.woken == woken
            assert set(exchange.senders) == {(exchange.task, "the request")}


async def test_a_frozen_reader_is_let_go_and_its_response_is_left_unfinished() -> None:
    async with live(send_timeout_s=0.2, keepalive_s=0.2) as here:
        task_id = await here.start()
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            await here.until(lambda: b"running" in exchange.body)
            hanging = exchange.way = Hanging()
            here.puppet.emit(task_id)
            await exchange.task
            assert hanging.said == ["waits", "is cancelled", "ends"]
            assert not exchange.complete
        await here.quiet()


async def test_a_reader_that_does_not_even_take_the_head_is_let_go() -> None:
    async with live(send_timeout_s=0.2) as here:
        task_id = await here.start()
        hanging = Hanging()
        async with asked(here.app, f"/tasks/{task_id}/events", hanging) as exchange:
            await exchange.task
            assert hanging.said == ["waits", "is cancelled", "ends"]
            assert exchange.messages == []
        await here.quiet()


async def test_a_head_that_waits_a_little_is_left_alone_also_if_it_is_the_first() -> None:
    """The clock of the heartbeat stands while no stream is open."""
    async with live(send_timeout_s=60, keepalive_s=0.08) as here:
        task_id = await here.start()
        hanging = Hanging()
        async with asked(here.app, f"/tasks/{task_id}/events", hanging) as exchange:
            await here.until(lambda: hanging.said == ["waits"])
            for _ in range(3):
                before = here.app.heartbeat.now
                await here.until(lambda: here.app.heartbeat.now > before)  # noqa: B023  # at once
            hanging.go.set()
            await here.until(lambda: b"running" in exchange.body)


async def test_a_server_that_cancels_a_request_whose_head_is_not_taken_gets_its_cancellation() -> None:
    async with live() as here:
        task_id = await here.start()
        hanging = Hanging()
        async with asked(here.app, f"/tasks/{task_id}/events", hanging) as exchange:
            await here.until(lambda: hanging.said == ["waits"])
            exchange.task.cancel()
            await here.until(exchange.task.done)
            assert exchange.task.cancelled()
        await here.quiet()


async def test_a_client_that_has_left_before_its_stream_begins_costs_nothing() -> None:
    async with live() as here:
        task_id = await here.start()
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            exchange.leave()
            await exchange.task
        await here.quiet()


# -- who stands between ------------------------------------------------------------------------------------------------


class Seeing:
    """A middleware that sees what is sent."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.seen: dict[str, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rpartition("/")[2]

        async def seeing(message: Message) -> None:
            self.seen[path] = self.seen.get(path, b"") + message.get("body", b"")
            await send(message)

        await self._app(scope, receive, seeing)


class Passing:
    """A middleware that looks at the request only."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Marking(BaseHTTPMiddleware):
    """One of Starlette's kind."""

    async def dispatch(self, request: Any, call_next: Callable[[Any], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers["x-marked"] = "yes"
        return answer


@asynccontextmanager
async def reading(here: Live, **headers: str) -> AsyncIterator[tuple[list[str], Stream]]:
    """A reader of a new task, its lines, and its stream in the server; in the end the task completes."""
    task_id = await here.start()
    lines: list[str] = []

    async def read() -> None:
        async with here.http.stream("GET", f"/tasks/{task_id}/events", headers=headers) as answer:
            lines.append(str(dict(answer.headers)))
            async for line in answer.aiter_lines():
                lines.append(line)

    client = asyncio.create_task(read())
    await here.until(lambda: bool(here.app.heartbeat._streams))
    (stream,) = here.app.heartbeat._streams
    assert isinstance(stream, Stream)
    yield lines, stream
    here.puppet.finish(task_id)
    await client
    assert "event: completed" in lines or '"type":"completed"' in lines[-1]
    await here.quiet()


async def test_a_middleware_that_wraps_send_sees_every_byte() -> None:
    async with live(wrap=Seeing) as here:
        async with reading(here) as (lines, stream):
            assert isinstance(stream._connection, PortableConnection)
        assert "\n".join([*lines[1:], ""]) == here.asgi.seen["events"].decode()


async def test_a_middleware_that_passes_send_on_costs_nothing() -> None:
    async with live(wrap=Passing) as here, reading(here) as (_, stream):
        assert isinstance(stream._connection, DirectProtocol)


async def test_a_stream_is_compressed_by_a_middleware_of_starlette() -> None:
    async with (
        live(wrap=lambda app: GZipMiddleware(app, minimum_size=0)) as here,
        reading(here, accept="application/x-ndjson", **{"accept-encoding": "gzip"}) as (lines, stream),
    ):
        assert isinstance(stream._connection, PortableConnection)
        await here.until(lambda: bool(lines))
        assert "'content-encoding': 'gzip'" in lines[0]


async def test_a_stream_goes_through_a_middleware_of_starlette_that_has_a_task_of_its_own() -> None:
    async with live(wrap=Marking) as here, reading(here) as (lines, stream):
        assert isinstance(stream._connection, PortableConnection)
        await here.until(lambda: "event: running" in lines)
        assert "'x-marked': 'yes'" in lines[0]


async def test_a_reader_may_leave_through_a_middleware_of_starlette() -> None:
    async with live(wrap=Marking) as here:
        task_id = await here.start()
        async with here.sse(f"/tasks/{task_id}/events") as events:
            await anext(events)
        await here.quiet()


# -- names -------------------------------------------------------------------------------------------------------------


async def test_what_a_send_is_known_by_reaches_nobody_else() -> None:
    async with live() as here:
        task_id = await here.start()
        SOMEBODY.set("the test")
        async with asked(here.app, f"/tasks/{task_id}/events") as exchange:
            await here.until(lambda: b"running" in exchange.body)
            here.puppet.finish(task_id)
            await exchange.task
        assert SOMEBODY.get() == "the test"
        assert {name for _, name in exchange.senders} == {"the request"}
