"""What runners share is given once and never changes."""

from __future__ import annotations

import dataclasses

import pytest

from tests.kit import build
from tests.stage import instant

pytestmark = pytest.mark.clock("virtual")


async def test_all_runners_of_a_coordinator_share_one_workshop() -> None:
    coordinator, _ = build([instant], max_threads=3)
    workshop = coordinator._workshop

    assert (workshop.hub, workshop.host, workshop.settings) == (coordinator._hub, coordinator, coordinator.settings)
    assert (workshop.threads.total_tokens, workshop.chance()) == (3, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        workshop.chance = lambda: 0.0  # type: ignore[misc]  # that is what is tested
