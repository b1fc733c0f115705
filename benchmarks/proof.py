"""The command ``python -m benchmarks.proof``: how quickly schedules are explored, and what watching over races costs.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.proof_figures (what is measured).
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.proof_figures import FIGURES

COMMAND = Command(
    "proof",
    "Measure the test kit and the race diary: schedules a second, a cancel sweep, the share of the diary in an emit.",
    {"proof": FIGURES},
    notes=("all of it is measured in this process, or in one beside it, without a server",),
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
