"""kill -9 and SIGTERM under our JavaScript client: everything it has goes on, each event once."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.browser.page import Page, ends, of_feed, texts
from tests.browser.test_restarts import client, ready, real_server, whole_log

pytestmark = pytest.mark.process


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_loop_a_connection_and_tabs_that_share_go_on_after_a_restart(
    chromium: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    monkeypatch.setenv("STREAMING_GRACE_S", "0.1")
    async with real_server(tmp_path) as server, chromium.tabs(server.url) as another, client(server.url) as http:
        await ready(http)
        ids = [
            (await http.post("/tasks", json={"type": "patient", "params": {"count": 100_000}})).json()["id"]
            for _ in range(2)
        ]
        loop, one, leader, follower = [await Page.of(await another()) for _ in range(4)]
        await loop.watch(ids[0])
        await one.connect(feed=True, logs=ids)
        for page in (leader, follower):
            await page.share(feed=True, logs=ids)
        pages = (one, leader, follower)
        for page in (loop, *pages):
            await page.until(lambda items: len(items) > 40)
        await asyncio.to_thread(server.end, signum)
        for page in (loop, *pages):
            await page.tab.until("heard.states.at(-1).state === 'waiting'")
        await asyncio.to_thread(server.start)
        await ready(http)
        for task_id in ids:
            assert (await http.post(f"/tasks/{task_id}/cancel")).is_success
        assert await loop.watched() == "over"
        logs = {task_id: [json.loads(data) for _, _, data in await whole_log(http, task_id)] for task_id in ids}
        total = sum(map(len, logs.values()))
        assert [json.loads(text) for text in texts(await loop.items(), ids[0])] == logs[ids[0]]
        for page in pages:
            items = await page.until(lambda items: ends(items) == 2)
            for task_id in ids:
                assert [json.loads(text) for text in texts(items, task_id)] == logs[task_id]
            items = await page.until(lambda items: of_feed(items)[-1] == total)
            assert of_feed(items) == list(range(of_feed(items)[0], total + 1))
            await page.check()
        assert (await one.stats())["reconnects"] >= 1
