"""The scenarios hold in many schedules; some thousand times as many are run by ``python -m tests.worlds.long``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streaming.testing.exploration import explore
from streaming.testing.world import World
from tests.worlds.catalogue import CATALOGUE


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_scenario_holds_in_every_schedule(name: str, record_property: Callable[[str, object], None]) -> None:
    entry, seen = CATALOGUE[name], set[str]()

    async def observed(world: World) -> None:
        await entry.play(world)
        seen.update(record.status.value for record in world.disk.records())

    found = explore(observed, schedules=entry.suite)

    record_property("schedules", found.schedules)
    assert found.failure is None, str(found.failure)
    assert seen >= entry.sees
