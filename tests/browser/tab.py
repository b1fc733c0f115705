"""A page in the browser, and what its EventSources tell it.

Owns:   the page, which comes from the origin of the server under test without being a page of that server.
Never:  touches what goes between EventSource and server: nothing is intercepted once the page is there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route
from playwright.async_api import TimeoutError as PlaywrightTimeout

from streaming.rules.sse import RESERVED_TYPES

#: Seconds in which anything in a page happens, or never will.
SOON_S = 20.0

_SCRIPT = Path(__file__).with_name("recorder.js").read_text(encoding="utf-8")
_PAGE = f"<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>test</title><script>{_SCRIPT}</script>"

Call = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Note:
    """What a page was told.

    Attributes:
        type: of the event.
        state: ``readyState`` at that moment, by name.
        at_ms: when, on the page's clock.
        told: by the server; False for what EventSource says itself.
        id: ``lastEventId``.
        data: of the event.
        origin: of the event.
    """

    type: str
    state: str
    at_ms: float
    told: bool
    id: str = ""
    data: str = ""
    origin: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True)
class Job:
    """A stream that is to be read to its end.

    Attributes:
        url: where it is.
        types: which a listener is added for.
        again: whether to read on through the next connection.
    """

    url: str
    types: Sequence[str] = ()
    again: bool = False


@dataclass(frozen=True)
class Heard:
    """What came of it: events as (id, type, data), and ``readyState`` at the end."""

    events: list[tuple[str, str, str]]
    state: str


class Source:
    """One EventSource of a page."""

    def __init__(self, tab: Tab, number: int) -> None:
        self._tab = tab
        self._recorder = f"recorders[{number}]"

    async def notes(self) -> list[Note]:
        """Everything it was told so far."""
        return [Note(**note) for note in await self._tab.run(f"{self._recorder}.notes")]

    async def events(self) -> list[Note]:
        """What the server told."""
        return [note for note in await self.notes() if note.told]

    async def state(self) -> str:
        """The name of its ``readyState``."""
        return str(await self._tab.run(f"NAMES[{self._recorder}.source.readyState]"))

    async def until(self, type: str, count: int = 1) -> None:
        """Wait for so many events of a type from the server."""
        await self._wait(f"{self._recorder}.until({json.dumps(type)}, true, {count})")

    async def until_own(self, type: str, count: int = 1) -> None:
        """Wait for so many ``open`` or ``error`` of EventSource itself."""
        await self._wait(f"{self._recorder}.until({json.dumps(type)}, false, {count})")

    async def until_closed(self) -> None:
        """Wait until it has given up."""
        await self._wait(f"{self._recorder}.untilClosed()")

    async def close(self) -> None:
        await self._tab.run(f"{self._recorder}.source.close()")

    async def _wait(self, promise: str) -> None:
        try:
            await self._tab.run(promise)
        except TimeoutError:
            last = [f"{note.type} {note.id} {note.state} {note.data[:80]}" for note in (await self.notes())[-20:]]
            raise AssertionError("\n".join([f"it did not come to {promise}", *last])) from None


class Tab:
    """A page; see `Chromium.tab`."""

    def __init__(self, call: Call, page: Page) -> None:
        self._call = call
        self._page = page

    async def show(self, origin: str) -> None:
        """Make it a page of this origin."""
        await self._call(self._show(f"{origin}/test-page"))

    async def _show(self, url: str) -> None:
        async def fulfil(route: Route) -> None:
            await route.fulfill(body=_PAGE, content_type="text/html; charset=utf-8")

        await self._page.route(url, fulfil)
        await self._page.goto(url)
        await self._page.unroute(url)

    async def close(self) -> None:
        """Close it, as somebody who has seen enough."""
        await self._call(self._page.close())

    async def crash(self) -> None:
        """Let its process die, as one that has no memory left."""
        await self._call(self._crash())

    async def _crash(self) -> None:
        gone = asyncio.get_running_loop().create_future()
        self._page.once("crash", lambda _: gone.set_result(None))
        session = await self._page.context.new_cdp_session(self._page)
        dying = asyncio.ensure_future(session.send("Page.crash"))  # it has no answer any more
        await gone
        dying.cancel()

    async def go(self, url: str) -> None:
        """Open a page that the server has."""
        await self._call(self._page.goto(url))

    async def look(self, *, width_px: int = 1280, dark: bool = False) -> None:
        """Look at it through a window of this width, by day or by night."""
        await self._call(self._page.set_viewport_size({"width": width_px, "height": 800}))
        await self._call(self._page.emulate_media(color_scheme="dark" if dark else "light"))

    async def press(self, key: str) -> None:
        """Press a key where the page has its focus."""
        await self._call(self._page.keyboard.press(key))

    async def violations(self) -> list[str]:
        """What axe-core says of it: everything that keeps somebody from using it."""
        found = (await self._call(Axe().run(self._page))).response["violations"]
        return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]

    async def until(self, expression: str) -> None:
        """Wait until something holds in the page, whatever page it is by then."""
        try:
            await self._call(self._page.wait_for_function(expression, timeout=1000 * SOON_S))
        except PlaywrightTimeout:
            text = await self._call(self._page.inner_text("body"))
            raise AssertionError(f"it did not come to {expression}; the page says:\n{text}") from None

    async def run(self, script: str, argument: object = None, within_s: float = SOON_S) -> Any:
        """Run a script in the page; its value, awaited if it is a promise."""
        async with asyncio.timeout(within_s):
            return await self._call(self._page.evaluate(script, argument))

    async def follow(self, url: str, types: Iterable[str] = (), *, faithful: bool = False) -> Source:
        """Open an EventSource that listens to these types, and to those of the server itself.

        Args:
            url: of the stream.
            types: of a handler.
            faithful: make a new one, behind the last event, after an answer that is no stream.
        """
        wanted = sorted({*types, *RESERVED_TYPES})
        return Source(self, await self.run("follow", {"url": url, "types": wanted, "faithful": faithful}))

    async def read_all(
        self, jobs: Sequence[Job], common: Sequence[str] = (), *, width: int = 6, within_s: float = SOON_S
    ) -> list[Heard]:
        """Read streams to their end, so many at a time; each listens to the common types as well as to its own."""
        asked = {"jobs": [asdict(job) for job in jobs], "common": common, "width": width}
        answers = await self.run("readAll", asked, within_s)
        return [Heard([(id, type, data) for id, type, data in each["events"]], each["state"]) for each in answers]
