"""A window of a real browser, for whoever measures in it.

Owns:   the browser of the tests, made ready for a measurement.
Never:  measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import machine
from benchmarks.figure import Flaw
from tests.browser.chromium import Chromium, NoChromium
from tests.page.sight import Sight


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """The browser.

    Raises:
        Flaw: there is none here.
    """
    try:
        browser = await asyncio.to_thread(_start)
    except NoChromium as reason:
        raise Flaw(str(reason)) from None
    try:
        yield browser
    finally:
        await asyncio.to_thread(browser.__exit__, None, None, None)


def _start() -> Chromium:
    """A browser has many processes, and people let it have all cores."""
    with machine.on_all_cores():
        return Chromium().__enter__()


@asynccontextmanager
async def window(browser: Chromium, url: str, place: str = "?") -> AsyncIterator[Sight]:
    """A window in a browser that has never been here.

    Raises:
        Flaw: the page complains.
    """
    async with browser.context(viewport={"width": 1440, "height": 900}) as context:
        sight = await Sight.open(browser, context, url, place)
        yield sight
        if sight.complaints:
            raise Flaw(f"the page complains: {sight.complaints[0]}")


async def traced(browser: Chromium, page: Sight, doing: Coroutine[Any, Any, Any]) -> tuple[bytes, Any]:
    """The browser's own trace of a page while something is done, and what that gives."""
    await browser.call(
        browser.browser.start_tracing(page=page.page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    )
    try:
        found = await doing
    finally:
        trace = await browser.call(browser.browser.stop_tracing())
    return trace, found
