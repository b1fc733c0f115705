"""The command ``python -m benchmarks.spine``: events, streams, starts and the way out.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.figures (what is measured).
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.figures import FIGURES

COMMAND = Command(
    "spine",
    "Measure the product against its goals: the real server in a process of its own, over HTTP.",
    {"spine": list(FIGURES.values())},
    notes=("every stream of every round was checked: seq 1, 2, 3 ... without holes, the terminal event last",),
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
