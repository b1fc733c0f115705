"""The list of tasks, as somebody uses it who is in a hurry: keys, several filters, pause, rows that move."""

from __future__ import annotations

from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import seen
from tests.web.live import live

ROWS = "document.querySelectorAll('.vlist .trow:not([hidden])').length"
FOCUS = "document.activeElement.closest('.trow')?.getAttribute('aria-rowindex') ?? document.activeElement.className"


async def test_several_statuses_are_chosen_and_the_focus_stays_on_what_was_pressed(chromium: Chromium) -> None:
    async with live() as here:
        await here.counted(1)
        await here.start("sleeper")
        async with seen(chromium, url_of(here), "?status=running,failed") as page:
            await page.until(f"{ROWS} === 1")
            pressed = "[...document.querySelectorAll('.chip[aria-pressed=true]')].map((chip) => chip.dataset.status)"
            assert await page.js(pressed) == ["running", "failed"]
            await page.js("() => document.querySelector('.chip[data-status=completed]').focus()")
            await page.press("Enter")
            await page.until(f"{ROWS} === 2")
            assert page.place == "status=running%2Cfailed%2Ccompleted"
            await page.until("document.querySelector('.chip[data-status=completed]').textContent === 'completed1'")
            assert await page.js("document.activeElement.dataset.status") == "completed"
            await page.press("Enter")
            await page.until(f"{ROWS} === 1")
            assert page.place == "status=running%2Cfailed"


async def test_the_focus_stays_on_its_task_when_others_come_above_it(chromium: Chromium) -> None:
    """Or Enter would open another task than the one that was chosen."""
    async with live() as here:
        chosen = await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            await page.sees(".vlist .trow")
            await page.js("() => document.querySelector('.vlist').focus()")
            await page.press("ArrowDown")
            assert await page.js(FOCUS) == "2"
            for _ in range(3):
                await here.start("puppet")
            await page.until(f"{ROWS} === 4")
            assert await page.js(FOCUS) == "5"
            await page.until("document.querySelector('.vbody').lastElementChild.contains(document.activeElement)")
            await page.press("Enter")
            await page.sees("h1", "sleeper")
            assert chosen in page.place
            assert await page.js("document.activeElement.id") == "main"
            await page.back()
            await page.sees(".vlist .trow")
            await page.until(f"({FOCUS}) === '5'")


async def test_keys_reach_rows_that_are_not_drawn(chromium: Chromium) -> None:
    async with live(max_pending=2000) as here:
        for _ in range(230):
            await here.start("sleeper")
        async with seen(chromium, url_of(here), viewport={"width": 1200, "height": 700}) as page:
            await page.sees(".vlist .trow")
            await page.js("() => document.querySelector('.vlist').focus()")
            for keys, row in (
                (["ArrowDown"], 2),
                (["ArrowDown"] * 40, 42),
                (["Home"], 2),
                (["ArrowUp"], 2),
                (["End"], 201),
            ):
                await page.press(*keys)
                assert await page.js(FOCUS) == str(row), keys
            await page.until("document.querySelector('.table').getAttribute('aria-rowcount') === '231'")
            await page.press("End")
            assert await page.js(FOCUS) == "231"
            await page.press("PageUp")
            assert 200 < int(await page.js(FOCUS)) < 231
            await page.js("() => { document.querySelector('.vlist').scrollTop = 0; }")
            await page.until(f"({FOCUS}) === 'vlist'")  # its row is drawn no more, and the keys still work


async def test_what_has_left_the_filters_while_the_list_was_paused_goes_afterwards(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("puppet")
        async with seen(chromium, url_of(here), "?status=running") as page:
            await page.until(f"{ROWS} === 1")
            await page.click("button", "Pause")
            here.puppet.finish(task_id)
            await page.sees(".vlist .trow .badge", "completed")
            fresh = await here.start("puppet")
            await page.sees(".news", "1 new")
            here.puppet.finish(fresh)
            await page.sees_no(".news")
            await page.click("button", "Go on")
            await page.sees(".nothing", "No task matches")


async def test_what_was_deleted_goes_after_a_while(chromium: Chromium) -> None:
    async with live() as here:
        gone, _ = await here.counted(1), await here.counted(1)
        async with seen(chromium, url_of(here)) as page:
            await page.until(f"{ROWS} === 2")
            await here.http.delete(f"/tasks/{gone}")
            await page.until(f"{ROWS} === 1")


async def test_filters_of_the_url_stand_in_their_fields(chromium: Chromium) -> None:
    async with live() as here:
        await here.start("sleeper", tags=["a"])
        place = "?tag=a&created_by=anonymous&created_at[gte]=2001-01-01T00:00:00Z&sort=started_at"
        async with seen(chromium, url_of(here), place, timezone_id="Europe/Zurich") as page:
            await page.until(f"{ROWS} === 1")
            await page.click("summary", "Filters")
            values = "[...document.querySelectorAll('.more-filters input')].map((input) => input.value)"
            assert await page.js(values) == ["a", "anonymous", "2001-01-01T01:00"]
            assert await page.js("document.querySelector('[aria-label=sort]').value") == "started_at"
            await page.press("Escape")
            assert await page.count(".more-filters") == 0
            await page.click(".active-filters .chip", "tag a")
            await page.until("document.querySelectorAll('.active-filters .chip').length === 2")
            assert await page.js("document.activeElement.id") == "search"


async def test_a_server_that_is_busy_is_asked_again(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("puppet")
        async with seen(chromium, url_of(here)) as page:
            await page.until(f"{ROWS} === 1")
            await page.js(BUSY)
            here.puppet.finish(task_id)
            await here.ended(task_id)
            await page.until("window.refused >= 1")
            await here.start("sleeper")
            await page.until(f"{ROWS} === 2")


#: The next questions for some tasks are answered with 429.
BUSY = """() => {
  const real = window.fetch;
  window.refused = 0;
  window.fetch = async (...request) => {
    if (!String(request[0]).includes('id%5Bin%5D') || window.refused > 4) return real(...request);
    window.refused += 1;
    const body = JSON.stringify({code: 'rate_limited', status: 429, detail: 'slowly', errors: []});
    return new Response(body, {status: 429, headers: {'retry-after': '0'}});
  };
}"""


async def test_a_text_that_is_marked_out_of_a_dialog_is_no_answer_and_to_go_back_is_no(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        async with seen(chromium, url_of(here)) as page:
            await page.click(".vlist .trow")
            await page.click("button", "Cancel …")
            await page.fill("dialog input", "a reason")
            await page.js(
                "() => { const dialog = document.querySelector('dialog');"
                " dialog.querySelector('input').dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}));"
                " dialog.dispatchEvent(new MouseEvent('click')); }"
            )
            assert await page.count("dialog") == 1
            await page.back()
            await page.sees_no("dialog")
            record = (await here.http.get(f"/tasks/{task_id}")).json()
            assert record["cancel"] is None
