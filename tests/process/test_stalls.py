"""A handler that blocks a real server is named while it does; a server that was stopped as a whole is not."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.process.server import SOON_S, running

pytestmark = pytest.mark.process

BLOCKED = "the event loop is blocked"


@pytest.mark.parametrize("way", ["streaming serve", "uvicorn --loop asyncio"])
async def test_a_handler_that_blocks_a_server_is_named_while_it_does(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, way, stall_s=0.2) as server:
        task_id = await server.start("hogs", seconds=1.5)
        line = await server.until_said(BLOCKED)
        assert (line["task_id"], line["task_type"]) == (task_id, "hogs")
        assert line["where"].startswith("handlers.py:")
        assert line["where"].endswith(" in hogs")
        assert server.said("the event loop goes on") == [], "it still blocks"
        stream = await server.stream(task_id)
        await stream.until(lambda: b"event: completed" in stream.body)
        assert b"event: stalled" in stream.body
        assert len(server.said(BLOCKED)) >= 2
        await server.stop()


async def test_a_server_that_was_stopped_as_a_whole_blames_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, stall_s=0.2) as server:
        task_id = await server.running("sleeper")
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        server.signal(signal.SIGCONT)
        assert (await server.get(task_id))["status"] == "running"
        await asyncio.sleep(0.5)
        assert server.said(BLOCKED) == []
        hog = await server.start("hogs", seconds=0.6)
        assert (await server.get(hog, wait_s=SOON_S))["status"] == "completed"
        assert len(server.said(BLOCKED)) >= 1, "and it looks on"
        await server.stop()
