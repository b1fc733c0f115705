"""The page over restarts of the server and with many tabs: nothing is lost, nothing twice, one connection."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.browser.test_restarts import client, ready, real_server
from tests.page.sight import NUMBERS, Sight, seen
from tests.web.live import live


@pytest.mark.process
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_server_that_is_started_again_is_followed_on(
    chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    monkeypatch.setenv("STREAMING_GRACE_S", "0.5")
    async with real_server(tmp_path) as server, client(server.url) as http:
        await ready(http)
        answer = await http.post("/tasks", json={"type": "patient", "params": {"count": 100_000}})
        task_id = answer.json()["id"]
        async with seen(chromium, server.url, f"?task={task_id}") as page:
            await page.sees(".event", '"attempt":1')
            await asyncio.to_thread(server.end, signum)
            await page.until("document.querySelector('.pill').dataset.state !== 'open'")
            await asyncio.to_thread(server.start)
            await ready(http)
            await page.sees(".pill", "Live")
            await page.sees(".event", '"attempt":2')
            assert (await http.post(f"/tasks/{task_id}/cancel")).is_success
            await page.sees(".task-head .badge", "cancelled")
            log = (await http.get(f"/tasks/{task_id}")).json()
            await page.sees(".event-tools", f"{log['last_seq']:,} events")
            numbers = await page.js(NUMBERS)
            assert numbers == list(range(numbers[0], log["last_seq"] + 1))


async def test_eight_tabs_have_one_stream_and_go_on_when_the_first_one_is_closed(chromium: Chromium) -> None:
    async with live() as here, chromium.context() as context:
        task_id = await here.start("puppet")
        tabs = [await Sight.open(chromium, context, url_of(here), f"?task={task_id}") for _ in range(8)]
        for tab in tabs:
            await tab.sees(".pill", "Live")
            await tab.sees(".event", "attempt 1")
        await here.until(lambda: here.app.heartbeat.open == 1)
        here.puppet.emit(task_id, "tick", {"n": 1})
        for tab in tabs:
            await tab.sees(".event", '{"n":1}')
        await tabs[0].close()
        here.puppet.emit(task_id, "tick", {"n": 2})
        for tab in tabs[1:]:
            await tab.sees(".event", '{"n":2}')
            assert await tab.js(NUMBERS) == [1, 2, 3, 4]
        await here.until(lambda: here.app.heartbeat.open == 1)
        assert [tab.complaints for tab in tabs] == [[]] * 8


async def test_a_server_that_is_away_is_told_and_the_list_comes_back(chromium: Chromium, tmp_path: Path) -> None:
    async with real_server(tmp_path) as server, client(server.url) as http:
        await ready(http)
        async with seen(chromium, server.url) as page:
            await page.sees(".pill", "Live")
            await asyncio.to_thread(server.end)
            await page.sees(".pill", "Again in")
            await asyncio.to_thread(server.start)
            await ready(http)
            await http.post("/tasks", json={"type": "stubborn"})
            await page.sees(".pill", "Live")
            await page.sees(".vlist .trow", "stubborn")
            await page.click(".pill")
            await page.sees("dialog", "lost and connected againonce")
