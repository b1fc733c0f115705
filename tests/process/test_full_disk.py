"""A full disk, a lock, a file that was moved: nothing is acknowledged that is not stored, and all goes on after it."""

from __future__ import annotations

import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.outage import SETTINGS, check_unavailable, live_through, ready
from tests.process.server import FORKED, Server, running

pytestmark = pytest.mark.process


@contextmanager
def full_disk(server: Server) -> Iterator[None]:
    """Let no file of the server grow: the kernel refuses its writes, as it does when a quota is reached."""
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
    yield
    if not server.ended:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the write lock, as a person does who has forgotten a shell with an open transaction."""
    other = sqlite3.connect(folder / "tasks.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    """Take its name from the file, as a person does who makes room for a backup. Permissions would not stop root."""
    file = folder / "tasks.db"
    elsewhere = file.rename(folder / "elsewhere.db")
    yield
    elsewhere.rename(file)


def trouble_of(name: str, server: Server, folder: Path) -> AbstractContextManager[None]:
    """What the store of a server has to live through."""
    match name:
        case "full disk":
            return full_disk(server)
        case "locked by another process":
            return locked(folder)
        case _:
            return moved_away(folder)


@pytest.mark.parametrize("trouble", ["full disk", "locked by another process", "moved away"])
async def test_tasks_pause_and_go_on_and_nothing_that_was_acknowledged_is_missing(trouble: str, tmp_path: Path) -> None:
    async with running(tmp_path, FORKED, **SETTINGS) as server:
        emitting, stopping = await server.running("burst", pause_s=0.002), await server.start("marks", path="stopped")
        streams = [await server.stream(emitting), await server.stream(stopping)]
        await streams[0].until(lambda: len(streams[0].body) > 2000)
        await streams[1].until(lambda: b"event: running\n" in streams[1].body)

        with trouble_of(trouble, server, tmp_path):
            await ready(server, 503)
            shown = streams[0].body.rpartition(b"\n\n")[0]
            paused = await server.get(emitting)
            for _ in range(2):
                check_unavailable(await start(server, "once"))
            cancel = await server.http.post(f"/tasks/{stopping}/cancel", json={"reason": "no room"})
            check_unavailable(cancel)
            assert (tmp_path / "stopped").exists(), "the handler is stopped all the same"
            assert (await server.get(stopping))["status"] == "running", "but nobody says so before it is stored"
            alive = len(streams[0].body)
            await streams[0].until(lambda: streams[0].body.count(b": keepalive\n", alive) >= 2)
            assert streams[0].body.rpartition(b"\n\n")[0] == shown, "nothing is shown that is not stored"
            assert (await server.get(emitting))["last_seq"] == paused["last_seq"]

        await ready(server, 200)
        await streams[0].until(lambda: len(streams[0].body) > len(shown) + 2000)
        await streams[1].read()
        assert streams[1].types == ["pending", "running", "cancel_requested", "cancelled"]
        started = await start(server, "once")
        assert started.status_code == 201, "the refused starts have left nothing, not even their key"
        listed = (await server.http.get("/tasks")).json()["tasks"]
        assert {task["id"] for task in listed} == {emitting, stopping, started.json()["id"]}
        await server.check_sound()
        await server.kill()
        await streams[0].read()

    async with running(tmp_path, FORKED) as server:
        log = await server.stream(emitting)
        await log.read()
        seen = streams[0].blocks
        assert {seq: block for seq, block in log.blocks.items() if seq in seen} == seen
        numbers = [event["data"]["n"] for event in log.events if event["type"] == "n"]
        assert numbers == list(range(1, len(numbers) + 1)), "no event of the handler was lost in between"
        await server.check_sound()
        await server.stop()


@pytest.mark.parametrize("trouble", ["full disk", "locked by another process", "moved away"])
async def test_every_client_was_told_the_truth_before_and_after_it(trouble: str, tmp_path: Path) -> None:
    await live_through(tmp_path, lambda server: trouble_of(trouble, server, tmp_path))


async def start(server: Server, key: str) -> Any:
    return await server.http.post("/tasks", json={"type": "sleeper"}, headers={"Idempotency-Key": key})


async def test_sigterm_during_the_outage_says_what_is_lost_and_does_not_say_0(tmp_path: Path) -> None:
    async with running(tmp_path, FORKED, **SETTINGS) as server:
        task_id = await server.running("burst", pause_s=0.002)
        stream = await server.stream(task_id)
        with full_disk(server):
            await ready(server, 503)
            began_at = time.monotonic()
            server.signal(signal.SIGTERM)
            assert await server.exited() == 1
            assert time.monotonic() - began_at < SETTINGS["grace_s"] + 1
        await stream.read()
        assert "interrupted" not in stream.types
        (said,) = server.said("events could not be stored before the end")
        assert said["events"] > 0

    async with running(tmp_path, FORKED) as server:
        task = await server.get(task_id)
        assert (task["status"], task["error"]["code"]) == ("interrupted", "crash")
        log = await server.stream(task_id)
        await log.read()
        assert log.body.startswith(stream.body.rpartition(b"\n\n")[0].replace(b": keepalive\n", b""))
        await server.check_sound()
        await server.stop()
