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
    notes=(
        "starts and deliveries: each kind of credential has a server of its own, all are asked in turn, and a ratio"
        " is the median of those of all turns; rates are so high that nobody is refused",
        "honest readers have a key and an address of their own and read one task at 50 events/s; each of them gets "
        "every event in its order, and the hash of what it has read is that of the log; times count from when an "
        "event was due",
        "attackers are processes of their own, on the core of the readers, whom they let go first (nice 10); how "
        "late the readers' own process wakes up is told beside what they measure",
        "wrong credentials: unknown API keys, JWTs with a wrong signature (HS256, and RS256 with an id of a key "
        "that there is), garbage; each is sent when it is due, on a connection that waits for nothing, or else "
        "behind what another one waits for; 1,000 connections, as many as one address may have, and who is cut "
        "comes back at once. The server has its default limits",
        "hostile connections: a ninth of each habit, slow ones send a byte a second, a head that is too large has "
        "200 kB, a flood is 1,000 requests at once, endless bodies are chunks of 4 kB or of one byte; who is cut "
        "comes back within half a second. Those with a body, a stream or a flood have a key that is good",
        "fuzz: python -m tests.fuzz.hostility draws the same requests from a seed, and shows one that went wrong",
    ),
)


if __name__ == "__main__":
    sys.exit(run(COMMAND))
