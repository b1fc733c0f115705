"""Batches of events about external tasks.

Owns:   events per second that workers report in batches, each of which is stored when it is answered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from benchmarks.calls import Address, clients, post_task, start_tasks, with_body
from benchmarks.figure import Figure, Goal, Metric, Scale, Values, percentile
from benchmarks.server import usage_while
from benchmarks.status_figures.create import milliseconds
from benchmarks.status_figures.update import all_have
from benchmarks.stores import KINDS, serving

WORKERS = 20
BATCH = 100


async def measure(scale: Scale, *, kind: str) -> Values:
    """Each worker has a task, and sends one batch after the other."""
    async with serving(kind) as server:
        task_ids = await start_tasks(server.address, [post_task("external")] * WORKERS)
        each = max(1, scale.reported_events // WORKERS // BATCH)
        await _report(server.address, task_ids, first=0, batches=2)
        begin_s = time.perf_counter()
        took_ms, usage = await usage_while(server, _report(server.address, task_ids, first=2, batches=each))
        per_s = WORKERS * each * BATCH / (time.perf_counter() - begin_s)
        await all_have(server.address, task_ids, events=2 + (2 + each) * BATCH)
    return {
        "per_s": per_s,
        "p50_ms": percentile(took_ms, 50),
        "p99_ms": percentile(took_ms, 99),
        "cores": usage.cpu_s / usage.wall_s,
    }


async def _report(address: Address, task_ids: Sequence[str], *, first: int, batches: int) -> list[float]:
    scripts = [
        [with_body("POST", f"/tasks/{task_id}/events", _batch(first + number)) for number in range(batches)]
        for task_id in task_ids
    ]
    return milliseconds(await clients(address, scripts, status=200))


def _batch(number: int) -> dict[str, object]:
    seqs = range(1 + number * BATCH, 1 + (number + 1) * BATCH)
    return {"events": [{"type": "row", "client_seq": seq, "data": {"row": seq, "ok": True}} for seq in seqs]}


FIGURES = [
    Figure(
        f"batches-{kind}",
        f"{title}: {WORKERS} external workers report numbered events, {BATCH} in a request",
        (
            Metric("per_s", "reported and stored", "events/s", Goal(">=", 10_000)),
            Metric("p50_ms", "half of the requests within", "ms"),
            Metric("p99_ms", "99 of 100 requests within", "ms"),
            Metric("cores", "CPU of the server", "cores"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
