"""What the load client can take itself: a number above that would say nothing about a server.

Owns:   the runs against the canned server.
Never:  touches a contender.
"""

from __future__ import annotations

import sys
import time

from benchmarks.calls import SSE, get
from benchmarks.figure import Flaw
from benchmarks.server import Server, running
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book
from benchmarks.speed.workload import Scale

COMMAND = (sys.executable, "-m", "benchmarks.canned")
RATE = 100
WITHIN_S = 30.0


async def measure(scale: Scale) -> str:
    """How many deliveries a second one core of this machine takes, in words."""
    readers, events, many = scale.readers, scale.canned_events, 1_000 * scale.canned_events
    async with running(command=COMMAND) as server:
        apart = await _per_cpu_second(server, f"/paced/{readers}/{RATE}/{events}", readers, events)
        together = await _per_cpu_second(server, f"/burst/{many}", 1, many)
    return (
        f"the load client itself takes {apart:,.0f} deliveries a second where each comes alone ({readers:,} readers), "
        f"and {together:,.0f} where many come at once (one stream): deliveries of a canned server by the client's CPU"
    )


async def _per_cpu_second(server: Server, path: str, readers: int, events: int) -> float:
    crowd = Crowd(server.address, Book(), first=1)
    began_s = time.process_time()
    try:
        await crowd.open([get(path, accept=SSE)] * readers)
        # One stream may be over by now; many have cost something to open, and are only beginning.
        begin_s, before = (began_s, 0) if readers == 1 else (time.process_time(), crowd.deliveries)
        crowd.expect(events)
        if not await crowd.reached(within_s=WITHIN_S):
            raise Flaw(f"{crowd.deliveries:,} deliveries of the canned server within {WITHIN_S:g} s")
        return (crowd.deliveries - before) / (time.process_time() - begin_s)
    finally:
        crowd.close()
