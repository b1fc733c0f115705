"""A page with our JavaScript client, and what it was told.

Owns:   `Page`: the client in a tab, driven from Python.
Never:  knows what the client does inside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.tab import SOON_S, Tab

_DRIVER = Path(__file__).with_name("driver.js").read_text(encoding="utf-8")


class Page:
    """The client in a tab."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    @classmethod
    async def of(cls, tab: Tab, token: str | None = None) -> Page:
        """A page with a client."""
        await tab.run(_DRIVER)
        await tab.run("(options) => drive.client(options)", {} if token is None else {"token": token})
        return cls(tab)

    async def connect(self, **options: Any) -> None:
        await self.tab.run("(options) => drive.connect(options)", options)

    async def share(self, name: str = "tests", **options: Any) -> None:
        await self.tab.run("([name, options]) => { share(name, options); }", [name, options])

    async def watch(self, task_id: str, **options: Any) -> None:
        await self.tab.run("([id, options]) => drive.watch(id, options)", [task_id, options])

    async def add(self, task_id: str, after: int | None = None) -> None:
        await self.tab.run("([id, after]) => connection.addLog(id, after)", [task_id, after])

    async def remove(self, task_id: str) -> None:
        await self.tab.run("(id) => connection.removeLog(id)", task_id)

    async def watched(self) -> str:
        """How its loop over the events of a task has ended."""
        return str(await self.tab.run("watching"))

    async def items(self) -> list[dict[str, Any]]:
        """What `onEvent` got, or the loop."""
        return list(await self.tab.run("heard.items"))

    async def states(self) -> list[dict[str, Any]]:
        return list(await self.tab.run("heard.states"))

    async def stats(self) -> dict[str, int]:
        return dict(await self.tab.run("connection.stats"))

    async def check(self) -> None:
        """Nothing was thrown that nobody has caught."""
        assert await self.tab.run("heard.errors") == []

    async def until(self, condition: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """Wait until what it was told is enough."""
        found: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(SOON_S):
                while not condition(found := await self.items()):  # noqa: ASYNC110  # a page is asked
                    await asyncio.sleep(0.02)
        except TimeoutError:
            said = [json.dumps(each) for each in [*found[-5:], *(await self.states())[-5:]]]
            errors = await self.tab.run("heard.errors")
            raise AssertionError("\n".join([f"it did not come so far: {len(found)} items", *said, *errors])) from None
        return found

    async def until_open(self) -> None:
        """Wait until its connection was open once."""
        await self.tab.until("heard.states.some((each) => each.state === 'open')")


def of_feed(items: list[dict[str, Any]]) -> list[int]:
    """The positions in the feed, as they came."""
    return [each["position"] for each in items if each["channel"] == "feed"]


def of_log(items: list[dict[str, Any]], task_id: str) -> list[int]:
    """The seqs of the log of a task, as they came."""
    return [each["seq"] for each in items if each["channel"] == "log" and each["task"] == task_id and each["text"]]


def texts(items: list[dict[str, Any]], task_id: str) -> list[str]:
    """The events of a task, as JSON."""
    return [each["text"] for each in items if each["task"] == task_id and each["channel"] == "log" and each["text"]]


def ends(items: list[dict[str, Any]]) -> int:
    """How many logs were said to have ended."""
    return [each["kind"] for each in items].count("end")


def so_many(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether there are so many of them."""
    return lambda items: len(items) == count
