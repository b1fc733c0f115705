"""Updating external tasks.

Owns:   PATCH with progress by 100 workers with a task each: at a rate, and without a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.calls import Address, call_all, clients, get, post_task, start_tasks, with_body
from benchmarks.figure import Figure, Flaw, Scale, Values, percentile
from benchmarks.server import usage_while
from benchmarks.status_figures.create import at_a_rate, metrics, milliseconds, without_a_pause
from benchmarks.stores import KINDS, commits_ms, serving

#: Updates of each worker per second.
RATE = 10.0
WARM_UP = 3


async def measure(scale: Scale, *, kind: str) -> Values:
    """Report progress; the records must show the last one afterwards."""
    plain_ms = await asyncio.to_thread(commits_ms, kind)
    async with serving(kind) as server:
        task_ids = await start_tasks(server.address, [post_task("external")] * scale.clients)
        each = max(1, scale.calls // scale.clients)
        await _update(server.address, task_ids, WARM_UP)
        paced, usage = await usage_while(server, _update(server.address, task_ids, each, rate=RATE))
        begin_s = time.perf_counter()
        busy = await _update(server.address, task_ids, each)
        busy_s = time.perf_counter() - begin_s
        await all_have(server.address, task_ids, events=2 + WARM_UP + 2 * each)
    return at_a_rate(paced, usage) | without_a_pause(busy, busy_s) | {"plain_ms": percentile(plain_ms, 50)}


async def _update(address: Address, task_ids: Sequence[str], each: int, rate: float = 0.0) -> list[float]:
    scripts = [
        [with_body("PATCH", f"/tasks/{task_id}", {"progress": {"percent": 100 * n / each}}) for n in range(each)]
        for task_id in task_ids
    ]
    return milliseconds(await clients(address, scripts, status=200, rate=rate))


async def all_have(address: Address, task_ids: Sequence[str], *, events: int) -> None:
    """Every task must have this many events.

    Raises:
        Flaw: one has not.
    """
    answers = await call_all(address, [get(f"/tasks/{task_id}") for task_id in task_ids], status=200)
    wrong = [task for task in (answer.json() for answer in answers) if task["last_seq"] != events]
    if wrong:
        raise Flaw(f"{len(wrong)} tasks should have {events} events, one of them is {wrong[0]}")


FIGURES = [
    Figure(
        f"update-{kind}",
        f"{title}: PATCH with the progress of external tasks by 100 workers",
        metrics("updates", RATE, 5),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
