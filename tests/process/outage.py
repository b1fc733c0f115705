"""What every server has to live through in the same way, whatever it is that keeps it from writing.

Owns:   the time before, during and after it, with clients who remember.
Never:  knows what the trouble is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.ports import reserve_port
from tests.process.server import FORKED, Server, running
from tests.process.witness import CRASHING, STEADY, witnessed

SETTINGS: dict[str, Any] = {"keepalive_s": 0.4, "store_wait_s": 0.5, "grace_s": 2.0}


async def ready(server: Server, status: int) -> None:
    """Wait until /readyz says so."""
    async with asyncio.timeout(20):
        while (answer := await server.http.get("/readyz")).status_code != status:  # noqa: ASYNC110  # it asks
            await asyncio.sleep(0.01)
    if status == 503:
        check_unavailable(answer)


def check_unavailable(answer: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def live_through(folder: Path, trouble: Callable[[Server], AbstractContextManager[None]]) -> None:
    """Tasks, readers, starts and a cancel, before, while and after the store cannot be written.

    Args:
        folder: of the database.
        trouble: makes it so, and ends it.
    """
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(folder, FORKED, port=port, **SETTINGS) as server:
            witness.watch_feed()
            tasks = [await witness.start("burst", n=600, pause_s=0.002) for _ in range(3)]
            stopping = await witness.start("sleeper")
            readers = [each for task_id in tasks for each in witness.watch(task_id, STEADY, CRASHING)]
            (stopped,) = witness.watch(stopping)
            await server.until(lambda: all(each.has > 20 for each in readers[::2]) and stopped.has == 2)

            with trouble(server):
                await ready(server, 503)
                shown = [each.has for each in readers[::2]]
                check_unavailable(await witness.http.post("/tasks", json={"type": "sleeper"}))
                check_unavailable(await witness.http.post(f"/tasks/{stopping}/cancel"))
                starting = asyncio.create_task(witness.start("burst", n=3))
                assert (await witness.http.get(f"/tasks/{tasks[0]}")).status_code == 200, "it can be read"
                assert readers[0].stream is not None
                alive = len(readers[0].stream.body)
                await readers[0].stream.until(lambda: readers[0].stream.body.count(b": keepalive\n", alive) >= 2)  # type: ignore[union-attr]  # it reads on
                assert [each.has for each in readers[::2]] == shown, "nothing is shown that is not stored"
                assert not starting.done()

            await ready(server, 200)
            witness.watch(await starting)
            await witness.cancel(stopping)
            await witness.until_read()
            await witness.read_again()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{folder}/tasks.db")
    assert found.violations == []
    assert found.statuses == {"completed": 4, "cancelled": 1}
