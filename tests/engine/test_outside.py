"""How many external tasks there may be, of all and of each principal."""

from __future__ import annotations

import asyncio

import pytest

from streaming.errors import TooManyTasks
from streaming.records import TaskStatus
from streaming.rules.evidence import Tally
from streaming.rules.reporting import Report
from streaming.tasks.external import external
from tests.kit import build
from tests.leftovers import leftovers
from tests.stage import forever, rounds, running

pytestmark = pytest.mark.clock("virtual")

WORD = Report()
DONE = Report(status=TaskStatus.COMPLETED)


async def test_there_are_not_more_of_them_than_there_may_be() -> None:
    coordinator, store = build([external, forever], max_external=2)
    async with coordinator:
        task_id = (await coordinator.start("external", {}))[0].id
        await coordinator.report(task_id, WORD)
        store.hold()
        starting = asyncio.create_task(coordinator.start("external", {}))
        await rounds()
        with pytest.raises(TooManyTasks, match="at most 2 may be there"):
            await coordinator.start("external", {})
        store.release()
        await starting
        with pytest.raises(TooManyTasks):
            await coordinator.start("external", {})
        assert coordinator.limits_hit["too_many_external"] == 2
        await running(coordinator, "forever")

        await coordinator.report(task_id, DONE)

        await coordinator.start("external", {})


async def test_one_principal_has_no_more_of_them_than_it_may_have() -> None:
    coordinator, store = build([external], principal_external_max=2)
    async with coordinator:
        task_id = (await coordinator.start("external", {}, created_by="anna"))[0].id
        store.hold()
        starting = asyncio.create_task(coordinator.start("external", {}, created_by="anna"))
        await rounds()
        with pytest.raises(TooManyTasks, match="at most 2 of one principal") as refused:
            await coordinator.start("external", {}, created_by="anna")
        assert refused.value.retry_after_s == 5
        store.release()
        await starting
        with pytest.raises(TooManyTasks):
            await coordinator.start("external", {}, created_by="anna")
        assert coordinator.limits_hit["too_many_external_of_principal"] == 2
        await coordinator.start("external", {}, created_by="bert")
        await coordinator.start("external", {}, created_by="anna", tenant="x")

        await coordinator.report(task_id, DONE)

        await coordinator.start("external", {}, created_by="anna")
    assert leftovers(coordinator) == {}


async def test_those_that_an_earlier_process_has_left_count() -> None:
    coordinator, store = build([external])
    async with coordinator:
        ids = [(await coordinator.start("external", {}, created_by="anna"))[0].id for _ in range(3)]
    again, _ = build([external], store, principal_external_max=2)
    async with again:
        assert [tally for tally in again._outside.tallies() if tally.says] == [Tally("external tasks", 3, 3)]
        for each in ids[:2]:
            with pytest.raises(TooManyTasks):
                await again.start("external", {}, created_by="anna")
            await again.report(each, DONE)
        again._tasks.clear()  # no new id is one of an old task
        assert again._outside._of.has_room("anna")
        for each in list(again._outside.tables()["external"]):  # type: ignore[arg-type]  # it has tasks
            again._outside.vacate(each)
    assert leftovers(again) == {}


async def test_what_is_counted_wrong_is_counted_anew() -> None:
    coordinator, _ = build([external])
    async with coordinator:
        await coordinator.start("external", {}, created_by="anna")
        coordinator._outside._of.change("anna", 2)
        wrong = [Tally("external tasks", 3, 1), Tally("external tasks of 'anna'", 3, 1)]
        assert coordinator._outside.tallies() == wrong
        assert [violation.detail for violation in (await coordinator.audit(repair=True)).violations] == [
            "'external tasks' says 3, and it is 1",
            "\"external tasks of 'anna'\" says 3, and it is 1",
        ]
        assert coordinator._outside.tallies() == [Tally("external tasks", 1, 1)]
