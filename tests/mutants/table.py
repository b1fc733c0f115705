"""The table of the planted bugs: how each was found.

    python -m tests.mutants.table               hunt for all of them, and print it
    python -m tests.mutants.table --seed 1000   with other schedules

Owns:   how a find is told in one row; the rows as Markdown.
Uses:   tests.mutants.hunting. What the suite has found is told in the same rows: in the property ``mutant`` of a test.
Never:  says anything that was not found just now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import track

from tests.mutants.hunting import Find, hunt_for
from tests.mutants.mutant import Mutant, all_mutants

HEAD = ("planted bug", "what is wrong", "scenario", "what it says", "schedules", "choices", "shrunk to", "seconds")


def row(mutant: Mutant, find: Find | None) -> str:
    """One row of Markdown."""
    cells = [f"`{mutant.name}`", mutant.what]
    if find is None:
        cells += [", ".join(mutant.hunt), "**it survives**", "", "", "", ""]
    else:
        numbers = (find.schedules, find.choices, find.shrunk, f"{find.seconds:.1f}")
        cells += [find.scenario, find.said, *map(str, numbers)]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def table(rows: Iterable[str]) -> Iterator[str]:
    """The lines of the whole table.

    Args:
        rows: see `row`, in any order.
    """
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{'---|' * len(HEAD)}"
    yield from sorted(rows)


def rows(seed: int = 0) -> list[str]:
    """Hunt for each planted bug.

    Args:
        seed: of the first schedule.
    """
    mutants = all_mutants()
    console = Console(stderr=True)
    return [row(mutant, hunt_for(mutant, seed=seed)) for mutant in track(mutants, "hunting", console=console)]


def main() -> int:
    """Print the table; the status says whether all were found."""
    parser = argparse.ArgumentParser(description="Hunt for each planted bug, and print how it was found.")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first schedule; 0")
    found = rows(parser.parse_args().seed)
    print("\n".join(table(found)))
    return int(any("it survives" in each for each in found))


if __name__ == "__main__":
    sys.exit(main())
