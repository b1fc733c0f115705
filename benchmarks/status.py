"""The command ``python -m benchmarks.status``: how quickly tasks are created, updated, found and counted.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.status_figures (what is measured), benchmarks.stores.
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.status_figures import FIGURES, MEMORY
from benchmarks.stores import kept

COMMAND = Command(
    "status",
    "Measure status tracking against its goals, on SQLite and on PostgreSQL: the real server, over HTTP. "
    "The figure memory starts a million tasks on each: it runs only where it is named, and has a file of its own.",
    {"status": FIGURES, "status_memory": MEMORY},
    notes=(
        "PostgreSQL 16 runs on this machine, on both cores, with fsync, 1 GB of shared_buffers, and else its own "
        "defaults; SQLite as the server opens it by default: WAL, synchronous normal; a million records are in memory "
        "when questions are asked: PostgreSQL keeps them there, and the file of SQLite is read once before",
        "clients at a rate: an answer's time counts from when its request was due; clients without a pause: 100 of "
        "them wait at any time, so that half of the answers take about 100 divided by the calls per second",
    ),
    around=kept,
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
