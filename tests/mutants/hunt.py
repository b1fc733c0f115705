"""Hunt for a bug: explore scenarios with whatever ``streaming`` this process imports, and say what was found.

    python -P -m tests.mutants.hunt life crowd --schedules 2000     with PYTHONPATH naming a planted copy first

Owns:   one hunt in one process: JSON on standard output.
Never:  plants anything.
"""

from __future__ import annotations

import argparse
import json
import re
import sys

from streaming.testing.exploration import explore
from tests.worlds.catalogue import CATALOGUE

#: Runs that the search for the fewest choices may take: here it is enough to see that there are few.
SHRINK_RUNS_MAX = 100

#: Characters of what a scenario has said, at most.
SAID_MAX = 120


def main() -> None:
    """Stop at the first scenario that fails; each may take its part of the schedules."""
    parser = argparse.ArgumentParser(description="Explore scenarios until one fails.")
    parser.add_argument("scenarios", nargs="+", choices=sorted(CATALOGUE), metavar="SCENARIO")
    parser.add_argument("--schedules", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    options = parser.parse_args()
    done, seconds = 0, 0.0
    for name in options.scenarios:
        found = explore(
            CATALOGUE[name].play,
            schedules=options.schedules // len(options.scenarios),
            seed=options.seed,
            shrink_runs_max=SHRINK_RUNS_MAX,
        )
        done += found.schedules
        seconds += found.seconds
        if found.failure is not None:
            report = {
                "scenario": name,
                "schedules": done,
                "seconds": seconds,
                "choices": len(found.failure.found),
                "shrunk": len(found.failure.shrunk),
                "trace": str(found.failure.shrunk),
                "said": said(found.failure.error),
            }
            json.dump(report, sys.stdout)
            return
    json.dump(None, sys.stdout)


def said(error: BaseException) -> str:
    """What went wrong, in one short line; of several errors the first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    first = str(error).splitlines()[:1] or [""]
    words = re.sub(r"\b0{24,}", "", f"{type(error).__name__}: {first[0]}".removeprefix("Violations: ").rstrip(": "))
    return words if len(words) <= SAID_MAX else f"{words[: SAID_MAX - 3]}..."


if __name__ == "__main__":
    main()
