"""Everything on stderr is a log line, and knows its task: also what is logged in another process."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.process.server import SOON_S, WAYS, running

pytestmark = pytest.mark.process

SAID = ["by logging 1", "by structlog", "with a traceback"]


@pytest.mark.parametrize("way", ["streaming serve", "uvicorn --loop uvloop"])
async def test_what_a_handler_logs_in_a_process_looks_like_any_line_and_has_its_task(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, way, max_processes=1) as server:
        tasks = [await server.start("logs_in_process") for _ in range(2)]
        for task_id in tasks:
            assert (await server.get(task_id, wait_s=SOON_S))["status"] == "completed"
        await server.until(lambda: len(server.said(SAID[-1])) == 2)
        lines = [entry for entry in server.entries if entry["event"] in SAID]
        server.signal(signal.SIGTERM)
        assert await server.exited() == 0

    assert [(line["task_id"], line["event"]) for line in lines] == [(id, event) for id in tasks for event in SAID]
    assert {line["logger"] for line in lines} == {"ours", "theirs"}
    assert all("KeyError: 'count'" in line["exception"] for line in lines if line["event"] == SAID[-1])
    assert server.said("too much") == []


async def test_a_server_without_standard_streams_runs_handlers_in_processes(tmp_path: Path) -> None:
    """Nothing that it opens may take their numbers: libuv aborts then, and a worker would have it for its stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *WAYS["streaming serve"][:2], "--port", str(port)]
    async with running(tmp_path, command, ready=False) as server:
        server.http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        await server.until(lambda: server.ended or accepts(port))
        task_id = await server.start("logs_in_process")
        assert (await server.get(task_id, wait_s=SOON_S))["status"] == "completed"
        server.signal(signal.SIGTERM)
        assert await server.exited() == 0


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
