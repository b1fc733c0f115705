"""Answers that come late, tasks that change meanwhile, and floods: the page shows what is so, and stays usable."""

from __future__ import annotations

import asyncio

from streaming import TaskContext, task
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import Sight, seen
from tests.web.live import live

ROWS = "document.querySelectorAll('.vlist .trow:not([hidden])').length"

#: Answers to requests with these words in their URL are held back until they are let go.
HOLD = """(words) => {
  const real = window.fetch;
  window.held = [];
  window.fetch = async (...request) => {
    const answer = await real(...request);
    if (String(request[0]).includes(words)) await new Promise((go) => window.held.push(go));
    return answer;
  };
}"""
#: How many events the page says that there are.
SEEN = r"Number(document.querySelector('.event-tools').innerText.split(' ')[0].replace(/\D/g, ''))"

LET_GO = "async () => { window.held.forEach((go) => go()); await new Promise((go) => setTimeout(go, 300)); }"


async def walk(page: Sight, query: str) -> None:
    """Go somewhere as a link does."""
    await page.js(
        "(query) => { const link = document.createElement('a'); link.href = query;"
        " document.body.append(link); link.click(); link.remove(); }",
        query,
    )


async def test_a_late_answer_does_not_show_in_the_view_of_another_task(chromium: Chromium) -> None:
    async with live() as here:
        slow, quick = await here.start("sleeper"), await here.start("puppet")
        async with seen(chromium, url_of(here)) as page:
            await page.sees(".vlist .trow")
            await page.js(HOLD, slow)
            await walk(page, f"?task={slow}")
            await page.until("window.held.length > 0")
            await walk(page, f"?task={quick}")
            await page.sees("h1", "puppet")
            await page.js(LET_GO)
            assert await page.text("h1") == "puppet"
            here.puppet.report(quick, 40, "still followed")
            await page.sees(".task-head .message", "still followed")


async def test_a_task_that_is_left_before_its_plots_are_drawn_is_not_watched(chromium: Chromium) -> None:
    """What was asked for the first task must not take the connection away from the second."""
    async with live() as here:
        first, second = await here.start("puppet"), await here.start("puppet")
        for number in range(5):
            here.puppet.emit(first, "tick", {"n": number})
        async with seen(chromium, url_of(here)) as page:
            await page.sees(".vlist .trow")
            await page.js(HOLD, f"{first}/history")
            await walk(page, f"?task={first}")
            await page.until("window.held.length > 0")
            await walk(page, f"?task={second}")
            await page.sees(".event .type", "running")
            await page.js(LET_GO)
            here.puppet.report(second, 60, "of the second")
            await page.sees(".task-head .message", "of the second")


async def test_a_late_list_does_not_show_under_other_filters(chromium: Chromium) -> None:
    async with live() as here:
        await here.start("sleeper", tags=["a"])
        await here.counted(2)
        async with seen(chromium, url_of(here)) as page:
            await page.until(f"{ROWS} === 2")
            await page.js(HOLD, "tag=a")
            await walk(page, "?tag=a")
            await page.until("window.held.length > 0")
            await walk(page, "?type=count")
            await page.until(f"{ROWS} === 1")
            await page.js(LET_GO)
            assert "count" in await page.text(".vlist .trow")
            await page.until("document.querySelector('.chip[data-status=running]').textContent === 'running0'")


async def test_what_ends_while_the_list_is_asked_for_is_not_shown_as_running(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("puppet")
        async with seen(chromium, url_of(here), "?view=server") as page:
            await page.sees(".pill", "Live")
            await page.js(HOLD, "limit=200")
            await walk(page, "?")
            await page.until("window.held.length > 0")
            here.puppet.finish(task_id)
            await here.ended(task_id)
            await asyncio.sleep(1)  # longer than the list waits before it asks about what it has heard
            await page.js(LET_GO)
            await page.sees(".vlist .trow .badge", "completed")


async def test_a_task_that_is_deleted_while_it_is_looked_at_says_so(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.counted(3)
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".event .type", "completed")
            await here.http.delete(f"/tasks/{task_id}")
            await page.js("dispatchEvent(new Event('offline'))")
            await page.click(".tab", "Log lines")
            await page.click(".tab", "Why?")
            await page.sees(".nothing", "Nobody can tell")


async def test_buttons_can_be_pressed_while_events_pour_in(chromium: Chromium) -> None:
    """A click is a press and a release on the same button: it must not be made anew in between."""

    @task
    async def flood(ctx: TaskContext) -> None:
        for number in range(1_000_000):
            await ctx.emit("row", {"n": number})
            await asyncio.sleep(0.001)

    async with live([flood]) as here:
        task_id = await here.start("flood")
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.js("() => { window.kept = null; }")
            await page.sees(".task-head .danger")
            await page.js("() => { window.kept = document.querySelector('.task-head .danger'); window.kept.focus(); }")
            await page.js(f"() => {{ window.before = {SEEN}; }}")
            await page.until(f"{SEEN} > window.before + 200")
            assert await page.js("window.kept.isConnected && document.activeElement === window.kept")
            await page.press("Enter")
            await page.click("dialog button", "Cancel the task")
            await page.sees(".task-head .badge", "cancelled")


async def test_a_flood_stays_a_few_elements_and_nothing_is_missing(chromium: Chromium) -> None:
    total = 30_000

    @task
    async def flood(ctx: TaskContext) -> None:
        for number in range(total):
            await ctx.emit("row", {"n": number})
            if number % 200 == 0:
                await asyncio.sleep(0)

    async with live([flood], memory_events_max=2 * total, backlog_events_max=5000) as here:
        task_id = await here.start("flood")
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await here.ended(task_id)
            await page.sees(".task-head .badge", "completed")
            await page.sees(".event .type", "completed")
            assert await page.text(".event-tools") == f"{total + 3:,} events"
            assert await page.js("document.querySelectorAll('*').length") < 1500


async def test_what_the_server_does_not_keep_any_more_is_a_gap_everywhere(chromium: Chromium) -> None:
    @task
    async def many(ctx: TaskContext) -> None:
        for number in range(900):
            await ctx.log(f"line {number}")

    async with live([many], memory_events_max=300) as here:
        task_id = await here.start("many")
        await here.ended(task_id)
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".event .type", "completed")
            await page.fill("[aria-label='go to event']", "1")
            await page.press("Enter")
            await page.sees(".event[data-type=gap]", "are not kept any more")
            await page.click(".tab", "Log lines")
            await page.sees(".event", "line 899")
            lines = int((await page.text(".event-tools")).split()[0])
            assert 0 < lines < 900
            await page.click("[aria-label=play]")
            await page.sees(".task-head .badge", "completed")


async def test_two_hundred_ways_leave_nothing_behind(chromium: Chromium) -> None:
    async with live() as here:
        task_id, other = await here.counted(3), await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            places = [
                "?",
                f"?task={task_id}",
                "?new=count",
                f"?task={other}&tab=why",
                "?status=running",
                "?view=server",
            ]
            await page.js(WAYS, [places, 30])
            before = await weight(page)
            await page.js(WAYS, [places, 200])
            after = await weight(page)
            for name, number in after.items():
                assert number <= before[name] * 1.3 + 50, (name, before, after)


#: So many steps from place to place, and back to the first one.
WAYS = """async ([places, steps]) => {
  for (let step = 0; step <= steps; step += 1) {
    const link = document.createElement('a');
    link.href = places[step === steps ? 0 : step % places.length];
    document.body.append(link);
    link.click();
    link.remove();
    await new Promise((go) => setTimeout(go, step % 7 ? 5 : 60));
  }
  await new Promise((go) => setTimeout(go, 1500));
}"""


async def weight(page: Sight) -> dict[str, float]:
    """What the browser holds for the page once what nobody needs is collected."""
    return dict(await page._call(_weight(page)))


async def _weight(page: Sight) -> dict[str, float]:
    session = await page.page.context.new_cdp_session(page.page)
    await session.send("Performance.enable")
    for _ in range(3):
        await session.send("HeapProfiler.collectGarbage")
    metrics = await session.send("Performance.getMetrics")
    await session.detach()
    names = ("Nodes", "JSEventListeners", "Documents")
    return {each["name"]: each["value"] for each in metrics["metrics"] if each["name"] in names}
