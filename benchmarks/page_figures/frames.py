"""A thousand live tasks, two hundred events a second: whether the page moves without a jerk.

Owns:   those figures: of frames by the page's own clock, of the browser's main thread by its own trace.
"""

from __future__ import annotations

import asyncio
import json

from benchmarks.calls import post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.page_figures.window import chromium, traced, window
from benchmarks.server import COMMAND, running

TASKS = 1000
EVERY_S = 5.0

#: Milliseconds between the frames of so many milliseconds, and how many messages in the window changed.
FRAMES = """(ms) => new Promise((resolve) => {
  const found = [];
  let changes = 0;
  const watcher = new MutationObserver((all) => {
    changes += all.filter(({target}) => target.closest?.(".trow .message")).length;
  });
  watcher.observe(document.querySelector(".vlist"), {subtree: true, childList: true});
  let before = performance.now();
  const end = before + ms;
  const frame = (now) => {
    found.push(now - before);
    before = now;
    if (now < end) requestAnimationFrame(frame);
    else resolve([found.slice(1), changes]);
  };
  requestAnimationFrame(frame);
})"""


async def measure(scale: Scale) -> Values:
    """The list is open, and nobody touches it."""
    command = [*COMMAND[:3], "tests.page.work", *COMMAND[3:]]
    async with running(command=command) as server, chromium() as browser:
        url = f"http://{server.address.host}:{server.address.port}"
        await start_tasks(server.address, [post_task("report_often", every_s=EVERY_S)] * TASKS)
        async with window(browser, url, "?status=running") as page:
            await page.sees(".vlist .trow .percent", "%")
            await asyncio.sleep(EVERY_S)  # all of them have begun
            trace, (frames, changes) = await traced(browser, page, page.js(FRAMES, 1000 * scale.duration_s))
    if not frames:
        raise Flaw("the browser has drawn nothing")
    tasks_ms = _main_thread_ms(trace)
    return {
        "changes_per_s": changes / scale.duration_s,
        "worst_ms": max(frames),
        "p99_ms": percentile(frames, 99),
        "task_ms": max(tasks_ms),
        "busy": sum(tasks_ms) / (1000 * scale.duration_s),
    }


def _main_thread_ms(trace: bytes) -> list[float]:
    """What each task of the page's main thread took."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    found = [
        each["dur"] / 1000
        for each in events
        if each["name"] == "RunTask" and "dur" in each and (each["pid"], each["tid"]) in mains
    ]
    if not found:
        raise Flaw("the trace of the browser has no tasks of the main thread")
    return found


FIGURES = [
    Figure(
        "frames",
        f"{TASKS:,} live tasks at {TASKS / EVERY_S:g} events a second, in the list",
        (
            Metric("changes_per_s", "reports that are seen to change a row in the window", "1/s"),
            Metric("worst_ms", "the longest time between two frames", "ms", Goal("<=", 50)),
            Metric("p99_ms", "99 of 100 times between two frames", "ms"),
            Metric("task_ms", "the longest task of the browser's main thread", "ms", Goal("<=", 50)),
            Metric("busy", "how much of the time that thread works", "1"),
        ),
        measure,
    )
]
