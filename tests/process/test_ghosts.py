"""Whatever a server has started ends with it, however it ends, and the next one finds nothing that still runs."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from tests.process.server import FORKED, SOON_S, Server, running

pytestmark = pytest.mark.process

#: Three processes that ignore TERM; those below have closed all that they could notice an end by, and one of them has a
#: session of its own.
BELOW = "exec >/dev/null 2>&1; while :; do sleep 0.01; done"
DEAF = f"trap '' TERM; ({BELOW}) & setsid sh -c '{BELOW}' & echo deaf; while :; do sleep 0.01; done"

#: It ignores TERM as well, and writes more than anybody takes.
FLOOD = "trap '' TERM; echo deaf; while :; do echo; done"

COMMANDS = json.dumps({name: shlex.join(["sh", "-c", script]) for name, script in (("deaf", DEAF), ("flood", FLOOD))})

WAYS = [FORKED, "streaming serve", "uvicorn --loop uvloop"]


async def gone(pids: Iterable[int]) -> None:
    """Wait until none of these processes is alive; what is left is ended, and a failure."""
    left = set(pids)
    try:
        async with asyncio.timeout(SOON_S):
            while left := {pid for pid in left if _alive(pid)}:  # noqa: ASYNC110  # nobody tells us, but its parent
                await asyncio.sleep(0.005)
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def below(server: Server) -> set[int]:
    """Everything that the server has started, and what that has started."""
    return {child.pid for child in psutil.Process(server.process.pid).children(recursive=True)}


async def deaf(server: Server, name: str = "deaf") -> str:
    """Start a program that ignores TERM, and wait until it does."""
    task_id = await server.running("command", name=name)
    stream = await server.stream(task_id)
    await stream.until(lambda: b'"line":"deaf"' in stream.body)
    stream.leave()
    return task_id


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_killed_server_has_started_ends_with_it(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, way, commands=COMMANDS) as server:
        busy = await server.start("computes")
        await server.workers(1)
        idle = await server.start("computes", seconds=0.0)
        assert (await server.get(idle, wait_s=SOON_S))["status"] == "completed"
        program = await deaf(server)
        started = below(server)
        assert len(started) >= 6, "two workers, three processes of a program, and its keeper"
        await server.kill()
        await gone(started)

    async with running(tmp_path, FORKED, commands=COMMANDS) as server:
        for task_id in (busy, program):
            task = await server.get(task_id)
            assert (task["status"], task["error"]["code"]) == ("interrupted", "crash")
        assert below(server) == set()
        await server.check_sound()
        await server.stop()


@pytest.mark.parametrize("name", ["deaf", "flood"])
async def test_a_program_that_ignores_term_is_ended_within_a_short_grace(name: str, tmp_path: Path) -> None:
    """Its own time to end is not over that of the server, and so the task is told its end, too.

    With the two seconds that a program has otherwise, no time would be left to tell. A disk may halt for a second.
    """
    async with running(tmp_path, commands=COMMANDS, grace_s=6) as server:
        task_id = await deaf(server, name)
        stream = await server.stream(task_id)
        started = below(server)
        server.signal(signal.SIGTERM)
        assert await server.exited() == 0, server.entries[-10:]
        await stream.read()
        await gone(started)

    assert (stream.types[-1], stream.ended) == ("interrupted", True)
    assert [entry["event"] for entry in server.entries if entry["level"] in ("warning", "error")] == []


async def test_two_signals_in_a_row_leave_nothing_either(tmp_path: Path) -> None:
    """There is no time for TERM and KILL one after the other."""
    async with running(tmp_path, commands=COMMANDS, grace_s=60) as server:
        await deaf(server)
        started = below(server)
        server.signal(signal.SIGTERM)
        await server.until_said("draining")
        server.signal(signal.SIGTERM)
        assert await server.exited() == 0
        await gone(started)
    assert [entry for entry in server.entries if "exception" in entry] == []
