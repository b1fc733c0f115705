"""Requests of which nothing is as it should be.

Owns:   how many of them; what must not come of them.
Uses:   tests.fuzz.hostility (the requests, and what is wrong with answers).
"""

from __future__ import annotations

import asyncio

from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values

#: Draws the requests.
SEED = 20261201


async def measure(scale: Scale) -> Values:
    """Send them all; whatever is wrong with an answer, or with the server afterwards, is a broken promise."""
    from tests.fuzz.hostility import besiege

    summary = await asyncio.to_thread(besiege, range(scale.fuzz_requests), SEED, "sqlite:///fuzz.db", quiet=True)
    if summary.failures:
        kind, first = next(iter(summary.failures.items()))
        raise Flaw(f"{len(summary.failures)} kinds of failures, {kind}: {first[:1_000]}")
    return {
        "requests": summary.requests,
        "failed": summary.broken,
        "leaks": summary.leaks,
        "unanswered": summary.by_status[0],
        "refused": sum(count for status, count in summary.by_status.items() if status >= 400),
        "taken": sum(count for status, count in summary.by_status.items() if 200 <= status < 300),
        "per_s": summary.requests / summary.seconds,
    }


FIGURES = [
    Figure(
        "fuzz",
        "100,000 hostile requests: paths, queries, headers, credentials, bodies, framing and bytes that are twisted; "
        "each answer is a success or a problem of the one shape, the server lives, and its log has no error and no "
        "secret",
        (
            Metric("requests", "requests", ""),
            Metric("failed", "answers of 500 and more, but 503 with a code", "", Goal("<=", 0)),
            Metric("leaks", "answers that tell something of the server", "", Goal("<=", 0)),
            Metric("taken", "successes", ""),
            Metric("refused", "problems", ""),
            Metric("unanswered", "no HTTP, and the connection is closed without a word", ""),
            Metric("per_s", "requests", "1/s"),
        ),
        measure,
    )
]
