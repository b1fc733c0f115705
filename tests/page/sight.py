"""What a person sees of the page, and does with it.

Owns:   one window, what the page complains of, whether it asks for anything from elsewhere.
Never:  waits without a bound; changes what goes between page and server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from playwright.async_api import BrowserContext, ConsoleMessage, Error, Locator, Page, Request

from tests.browser.chromium import Chromium

#: Milliseconds in which anything in a page happens, or never will.
SOON_MS = 20_000

#: The numbers of the events that are in the list of a task, in the order in which they are seen.
NUMBERS = """() => {
  const rows = [...document.querySelectorAll('.event')].filter((row) => row.offsetParent);
  return rows.map((row) => Number(row.querySelector('.seq').textContent)).sort((one, other) => one - other);
}"""

Call = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


class Sight:
    """A window with the page.

    Attributes:
        complaints: errors of scripts, of the policy of the page, and requests to other servers.
    """

    def __init__(self, call: Call, page: Page, origin: str, complaints: list[str]) -> None:
        self.complaints = complaints
        self.page = page
        self._call = call
        self._origin = origin

    @classmethod
    async def open(cls, chromium: Chromium, context: BrowserContext, origin: str, place: str = "?") -> Self:
        """A new window, at a place such as ``?status=running``."""
        sight = cls(chromium.call, await chromium.call(context.new_page()), origin, [])
        await chromium.call(sight._listen())
        await sight.go(place)
        return sight

    async def _listen(self) -> None:
        """In the thread of the browser: to listen tells it so."""
        self.page.on("pageerror", self._fail)
        self.page.on("console", self._hear)
        self.page.on("request", self._asked)

    def _fail(self, error: Error) -> None:
        self.complaints.append(f"{error.name}: {error.message}\n{error.stack}")

    def _hear(self, said: ConsoleMessage) -> None:
        # A request that is refused is one of the things that happen to a page.
        if said.type in ("error", "warning") and not said.text.startswith("Failed to load resource"):
            self.complaints.append(said.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "blob:" + self._origin)):
            self.complaints.append(f"asks for {request.url}")

    # -- looking -------------------------------------------------------------------------------------------------------

    async def go(self, place: str) -> None:
        """Open a place."""
        await self._call(self.page.goto(f"{self._origin}/{place}"))

    def of(self, selector: str, text: str | None = None) -> Locator:
        """What the selector finds that is to be seen, with this text in it."""
        found = self.page.locator(selector).filter(visible=True)
        return found if text is None else found.filter(has_text=text)

    async def sees(self, selector: str, text: str | None = None) -> None:
        """Wait until it is there to be seen."""
        await self._call(self.of(selector, text).first.wait_for(timeout=SOON_MS))

    async def sees_no(self, selector: str, text: str | None = None) -> None:
        """Wait until it is not to be seen any more."""
        await self._call(self.of(selector, text).first.wait_for(state="hidden", timeout=SOON_MS))

    async def text(self, selector: str) -> str:
        """The text that is seen there."""
        return str(await self._call(self.of(selector).first.inner_text(timeout=SOON_MS)))

    async def count(self, selector: str) -> int:
        """How many are there to be seen."""
        return int(await self._call(self.page.locator(f"{selector}:visible").count()))

    async def js(self, expression: str, argument: object = None) -> Any:
        """The value of an expression in the page."""
        return await self._call(self.page.evaluate(expression, argument))

    async def until(self, expression: str, argument: object = None) -> None:
        """Wait until an expression is true in the page."""
        async with asyncio.timeout(SOON_MS / 1000):
            while not await self.js(expression, argument):  # noqa: ASYNC110  # a page does not tell when it changes
                await asyncio.sleep(0.02)

    # -- doing ---------------------------------------------------------------------------------------------------------

    async def click(self, selector: str, text: str | None = None) -> None:
        """Click it, once it is there."""
        await self._call(self.of(selector, text).first.click(timeout=SOON_MS))

    async def fill(self, selector: str, words: str) -> None:
        """Type words into a field."""
        await self._call(self.of(selector).first.fill(words, timeout=SOON_MS))

    async def choose(self, selector: str, value: str) -> None:
        """Choose an option."""
        await self._call(self.of(selector).first.select_option(value, timeout=SOON_MS))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self._call(self.page.keyboard.press(key))

    async def back(self) -> None:
        """As the button of the browser."""
        await self._call(self.page.go_back())

    async def picture(self, path: Path) -> None:
        """Take a picture of what is seen."""
        await self._call(self.page.screenshot(path=path))

    async def close(self) -> None:
        """Close the window."""
        await self._call(self.page.close())

    @property
    def place(self) -> str:
        """The query of the URL."""
        return self.page.url.partition("?")[2]


@asynccontextmanager
async def seen(chromium: Chromium, origin: str, place: str = "?", **options: Any) -> AsyncIterator[Sight]:
    """One window in a browser of its own; the page must not have complained in the end."""
    async with chromium.context(**options) as context:
        sight = await Sight.open(chromium, context, origin, place)
        yield sight
        assert sight.complaints == []
