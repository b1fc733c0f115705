"""The command ``python -m benchmarks.observe``: what it costs to count, and how long a scrape takes.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.observe_figures (what is measured).
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.observe_figures import FIGURES

COMMAND = Command(
    "observe",
    "Measure what metrics and the watchdog of the event loop cost a delivery, and how long a scrape takes with many "
    "live tasks: the real server in a process of its own, over HTTP.",
    {"observe": FIGURES},
    notes=(
        "deliveries: one server with the default settings, two with STREAMING_METRICS=false, STREAMING_STALL_S=0 and a "
        "pass that adds nothing up (benchmarks.uncounted); all are asked in turn, and a ratio is the median of those "
        "of all turns. No server has tracing on, and none is scraped meanwhile",
        "scrape: of the live tasks 1,000 run and the others wait; scrapes come one after the other, and nothing else "
        "is to be done; the goal is for the text format",
    ),
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
