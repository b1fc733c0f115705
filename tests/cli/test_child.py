"""A server of our own: started, asked, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from streaming.cli import child
from streaming.cli.child import ServerProcess, serving
from streaming.errors import ServerUnreachable

pytestmark = pytest.mark.process

#: Says what it is told to say, then waits; ignores SIGTERM if the second word says so.
SCRIPT = """
import signal, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(sys.argv[1], file=sys.stderr, flush=True)
time.sleep(float(sys.argv[3]))
"""


async def said_by(line: str, *, deaf: bool = False, sleep_s: float = 60) -> ServerProcess:
    words = (line, "deaf" if deaf else "polite", str(sleep_s))
    return ServerProcess(await asyncio.create_subprocess_exec(sys.executable, "-c", SCRIPT, *words, stderr=PIPE))


LISTENING = '{"event": "listening", "url": "http://127.0.0.1:5"}'


async def test_a_real_server_says_where_it_is_answers_and_leaves_with_0(tmp_path: Path) -> None:
    async with serving(tmp_path, {"--store": "memory://"}, {"STREAMING_MAX_RUNNING": "7"}) as server:
        async with httpx.AsyncClient(base_url=await server.url(), trust_env=False) as http:
            assert (await http.get("/healthz")).status_code == 200

        assert await server.stop() == 0
    assert await server.ended() == 0


async def test_settings_of_this_environment_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_HOST", "nowhere.invalid")
    async with serving(tmp_path, {"--store": "memory://"}, {}) as server:
        assert (await server.url()).startswith("http://127.0.0.1:")


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path, {"--store": "mysql://x"}, {}) as server:
        with pytest.raises(ServerUnreachable, match="STREAMING_STORE_URL"):
            await server.url()
        assert await server.stop() == 2


async def test_an_error_inside_stops_it_all_the_same(tmp_path: Path) -> None:
    serving_it = serving(tmp_path, {"--store": "memory://"}, {})
    server = await serving_it.__aenter__()
    await server.url()
    error = RuntimeError("inside")

    assert not await serving_it.__aexit__(RuntimeError, error, None)
    assert await server.ended() in (0, -signal.SIGTERM)  # it listens before it is ready to drain


async def test_a_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "STOP_S", 0.05)
    server = await said_by(LISTENING, deaf=True)
    assert await server.url() == "http://127.0.0.1:5"

    assert await server.stop() == -signal.SIGKILL
    server.kill()
    server.forget()


async def test_the_exit_status_is_right_when_the_server_ended_just_before_it_was_asked_to() -> None:
    """It has ended, and the loop does not know yet: nothing runs between the end and the signal."""
    server = await said_by(LISTENING, sleep_s=0.2)
    await server.url()
    with suppress(psutil.NoSuchProcess):  # up to Python 3.11 a thread of asyncio's fetches the status at once
        process = psutil.Process(server.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            pass

    assert await server.stop() == 0


async def test_other_lines_are_not_the_address() -> None:
    for line in ("no json", "[1]", '{"event": "started", "url": "x"}', '{"event": "listening"}'):
        server = await said_by(line, sleep_s=0)
        with pytest.raises(ServerUnreachable, match="did not start"):
            await server.url()
        assert list(server.last_lines) == [line]
        assert await server.ended() == 0


async def test_a_ctrl_c_at_our_terminal_is_not_for_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path, {"--store": "memory://"}, {}) as server:
        await server.url()

        assert os.getpgid(server.pid) != os.getpgid(0)
