"""kill -9 in the middle of a stream: the page goes on by itself, on the same file, with every event once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from httpx_sse import aconnect_sse

from tests.browser.chromium import Chromium
from tests.browser.ear import told
from tests.browser.tab import SOON_S
from tests.real_server import RealServer
from tests.web.live import NO_TLS

pytestmark = pytest.mark.process


@asynccontextmanager
async def real_server(folder: Path) -> AsyncIterator[RealServer]:
    server = RealServer(folder)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.end)


async def ready(http: httpx.AsyncClient) -> None:
    """Wait until the server has its store."""
    async with asyncio.timeout(SOON_S):
        while not (await http.get("/readyz")).is_success:  # noqa: ASYNC110  # a server does not tell when it changes
            await asyncio.sleep(0.01)


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=NO_TLS)


async def whole_log(http: httpx.AsyncClient, task_id: str) -> list[tuple[str, str, str]]:
    async with aconnect_sse(http, "GET", f"/tasks/{task_id}/events") as source:
        return [(each.id, each.event, each.data) async for each in source.aiter_sse()]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_page_goes_on_after_a_restart_with_no_gap_and_no_duplicate(
    chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    """It is refused meanwhile, once at least after a kill: a lost connection is no end for an EventSource.

    A 503 is, which a server says that waits for its store for long, on a busy machine: so the page is a faithful one.
    """
    monkeypatch.setenv("STREAMING_GRACE_S", "0.1")
    async with real_server(tmp_path) as server, chromium.tab(server.url) as tab, client(server.url) as http:
        await ready(http)
        started = await http.post("/tasks", json={"type": "patient", "params": {"count": 100_000}})
        assert started.status_code == 201, started.text
        task_id = started.json()["id"]
        source = await tab.follow(f"/tasks/{task_id}/events", ["step"], faithful=True)
        await source.until("step", 30)
        await asyncio.to_thread(server.end, signum)
        await source.until_own("error", 2 if signum == signal.SIGKILL else 1)
        seen = told(await source.notes())
        refused = [note.state for note in await source.notes() if note.type == "error"]
        await asyncio.to_thread(server.start)
        await ready(http)
        await source.until("step", len(seen) + 20)
        assert (await http.post(f"/tasks/{task_id}/cancel")).is_success
        await source.until("cancelled")
        notes = await source.notes()
        await source.close()

        assert told(notes) == await whole_log(http, task_id), "byte for byte"
    assert told(notes)[: len(seen)] == seen, "what it had seen has happened"
    assert [note.id for note in notes if note.told] == [str(seq) for seq in range(1, len(told(notes)) + 1)]
    assert [note.json["data"]["attempt"] for note in notes if note.type == "running"] == [1, 2]
    assert set(refused) == {"CONNECTING"}
