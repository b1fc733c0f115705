"""The product itself: with its default store, with the memory store, and under plain uvicorn.

Owns:   how its tasks play the part of channels and logs; the two settings in which a run differs from the default.
Uses:   benchmarks.handlers (the tasks), benchmarks.reader (a log is read once to know that it is whole).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from benchmarks.calls import SSE, get, post_task, start_tasks, with_body
from benchmarks.contenders.contender import OPTIONS, Contender, Job, Stage
from benchmarks.reader import LIFE_EVENTS, ended, open_reader
from benchmarks.server import COMMAND

#: Only where a workload has more streams than the defaults allow (``max_streams``, ``max_connections``).
STREAMS_MAX = 20_000
_LIMITS = (f"STREAMING_MAX_STREAMS={STREAMS_MAX}", f"STREAMING_MAX_CONNECTIONS={2 * STREAMS_MAX}")
LOG_WITHIN_S = 120.0


class OurStage(Stage):
    """A task is a channel, and its log is kept."""

    async def open_channels(self, names: Sequence[str], job: Job | None = None) -> list[bytes]:
        job = job or Job(events=0)
        spread_s = 1 / job.rate / len(names) if job.rate else 0.0
        requests = [
            _request("bench_channel", replace(job, start_at=job.start_at + number * spread_s), channel=name)
            for number, name in enumerate(names)
        ]
        task_ids = await start_tasks(self.address, requests)
        return [get(f"/tasks/{task_id}/events", accept=SSE) for task_id in task_ids]

    async def emit(self, names: Sequence[str], job: Job) -> None:
        await start_tasks(self.address, [_request("bench_emit", job, channels=list(names))])

    async def prepare_log(self, events: int) -> bytes:
        [task_id] = await start_tasks(self.address, [post_task("bench_burst", events=events)])
        request = get(f"/tasks/{task_id}/events", accept=SSE)
        reader = await open_reader(self.address, request)
        await ended([reader], within_s=LOG_WITHIN_S)
        reader.check(events + LIFE_EVENTS)
        return request


def _request(type: str, job: Job, **params: object) -> bytes:
    return with_body("POST", "/tasks", {"type": type, "params": {**asdict(job), **params}})


def _command(*more: str) -> Sequence[str]:
    return ("env", *_LIMITS, *COMMAND, *more)


SQLITE = Contender(
    "streaming",
    "the product in its default configuration: every event is in SQLite before anybody sees it",
    _command,
    durable=True,
    ids=True,
    stage=OurStage,
)
MEMORY = Contender(
    "streaming-memory",
    "the product with its memory store",
    lambda: _command("--store", "memory://"),
    ids=True,
    stage=OurStage,
)
PLAIN = Contender(
    "streaming-plain",
    "the product with its memory store, under uvicorn with its own protocol: streams go through send()",
    lambda: (
        *("env", *_LIMITS, "STREAMING_STORE_URL=memory://"),
        "STREAMING_TASKS=benchmarks.handlers",
        *(sys.executable, "-m", "uvicorn", "streaming.server:app", *OPTIONS),
    ),
    ids=True,
    stage=OurStage,
)
