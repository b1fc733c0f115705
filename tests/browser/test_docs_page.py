"""The description as a page, in a browser: for everybody, by day and by night, on a phone, with keys and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streaming.config import Settings
from streaming.tasks import built_in
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.browser.tab import Tab
from tests.web.live import Live, live

SHOWN = "[...document.querySelectorAll('article')].filter(each => !each.hidden).map(each => each.id)"
FINDER = "document.getElementById('finder')"
OVERFLOWING = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@asynccontextmanager
async def docs(chromium: Chromium) -> AsyncIterator[tuple[Live, Tab]]:
    async with live(built_in(Settings(store_url="memory://"))) as here, chromium.tab(url_of(here)) as tab:
        await tab.go(f"{url_of(here)}/docs")
        await tab.until(f"{FINDER} !== null")
        yield here, tab


async def find(tab: Tab, words: str) -> list[str]:
    """Type into the field; what is shown then."""
    await tab.run(f"words => {{ {FINDER}.value = words; {FINDER}.dispatchEvent(new Event('input')) }}", words)
    return list(await tab.run(SHOWN))


@pytest.mark.timeout(180)  # axe looks at some thousand elements
@pytest.mark.parametrize("dark", [False, True])
async def test_nothing_keeps_anybody_from_using_it(dark: bool, chromium: Chromium) -> None:
    async with docs(chromium) as (_, tab):
        await tab.look(dark=dark)
        await tab.run("document.querySelectorAll('details').forEach(each => { each.open = true })")

        assert await tab.violations() == []


@pytest.mark.parametrize("width_px", [320, 360, 768])
async def test_a_narrow_window_needs_no_scrolling_to_the_side(width_px: int, chromium: Chromium) -> None:
    async with docs(chromium) as (_, tab):
        await tab.look(width_px=width_px)
        await tab.run("document.querySelectorAll('details').forEach(each => { each.open = true })")

        assert await tab.run(OVERFLOWING) <= 0


async def test_an_operation_a_field_and_a_code_can_be_found(chromium: Chromium) -> None:
    async with docs(chromium) as (_, tab):
        everything = await tab.run(SHOWN)
        by_path = await find(tab, "POST /tasks/{id}/cancel")
        status = await tab.run("document.querySelector('.finder [role=status]').textContent")
        by_code = await find(tab, "TIME_OVER")
        nothing = await find(tab, "there is no such word")
        groups = await tab.run("[...document.querySelectorAll('section')].filter(each => !each.hidden).length")
        await tab.run(f"{FINDER}.focus()")
        await tab.press("Escape")

        assert "cancel_task" in by_path
        assert "get_task" not in by_path
        assert status == f"{len(by_path)} of {len(everything)}"
        assert {"extend_task", "schema-Code"} <= set(by_code)
        assert nothing == []
        assert groups == 0
        assert await tab.run(SHOWN) == everything


async def test_a_link_to_what_was_not_found_shows_it(chromium: Chromium) -> None:
    async with docs(chromium) as (_, tab):
        await find(tab, "cancel_task_that_is_not_there")
        await tab.run("document.querySelector('nav a[href=\"#get_task\"]').click()")
        await tab.until("!document.getElementById('get_task').hidden")


async def test_an_example_has_the_address_of_this_server_and_can_be_copied(chromium: Chromium) -> None:
    async with docs(chromium) as (here, tab):
        await tab.run("void (navigator.clipboard.writeText = async text => { window.copied = text })")
        await tab.run("document.querySelector('#start_task button').click()")
        await tab.until("window.copied")
        copied = await tab.run("window.copied")
        told = await tab.run("document.querySelector('#start_task [role=status]').textContent")
        await tab.run("void (navigator.clipboard.writeText = () => Promise.reject(new Error('no')))")
        await tab.run("document.querySelector('#list_tasks button').click()")
        await tab.until("String(getSelection()).startsWith('curl')")

        assert copied.endswith(f" {url_of(here)}/tasks")
        assert told == " Copied."


async def test_everything_can_be_reached_with_the_keyboard(chromium: Chromium) -> None:
    async with docs(chromium) as (_, tab):
        await tab.press("Tab")
        skip = await tab.run("document.activeElement.className")
        await tab.press("Enter")
        await tab.press("Tab")
        field = await tab.run("document.activeElement.id")
        inside = []
        for _ in range(6):
            await tab.press("Tab")
            inside.append(await tab.run("document.activeElement.localName"))
            if inside[-1] == "summary":
                break
        await tab.press("Enter")

        assert (skip, field, inside[-1]) == ("skip", "finder", "summary"), inside
        assert await tab.run("document.activeElement.parentElement.open")


async def test_its_policy_holds_back_nothing_of_its_own(chromium: Chromium) -> None:
    """A style or a script that the policy refuses would be an event; there is none, and the styles are there."""
    async with docs(chromium) as (_, tab):
        await tab.run("window.refused = []; document.addEventListener('securitypolicyviolation', e => refused.push(e))")
        await find(tab, "task")

        assert await tab.run("refused.length") == 0
        assert await tab.run("getComputedStyle(document.querySelector('article')).borderTopStyle") == "solid"
        assert await tab.run("document.querySelectorAll('style, [style], script:not([src])').length") == 0
