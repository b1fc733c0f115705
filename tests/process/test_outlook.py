"""A server that stops tells what becomes of its tasks, and its readers when to come back: with curl, on each loop."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.process.server import running

pytestmark = pytest.mark.process


async def curl(*words: str) -> str:
    process = await asyncio.create_subprocess_exec("curl", "-sN", *words, stdout=PIPE)
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return stdout.decode()


@pytest.mark.parametrize("way", ["streaming serve", "uvicorn --loop asyncio"])
async def test_a_server_that_stops_tells_what_becomes_of_its_tasks_and_when_to_come_back(
    way: str, tmp_path: Path
) -> None:
    async with running(tmp_path, way, grace_s=6, max_running=1) as server:
        url = f"http://127.0.0.1:{server.port}"
        task_id = await server.running("sleeper")
        waiting = await server.start("sleeper")
        readers = [asyncio.create_task(curl(f"{url}/tasks/{waiting}/events")) for _ in range(10)]
        own = asyncio.create_task(curl(f"{url}/tasks/{task_id}/events"))
        feed = asyncio.create_task(curl(f"{url}/events"))
        await asyncio.sleep(0.5)
        server.signal(signal.SIGTERM)
        line = await server.until_said("what becomes of the running tasks")
        assert {name: line[name] for name in ("finish", "stop", "unknown")} == {"finish": 0, "stop": 0, "unknown": 1}
        answer = json.loads(await curl(f"{url}/readyz"))
        assert (answer["status"], answer["code"]) == (503, "draining")
        assert answer["drain"]["tasks"] == [{"id": task_id, "type": "sleeper", "outlook": "unknown"}]

        ends = [re.search(r"\n\nretry: (\d+)\n\Z", body) for body in await asyncio.gather(*readers, feed)]
        delays = [int(found[1]) for found in ends if found is not None]
        assert len(delays) == 11
        assert all(2000 <= delay < 7000 for delay in delays)
        assert len(set(delays)) > 5
        assert (await own).rstrip("\n").splitlines()[-1].startswith("data: ")
        assert await server.exited() == 0
