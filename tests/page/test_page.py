"""The page in a real browser, against a real server: what people do with it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streaming import TaskContext, task
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import Sight, seen
from tests.web.live import Live, live


@task
async def render(
    ctx: TaskContext, frames: int, title: str = "untitled", codec: dict[str, int] | None = None
) -> dict[str, Any]:
    """Render a film."""
    await ctx.progress(50, "half of it")
    await ctx.log("half of it", frame=frames // 2)
    return {"frames": frames, "title": title, "codec": codec}


async def record(here: Live, task_id: str) -> dict[str, Any]:
    """The task, as the server has it."""
    return dict((await here.http.get(f"/tasks/{task_id}")).json())


async def test_a_task_is_started_in_a_form_watched_and_its_result_read(chromium: Chromium) -> None:
    async with live([render]) as here, seen(chromium, url_of(here)) as page:
        await page.click("a.button", "Start a task")
        await page.click("a.type-entry", "render")
        await page.click("button", "Start")
        assert await page.js("document.activeElement.id") == "param-frames", "what is missing has the focus"
        await page.fill("#param-frames", "24")
        await page.fill("#param-title", "First light")
        await page.click("button.primary", "Start")
        await page.sees("h1", "render")
        await page.sees(".task-head .badge", "completed")
        await page.sees(".event", "half of it")
        await page.click(".tab", "Result")
        await page.sees(".json", '"First light"')
        assert await page.text(".task-head .percent") == "100 %"


async def test_what_the_server_refuses_is_said_at_its_field(chromium: Chromium) -> None:
    async with live([render]) as here, seen(chromium, url_of(here), "?new=render") as page:
        await page.click("button", "JSON")
        await page.fill("[aria-label='parameters as JSON']", '{"frames": "many"}')
        await page.click("button.primary", "Start")
        await page.sees(".error-box", "params.frames")
        await page.click("button", "Form")
        await page.fill("#param-frames", "3")
        await page.fill("#param-codec", "{")
        await page.click("button.primary", "Start")
        await page.sees(".error-box", "codec is no JSON")
        await page.fill("#param-codec", '{"gop": 12}')
        await page.click("button.primary", "Start")
        await page.sees(".task-head .badge", "completed")


async def test_the_list_lives(chromium: Chromium) -> None:
    """What others start, report and end is seen at once, without a question for each event."""
    async with live([render]) as here, seen(chromium, url_of(here)) as page:
        await page.sees(".nothing", "No tasks yet")
        task_id = await here.start("puppet")
        await page.sees(".vlist .trow .badge", "running")
        here.puppet.report(task_id, 40, "on the way")
        await page.sees(".vlist .trow", "on the way")
        await page.sees(".percent", "40 %")
        here.puppet.finish(task_id)
        await page.sees(".vlist .trow .badge", "completed")
        await page.until("[...document.querySelectorAll('.chip')].some((chip) => chip.textContent === 'completed1')")


async def test_a_cancel_is_asked_for_and_its_receipt_is_seen(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.click("button", "Cancel …")
            await page.press("Escape")
            await page.sees_no("dialog")
            assert (await record(here, task_id))["cancel"] is None, "Escape is no"
            await page.click("button", "Cancel …")
            await page.fill("dialog input", "wrong film")
            await page.press("Enter")
            await page.sees("dialog")  # Enter in a field is no consent
            await page.click("dialog button", "Cancel the task")
            await page.sees(".task-head .badge", "cancelled")
            await page.sees(".receipt", "The cancel has stopped it")
            await page.sees(".receipt", "wrong film")
            assert (await record(here, task_id))["cancel"]["reason"] == "wrong film"


async def test_filters_stand_in_the_url_and_the_way_back_works(chromium: Chromium) -> None:
    async with live([render]) as here:
        await here.start("render", params={"frames": 1, "title": "alpha"}, tags=["a"])
        await here.start("render", params={"frames": 1, "title": "beta"}, tags=["b"])
        sleeping = await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 3")
            await page.click(".chip.status-running")
            await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 1")
            assert page.place == "status=running"
            await page.click(".vlist .trow")
            await page.sees("h1", "sleeper")
            assert sleeping in page.place
            await page.back()
            await page.sees(".chip.status-running[aria-pressed=true]")
            await page.back()
            await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 3")
            await page.fill("#search", "beta")
            await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 1")
            assert page.place == "q=beta"
            await page.go("?tag=a&type=render")
            await page.sees(".active-filters", "tag a")
            await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 1")


async def test_a_filter_that_is_none_is_told_with_what_would_be_right(chromium: Chromium) -> None:
    async with live() as here, seen(chromium, url_of(here), "?colour=red") as page:
        await page.sees(".nothing", "colour")


async def test_a_list_that_is_paused_stands_still_and_says_what_is_new(chromium: Chromium) -> None:
    async with live() as here, seen(chromium, url_of(here)) as page:
        await here.start("sleeper")
        await page.sees(".vlist .trow")
        await page.click("button", "Pause")
        for _ in range(3):
            await here.start("sleeper")
        await page.sees(".news", "3 new")
        assert await page.count(".vlist .trow") == 1
        await page.click(".news")
        await page.until("document.querySelectorAll('.vlist .trow:not([hidden])').length === 4")


async def test_many_are_cancelled_at_once_after_their_number_was_typed(chromium: Chromium) -> None:
    async with live() as here:
        tasks = [await here.start("sleeper", tags=["nightly"]) for _ in range(3)]
        other = await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            await page.sees(".vlist .trow")
            assert await page.count("button:has-text('Cancel these')") == 0, "not without a filter"
            await page.go("?tag=nightly")
            await page.click("button", "Cancel these")
            await page.sees("dialog", "Cancel 3 tasks?")
            await page.until("document.querySelector('dialog .danger').disabled")
            await page.fill("dialog [aria-label='type 3']", "3")
            await page.click("dialog .danger")
            await page.sees(".toast", "3 cancelled")
        assert {(await record(here, each))["status"] for each in tasks} == {"cancelled"}
        assert (await record(here, other))["status"] == "running"


async def test_a_finished_task_is_played_again(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("puppet")
        for percent in (10, 20, 30):
            here.puppet.report(task_id, percent, f"at {percent}")
        here.puppet.finish(task_id)
        await here.ended(task_id)
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".event", "at 30")
            await page.js(
                "() => { const at = document.querySelector('.slider');"
                " at.value = 0; at.dispatchEvent(new Event('input')); }"
            )
            await page.sees(".event-tools", "1 of 6 events")
            await page.sees(".task-head .badge", "pending")
            await page.click("[aria-label=speed] button:last-child")
            await page.click("[aria-label=play]")
            await page.sees(".task-head .badge", "completed")
            await page.click("button", "Whole log")
            await page.sees(".event-tools", "6 events")


async def test_a_hundred_thousand_events_are_a_few_elements(chromium: Chromium) -> None:
    @task
    async def flood(ctx: TaskContext, n: int) -> None:
        for number in range(n):
            await ctx.emit("row", {"n": number})

    async with live([flood], memory_events_max=200_000, backlog_events_max=5000) as here:
        task_id = await here.start("flood", params={"n": 100_000})
        await here.ended(task_id)
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await page.sees(".event .seq", "100003")
            await page.fill("[aria-label='go to event']", "50000")
            await page.press("Enter")
            await page.sees(".event", '{"n":49997}')
            assert await page.count(".event") < 100
            await page.click("button", "To the end")
            await page.sees(".event .type", "completed")


async def test_the_keyboard_is_enough(chromium: Chromium) -> None:
    async with live() as here:
        await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            await page.sees(".vlist .trow")
            await page.press("n")
            await page.sees("h1", "Start a task")
            await page.press("t")
            await page.sees(".vlist .trow")
            await page.press("/")
            assert await page.js("document.activeElement.id") == "search"
            await page.press("Tab", "Tab", "Tab", "Tab")
            assert await page.js("document.activeElement.className") == "vlist"
            await page.press("ArrowDown", "Enter")
            await page.sees("h1", "sleeper")
            await page.press("?")
            await page.sees("dialog", "Keys")


EVIL = "<img src=x onerror=window.evil=1><script>window.evil=1</script>\"'><svg onload=window.evil=1>javascript:evil=1"


async def test_no_text_of_a_task_becomes_anything_but_text(chromium: Chromium) -> None:
    @task
    async def evil(ctx: TaskContext, text: str) -> dict[str, str]:
        await ctx.progress(10, text)
        await ctx.log(text, field=text)
        await ctx.emit("said", {text: text})
        await asyncio.get_running_loop().create_future()
        return {}

    @task
    async def fails(text: str) -> None:
        raise ValueError(text)

    @task
    async def returns(text: str) -> dict[str, str]:
        return {text: text}

    async with live([evil, fails, returns]) as here:
        words = {"params": {"text": EVIL}, "tags": [EVIL.replace(",", "")[:60]], "key": EVIL, "external_id": EVIL}
        running = await here.start("evil", **words)
        ended = [await here.start(name, **{**words, "key": None}) for name in ("fails", "returns")]
        for each in ended:
            await here.ended(each)
        await here.http.post(f"/tasks/{running}/input", json={"data": EVIL})
        await here.http.post(f"/tasks/{running}/cancel", json={"reason": EVIL})
        async with seen(chromium, url_of(here)) as page:
            places = ["?", f"?q={EVIL[:40]}", f"?tag={EVIL[:60]}", f"?{EVIL}=x", f"?task={EVIL}", f"?new={EVIL}"]
            for task_id in (running, *ended):
                places += [
                    f"?task={task_id}&tab={tab}"
                    for tab in ("events", "lines", "result", "params", "family", "history", "why")
                ]
            for place in places:
                await page.go(place)
                await page.sees("#main > *")
                await page.sees_no(".loading")
                await page.until(
                    "document.querySelectorAll('.event').length === 0 || document.querySelector('.event .type')"
                )
                assert await page.js(
                    "window.evil === undefined && !document.querySelector('#main img, #main script, [onload]')"
                )
            await page.go(f"?task={ended[0]}")
            await page.sees(".error-box", EVIL)
            page.complaints.clear()  # the browser says of an address what it thinks of it
            assert json.dumps(EVIL) in await _text_of(page, f"?task={ended[0]}&tab=params", ".json")


async def _text_of(page: Sight, place: str, selector: str) -> str:
    await page.go(place)
    await page.sees(selector)
    return await page.text(selector)


@pytest.mark.parametrize("place", ["?", "?new=count", "?view=server"])
async def test_the_first_sight_is_there_without_a_script(chromium: Chromium, place: str) -> None:
    async with live() as here, seen(chromium, url_of(here), place, java_script_enabled=False) as page:
        await page.sees("header", "streaming")
        await page.sees("noscript, .notice", "JavaScript")


async def test_a_server_on_its_way_out_says_what_becomes_of_its_tasks(chromium: Chromium) -> None:
    async with live(grace_s=30) as here:
        await here.start("sleeper")
        async with seen(chromium, url_of(here), "?view=server") as page:
            await page.sees(".badge", "ready")
            await page.sees(".tile b", "1")
            here.coordinator.hurry(30)
            await page.sees(".notice", "of 1 nobody knows")
            await page.sees(".badge", "draining: begin")
            here.coordinator.hurry(0.1)
