"""Everybody can use the page: axe-core finds nothing, in light and dark, on a phone and a wide screen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from streaming import TaskContext, task
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import Sight, seen
from tests.web.live import Live, live

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")

#: By how much the document and what is in it are wider than there is room.
WIDER = "[document.documentElement, document.querySelector('main')].map((e) => e.scrollWidth - e.clientWidth)"

#: What is looked at, and how one knows that it is there.
PLACES = {
    "?": ".vlist .trow",
    "?q=nothing-has-this": ".nothing",
    "?new=shown": ".schema .field",
    "?view=server": ".tile, .nothing",
    "?task={failed}": ".event .type",
    "?task={failed}&tab=lines": ".event .type",
    "?task={failed}&tab=params": ".json",
    "?task={failed}&tab=family": ".family h2",
    "?task={failed}&tab=history": "td .badge",
    "?task={running}": ".event .type",
    "?task={running}&tab=why": ".sentence",
    "?task={cancelled}": ".receipt",
}


@task
async def shown(ctx: TaskContext, title: str, count: int = 3, deep: dict[str, list[int]] | None = None) -> None:
    """Show a task with all that it can have."""
    await ctx.progress(40, "on the way")
    for level in ("debug", "info", "warning", "error"):
        await ctx.log("a line", level=level, count=count)
    raise ValueError(title)


@asynccontextmanager
async def tasks() -> AsyncIterator[tuple[Live, dict[str, str]]]:
    async with live([shown]) as here:
        ids = {
            "failed": await here.start("shown", params={"title": "x"}, tags=["a", "b"]),
            "running": await here.start("puppet"),
            "cancelled": await here.start("sleeper"),
        }
        here.puppet.report(ids["running"], 40, "half of it")
        await here.http.post(f"/tasks/{ids['cancelled']}/cancel", json={"reason": "enough"})
        await here.ended(ids["failed"])
        await here.ended(ids["cancelled"])
        yield here, ids


async def violations(page: Sight) -> list[Any]:
    """What axe finds: rule, elements, what would be right."""
    await page.js(AXE)
    found = await page.js("axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations)")
    return [(each["id"], node["target"], node["failureSummary"]) for each in found for node in each["nodes"]]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
async def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    chromium: Chromium, width: int, scheme: str
) -> None:
    options: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    async with tasks() as (here, ids), seen(chromium, url_of(here), **options) as page:
        for place, there in PLACES.items():
            await page.go(place.format(**ids))
            await page.sees(there)
            assert await violations(page) == [], place
            assert await page.js(WIDER) == [0, 0], place


async def test_words_of_any_length_stay_in_their_place(chromium: Chromium) -> None:
    """On the smallest phone, with the longest words, and letters that go the other way."""
    words = "W" * 300 + " \u202e\u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f467"

    @task("n" * 60)
    async def long(ctx: TaskContext, title: str) -> None:
        await ctx.progress(10, title)
        await ctx.log(title, field=title)
        raise ValueError(title)

    options: dict[str, Any] = {"viewport": {"width": 320, "height": 600}}
    async with live([long]) as here:
        task_id = await here.start(
            "n" * 60, params={"title": words}, tags=["t" * 60], key="k" * 120, external_id="e" * 120
        )
        await here.ended(task_id)
        async with seen(chromium, url_of(here), **options) as page:
            tabs = ("events", "lines", "result", "params", "family", "history", "why")
            places = {"?": ".vlist .trow", f"?tag={'t' * 60}": ".vlist .trow", f"?new={'n' * 60}": ".schema .field"}
            places |= {f"?task={task_id}&tab={tab}": ".task-head" for tab in tabs}
            for place, there in places.items():
                await page.go(place)
                await page.sees(there)
                assert await page.js(WIDER) == [0, 0], place
                small = await page.js(
                    "[...document.querySelectorAll('button, a[href], input, select')].filter((e) => e.offsetParent"
                    " && !e.closest('.skip, p, dd, li') && (e.offsetHeight < 24 || e.offsetWidth < 24)"
                    " && !e.matches('[type=checkbox], .task-link, .slider')).map((e) => e.outerHTML.slice(0, 80))"
                )
                assert small == [], place


async def test_axe_finds_nothing_in_a_question(chromium: Chromium) -> None:
    async with tasks() as (here, ids), seen(chromium, url_of(here), f"?task={ids['running']}", bypass_csp=True) as page:
        await page.click("button", "Cancel …")
        await page.sees("dialog")
        assert await violations(page) == []


async def test_axe_would_have_found_something(chromium: Chromium) -> None:
    async with live() as here, seen(chromium, url_of(here), bypass_csp=True) as page:
        await page.sees(".nothing")
        await page.js("document.querySelector('#search').removeAttribute('aria-label')")
        await page.js("document.querySelector('#search').removeAttribute('placeholder')")
        assert [rule for rule, _, _ in await violations(page)] == ["label"]


async def test_who_wants_no_movement_gets_none(chromium: Chromium) -> None:
    async with tasks() as (here, _), seen(chromium, url_of(here), reduced_motion="reduce") as page:
        await page.sees(".vlist .trow")
        assert await page.js("document.getAnimations().length") == 0
