"""The test kit finds each planted bug, and nothing in the code without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutants.hunting import SCHEDULES, Find, hunt_for
from tests.mutants.mutant import Mutant, Outdated, all_mutants
from tests.mutants.table import HEAD, row, table
from tests.worlds.catalogue import CATALOGUE

MUTANTS = all_mutants()
FIND = Find("logs", 3, 0.25, 40, 2, "schedule:1=1", "a | b")


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 30
    assert {name for mutant in MUTANTS for name in mutant.hunt} <= CATALOGUE.keys()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    found = hunt_for(mutant)

    assert found is not None, f"{mutant.what}: it survives {SCHEDULES} schedules of {', '.join(mutant.hunt)}"
    record_property("mutant", row(mutant, found))


def test_each_bug_has_a_place_of_its_own() -> None:
    heads = [(mutant.what, mutant.patch.read_text(encoding="utf-8").partition("--- ")[2]) for mutant in MUTANTS]

    assert len({what for what, _ in heads}) == len({diff for _, diff in heads}) == len(MUTANTS)


def write(folder: Path, text: str) -> Mutant:
    path = folder / "bug.patch"
    path.write_text(text, encoding="utf-8")
    return Mutant.read(path)


def test_a_patch_without_its_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="should with what: and hunt:"):
        write(tmp_path, "what: something\n--- a/streaming/heap.py\n")


def test_a_patch_that_does_not_fit_is_no_bug_that_survives(tmp_path: Path) -> None:
    lines = ["--- a/streaming/heap.py", "+++ b/streaming/heap.py", "@@ -1,1 +1,1 @@", "-no such line", "+another", ""]
    outdated = write(tmp_path, "\n".join(["what: nothing", "hunt: wakes", *lines]))

    with pytest.raises(Outdated):
        hunt_for(outdated, schedules=1)


def test_the_code_without_a_bug_survives(tmp_path: Path) -> None:
    """All that hunts finds nothing; a long run (``tests.worlds.long``) does the same with a million schedules."""
    hunters = sorted({name for mutant in MUTANTS for name in mutant.hunt})
    lines = ["--- a/streaming/heap.py", "+++ b/streaming/heap.py", "@@ -1,1 +1,1 @@"]
    first = (Path(__file__).parents[2] / "streaming" / "heap.py").read_text(encoding="utf-8").splitlines()[0]
    harmless = write(
        tmp_path, "\n".join(["what: nothing", f"hunt: {', '.join(hunters)}", *lines, f"-{first}", f"+{first} ", ""])
    )

    assert hunt_for(harmless, schedules=25 * len(hunters)) is None


def test_a_row_of_the_table() -> None:
    mutant = Mutant("bug", "it is wrong", ("logs", "life"), Path("bug.patch"))

    found, survives = row(mutant, FIND), row(mutant, None)

    assert found == "| `bug` | it is wrong | logs | a / b | 3 | 40 | 2 | 0.2 |"
    assert "**it survives**" in survives
    assert {line.count("|") for line in table([found, survives])} == {len(HEAD) + 1}
