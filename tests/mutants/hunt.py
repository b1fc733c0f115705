"""Hunt for a bug: explore scenarios with whatever ``streaming`` this process imports, and say what was found.

    python -P -m tests.mutants.hunt life crowd --schedules 2000     with PYTHONPATH naming a planted copy first

Owns:   one hunt in one process: JSON on standard output.
Never:  plants anything.
"""

from __future__ import annotations

import argparse
import json
import sys

from streaming.testing.exploration import explore
from tests.worlds.catalogue import CATALOGUE

#: Runs that the search for the fewest choices may take: here it is enough to see that there are few.
SHRINK_RUNS_MAX = 150


def main() -> None:
    """Stop at the first scenario that fails."""
    parser = argparse.ArgumentParser(description="Explore scenarios until one fails.")
    parser.add_argument("scenarios", nargs="+", choices=sorted(CATALOGUE), metavar="SCENARIO")
    parser.add_argument("--schedules", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    options = parser.parse_args()
    done = 0
    for name in options.scenarios:
        found = explore(
            CATALOGUE[name].scenario,
            schedules=options.schedules - done,
            seed=options.seed,
            shrink_runs_max=SHRINK_RUNS_MAX,
        )
        done += found.schedules
        failure = found.failure
        if failure is not None:
            said = f"{type(failure.error).__name__}: {failure.error}".splitlines()[0]
            report = {
                "scenario": name,
                "schedules": done,
                "choices": len(failure.found),
                "shrunk": len(failure.shrunk),
                "trace": str(failure.shrunk),
                "said": said,
            }
            json.dump(report, sys.stdout)
            return
        if done >= options.schedules:
            break
    json.dump(None, sys.stdout)


if __name__ == "__main__":
    main()
