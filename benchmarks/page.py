"""The command ``python -m benchmarks.page``: how soon the page is there, how much it is, whether it stays smooth.

Owns:   which figures it has.
Uses:   benchmarks.command (everything else), benchmarks.page_figures (what is measured).
"""

from __future__ import annotations

import sys

from benchmarks.command import Command, run
from benchmarks.page_figures import FIGURES

COMMAND = Command(
    "page",
    "Measure the page against its goals: a real server, a real browser (chromium), on this machine.",
    {"page": FIGURES},
    notes=(
        "the browser is headless Debian Chromium, may use all cores, and draws without a graphics card",
        "each opening is that of a browser that has never been here: no cache, no connection; it takes what it loads "
        "compressed, and its bytes are counted with their headers, as the browser has received them",
        "frames: the list shows tasks that run, each of which reports progress every five seconds; a task of the main "
        "thread is one of the browser's, as its own trace has it (RunTask)",
    ),
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
