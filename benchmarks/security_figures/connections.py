"""Connections that mean no good, far more than there are honest readers.

Owns:   what honest readers hear meanwhile, and the memory of the server before, meanwhile and afterwards.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.calls import call_all, get, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.security_figures import guarded, honest
from benchmarks.security_figures.besieged import attacked
from benchmarks.security_figures.guarded import bearer, key_of, with_header
from benchmarks.server import Server, usage_while

#: Who has a key, and means no good.
NAME = "mallory"

#: What readers that never read ask for: 8 MB, far more than anybody holds for them.
EVENTS, PAD_BYTES = 2_000, 4_000

SOURCES = 50

#: Seconds between two looks, and of the warm-up; for what part of the attack it is waited until memory is back.
LOOK_S, WARM_UP_S, SETTLE = 0.2, 3.0, 1.5

#: Resident memory that all of them together may add, and what may be left of it.
ADDED_MB, RETURNED = 160, 1.2


async def measure(scale: Scale) -> Values:
    """Readers beside hostile connections of all habits."""
    settings = {"api_keys": guarded.api_keys(honest.NAME, NAME)}
    async with guarded.guarded(settings) as server:
        await honest.listen(server.address, scale.honest, min(WARM_UP_S, scale.hostile_s))
        task_id = await _large_log(server)
        await asyncio.sleep(1)
        before_bytes = server.rss_bytes
        async with attacked(
            "hostile",
            port=server.address.port,
            connections=scale.hostile,
            sources=SOURCES,
            key=key_of(NAME),
            task=task_id,
        ) as attacker:
            heard, usage = await usage_while(server, honest.listen(server.address, scale.honest, scale.hostile_s))
        did = attacker.said
        begin_s = time.monotonic()
        after_bytes = await _settled(server, RETURNED * before_bytes, SETTLE * scale.hostile_s)
        settled_s = time.monotonic() - begin_s
    missing = [name for name, count in did["opened"].items() if not count]
    if missing:
        raise Flaw(f"nobody came with the habit {', '.join(missing)}")
    return {
        "p99_ms": heard.p99_ms,
        "open": did["open"],
        "opened_s": sum(did["opened"].values()) / did["seconds"],
        "added_mb": (usage.rss_bytes_max - before_bytes) / 1e6,
        "before_mb": before_bytes / 1e6,
        "returned": after_bytes / before_bytes,
        "settled_s": settled_s,
        "cores": usage.cpu_s / usage.wall_s,
        "attacker_cores": did["cpu_s"] / did["seconds"],
        **heard.as_values(),
    }


async def _large_log(server: Server) -> str:
    """A task with a log that is large, and complete."""
    header = bearer(key_of(NAME))
    [answer] = await call_all(
        server.address,
        [with_header(post_task("bench_burst", events=EVENTS, pad_bytes=PAD_BYTES), header)],
        status=201,
    )
    task_id = str(answer.json()["id"])
    [answer] = await call_all(server.address, [with_header(get(f"/tasks/{task_id}?wait_s=20"), header)], status=200)
    if answer.json()["status"] != "completed":
        raise Flaw(f"the task with the large log is {answer.json()['status']}")
    return task_id


async def _settled(server: Server, below_bytes: float, within_s: float) -> int:
    """The resident memory, once it is back or is not coming back."""
    until = time.monotonic() + within_s
    while time.monotonic() < until and server.rss_bytes > below_bytes:  # noqa: ASYNC110  # nothing tells us
        await asyncio.sleep(LOOK_S)
    return server.rss_bytes


FIGURES = [
    Figure(
        "connections",
        "2,000 hostile connections at once, beside 100 honest readers, who lose nothing: slow heads, slow bodies, "
        "readers that never read, idle ones, heads that are too large, floods of requests, endless bodies, silence, "
        "garbage",
        (
            Metric("p99_ms", "99 of 100 events read within", "ms", Goal("<", 1_000)),
            Metric("open", "hostile connections open, half of the time", ""),
            Metric("opened_s", "hostile connections opened", "1/s"),
            Metric("before_mb", "resident memory before", "MB"),
            Metric("added_mb", "added to it at most", "MB", Goal("<", ADDED_MB)),
            Metric("returned", "afterwards / before", "x", Goal("<=", RETURNED)),
            Metric("settled_s", "back after", "s"),
            Metric("cores", "CPU of the server", "cores"),
            Metric("attacker_cores", "CPU of the attackers", "cores"),
            *honest.METRICS,
        ),
        measure,
    )
]
