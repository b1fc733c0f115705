"""All that an instance holds and counts, in one place."""

from __future__ import annotations

import asyncio

import pytest

from streaming.engine.tables import size_of_table
from tests.kit import build
from tests.stage import forever, rounds, running

pytestmark = pytest.mark.clock("virtual")


async def test_the_tables_of_an_instance_that_works_have_its_tasks() -> None:
    coordinator, _ = build([forever], max_running=1)
    async with coordinator:
        runs = await running(coordinator, "forever")
        waits, _ = await coordinator.start("forever", {}, key="a")
        tables = {name: table for name, table in coordinator.tables().items() if size_of_table(table)}

        assert {name: set(table) for name, table in tables.items() if not isinstance(table, int)} == {
            "tasks": {runs, waits.id},
            "running": {runs},
            "waiting": {waits.id},
            "waits": {waits.id},
            "places in the line": {waits.id},
            "logs": {runs, waits.id},
        }
        assert {name: table for name, table in tables.items() if isinstance(table, int)} == {
            "line": 4,
            "busy types": 1,
            "busy principals": 1,
            "waiting principals": 1,
        }


async def test_a_task_that_is_about_to_be_stored_is_counted() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        store.hold()
        start = asyncio.create_task(coordinator.start("forever", {}))
        await store.entered.wait()
        await rounds()
        creating = coordinator.parts.creating()
        tallies = {tally.name: (tally.says, tally.counted) for tally in coordinator.parts.tallies()}
        store.release()
        started, _ = await start

        assert creating == {started.id}
        assert tallies["starting"] == tallies["starting, by principal"] == (1, 1)
        assert coordinator.parts.creating() == frozenset()
