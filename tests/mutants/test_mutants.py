"""The test kit finds each planted bug, and nothing in the code without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.mutants.hunting import SCHEDULES, hunt_for
from tests.mutants.mutant import Mutant, all_mutants
from tests.worlds.catalogue import CATALOGUE

MUTANTS = all_mutants()


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 25
    assert {name for mutant in MUTANTS for name in mutant.hunt} <= CATALOGUE.keys()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    found = hunt_for(mutant)

    assert found is not None, f"{mutant.what}: it survives {SCHEDULES} schedules of {', '.join(mutant.hunt)}"
    record_property("schedules", found.schedules)
    row = (mutant.name, mutant.what, found.scenario, found.schedules, found.choices, found.shrunk, found.said)
    record_property("mutant", " | ".join(map(str, row)))
