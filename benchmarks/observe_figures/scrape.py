"""How long a scrape takes where there are many live tasks.

Owns:   the time of ``GET /metrics`` in both formats, and of ``GET /server``; what a scrape costs the server.
"""

from __future__ import annotations

import time

from benchmarks.calls import Connection, connect, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.server import running

OPENMETRICS = "application/openmetrics-text"
LIMIT_MS = 50.0


async def measure(scale: Scale) -> Values:
    """Scrape a server, one time after the other."""
    async with running() as server:
        await start_tasks(server.address, [post_task("bench_wait")] * scale.live_tasks)
        connection = await connect(server.address)
        try:
            text = get("/metrics", accept="text/plain")
            body = (await connection.call(text)).body
            _check(body, scale.live_tasks)
            begin_s = server.cpu_s
            text_ms = await _times_ms(connection, text, scale.scrapes)
            cpu_ms = 1_000 * (server.cpu_s - begin_s) / scale.scrapes
            open_ms = await _times_ms(connection, get("/metrics", accept=OPENMETRICS), scale.scrapes)
            server_ms = await _times_ms(connection, get("/server"), scale.scrapes)
        finally:
            connection.close()
    return {
        "p50_ms": percentile(text_ms, 50),
        "p99_ms": percentile(text_ms, 99),
        "cpu_ms": cpu_ms,
        "open_ms": percentile(open_ms, 99),
        "server_ms": percentile(server_ms, 99),
        "kb": len(body) / 1_000,
    }


def _check(body: bytes, live: int) -> None:
    """All tasks must be there.

    Raises:
        Flaw: some are not.
    """
    lines = [line for line in body.splitlines() if line.startswith(b"streaming_tasks{") and b"bench_wait" in line]
    found = sum(float(line.rsplit(b" ", 1)[1]) for line in lines)
    if found != live:
        raise Flaw(f"{live:,} tasks are live, and {found:,g} are told of")


async def _times_ms(connection: Connection, request: bytes, count: int) -> list[float]:
    found = []
    for _ in range(count):
        begin_s = time.perf_counter()
        answer = await connection.call(request)
        found.append(1_000 * (time.perf_counter() - begin_s))
        if answer.status != 200:
            raise Flaw(f"{answer.status} {answer.body[:300]!r}")
    return found


FIGURES = [
    Figure(
        "scrape",
        "GET /metrics with 10,000 live tasks",
        (
            Metric("p50_ms", "half within", "ms"),
            Metric("p99_ms", "99 of 100 within", "ms", Goal("<", LIMIT_MS)),
            Metric("cpu_ms", "CPU of the server for one", "ms"),
            Metric("open_ms", "as OpenMetrics: 99 of 100 within", "ms"),
            Metric("server_ms", "GET /server: 99 of 100 within", "ms"),
            Metric("kb", "size", "kB"),
        ),
        measure,
    )
]
