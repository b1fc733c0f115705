"""A page that needs a credential: a token in the URL of its EventSource, a key in the headers of its fetch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.browser.chromium import Chromium
from tests.browser.ear import Ear, told, url_of
from tests.web.live import Live, live
from tests.web.test_matrix import LATER, bearer, guarded

#: A page of somebody else, and one that is named.
ELSEWHERE, NAMED = "http://elsewhere.localhost:8123", "http://app.localhost:8123"

FETCH = """([url, key]) => fetch(url, {
  method: "POST",
  headers: {"authorization": `Bearer ${key}`, "content-type": "application/json"},
  body: JSON.stringify({type: "count"}),
}).then((answer) => answer.json()).then((task) => task.type, (error) => error.name)"""


async def token_url(here: Live, key: str, task_id: str) -> str:
    answer = await here.http.post(f"/tasks/{task_id}/stream-token", headers=bearer(key))
    return str(answer.json()["url"])


async def started(here: Live, key: str) -> str:
    answer = await here.http.post("/tasks", json={"type": "puppet"}, headers=bearer(key))
    return str(answer.json()["id"])


async def test_a_page_follows_by_a_token_comes_back_with_it_and_is_sent_away_once_it_is_over(
    chromium: Chromium, soon: None
) -> None:
    ear = Ear()
    async with guarded(wrap=ear, key_cache_s=0.5) as (here, store, gate), chromium.tab(url_of(here)) as tab:
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        source = await tab.follow(await token_url(here, anna, task_id), ["tick"])
        await source.until("running")
        here.puppet.emit(task_id, "tick", {"n": 1})
        await source.until("tick")
        for stream in list(here.app.heartbeat._streams):
            asyncio.get_running_loop().call_soon(stream.drop)  # a network that breaks
        await source.until_own("open", 2)
        here.puppet.emit(task_id, "tick", {"n": 2})
        await source.until("tick", 2)
        store.rows = [replace(row, revoked_at=LATER) for row in store.rows]
        await source.until_closed()

        notes = await source.notes()
    assert [note.id for note in notes if note.told] == ["1", "2", "3", "4"]
    assert [note.type for note in notes if note.told] == ["pending", "running", "tick", "tick"]
    assert ear.cursors == [None, "3", "4"]
    assert notes[-1].state == "CLOSED"


async def test_a_token_leads_to_nothing_else(chromium: Chromium) -> None:
    async with guarded() as (here, store, gate), chromium.tab(url_of(here)) as tab:
        anna = store.make("anna")
        await gate.refresh()
        mine, other = await started(here, anna), await started(here, anna)
        query = (await token_url(here, anna, mine)).partition("?")[2]
        source = await tab.follow(f"/tasks/{other}/events?{query}")
        await source.until_closed()

        assert told(await source.notes()) == []


async def test_only_a_page_that_is_named_may_call_from_another_origin(chromium: Chromium) -> None:
    async with guarded(cors_origins=NAMED) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        url = url_of(here) + await token_url(here, anna, task_id)
        async with chromium.tab(NAMED) as tab:
            assert await tab.run(FETCH, [f"{url_of(here)}/tasks", anna]) == "count"
            source = await tab.follow(url)
            await source.until("running")
            await source.close()
        async with chromium.tab(ELSEWHERE) as tab:
            assert await tab.run(FETCH, [f"{url_of(here)}/tasks", anna]) == "TypeError"
            source = await tab.follow(url)
            await source.until_closed()
            assert told(await source.notes()) == []


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
async def test_without_credentials_a_page_of_somebody_else_starts_nothing_and_reads_nothing(
    chromium: Chromium, mode: str
) -> None:
    script = """([url, mode]) => fetch(url, {method: "POST", mode, body: '{"type": "count"}'})
      .then((answer) => answer.text(), (error) => error.name)"""
    async with live() as here, chromium.tab(ELSEWHERE) as tab:
        said: Any = await tab.run(script, [f"{url_of(here)}/tasks", mode])

        assert said == "TypeError"  # not even an answer that it cannot read
        assert (await here.http.get("/tasks/count")).json()["count"] == 0
