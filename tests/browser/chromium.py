"""A headless Chromium: the browser whose word counts.

Owns:   one browser process, on a loop in a thread of its own, so that it outlives the loops of the tests.
Never:  downloads a browser; leaves one behind; waits without a bound.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.browser.tab import Tab

T = TypeVar("T")

#: How to get what is missing, in one line.
MISSING = "there is no chromium here: apt-get install chromium"

#: Seconds in which a browser starts, or never will.
SOON_S = 30.0

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # So a name of somebody else leads to this machine, as it does when he answers for it (DNS rebinding).
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    # And the browser lets it: what keeps such a page out must be the server, as other browsers do not ask.
    "--disable-features=LocalNetworkAccessChecks",
)


class NoChromium(Exception):
    """There is none on this machine."""


class Chromium:
    """A browser; it runs inside of ``with``.

    Raises:
        NoChromium: there is no such program.
    """

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise NoChromium(MISSING)
        self._program = program
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chromium", daemon=True)
        self._ending = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._browser: Browser | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(self._start())
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._wait(self._end())
        finally:
            self._leave()

    def _leave(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SOON_S)
        self._loop.close()

    @property
    def version(self) -> str:
        """Of the browser."""
        return self.browser.version

    @property
    def browser(self) -> Browser:
        """The running one, which belongs to its thread."""
        assert self._browser is not None
        return self._browser

    # -- in its own thread ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        started = asyncio.Event()
        self._life = asyncio.create_task(self._live(started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait((self._life, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not started.is_set():
            waiting.cancel()
            self._life.result()

    async def _live(self, started: asyncio.Event) -> None:
        async with async_playwright() as playwright:
            self._browser = await playwright.chromium.launch(executable_path=self._program, args=_FLAGS)
            started.set()
            await self._ending.wait()
            await self._browser.close()

    async def _end(self) -> None:
        assert self._life is not None
        self._ending.set()
        await self._life

    # -- from other threads ---------------------------------------------------------------------------------------

    def _wait(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(SOON_S)

    async def call(self, doing: Coroutine[Any, Any, T]) -> T:
        """Await something that belongs to the browser's thread."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(doing, self._loop))

    @asynccontextmanager
    async def context(self, **options: Any) -> AsyncIterator[BrowserContext]:
        """A browser of somebody's own: cookies, cache, storage and connections. What it gives belongs to its thread.

        Args:
            options: see Playwright, ``browser.new_context``.
        """
        context = await self.call(self.browser.new_context(**options))
        try:
            yield context
        finally:
            await self.call(context.close())

    @asynccontextmanager
    async def tab(self, origin: str) -> AsyncIterator[Tab]:
        """A page of this origin, with cookies, cache and connections of its own."""
        async with self.tabs(origin) as another:
            yield await another()

    @asynccontextmanager
    async def tabs(self, origin: str) -> AsyncIterator[Callable[[], Awaitable[Tab]]]:
        """What opens pages of this origin that are tabs of one window: they share all that tabs share."""
        async with self.context() as context:

            async def another() -> Tab:
                tab = Tab(self.call, await self.call(context.new_page()))
                await tab.show(origin)
                return tab

            yield another
