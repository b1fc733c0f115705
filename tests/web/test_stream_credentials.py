"""An open stream is over with the credential that opened it, and its reader is told; a token opens one stream."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from streaming.access.gate import Gate
from streaming.config import Settings
from streaming.rules.access import Scope
from streaming.web.stream import FAREWELL
from tests.web.live import Live, live
from tests.web.test_matrix import LATER, SECRET, Keys, bearer, guarded


async def started(here: Live, key: str) -> str:
    answer = await here.http.post("/tasks", json={"type": "sleeper"}, headers=bearer(key))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def read(here: Live, path: str, headers: dict[str, str]) -> bytes:
    """A stream to its end."""
    async with here.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        return await answer.aread()


async def test_a_stream_ends_with_its_token_and_says_so(path: str) -> None:
    async with guarded(keepalive_s=0.5) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        token = jwt.encode({"sub": "anna", "exp": time.time() - 9}, SECRET, "HS256")  # within the leeway, for a second
        said = await read(here, f"/tasks/{task_id}/events", bearer(token))

        assert said.endswith(FAREWELL)
        assert b"event: running" in said
        again = await here.http.get(f"/tasks/{task_id}/events", headers={**bearer(token), "last-event-id": "1"})
        assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")
        assert (await here.http.get(f"/tasks/{task_id}", headers=bearer(anna))).json()["status"] == "running"
        await here.quiet()


@pytest.mark.parametrize("by", ["the key", "a stream token of the key"])
async def test_a_stream_ends_when_its_key_is_revoked(path: str, by: str) -> None:
    async with guarded(key_cache_s=0.5) as (here, store, gate):
        anna, bob = store.make("anna"), store.make("bob")
        await gate.refresh()
        mine, other = await started(here, anna), await started(here, bob)
        where, headers = f"/tasks/{mine}/events", bearer(anna)
        if by != "the key":
            given = (await here.http.post(f"/tasks/{mine}/stream-token", headers=headers)).json()
            where, headers = given["url"], {}
        reading = asyncio.create_task(read(here, where, headers))
        async with here.sse(f"/tasks/{other}/events", headers=bearer(bob)) as events:
            await anext(events)
            await here.until(lambda: here.app.heartbeat.open == 2)
            store.rows = [replace(row, revoked_at=LATER) if row.principal.name == "anna" else row for row in store.rows]

            assert (await reading).endswith(FAREWELL)
            assert here.app.heartbeat.open == 1  # that of somebody else goes on
        await here.quiet()


async def test_lines_of_json_break_off_rather_than_end() -> None:
    async with guarded(key_cache_s=0.5) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        lines = {**bearer(anna), "accept": "application/x-ndjson"}
        reading = asyncio.create_task(read(here, f"/tasks/{task_id}/events", lines))
        await here.until(lambda: here.app.heartbeat.open == 1)
        store.rows = [replace(row, revoked_at=LATER) for row in store.rows]
        with pytest.raises(httpx.HTTPError):
            await reading


async def test_the_feed_of_a_revoked_key_ends_too() -> None:
    async with guarded(key_cache_s=0.5) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        await started(here, anna)
        reading = asyncio.create_task(read(here, "/events", bearer(anna)))
        await here.until(lambda: here.app.heartbeat.open == 1)
        store.rows = [replace(row, revoked_at=LATER) for row in store.rows]

        assert (await reading).endswith(FAREWELL)


async def test_a_stream_token_needs_no_header_and_resumes() -> None:
    async with guarded() as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        answer = await here.http.post("/tasks", json={"type": "count"}, headers=bearer(anna))
        task_id = answer.json()["id"]
        given = await here.http.post(f"/tasks/{task_id}/stream-token", headers=bearer(anna))
        url = given.json()["url"]

        assert url == f"/tasks/{task_id}/events?stream_token={given.json()['token']}"
        events = await here.all_sse(url)
        assert [event.event for event in events][-1] == "completed"
        resumed = await here.all_sse(url, headers={"last-event-id": "3"})
        assert [event.id for event in resumed] == [event.id for event in events[3:]]
        page = await here.http.get(url, headers={"accept": "application/json"})
        assert len(page.json()["events"]) == len(events)


async def test_a_token_for_a_foreign_task_is_given_to_nobody() -> None:
    async with guarded() as (here, store, gate):
        anna, bob = store.make("anna"), store.make("bob")
        await gate.refresh()
        task_id = await started(here, anna)
        refused = await here.http.post(f"/tasks/{task_id}/stream-token", headers=bearer(bob))

        assert refused.status_code == 404


async def test_an_admin_may_watch_everything_by_a_token() -> None:
    async with guarded() as (here, store, gate):
        anna, root = store.make("anna"), store.make("root", frozenset({Scope.ADMIN}))
        await gate.refresh()
        task_id = (await here.http.post("/tasks", json={"type": "count"}, headers=bearer(anna))).json()["id"]
        url = (await here.http.post(f"/tasks/{task_id}/stream-token", headers=bearer(root))).json()["url"]

        assert len(await here.all_sse(url)) == 6


async def test_a_principal_has_so_many_streams_and_not_one_more() -> None:
    async with guarded(principal_streams_max=2) as (here, store, gate):
        anna, bob = store.make("anna"), store.make("bob")
        await gate.refresh()
        task_id, other = await started(here, anna), await started(here, bob)
        url = (await here.http.post(f"/tasks/{task_id}/stream-token", headers=bearer(anna))).json()["url"]
        async with here.sse(f"/tasks/{task_id}/events", headers=bearer(anna)), here.sse(url):
            refused = await here.http.get(f"/tasks/{task_id}/events", headers=bearer(anna))
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert "retry-after" in refused.headers
            async with here.sse(f"/tasks/{other}/events", headers=bearer(bob)):
                pass
        await here.quiet()
        assert here.app.limits_hit["too_many_streams_of_principal"] == 1
        async with here.sse(f"/tasks/{task_id}/events", headers=bearer(anna)):
            pass


async def test_without_credentials_a_token_is_given_all_the_same() -> None:
    """So that a page need not know whether its server wants any."""
    async with live() as here:
        task_id = await here.counted()
        answer: Any = await here.http.post(f"/tasks/{task_id}/stream-token")
        assert answer.status_code == 201
        assert len(await here.all_sse(answer.json()["url"])) == 6
        refused = await here.http.get(f"/tasks/{task_id}/events?stream_token=wrong")
        assert refused.status_code == 401


async def test_who_starts_a_task_and_may_not_read_it_does_not_get_its_stream() -> None:
    async with guarded() as (here, store, gate):
        writer = store.make("anna", frozenset({Scope.TASKS_WRITE}))
        await gate.refresh()
        asked = {**bearer(writer), "accept": "text/event-stream"}
        refused = await here.http.post("/tasks", json={"type": "count"}, headers=asked)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await here.http.post("/tasks", json={"type": "count"}, headers=bearer(writer))).status_code == 201


async def test_the_first_key_ends_what_nobody_in_particular_reads() -> None:
    """Whoever makes a key closes the server, also for those who are in it already."""
    settings = Settings(store_url="memory://", key_cache_s=0.5)
    store = Keys(settings)
    gate = Gate(settings, secret=SECRET, load=store.api_keys)
    await gate.refresh()
    async with live(journal=store, gate=gate, key_cache_s=0.5) as here:
        task_id = await here.start("sleeper")
        reading = asyncio.create_task(read(here, "/events", {}))
        watching = asyncio.create_task(read(here, f"/tasks/{task_id}/events", {}))
        await here.until(lambda: here.app.heartbeat.open == 2)
        store.make("anna")

        assert (await reading).endswith(FAREWELL)
        assert (await watching).endswith(FAREWELL)
        assert (await here.http.get("/tasks")).status_code == 401
    await gate.close()


async def test_what_was_waited_for_is_told_to_nobody_whose_credential_is_over() -> None:
    async with guarded() as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        token = jwt.encode({"sub": "anna", "exp": time.time() - 9}, SECRET, "HS256")  # within the leeway, for a second
        for method, path in (("GET", f"/tasks/{task_id}"), ("POST", f"/tasks/{task_id}/cancel")):
            assert (await here.http.request(method, path, headers=bearer(token))).status_code < 300
        late = await here.http.get(f"/tasks/{task_id}?wait_s=0.1", headers=bearer(anna))
        assert late.status_code == 200
        task_id = await started(here, anna)
        waited = await here.http.get(f"/tasks/{task_id}?wait_s=1.5", headers=bearer(token))
        assert (waited.status_code, waited.json()["code"]) == (401, "unauthenticated")


async def test_nor_to_one_that_was_revoked_meanwhile() -> None:
    async with guarded(key_cache_s=0.1) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        waiting = asyncio.create_task(here.http.get(f"/tasks/{task_id}?wait_s=1.5", headers=bearer(anna)))
        await here.until(lambda: here.readers == 1)
        store.rows = [replace(row, revoked_at=LATER) for row in store.rows]

        assert (await waiting).status_code == 401


async def test_whoever_waits_takes_the_place_of_a_stream() -> None:
    async with guarded(principal_streams_max=1) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        task_id = await started(here, anna)
        async with here.sse(f"/tasks/{task_id}/events", headers=bearer(anna)):
            for method, path in (("GET", f"/tasks/{task_id}"), ("POST", f"/tasks/{task_id}/cancel")):
                refused = await here.http.request(method, f"{path}?wait_s=1", headers=bearer(anna))
                assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            record = (await here.http.get(f"/tasks/{task_id}", headers=bearer(anna))).json()
        assert (record["status"], record["cancel"]) == ("running", None), "what was refused was not done"
