"""Tabs that share one connection: each sees everything once, whoever leads, and whatever becomes of the leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.browser.page import Page, ends, of_feed, of_log, so_many
from tests.browser.tab import Tab
from tests.browser.test_javascript_client import drop_all
from tests.web.live import Live, live

Another = Callable[[], Awaitable[Tab]]


@asynccontextmanager
async def window(chromium: Chromium, here: Live) -> AsyncIterator[Another]:
    async with chromium.tabs(url_of(here)) as another:
        yield another


async def sharing(another: Another, **options: Any) -> Page:
    """A tab that shares, and knows its place."""
    page = await Page.of(await another())
    await page.share(**options)
    await page.until_open()
    return page


async def role(page: Page) -> str:
    return str(await page.tab.run("connection.role"))


async def leader_of(pages: list[Page]) -> Page:
    """The one tab that leads."""
    async with asyncio.timeout(10):
        while len(leaders := [page for page in pages if await role(page) == "leader"]) != 1:  # noqa: ASYNC110  # asked
            await asyncio.sleep(0.02)
    return leaders[0]


async def test_eight_tabs_have_one_connection_and_each_sees_everything_once(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        ids = [await here.start() for _ in range(3)]
        pages = [await sharing(another, feed=True, logs=[ids[number % 3]]) for number in range(8)]
        assert here.app.heartbeat.open == 1
        for _ in range(10):
            for task_id in ids:
                here.puppet.emit(task_id)
        for number, page in enumerate(pages):
            mine = ids[number % 3]
            items = await page.until(so_many(30 + 12))
            assert of_log(items, mine) == list(range(1, 13))
            assert of_feed(items) == list(range(7, 37))
            assert {each["task"] for each in items if each["channel"] == "log"} == {mine}
        assert here.app.heartbeat.open == 1
        assert len([page for page in pages if await role(page) == "leader"]) == 1
        for page in pages:
            await page.tab.run("connection.close()")
            await page.check()
        await here.quiet()


async def _flood(here: Live, ids: list[str], count: int) -> None:
    for number in range(count):
        for task_id in ids:
            here.puppet.emit(task_id, data=number)
        await asyncio.sleep(0.01)


async def _goes_on(chromium: Chromium, leave: Callable[[Page], Awaitable[Any]]) -> None:
    """The leader is gone in the middle of a flood, three times."""
    async with live() as here, window(chromium, here) as another:
        ids = [await here.start() for _ in range(2)]
        pages = [await sharing(another, feed=True, logs=ids) for _ in range(5)]
        flooding = asyncio.create_task(_flood(here, ids, 200))
        for _ in range(3):
            leader = await leader_of(pages)
            await leader.until(lambda items: len(items) > 20)
            await leave(leader)
            pages.remove(leader)
            await asyncio.sleep(0.2)
        await flooding
        for task_id in ids:
            here.puppet.finish(task_id)
        for page in pages:
            items = await page.until(lambda items: ends(items) == 2)
            for task_id in ids:
                assert of_log(items, task_id) == list(range(1, 204))
            items = await page.until(lambda items: len(of_feed(items)) >= 402)
            assert of_feed(items) == list(range(5, 407))
            await page.check()
        await here.until(lambda: here.app.heartbeat.open == 1)


async def test_a_leader_that_is_closed_is_followed_by_another_without_a_loss(chromium: Chromium) -> None:
    await _goes_on(chromium, lambda page: page.tab.close())


async def test_a_leader_that_leaves_is_followed_by_another_without_a_loss(chromium: Chromium) -> None:
    await _goes_on(chromium, lambda page: page.tab.run("connection.close()"))


async def test_a_leader_that_crashes_is_followed_by_another_without_a_loss(chromium: Chromium) -> None:
    await _goes_on(chromium, lambda page: page.tab.crash())


async def test_a_tab_that_comes_late_is_read_to_from_its_own_place(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        task_id = await here.start()
        first = await sharing(another, logs=[task_id])
        for _ in range(20):
            here.puppet.emit(task_id)
        await first.until(lambda items: len(items) == 22)
        late = await sharing(another, logs={task_id: 5})
        here.puppet.emit(task_id)
        items = await late.until(lambda items: len(of_log(items, task_id)) == 18)
        assert of_log(items, task_id) == list(range(6, 24))
        items = await first.until(lambda items: len(items) == 23)
        assert of_log(items, task_id) == list(range(1, 24))
        assert here.app.heartbeat.open == 1


async def test_what_nobody_wants_any_more_is_not_read(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        ids = [await here.start() for _ in range(3)]
        first = await sharing(another, logs=ids[:1])
        second = await sharing(another, logs=ids[:2])
        third = await sharing(another, feed=True, logs=ids[2:])
        await here.until(lambda: here.readers == 4)
        await second.remove(ids[1])
        await here.until(lambda: here.readers == 3)
        await third.tab.close()  # with no word to anybody
        await here.until(lambda: here.readers == 1)
        await first.add(ids[2], 2)
        await here.until(lambda: here.readers == 2)
        here.puppet.emit(ids[2])
        items = await first.until(lambda items: of_log(items, ids[2]))
        assert of_log(items, ids[2]) == [3]


async def test_a_network_that_breaks_is_nothing_to_the_tabs(chromium: Chromium, soon: None) -> None:
    async with live() as here, window(chromium, here) as another:
        task_id = await here.start()
        pages = [await sharing(another, feed=True, logs=[task_id]) for _ in range(3)]
        for _ in range(3):
            drop_all(here)
            await here.until(lambda: here.app.heartbeat.open == 0)
            here.puppet.emit(task_id)
            await here.until(lambda: here.app.heartbeat.open == 1)
        for page in pages:
            items = await page.until(lambda items: len(of_log(items, task_id)) == 5 and len(of_feed(items)) == 3)
            assert of_log(items, task_id) == [1, 2, 3, 4, 5]
            assert of_feed(items) == [3, 4, 5]
            assert "waiting" in [each["state"] for each in await page.states()]


async def test_a_log_that_ended_before_a_tab_has_come_is_whole_for_it(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        task_id = await here.counted(3)
        for _ in range(2):
            page = await sharing(another, feed=True, logs=[task_id])
            items = await page.until(lambda items: items and items[-1]["kind"] == "end")
            assert of_log(items, task_id) == list(range(1, 7))


async def test_without_locks_each_tab_has_its_own(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        task_id = await here.start()
        pages = []
        for missing in ("navigator.locks", "BroadcastChannel"):
            tab = await another()
            where, _, name = missing.rpartition(".")
            await tab.run(f"Object.defineProperty({where or 'window'}, '{name}', {{value: undefined}})")
            page = await Page.of(tab)
            await page.share(feed=True, logs=[task_id])
            await page.until_open()
            assert await role(page) == "alone"
            pages.append(page)
        assert here.app.heartbeat.open == 2
        here.puppet.emit(task_id)
        for page in pages:
            items = await page.until(lambda items: len(items) == 4)
            assert (of_log(items, task_id), of_feed(items)) == ([1, 2, 3], [3])
            await page.tab.run("connection.close()")
        await here.quiet()


async def test_tabs_with_other_filters_or_another_name_do_not_share(chromium: Chromium) -> None:
    async with live() as here, window(chromium, here) as another:
        await sharing(another, feed=True)
        await sharing(another, feed=True, types=["completed"])
        await sharing(another, name="another", feed=True)
        assert here.app.heartbeat.open == 3
