"""Why is it still running? Asked of a real server by curl and on the command line, on each event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.process.server import running

pytestmark = pytest.mark.process


async def said_by(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return stdout.decode()


@pytest.mark.parametrize("way", ["streaming serve", "uvicorn --loop uvloop"])
async def test_a_server_says_why_its_tasks_are_still_running(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, way, max_running=4) as server:
        url = f"http://127.0.0.1:{server.port}"

        async def why(task_id: str) -> dict[str, Any]:
            return dict(json.loads(await said_by("curl", "-s", f"{url}/tasks/{task_id}/why")))

        wanted = [
            ("sleeper", {}, "It waits for a future at handlers.py:"),
            ("again", {"pause_s": 600}, "It sleeps for another "),
            ("listens", {}, "It waits for a socket at handlers.py:"),
            ("stuck_thread", {}, "It runs in a thread at handlers.py:"),
        ]
        ids = [await server.running(type, **params) for type, params, _ in wanted]
        await asyncio.sleep(0.2)
        for task_id, (_, _, words) in zip(ids, wanted, strict=True):
            found = await why(task_id)
            assert found["sentence"].startswith(words)
            assert str(tmp_path) not in json.dumps(found)

        behind = await server.start("sleeper")
        assert "no more tasks may run at the same time, with 0 waiting tasks" in (await why(behind))["sentence"]
        said = await said_by(sys.executable, "-m", "streaming.cli", "why", ids[0], "--url", url)
        assert said.startswith("It waits for a future at handlers.py:")
        assert said.splitlines()[1].endswith(" in sleeper")
        # A thread that nobody can stop is told of at the end, and not waited for.
