"""Our JavaScript client in a browser: watching a task, and one connection for everything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.browser.chromium import Chromium
from tests.browser.ear import Ear, url_of
from tests.browser.page import Page, ends, of_feed, of_log, so_many, texts
from tests.web.live import Live, live
from tests.web.test_matrix import bearer, guarded, token


def drop_all(here: Live) -> None:
    """A network that breaks: each open stream is cut."""
    for stream in list(here.app.heartbeat._streams):
        asyncio.get_running_loop().call_soon(stream.drop)


async def log_of(here: Live, task_id: str) -> list[str]:
    """The log as somebody else reads it."""
    return [
        json.dumps(json.loads(each.data), separators=(",", ":"), ensure_ascii=False)
        for each in await here.all_sse(f"/tasks/{task_id}/events")
    ]


@asynccontextmanager
async def page_of(chromium: Chromium, here: Live, **options: Any) -> AsyncIterator[Page]:
    async with chromium.tab(url_of(here)) as tab:
        page = await Page.of(tab, **options)
        yield page
        await page.check()


def _ended(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda items: ends(items) == count


# -- requests ----------------------------------------------------------------------------------------------------------


async def test_a_page_starts_looks_steers_and_is_told_what_is_wrong(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        done = await page.tab.run("""async () => {
            const task = await client.start("puppet", {}, {tags: ["a"], timeoutS: 60, priority: "high"});
            const again = await client.get(task.id);
            const listed = await client.list({tag: "a", status: ["pending", "running"]});
            const longer = await client.extend(task.id, {timeoutS: 120});
            const stopped = await client.cancel(task.id, {reason: "enough", waitS: 5});
            const more = await client.retry(task.id);
            const page = await client.history(task.id, {after: 1, limit: 2});
            const changes = await client.changes(task.id);
            const types = (await client.types()).map((type) => type.name);
            const all = [];
            for await (const each of client.tasks({limit: 1})) all.push(each.id);
            const count = await client.count({group_by: "type"});
            const who = await client.principal();
            await client.cancel(more.id, {waitS: 5});
            await client.ack(task.id);
            await client.delete(more.id);
            return {tags: again.tags, timeout: longer.timeout_s, listed: listed.tasks.length, status: stopped.status,
                    reason: stopped.cancel.reason, retryOf: more.retry_of === task.id,
                    seqs: page.events.map((event) => event.seq),
                    to: changes.map((change) => change.to), puppet: types.includes("puppet"), all: all.length,
                    count: count.count, who: who.name};
        }""")
        assert done == {
            "tags": ["a"],
            "timeout": 120,
            "listed": 1,
            "status": "cancelled",
            "reason": "enough",
            "retryOf": True,
            "seqs": [2, 3],
            "to": ["pending", "running", "cancelled"],
            "puppet": True,
            "all": 2,
            "count": 2,
            "who": "anonymous",
        }
        refused = await page.tab.run("""() => client.start("count", {n: "x"}).catch((error) => ({
            name: error.name, code: error.code, status: error.status, field: error.errors[0].field,
            temporary: error.temporary, is: error instanceof Error}))""")
        assert refused == {
            "name": "Problem",
            "code": "invalid_params",
            "status": 422,
            "field": "params.n",
            "temporary": False,
            "is": True,
        }


# -- watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["fetch", "eventsource"])
async def test_a_task_is_watched_to_its_end_byte_for_byte(chromium: Chromium, transport: str) -> None:
    async with live() as here, page_of(chromium, here) as page:
        task_id = await here.start()
        await page.watch(task_id, transport=transport)
        for number in range(5):
            here.puppet.emit(task_id, f"own.{number}", {"text": "é\n\u2028🦊", "n": number})
        await page.until(lambda items: len(items) == 7)
        here.puppet.finish(task_id)
        assert await page.watched() == "over"
        assert texts(await page.items(), task_id) == await log_of(here, task_id)
        await page.watch(task_id, transport=transport, after=8)  # behind the end: nothing, and it is over
        assert await page.watched() == "over"
        assert len(await page.items()) == 8
        await here.quiet()


@pytest.mark.parametrize("transport", ["fetch", "eventsource"])
async def test_a_network_that_breaks_takes_nothing_and_repeats_nothing(
    chromium: Chromium, soon: None, transport: str
) -> None:
    ear = Ear()
    async with live(wrap=ear) as here, page_of(chromium, here) as page:
        task_id = await here.start()
        await page.watch(task_id, transport=transport)
        for number in range(3):
            await page.until(so_many(2 + number))
            drop_all(here)
            await here.until(lambda: here.app.heartbeat.open == 0)
            here.puppet.emit(task_id)
        await page.until(lambda items: len(items) == 5)
        here.puppet.finish(task_id)
        assert await page.watched() == "over"
        assert of_log(await page.items(), task_id) == [1, 2, 3, 4, 5, 6]
        if transport == "fetch":
            assert ear.cursors == [None, "2", "3", "4"]
        states = [each["state"] for each in await page.states()]
        assert states.count("waiting") >= 3
        assert states[:2] == ["connecting", "open"]


async def test_to_leave_ends_the_stream(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        task_id = await here.start()
        await page.watch(task_id)
        await page.until(lambda items: len(items) == 2)
        await page.tab.run("leaving.abort()")
        assert (await page.watched()).startswith("AbortError")
        await here.quiet()
        left = await page.tab.run(
            """async (id) => {
                for await (const event of client.watch(id)) if (event.type === "running") break;
                const events = client.watch(id, {after: 2});
                const waiting = events.next();
                await new Promise((done) => setTimeout(done, 200));
                const last = await events.return();
                return [await waiting, last, await events.next()].map((each) => each.done);
            }""",
            task_id,
        )
        assert left == [True, True, True]
        await here.quiet()


async def test_what_is_refused_for_good_is_thrown(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        await page.watch("f" * 32)
        assert (await page.watched()).startswith("Problem not_found")
        task_id = await here.start()
        await page.watch(task_id, after=99)
        assert (await page.watched()).startswith("Problem bad_cursor")
        await page.watch(task_id, after=99, transport="eventsource")
        assert (await page.watched()).startswith("Problem bad_cursor")


async def test_a_server_that_is_full_is_asked_again_when_it_says(chromium: Chromium, soon: None) -> None:
    async with live(max_streams=1) as here, page_of(chromium, here) as page:
        task_id = await here.start()
        async with here.sse("/events"):
            await page.watch(task_id)
            await page.tab.until("heard.states.some((each) => each.state === 'waiting')")
            waiting = next(each for each in await page.states() if each["state"] == "waiting")
            assert (waiting["code"], waiting["seconds"] >= 1) == ("too_many_streams", True)
        here.puppet.finish(task_id)
        assert await page.watched() == "over"


async def test_what_is_gone_is_told_as_a_gap(chromium: Chromium) -> None:
    async with live(memory_events_max=3) as here, page_of(chromium, here) as page:
        task_id = await here.counted(10)
        await page.watch(task_id)
        assert await page.watched() == "over"
        items = await page.items()
        assert items[0]["type"] == "gap"
        assert of_log(items, task_id) == list(range(items[0]["seq"], 14))
        await page.connect(logs=[task_id])
        await page.until(lambda items: items[-1]["kind"] == "end")
        assert (await page.stats())["gaps"] == 1


# -- credentials -------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_over_is_replaced_by_a_fresh_one(chromium: Chromium, soon: None) -> None:
    async with guarded(jwt_leeway_s=0) as (here, _, _), chromium.tab(url_of(here)) as tab:
        page = await Page.of(tab)
        asked = 0
        task_id = (await here.http.post("/tasks", json={"type": "puppet"}, headers=bearer(token()))).json()["id"]
        for_a_moment = [token(exp=time.time() + 2 + number) for number in range(3)] + [token()]
        await tab.run(
            """async (tokens) => {
                const { Client } = await import("/page/client.js");
                window.asked = 0;
                window.client = new Client({ token: async () => tokens[Math.min(window.asked++, tokens.length - 1)] });
            }""",
            for_a_moment,
        )
        await page.watch(task_id)
        for number in range(20):
            here.puppet.emit(task_id)
            await page.until(so_many(3 + number))
            asked = int(await tab.run("asked"))
            if asked > 2:
                break
            await asyncio.sleep(0.4)
        assert asked > 2
        here.puppet.finish(task_id)
        assert await page.watched() == "over"
        seqs = of_log(await page.items(), task_id)
        assert seqs == list(range(1, len(seqs) + 1))
        await page.check()


async def test_a_token_that_is_refused_is_a_problem(chromium: Chromium) -> None:
    async with guarded() as (here, _, _), page_of(chromium, here, token="wrong") as page:
        await page.watch("f" * 32)
        assert (await page.watched()).startswith("Problem unauthenticated")
        await page.connect(feed=True)
        await page.tab.until("heard.states.at(-1).state === 'closed'")
        assert (await page.states())[-1]["code"] == "unauthenticated"


async def test_stream_tokens_are_renewed_before_they_are_over(chromium: Chromium, soon: None) -> None:
    async with guarded(stream_token_s=1.5) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        async with page_of(chromium, here, token=anna) as page:
            task_id = (await here.http.post("/tasks", json={"type": "puppet"}, headers=bearer(anna))).json()["id"]
            await page.watch(task_id, transport="eventsource")
            for number in range(12):
                here.puppet.emit(task_id)
                await page.until(so_many(3 + number))
                await asyncio.sleep(0.3)
            here.puppet.finish(task_id)
            assert await page.watched() == "over"
            assert of_log(await page.items(), task_id) == list(range(1, 16))
            assert [each["state"] for each in await page.states()].count("waiting") == 0


# -- one connection for everything -------------------------------------------------------------------------------------


async def test_the_feed_and_many_logs_over_one_connection(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        ids = [await here.start() for _ in range(10)]
        await page.connect(feed=True, logs=ids)
        await page.until(lambda items: len(items) == 20)
        for task_id in ids:
            here.puppet.emit(task_id)
            here.puppet.finish(task_id)
        items = await page.until(lambda items: len(items) == 20 + 20 + 20 + 10)
        assert here.app.heartbeat.open == 1
        for task_id in ids:
            assert of_log(items, task_id) == [1, 2, 3, 4]
        assert of_feed(items) == list(range(21, 41))
        assert sorted(each["task"] for each in items if each["kind"] == "end") == sorted(ids)
        assert await page.stats() == {"events": 60, "reconnects": 0, "gaps": 0, "changes": 0, "repeated": 0}
        await page.tab.run("connection.close()")
        assert await page.tab.run("connection.closed.then(() => connection.state.state)") == "closed"
        await here.quiet()


async def test_the_set_of_logs_changes_in_a_flood_and_nothing_is_missed_or_repeated(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        ids = [await here.start() for _ in range(4)]
        await page.connect(feed=True, logs=ids[:1])
        await page.until_open()
        await page.until(lambda items: len(items) == 2)

        async def flood() -> None:
            for number in range(300):
                for task_id in ids:
                    here.puppet.emit(task_id, data=number)
                await asyncio.sleep(0.003)

        flooding = asyncio.create_task(flood())
        for round_ in range(6):
            await page.add(ids[1])
            await page.add(ids[2])
            await asyncio.sleep(0.06)
            await page.add(ids[3]) if round_ % 2 == 0 else await page.remove(ids[3])
            await asyncio.sleep(0.06)
        await flooding
        for task_id in ids:
            here.puppet.finish(task_id)
        items = await page.until(lambda items: ends(items) == 3)
        for task_id in ids[:3]:
            assert of_log(items, task_id) == list(range(1, 304))
        items = await page.until(lambda items: len(of_feed(items)) == 1204)
        assert of_feed(items) == list(range(9, 1213))
        stats = await page.stats()
        assert stats["reconnects"] == 0
        assert stats["changes"] >= 3
        assert here.app.heartbeat.open == 1


async def test_a_connection_that_breaks_goes_on_in_each_channel(chromium: Chromium, soon: None) -> None:
    async with live() as here, page_of(chromium, here) as page:
        ids = [await here.start() for _ in range(3)]
        await page.connect(feed=True, logs=ids)
        await page.until_open()
        for _ in range(4):
            for task_id in ids:
                here.puppet.emit(task_id)
            drop_all(here)
            await here.until(lambda: here.app.heartbeat.open == 0)
            for task_id in ids:
                here.puppet.emit(task_id)
            await here.until(lambda: here.app.heartbeat.open == 1)
            await page.until_open()
        items = await page.until(lambda items: len(items) == 6 + 24 + 24)
        for task_id in ids:
            assert of_log(items, task_id) == list(range(1, 11))
        assert of_feed(items) == list(range(7, 31))
        assert (await page.stats())["reconnects"] >= 3


async def test_a_log_that_is_not_there_is_told_and_the_others_go_on(chromium: Chromium, soon: None) -> None:
    async with live() as here, page_of(chromium, here) as page:
        task_id = await here.start()
        await page.connect(feed=True, logs={task_id: 1, "f" * 32: 0})
        items = await page.until(lambda items: {each["kind"] for each in items} >= {"missing", "event"})
        missing = next(each for each in items if each["kind"] == "missing")
        assert (missing["task"], missing["code"]) == ("f" * 32, "not_found")
        here.puppet.emit(task_id)
        await page.until(lambda items: of_log(items, task_id) == [2, 3] and len(of_feed(items)) == 1)


async def test_without_anything_to_follow_it_is_idle_and_comes_back(chromium: Chromium) -> None:
    async with live() as here, page_of(chromium, here) as page:
        task_id = await here.counted(1)
        await page.connect()
        assert (await page.states())[-1]["state"] == "idle"
        for after in (0, 4):  # the second time it has all been seen: 204
            await page.add(task_id, after)
            await page.until(_ended(1 + after // 4))
            await page.tab.until("heard.states.at(-1).state === 'idle'")
        assert of_log(await page.items(), task_id) == [1, 2, 3, 4]
        limit = await page.tab.run("""() => { try {
            for (let n = 0; n < 30; n += 1) connection.addLog(n.toString(16).padStart(32, "0"));
        } catch (error) { return error.name; } }""")
        assert limit == "RangeError"


async def test_an_event_source_does_for_a_connection_as_well(chromium: Chromium, soon: None) -> None:
    async with live() as here, page_of(chromium, here) as page:
        task_id = await here.start()
        await page.connect(feed=True, logs=[task_id], transport="eventsource")
        await page.until(lambda items: len(items) == 2)
        drop_all(here)
        here.puppet.finish(task_id)
        items = await page.until(lambda items: len(items) == 5)
        assert of_log(items, task_id) == [1, 2, 3]
        assert of_feed(items) == [3]


async def test_a_mistake_of_a_listener_stops_nothing_and_is_seen(chromium: Chromium) -> None:
    async with live() as here, chromium.tab(url_of(here)) as tab:
        page = await Page.of(tab)
        task_id = await here.counted(1)
        await tab.run(
            """(id) => {
                window.seen = [];
                const onEvent = (item) => {
                    seen.push(item.kind);
                    if (seen.length === 1) throw new RangeError("mine");
                };
                window.connection = client.connect({logs: [id], onEvent});
            }""",
            task_id,
        )
        await tab.until("seen.length === 5")
        assert "mine" in (await page.tab.run("heard.errors"))[0]
