"""SIGTERM to a real server, with everything going on that could hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from streaming.exit import STOP_S, STREAMS_END_S
from tests.process.server import FORKED, SOON_S, Server, running

pytestmark = pytest.mark.process

GRACE_S = 2.0

#: A process takes a moment to be gone, and to be seen as gone, on a busy machine.
MORE_S = 1.0


async def sigterm(server: Server) -> int:
    """Send SIGTERM, see the exit within the grace, and return its status."""
    began_at = time.monotonic()
    server.signal(signal.SIGTERM)
    status = await server.exited()
    assert time.monotonic() - began_at < GRACE_S + MORE_S
    return status


# -- handlers that do not stop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "event", "where"),
    [
        ("deaf", "a handler did not stop within the grace", "handlers.py:{sleep} in deaf"),
        ("stuck_thread", "a handler did not stop within the grace", "handlers.py:{wait} in stuck_thread"),
        # The handler itself obeys. Its thread does not: it is named as well, but is in nobody's own code.
        ("stuck_to_thread", "stopping a task", "handlers.py:{to_thread} in stuck_to_thread"),
    ],
)
async def test_a_stuck_handler_is_named_with_its_line_and_does_not_hang_the_exit(
    handler: str, event: str, where: str, tmp_path: Path
) -> None:
    async with running(tmp_path, grace_s=GRACE_S) as server:
        task_id = await server.running(handler)
        stream = await server.stream(task_id)
        assert await sigterm(server) == 0, "all that was to be stored is stored"
        await stream.read()

    assert (stream.types[-1], stream.ended) == ("interrupted", True)
    named = {entry["task_id"]: entry["where"] for entry in server.said(event)}
    assert named == {task_id: where.format(**lines_of_handlers())}
    held_up = [entry for entry in server.entries if entry["event"] == "a thread still runs at the exit"]
    assert bool(held_up) is (handler != "deaf")


def lines_of_handlers() -> dict[str, int]:
    """The lines on which the handlers get stuck, by what they call there."""
    lines = Path(__file__).with_name("handlers.py").read_text().splitlines()
    calls = {
        "sleep": "await asyncio.sleep(FOR",
        "wait": ".wait(FOR",
        "to_thread": "asyncio.to_thread(",
        "block": "    time.sleep(FOR",
    }
    return {name: next(n for n, line in enumerate(lines, 1) if call in line) for name, call in calls.items()}


async def test_a_handler_that_holds_up_the_loop_is_named_and_ended_and_reported_after_the_restart(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, grace_s=GRACE_S) as server:
        task_id = await server.running("blocks_loop")
        stream = await server.stream(task_id)
        await stream.until(lambda: "running" in stream.types)
        telling = asyncio.create_task(server.http.post(f"/tasks/{task_id}/input", json={"data": "now"}))
        await server.until((tmp_path / "blocked").exists)
        assert await sigterm(server) == 1, "its end could not be stored"
        await asyncio.wait({telling})  # its answer may have come in time, or not
        telling.exception()
        await stream.read()
        assert not stream.ended, "and no reader is told an end"

    (said,) = server.said("unfinished at the end of the grace")
    assert said["task_id"] == task_id
    assert said["where"] == f"handlers.py:{lines_of_handlers()['block']} in blocks_loop"
    async with running(tmp_path, FORKED) as server:
        task = await server.get(task_id)
        assert (task["status"], task["error"]["code"]) == ("interrupted", "crash")
        await server.check_sound()
        await server.stop()


# -- clients that do not leave -----------------------------------------------------------------------------------------


async def test_a_reader_that_never_reads_does_not_hang_the_exit_and_misses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, grace_s=GRACE_S) as server:
        task_id = await server.start("burst", n=300, pad_bytes=40_000)
        frozen = socket.socket()
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        frozen.connect(("127.0.0.1", server.port))
        frozen.sendall(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        assert (await server.get(task_id, wait_s=20))["status"] == "completed"
        assert await sigterm(server) == 0
        frozen.close()

    async with running(tmp_path, FORKED) as server:
        stream = await server.stream(task_id)
        await stream.read()
        assert [event["data"]["n"] for event in stream.events[2:-1]] == list(range(1, 301))
        await server.check_sound()
        await server.stop()


HALF = {
    "headers": b"POST /tasks HTTP/1.1\r\nHost: te",
    "body": b'POST /tasks HTTP/1.1\r\nHost: [::1]\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{"ty',
    "idle": b"",
}


async def begin(server: Server, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    return reader, writer


async def test_clients_in_the_middle_of_something_do_not_hang_the_exit(tmp_path: Path) -> None:
    async with running(tmp_path, grace_s=GRACE_S) as server:
        task_id = await server.running("sleeper")
        waiting = asyncio.create_task(server.get(task_id, wait_s=60))
        half = {name: await begin(server, sent) for name, sent in HALF.items()}
        await server.get(task_id)  # by now the server has seen what was sent before
        assert await sigterm(server) == 0
        assert (await waiting)["status"] == "interrupted", "who waits for the end is told"
        for name, (reader, writer) in half.items():
            with contextlib.suppress(ConnectionResetError):
                assert b" 201 " not in await reader.read(), name
            writer.close()
    assert [entry for entry in server.entries if entry["level"] == "error"] == []


async def test_a_body_that_begins_when_the_door_is_about_to_close_does_not_hang_the_exit(tmp_path: Path) -> None:
    """Between the last answer and the end of uvicorn there is a moment in which new requests still come in."""
    async with running(tmp_path, grace_s=60) as server:
        server.signal(signal.SIGTERM)
        await server.until_said("drained")
        began_at, begun = time.monotonic(), []
        with contextlib.suppress(ConnectionError):
            while not server.said("Shutting down"):
                begun.append(await begin(server, HALF["body"]))
                await asyncio.sleep(0.005)
        assert await server.exited() == 0
        assert time.monotonic() - began_at < STREAMS_END_S + STOP_S + MORE_S
        assert begun
        for _, writer in begun:
            writer.close()


async def blocked(server: Server) -> None:
    """Wait until the server does not answer any more: two times in a row, for once a busy machine may be the reason."""
    silent = 0
    async with asyncio.timeout(SOON_S):
        while silent < 2:
            try:
                await server.http.get("/healthz", timeout=0.5)
            except httpx.TimeoutException:
                silent += 1
            else:
                silent = 0


async def test_a_stderr_that_nobody_reads_does_not_hang_the_exit(tmp_path: Path) -> None:
    """Whoever writes a log line waits for ever then: the loop, and the watchdog's last words."""
    async with running(tmp_path, grace_s=GRACE_S, log_level="debug") as server:
        server.pause_reading()
        await blocked(server)  # its pipe is full
        began_at = time.monotonic()
        server.signal(signal.SIGTERM)
        async with asyncio.timeout(SOON_S):
            while not server.gone:  # noqa: ASYNC110  # nobody is told of an exit before the pipe is read
                await asyncio.sleep(0.01)
        assert time.monotonic() - began_at < GRACE_S + MORE_S
        server.go_on_reading()


# -- tasks that go on --------------------------------------------------------------------------------------------------


async def test_after_a_restart_waiting_tasks_run_and_interrupted_ones_go_on_as_their_type_says(tmp_path: Path) -> None:
    async with running(tmp_path, grace_s=GRACE_S, max_running=2) as server:
        emitting, restarting = await server.running("burst", pause_s=0.0005), await server.running("again")
        waiting = await server.start("burst", n=3)
        streams = {task_id: await server.stream(task_id) for task_id in (emitting, restarting, waiting)}
        assert await sigterm(server) == 0
        for stream in streams.values():
            await stream.read()
            assert stream.ended
        assert streams[emitting].types[-1] == "interrupted"
        assert streams[restarting].events[-1]["data"] == {"attempt": 2, "reason": "shutdown"}
        assert streams[waiting].types == ["pending"]

    async with running(tmp_path, FORKED, grace_s=1) as server:
        logs = {task_id: await server.stream(task_id) for task_id in streams}
        await logs[emitting].read()
        assert logs[emitting].body == streams[emitting].body, "all that was emitted was stored, and is all there is"
        await logs[waiting].read()
        assert logs[waiting].types == ["pending", "running", "n", "n", "n", "completed"]
        await logs[restarting].until(lambda: b'{"attempt":2,"n":9}' in logs[restarting].body)
        told, _, last = bytes(streams[restarting].body).rpartition(b"\n\n")
        assert last.startswith(b"retry: "), "its log goes on, and so it is told when to come back"
        assert logs[restarting].body.startswith(told)
        assert (await server.get(restarting))["attempt"] == 2
        await server.check_sound()
        await server.stop()


# -- signals to more than the server -----------------------------------------------------------------------------------


async def test_a_ctrl_c_in_the_terminal_gives_a_handler_in_a_process_its_grace(tmp_path: Path) -> None:
    """The terminal signals the whole process group: the server, and the workers that it has started."""
    async with running(tmp_path, grace_s=2 * GRACE_S) as server:
        short, long = await server.running("computes", seconds=0.7), await server.running("computes")
        streams = [await server.stream(short), await server.stream(long)]
        workers = await server.workers(2)
        os.killpg(server.process.pid, signal.SIGINT)
        assert await server.exited() == 0
        for stream in streams:
            await stream.read()

    assert [stream.types[-1] for stream in streams] == ["completed", "interrupted"]
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
