"""The quick start, done by somebody who follows only what is written: in a terminal, and on the page in a browser.

A comment ``<!-- page: NAME -->`` stands in front of what is done on the page. The bold words there are what is clicked,
in this order.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.browser.chromium import Chromium
from tests.page.sight import NUMBERS, Sight, seen
from tests.pages import Block, blocks, missing
from tests.serving import ROOT
from tests.terminal import Terminal

PATH = ROOT / "docs" / "quickstart.md"
PAGE = PATH.read_text(encoding="utf-8")

#: The numbers of the events with which the runs of the task that is seen have begun, as the server has them.
RUNS = """async () => {
  const answer = await fetch(`/tasks/${new URLSearchParams(location.search).get("task")}/history`);
  return (await answer.json()).changes.filter((change) => change.to === "running").map((change) => change.seq);
}"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


class Visit(NamedTuple):
    """Something that is done, or seen, on the page."""

    line: int
    what: str
    bold: list[str]


def visits() -> Iterator[Visit]:
    for found in re.finditer(r"^<!-- page: (\w+) -->\n((?:.+\n)+)", PAGE, re.MULTILINE):
        yield Visit(PAGE.count("\n", 0, found.start()) + 1, found[1], re.findall(r"\*\*(.+?)\*\*", found[2]))


def steps() -> list[Block | Visit]:
    """What is pasted, saved, clicked and seen, in the order of the page."""
    pasted = [each for each in blocks(PATH) if each.language in ("sh", "python") and "not run" not in each.note]
    return sorted([*pasted, *visits()], key=lambda step: step.line)


class Reader:
    """Somebody with a window open; knows which attempt is to be seen next."""

    def __init__(self, page: Sight) -> None:
        self.page = page
        self.attempt = 1

    async def start(self, bold: list[str]) -> None:
        place, task_type, last = bold
        await self.page.click("header.top nav a", place)
        await self.page.click("a.type-entry", task_type)
        await self.page.fill("#param-question", "Why?")
        await self.page.click("button.primary", last)
        await self.page.sees(".pill", "Live")
        await self.page.sees(".event", "word 2 ")
        self.attempt = 1

    async def cancel(self, bold: list[str]) -> None:
        first, last = bold
        await self.page.click("button", first)
        await self.page.click("dialog button", last)
        await self.page.sees(".task-head .badge", "cancelled")
        await self.page.sees(".receipt", "The cancel has stopped it")

    async def away(self, bold: list[str]) -> None:
        await self.page.sees(".pill", "Again in")
        await self.page.sees(".event", "word 2 ")

    async def resumed(self, bold: list[str]) -> None:
        self.attempt += 1
        await self.page.sees(".pill", "Live")
        await self.page.until(f"async () => (await ({RUNS})()).length >= {self.attempt}")
        seq = (await self.page.js(RUNS))[-1]
        await self.page.sees(".event-tools", "events")
        await self.page.until(f"() => document.querySelector('.event-tools').innerText.replace(/\\D/g, '') >= {seq}")
        await self.page.fill("[aria-label='go to event']", str(seq))
        await self.page.press("Enter")
        await self.page.sees(".event", f'"attempt":{self.attempt}')
        await self.page.sees(".event", '"reason":')
        numbers = await self.page.js(NUMBERS)
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "no event is missing, and none is there twice"


async def test_it_works_for_who_follows_what_is_written(chromium: Chromium, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        terminal = stack.enter_context(Terminal(tmp_path))
        reader: Reader | None = None
        for step in steps():
            if isinstance(step, Block):
                printed = await asyncio.to_thread(terminal.do, step)
                assert missing(step.shown, printed) == [], f"line {step.line} prints\n{printed}"
                continue
            if reader is None:
                window = seen(chromium, f"http://127.0.0.1:{terminal.port}", "")
                reader = Reader(await stack.enter_async_context(window))
            await getattr(reader, step.what)(step.bold)


def test_all_that_it_promises_is_done() -> None:
    done = [step.what if isinstance(step, Visit) else step.language for step in steps()]

    assert [each for each in done if each not in ("sh", "python")] == [
        "start",
        "cancel",
        "start",
        "away",
        "resumed",
        "resumed",
    ]
    assert all(each.bold for each in visits() if each.what in ("start", "cancel"))
