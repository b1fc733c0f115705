"""SIGTERM under load.

Owns:   the time to the exit, its status, and how the open streams ended.
"""

from __future__ import annotations

import signal
import time
from collections import Counter

from benchmarks.calls import SSE, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.reader import Reader, ended, open_readers
from benchmarks.server import running

#: The default of STREAMING_GRACE_S.
GRACE_S = 10.0
MARGIN_S = 10.0


async def measure(scale: Scale) -> Values:
    """Tasks that never end by themselves, one stream of each."""
    async with running() as server:
        task_ids = await start_tasks(server.address, [post_task("bench_wait")] * scale.streams)
        streams = [get(f"/tasks/{task_id}/events", accept=SSE) for task_id in task_ids]
        readers = await open_readers(server.address, streams, timed=0)
        begin_s = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        await ended(readers, within_s=GRACE_S + MARGIN_S)
        status = await server.wait(GRACE_S + MARGIN_S)
        exit_s = time.perf_counter() - begin_s
        if status != 0:
            raise Flaw(f"the server exited with {status}:\n{server.log_lines}")
    _all_interrupted(readers)
    return {"exit_s": exit_s, "last_stream_s": max(reader.ended_at for reader in readers) - begin_s}


def _all_interrupted(readers: list[Reader]) -> None:
    for reader in readers:
        reader.check()
    ends = Counter(reader.terminal for reader in readers)
    if set(ends) != {"interrupted"}:
        raise Flaw(f"the streams should have ended with 'interrupted', and ended with {dict(ends)}")


FIGURE = Figure(
    "sigterm",
    "SIGTERM with 200 running tasks and 200 open streams: exit status 0, each stream whole with its terminal event",
    (
        Metric("exit_s", "to the exit, with a grace of 10 s", "s", Goal("<=", GRACE_S)),
        Metric("last_stream_s", "to the end of the last stream", "s"),
    ),
    measure,
)
