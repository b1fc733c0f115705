"""The timeline of a task, and its replay: attempts, pauses, and what held a cancel back."""

from __future__ import annotations

import asyncio

from streaming import TaskContext, task
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import seen
from tests.web.live import live


async def test_attempts_and_the_pauses_between_them_are_seen(chromium: Chromium) -> None:
    @task(retries=2, backoff_s=0.05, retry_on=[ConnectionError])
    async def stubborn(ctx: TaskContext) -> int:
        await ctx.progress(10 * ctx.attempt, f"attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return ctx.attempt

    async with live([stubborn]) as here:
        task_id = await here.start("stubborn")
        await here.ended(task_id)
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".legend", "in 3 attempts")
            await page.sees(".legend", "2 pauses between attempts")
            labels = "[...document.querySelectorAll('.timeline .bar')].map((bar) => bar.title.split(' for ')[0])"
            assert (await page.js(labels))[-5:] == [
                "attempt 1",
                "pause after attempt 1",
                "attempt 2",
                "pause after attempt 2",
                "attempt 3",
            ]


async def test_the_section_that_held_a_cancel_back_is_named_then_and_afterwards(chromium: Chromium) -> None:
    asked = asyncio.Event()

    @task
    async def careful(ctx: TaskContext) -> None:
        async with ctx.protected("writing the file"):
            await asked.wait()
        await asyncio.get_running_loop().create_future()

    async with live([careful]) as here:
        task_id = await here.start("careful")
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".event .type", "running")
            await here.http.post(f"/tasks/{task_id}/cancel")
            await page.sees(".legend", "held back by the protected section “writing the file”")
            await asyncio.sleep(0.1)  # what holds back no longer than a moment is not looked for afterwards
            asked.set()
            await page.sees(".task-head .badge", "cancelled")
            await page.sees(".timeline .held")
            await page.go(f"?task={task_id}")
            await page.sees(".legend", "held back by the protected section “writing the file”")


async def test_a_replay_that_is_left_plays_no_more(chromium: Chromium) -> None:
    async with live() as here:
        short, other = await here.counted(1), await here.start("puppet")
        async with seen(chromium, url_of(here), f"?task={other}") as page:
            await page.sees(".replay")
            await page.js(
                "() => { const at = document.querySelector('.slider'); for (let step = 0; step < 200; step += 1) {"
                " at.value = step * 5; at.dispatchEvent(new Event('input')); } at.value = 0;"
                " at.dispatchEvent(new Event('input')); document.querySelector('[aria-label=play]').click(); }"
            )
            await page.sees(".event-tools", " of ")
            await page.js(
                "(query) => { const link = document.createElement('a'); link.href = query;"
                " document.body.append(link); link.click(); link.remove(); }",
                f"?task={short}",
            )
            await page.sees("h1", "count")
            await page.sees(".task-head .badge", "completed")
            await page.js(
                "() => { window.frames_ = 0; const real = requestAnimationFrame; window.requestAnimationFrame ="
                " (work) => { window.frames_ += 1; return real(work); }; }"
            )
            await asyncio.sleep(1)
            assert await page.js("window.frames_") < 10, "nothing moves"
            assert await page.count(".replay button:has-text('Whole log')") == 0
            await page.click("[aria-label=play]")
            await page.sees(".task-head .badge", "completed")
