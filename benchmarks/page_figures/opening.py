"""Opening the page: when something is seen, when the tasks are, how many bytes that took.

Owns:   those figures, by what the browser itself has noted.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from benchmarks.calls import post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.page_figures.window import chromium, window
from benchmarks.server import running

#: Openings in one round, and tasks that there are.
OPENINGS = 7
TASKS = 50

#: What the browser has noted of the opening of a page; bytes are those of the answers, with their heads.
#: What is asked for by a stream has no size before its end.
NOTED = """() => {
  const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const sizeOf = (some) => some.reduce((sum, each) => sum + each.transferSize, 0);
  const own = all.filter(({name}) => new URL(name).pathname === "/" || name.includes("/page/"));
  return {
    paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
    bytes: sizeOf(own),
    data_bytes: sizeOf(all) - sizeOf(own),
    requests: all.length,
  };
}"""


async def measure(scale: Scale) -> Values:
    """The median of some openings."""
    async with running() as server, chromium() as browser:
        await start_tasks(server.address, [post_task("countdown", count=0)] * TASKS)
        openings = [
            await _open(browser, f"http://{server.address.host}:{server.address.port}") for _ in range(OPENINGS)
        ]
    return {key: statistics.median(each[key] for each in openings) for key in openings[0]}


async def _open(browser: Any, url: str) -> dict[str, float]:
    async with window(browser, url) as page:
        await page.sees(".vlist .trow")
        rows_ms = float(await page.js("performance.now()"))
        await asyncio.sleep(0.5)
        noted = dict(await page.js(NOTED))
    if noted["paint_ms"] is None:
        raise Flaw("the browser has painted nothing")
    return {**{key: float(value) for key, value in noted.items()}, "rows_ms": rows_ms}


FIGURES = [
    Figure(
        "opening",
        f"The page is opened by a browser that has never been here; there are {TASKS} tasks",
        (
            Metric("paint_ms", "first content is seen", "ms", Goal("<", 300)),
            Metric("rows_ms", "the tasks are seen, at the latest", "ms"),
            Metric("bytes", "bytes of the page and its files", "B", Goal("<", 150_000)),
            Metric("data_bytes", "bytes of what it shows", "B"),
            Metric("requests", "requests", "requests"),
        ),
        measure,
    )
]
