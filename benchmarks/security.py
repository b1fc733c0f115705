"""The command ``python -m benchmarks.security``: what credentials cost, and what attacks do to those who are honest.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.security_figures (what is measured).
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.security_figures import FIGURES

COMMAND = Command(
    "security",
    "Measure what credentials cost, and what wrong tokens, hostile connections and broken requests do to those who are "
    "honest: the real server in a process of its own, over HTTP.",
    {"security": FIGURES},
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
