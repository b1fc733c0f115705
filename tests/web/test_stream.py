"""Streams under stress: silence, frozen readers, readers that leave, errors in the middle, the drain.

All of it on both paths to a connection, and on both event loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from typing import Any

import httpx
import pytest
import structlog

from streaming.engine.subscription import LogSubscription
from streaming.errors import StoreUnavailable
from streaming.rules.log import Batch, Reading
from streaming.rules.sse import KEEPALIVE, RETRY
from streaming.web.application import Application
from streaming.web.heartbeat import LOOKS
from streaming.web.request import Receive, Scope, Send
from tests.kit import TestedStore
from tests.web.live import Live, live, read_answer, read_chunk, read_head
from tests.web.test_routes import check_problem

pytestmark = [pytest.mark.clock("each"), pytest.mark.usefixtures("path")]


async def open_raw(here: Live, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for a stream, and read up to its events."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await read_head(reader)).status == 200


async def read_away(reader: asyncio.StreamReader) -> bytes:
    """Everything until the connection ends, however it ends."""
    data = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while piece := await reader.read(65_536):
                data += piece
    return data


async def kept_alive(here: Live) -> None:
    """Wait until the only stream, which has nothing else to write, has written a keepalive."""
    (stream,) = here.app.heartbeat._streams
    before = stream.wrote_at
    await here.until(lambda: stream.wrote_at > before)


async def looked(here: Live) -> None:
    """Wait until the heartbeat has looked once more."""
    before = here.app.heartbeat.now
    await here.until(lambda: here.app.heartbeat.now > before)


# -- silence ---------------------------------------------------------------------------------------------------------


async def test_a_silent_stream_is_kept_alive_and_its_events_stay_whole() -> None:
    async with live(keepalive_s=0.08) as here, here.raw() as (reader, writer):
        task_id = await here.start()
        await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
        await read_chunk(reader)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            before = loop.time()
            assert await read_chunk(reader) == KEEPALIVE
            assert loop.time() - before < 5
        here.puppet.emit(task_id)
        while (chunk := await read_chunk(reader)) == KEEPALIVE:
            pass
        assert chunk.startswith(b"id: 3\nevent: tick\ndata: ")
        assert chunk.endswith(b"\n\n")


async def test_keepalives_are_no_events_to_a_client() -> None:
    async with live(keepalive_s=0.02) as here:
        task_id = await here.start()
        async with here.sse(f"/tasks/{task_id}/events") as events:
            seen = [await anext(events), await anext(events)]
            for _ in range(3):
                await kept_alive(here)
                here.puppet.emit(task_id)
                seen.append(await anext(events))
            here.puppet.finish(task_id)
            seen += [event async for event in events]
        assert [event.id for event in seen] == list("123456")


async def test_a_line_of_json_stays_one_with_a_keepalive_in_front() -> None:
    async with live(keepalive_s=0.02) as here:
        task_id = await here.start()
        async with here.raw() as (reader, writer):
            writer.write(
                f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: [::1]\r\nAccept: application/x-ndjson\r\n\r\n".encode()
            )
            await read_head(reader)
            body = await read_chunk(reader)
            for _ in range(2):
                kept = await read_chunk(reader)
                assert kept == b" "
                body += kept
            here.puppet.finish(task_id)
            while chunk := await read_chunk(reader):
                body += chunk
        lines = body.decode().splitlines()
        assert len(lines) == 3
        assert httpx.Response(200, content=lines[2]).json()["type"] == "completed"


async def test_a_busy_stream_gets_no_keepalive() -> None:
    async with live(keepalive_s=0.4) as here, here.raw() as (reader, writer):
        task_id = await here.start()
        await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.6
        while loop.time() < until:
            here.puppet.emit(task_id)
            assert KEEPALIVE not in await read_chunk(reader)


async def test_a_stream_that_waits_for_its_store_is_kept_alive() -> None:
    """The timer writes it itself, whatever the reader waits for."""
    store = TestedStore(settings_of())
    read, away = store.events_after, True

    async def reading(*args: Any, **bounds: Any) -> Any:
        if away:
            raise StoreUnavailable("The disk is away.")
        return await read(*args, **bounds)

    store.events_after = reading  # type: ignore[method-assign]  # a store that cannot be read for a while
    async with live(journal=store, keepalive_s=0.08) as here, here.raw() as (reader, writer):
        task_id = await here.counted(20)
        await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
        assert [await read_chunk(reader) for _ in range(4)] == [KEEPALIVE] * 4
        away = False
        while (first := await read_chunk(reader)) == KEEPALIVE:
            pass
        assert first.startswith(RETRY + b"id: 1\n")
        while await read_chunk(reader):
            pass


# -- frozen readers --------------------------------------------------------------------------------------------------


async def flood(here: Live, task_id: str, kilobytes: int) -> None:
    """Emit events of 10 kB."""
    for _ in range(kilobytes // 10):
        here.puppet.emit(task_id, "blob", "x" * 10_000)
    await here.until(lambda: here.puppet.orders(task_id).empty())


def transports(here: Live, client: socket.socket) -> list[Any]:
    """The server's connections to this client."""
    peers = [(each, each.client) for each in here.server.server_state.connections]  # type: ignore[union-attr]  # no WebSocket is served
    return [each for each, peer in peers if peer == client.getsockname()]


def small_buffers(here: Live) -> None:
    """Let the kernel take little, so that a reader that does not read is noticed soon."""
    for server in here.server.servers:
        for listener in server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


async def test_a_frozen_reader_is_cut_and_loses_nothing() -> None:
    async with live(send_timeout_s=0.4, keepalive_s=0.4) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events") as client:
            await here.until(lambda: here.readers == 1)
            await flood(here, task_id, 1000)
            await here.until(lambda: here.app.heartbeat.open == 0)
            await here.quiet()
            await here.until(lambda: not transports(here, client))  # its memory is free at once
            taken = b""
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while piece := client.recv(65_536):
                    taken += piece
        here.puppet.finish(task_id)
        await here.ended(task_id)
        # It goes on behind the last whole event it has, and then has all of them.
        last = max(int(line[4:]) for line in taken.split(b"\n\n") for line in line.split(b"\n") if line[:4] == b"id: ")
        whole = await here.all_sse(f"/tasks/{task_id}/events")
        rest = await here.all_sse(f"/tasks/{task_id}/events", headers={"Last-Event-ID": str(last - 1)})
        assert [event.id for event in rest] == [event.id for event in whole][last - 1 :]
        assert len(whole) == 103


async def test_a_reader_that_does_not_even_take_what_comes_before_its_stream_is_cut() -> None:
    """The answer to the request in front of it fills the connection: its head has to wait."""
    async with live(send_timeout_s=0.4, keepalive_s=0.4) as here:
        small_buffers(here)
        task_id = await here.start()
        await flood(here, task_id, 1000)
        page = (
            f"/tasks/{task_id}/events?limit=100 HTTP/1.1\r\nHost: [::1]\r\nAccept: application/json\r\n\r\nGET /events"
        )
        with here.frozen(page) as client:
            await here.until(lambda: here.app.heartbeat.open == 1)
            await here.quiet()
            await here.until(lambda: not transports(here, client))


async def test_a_frozen_reader_delays_nobody() -> None:
    async with live(send_timeout_s=30) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            async with here.sse(f"/tasks/{task_id}/events") as events:
                await here.until(lambda: here.readers == 2)
                await flood(here, task_id, 1000)
                here.puppet.finish(task_id)
                assert len([event async for event in events]) == 103
            assert here.app.heartbeat.open == 1


async def test_a_reader_that_is_slow_but_reads_is_left_alone() -> None:
    async with live(send_timeout_s=0.2) as here:
        task_id = await here.start()
        async with here.raw() as (reader, writer):
            await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
            seen = 0
            for _ in range(2 * LOOKS):  # twice the time after which a frozen one is cut off
                here.puppet.emit(task_id, "blob", "x" * 10_000)
                await looked(here)
                seen += (await read_chunk(reader)).count(b"event: ")
            assert seen >= 2 * LOOKS


async def test_the_last_resort_cuts_a_frozen_reader_at_once() -> None:
    async with live(send_timeout_s=600) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            await here.until(lambda: here.readers == 1)
            await flood(here, task_id, 1000)
            await here.until(lambda: any(stream.sending for stream in here.app.heartbeat._streams))
            assert here.app.heartbeat.abort_all() == 1
            await here.quiet()


async def test_the_end_of_the_server_does_not_wait_for_a_frozen_reader() -> None:
    async with live(send_timeout_s=600) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            await here.until(lambda: here.readers == 1)
            await flood(here, task_id, 1000)
            await here.until(lambda: any(stream.sending for stream in here.app.heartbeat._streams))
            await here.coordinator.shutdown(0.01)
            assert await here.app.end(0.05) == 1
            await here.quiet()


# -- whose log lines -------------------------------------------------------------------------------------------------


#: Log lines with what was bound to their context.
BOUND = [structlog.contextvars.merge_contextvars]


async def test_a_reader_that_is_cut_off_is_named_with_its_own_task() -> None:
    """One timer looks at all streams: it must not speak for the request that has started it."""
    async with live(send_timeout_s=0.4, keepalive_s=0.4) as here:
        small_buffers(here)
        other, task_id = await here.start(), await here.start()
        with structlog.testing.capture_logs(processors=BOUND) as lines:
            async with here.sse(f"/tasks/{other}/events") as events:
                await anext(events)  # its request has started the timer
                with here.frozen(f"/tasks/{task_id}/events"), here.frozen("/events"):
                    await here.until(lambda: here.readers == 3)
                    await flood(here, task_id, 1000)
                    await here.until(lambda: here.app.heartbeat.open == 1)
        cut = {line["path"]: line.get("task_id") for line in lines if line["event"] == "a reader is cut off"}
        assert cut == {f"/tasks/{task_id}/events": task_id, "/events": None}


async def test_a_start_that_is_watched_is_named_with_the_task_that_it_has_started() -> None:
    async with live() as here:
        with structlog.testing.capture_logs(processors=BOUND) as lines:
            watched = {"json": {"type": "sleeper"}, "headers": {"accept": "text/event-stream"}}
            async with here.sse("/tasks", "POST", **watched) as events:
                started = await anext(events)
                assert here.app.heartbeat.abort_all() == 1
                with contextlib.suppress(httpx.TransportError):
                    await anext(events, None)
        cut = [line["task_id"] for line in lines if line["event"] == "a reader is cut off"]
        assert cut == [started.json()["task_id"]]


async def test_a_request_behind_another_one_on_its_connection_is_not_named_with_that_one_s_task() -> None:
    """uvicorn begins with it where the one before has ended: in that one's context."""
    async with live() as here, here.raw() as (reader, writer):
        task_id = await here.start()
        with structlog.testing.capture_logs(processors=BOUND) as lines:
            paths = [f"/tasks/{task_id}?wait_s=10", "/types"]
            writer.write(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
            here.puppet.finish(task_id)
            assert [(await read_answer(reader)).status for _ in paths] == [200, 200]
        requests = [(line["path"], line.get("task_id")) for line in lines if line["event"] == "request"]
        assert requests == [(f"/tasks/{task_id}", task_id), ("/types", None)]


# -- leaving ---------------------------------------------------------------------------------------------------------


async def test_readers_that_leave_leave_nothing_and_the_task_goes_on() -> None:
    async with live() as here:
        task_id = await here.start()
        for _ in range(3):
            async with contextlib.AsyncExitStack() as readers:
                for _ in range(20):
                    reader, writer = await readers.enter_async_context(here.raw())
                    await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
                for _ in range(5):
                    reader, writer = await readers.enter_async_context(here.raw())
                    await open_raw(here, "/events", reader, writer)
                assert here.app.heartbeat.open == 25
            await here.quiet()
        here.puppet.finish(task_id)
        assert (await here.ended(task_id))["status"] == "completed"


@pytest.mark.parametrize("way", ["fin", "rst", "half"])
async def test_a_reader_may_leave_in_any_way(way: str) -> None:
    async with live() as here:
        task_id = await here.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
        if way == "rst":
            writer.transport.abort()
        elif way == "half":
            writer.write_eof()
        else:
            writer.close()
        await here.quiet()
        writer.close()


async def test_a_reader_may_leave_in_the_middle_of_a_flood(caplog: pytest.LogCaptureFixture) -> None:
    async with live() as here:
        task_id = await here.start()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
            await flood(here, task_id, 200)
            writer.transport.abort()
            await here.quiet()
    assert caplog.records == []


async def test_nothing_is_written_on_a_connection_that_has_just_been_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event loop tells of it in its next step, and may have a whole backlog of batches before that."""
    poll = LogSubscription.poll
    batches: list[Any] = []

    async with live() as here, here.raw() as (reader, writer):
        task_id = await here.counted()

        def without_a_pause(self: LogSubscription) -> Any:
            if not batches and isinstance(found := poll(self), Batch):
                batches.append(found)
            elif not batches:
                return Reading.WAIT
            elif len(batches) == 30:
                return Reading.END
            else:
                for server_side in transports(here, writer.get_extra_info("socket")):
                    server_side.transport.abort()
                batches.append(batches[0])
            return batches[-1]

        monkeypatch.setattr(LogSubscription, "poll", without_a_pause)
        await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
        await read_away(reader)
        await here.quiet()
    assert len(batches) == 2
    assert caplog.records == []


async def test_a_reader_that_left_before_its_stream_began_leaves_nothing() -> None:
    store = TestedStore(settings_of())
    async with live(journal=store) as here:
        task_id = await here.counted()
        looked_up, goes_on = asyncio.Event(), asyncio.Event()
        record = store.record

        async def slow(task_id: str) -> Any:
            looked_up.set()
            await goes_on.wait()
            return await record(task_id)

        store.record = slow  # type: ignore[method-assign]  # a store that takes its time
        async with here.raw() as (_, writer):
            writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await looked_up.wait()
        goes_on.set()
        await here.quiet()


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_one_stream_too_many_is_told_to_come_back() -> None:
    async with live(max_streams=2) as here:
        task_id = await here.start()
        async with here.sse(f"/tasks/{task_id}/events") as first, here.sse("/events") as second:
            await anext(first)
            await anext(second)
            for path in (f"/tasks/{task_id}/events", "/events"):
                check_problem(await here.http.get(path), 429, "too_many_streams")
            page = await here.http.get(f"/tasks/{task_id}/events", headers={"accept": "application/json"})
            assert page.status_code == 200  # a page is no stream
        await here.quiet()
        async with here.sse(f"/tasks/{task_id}/events") as again:
            assert (await anext(again)).id == "1"


async def test_a_refused_reader_gives_its_place_back() -> None:
    async with live(max_streams=1) as here:
        task_id = await here.start()
        for _ in range(3):
            check_problem(await here.http.get(f"/tasks/{'e' * 32}/events"), 404, "not_found")
            bad = await here.http.get(f"/tasks/{task_id}/events", headers={"Last-Event-ID": "99"})
            check_problem(bad, 400, "bad_cursor")
        assert here.app.heartbeat.open == 0


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_curl_sees_a_clean_end() -> None:
    async with live() as here:
        task_id = await here.start()
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sN", f"http://127.0.0.1:{here.port}/tasks/{task_id}/events", stdout=subprocess.PIPE
        )
        await here.until(lambda: here.readers == 1)
        here.puppet.finish(task_id)
        output, _ = await curl.communicate()
        assert curl.returncode == 0
        assert output.count(b"\n\n") == 3
        assert b"event: completed" in output


async def test_a_drain_ends_each_stream_with_its_last_event() -> None:
    async with live() as here:
        ids = [await here.start("sleeper") for _ in range(5)]
        async with contextlib.AsyncExitStack() as stack:
            readers = []
            for task_id in ids:
                reader, writer = await stack.enter_async_context(here.raw())
                await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
                readers.append(reader)
            feed, writer = await stack.enter_async_context(here.raw())
            await open_raw(here, "/events", feed, writer)
            await here.coordinator.shutdown(0.1)
            assert await here.app.end(5.0) == 0
            for reader in readers:
                chunks = []
                while chunk := await read_chunk(reader):
                    chunks.append(chunk)
                assert b"event: interrupted" in chunks[-1]
            while await read_chunk(feed):
                pass
        await here.quiet()


async def test_a_stream_of_a_task_that_will_go_on_just_ends_with_the_drain() -> None:
    async with live(journal=TestedStore(settings_of()), max_running=1, reconnect_spread_s=0) as here:
        await here.start("sleeper")
        waiting = await here.start("sleeper")
        async with here.raw() as (reader, writer):
            await open_raw(here, f"/tasks/{waiting}/events", reader, writer)
            assert b"event: pending" in await read_chunk(reader)
            await here.coordinator.shutdown(0.05)
            assert await read_chunk(reader) == b""


def settings_of() -> Any:
    from streaming.config import Settings

    return Settings()


# -- errors in the middle --------------------------------------------------------------------------------------------


def breaks_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second batch of every log raise."""
    poll = LogSubscription.poll

    def broken(self: LogSubscription) -> Any:
        if self.cursor > 0:
            raise ZeroDivisionError("secret")
        return poll(self)

    monkeypatch.setattr(LogSubscription, "poll", broken)


async def test_an_error_in_the_middle_is_a_broken_end_and_not_a_clean_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with live() as here:
        task_id = await here.counted()
        breaks_later(monkeypatch)
        async with here.raw() as (reader, writer):
            await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
            rest = await read_away(reader)
        assert not rest.endswith(b"0\r\n\r\n")
        assert b"secret" not in rest
        await here.quiet()
        with pytest.raises(httpx.HTTPError):
            await here.all_sse(f"/tasks/{task_id}/events")
    assert caplog.records == []
    logged = capsys.readouterr().out
    assert "a stream broke off" in logged
    assert "ZeroDivisionError: secret" in logged
    assert task_id in logged


def opaque(app: Application) -> Any:
    """A server whose ``send`` does not tell its transport."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def passed_on(message: Any) -> None:
            await send(message)

        await app(scope, receive, passed_on)

    return wrapped


async def test_without_a_transport_a_broken_response_is_left_unfinished(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with live(wrap=opaque) as here:
        task_id = await here.counted()
        breaks_later(monkeypatch)
        async with here.raw() as (reader, writer):
            await open_raw(here, f"/tasks/{task_id}/events", reader, writer)
            rest = await read_away(reader)
        assert rest.count(b"event: ") == 6
        assert not rest.endswith(b"0\r\n\r\n")
        await here.quiet()
    assert [record.message for record in caplog.records] == ["ASGI callable returned without completing response."]


async def test_without_a_transport_a_frozen_reader_is_let_go_too(caplog: pytest.LogCaptureFixture) -> None:
    async with live(wrap=opaque, send_timeout_s=0.2, keepalive_s=0.2) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            await here.until(lambda: here.readers == 1)
            await flood(here, task_id, 1000)
            await here.quiet()
            await here.until(lambda: not here.server.server_state.tasks)  # else it may see the client leave first
    assert [record.message for record in caplog.records] == ["ASGI callable returned without completing response."]


@pytest.mark.parametrize("when", ["waiting", "sending"])
async def test_a_server_that_cancels_a_stream_gets_its_cancellation(
    when: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with live(wrap=opaque, send_timeout_s=600) as here:
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            await here.until(lambda: here.readers == 1)
            if when == "sending":
                await flood(here, task_id, 1000)
                await here.until(lambda: any(stream.sending for stream in here.app.heartbeat._streams))
            (serving,) = here.server.server_state.tasks
            serving.cancel()
            await here.quiet()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is asyncio.CancelledError
