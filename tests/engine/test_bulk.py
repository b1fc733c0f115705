"""A bulk finds before it does, tries everything it was given, and tells what became of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.engine import bulk
from streaming.engine.bulk import Refusal, Report, cancel_each, delete_each, find_ended, find_live
from streaming.engine.view import View
from streaming.errors import Draining, InvalidParams, StoreUnavailable
from streaming.rules.access import Principal, Scope
from streaming.rules.filters import Filter
from streaming.rules.sorting import parse_sort
from tests.kit import build, events_of
from tests.stage import Gate, deaf, forever, instant, rounds, running

pytestmark = pytest.mark.clock("virtual")


def anna(coordinator: Any) -> View:
    return View(coordinator, Principal("anna", frozenset(Scope)))


HANDLERS = [forever, instant, deaf]


async def started(coordinator: Any, number: int, type: str = "forever") -> list[str]:
    return [(await coordinator.start(type, {}))[0].id for _ in range(number)]


async def ended(coordinator: Any, number: int) -> list[str]:
    ids = await started(coordinator, number, "instant")
    for task_id in ids:
        await events_of(coordinator, task_id)
    return ids


async def test_live_tasks_are_found_newest_first_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        ids = await started(coordinator, 5)
        await ended(coordinator, 1)

        assert (await find_live(anna(coordinator), Filter(), 3)).ids == tuple(ids[:1:-1])
        assert (await find_live(anna(coordinator), Filter(), 3)).more
        full_pages = await find_live(anna(coordinator), Filter(), 4)
        assert (len(full_pages.ids), full_pages.more) == (4, True)
        everyone = await find_live(anna(coordinator), Filter(), 5, parse_sort("created_at"))
        assert (everyone.ids, everyone.more) == (tuple(ids), False)


async def test_what_is_cancelled_already_is_not_found_again() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        slow = await running(coordinator, "deaf")
        other = await running(coordinator, "forever")
        await coordinator.cancel_task(slow)

        assert (await coordinator.get(slow)).status == "running"
        assert (await find_live(anna(coordinator), Filter(), 10)).ids == (other,)
        await coordinator.shutdown(0)


async def test_ended_tasks_are_found_and_deleted() -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        ids = await ended(coordinator, 3)
        await started(coordinator, 2)

        found = await find_ended(anna(coordinator), Filter(), 2)
        assert (found.ids, found.more) == ((ids[2], ids[1]), True)
        assert await delete_each(anna(coordinator), found.ids) == Report(2)
        assert await store.record(ids[1]) is None
        assert await store.record(ids[0]) is not None


async def test_a_result_that_nobody_has_acknowledged_is_not_found_to_be_deleted() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        (plain,) = await ended(coordinator, 1)
        kept = (await coordinator.start("instant", {}, keep_until_ack=True))[0].id
        await events_of(coordinator, kept)
        assert (await find_ended(anna(coordinator), Filter(), 10)).ids == (plain,)
        await coordinator.acknowledge(kept)
        assert (await find_ended(anna(coordinator), Filter(), 10)).ids == (kept, plain)


async def test_a_task_that_moves_while_it_is_looked_for_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 1)
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        ids = await started(coordinator, 2)
        plain_list = coordinator.list

        async def moving(query: Any) -> Any:
            page = await plain_list(query)
            hub_log = coordinator._tasks[ids[0]].log
            coordinator._hub.amend(hub_log, updated_at="2099-01-01T00:00:00.000000Z")  # behind where we are
            await coordinator._hub.committed()
            return page

        monkeypatch.setattr(coordinator, "list", moving)
        found = await find_live(anna(coordinator), Filter(), 10, parse_sort("updated_at"))
        assert sorted(found.ids) == sorted(ids)


async def test_nothing_to_do_is_done() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        assert await cancel_each(anna(coordinator), ()) == Report(0)


async def test_each_task_is_cancelled_and_told_why() -> None:
    gate = Gate()
    coordinator, _ = build([*HANDLERS, gate.handler])
    async with coordinator:
        ids = [await running(coordinator, "forever"), *await started(coordinator, 2)]
        assert await cancel_each(anna(coordinator), ids, reason="enough") == Report(3)
        for task_id in ids:
            await events_of(coordinator, task_id)
            receipt = (await coordinator.get(task_id)).cancel
            assert receipt is not None
            assert (receipt.by, receipt.reason) == ("anna", "enough")


async def test_one_that_refuses_stops_no_other() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        (done,) = await ended(coordinator, 1)
        (live,) = await started(coordinator, 1)
        absent = "f" * 32

        report = await cancel_each(anna(coordinator), [absent, done, live])
        assert report == Report(
            1,
            (
                Refusal(absent, "not_found", f"There is no task '{absent}'."),
                Refusal(done, "task_terminal", f"Task {done} has ended before: it is completed."),
            ),
        )
        report = await delete_each(anna(coordinator), [absent, done])
        assert (report.done, [each.code for each in report.refused]) == (1, ["not_found"])


async def test_a_task_that_goes_on_is_not_deleted() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        (live,) = await started(coordinator, 1)
        (done,) = await ended(coordinator, 1)
        report = await delete_each(anna(coordinator), [live, done])
        assert (report.done, [each.code for each in report.refused]) == (1, ["task_active"])


@pytest.mark.parametrize("trouble", [StoreUnavailable("The disk is gone."), Draining()])
async def test_a_store_that_goes_away_stops_the_rest_and_what_was_done_is_told(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        ids = await ended(coordinator, 7)
        tried: list[str] = []
        real = coordinator.delete

        async def failing(task_id: str) -> None:
            tried.append(task_id)
            if len(tried) > 3:
                raise trouble
            await real(task_id)

        monkeypatch.setattr(coordinator, "delete", failing)
        report = await delete_each(anna(coordinator), ids)
        assert (report.done, report.untried) == (3, 3)
        assert [each.task_id for each in report.refused] == [ids[3]]
        assert tried == ids[:4]

        with pytest.raises(type(trouble)):
            await delete_each(anna(coordinator), ids[4:])
        assert len(tried) == 6


async def test_what_no_task_refuses_with_is_raised_when_all_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        ids = await started(coordinator, 3)
        with pytest.raises(InvalidParams, match="reason"):
            await cancel_each(anna(coordinator), ids, reason="x" * 1001)
        assert (await coordinator.get(ids[0])).cancel is None

        tried: list[str] = []

        async def buggy(task_id: str, **how: Any) -> None:
            await asyncio.sleep(0)
            tried.append(task_id)
            if task_id == ids[0]:
                raise ZeroDivisionError

        monkeypatch.setattr(coordinator, "cancel_task", buggy)
        with pytest.raises(ZeroDivisionError):
            await cancel_each(anna(coordinator), ids)
        assert tried == ids


async def test_many_are_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build(HANDLERS, max_running=1)
    async with coordinator:
        ids = await started(coordinator, bulk.AT_ONCE)
        await rounds()
        before = len(store.commits)
        assert (await cancel_each(anna(coordinator), ids[1:])).done == bulk.AT_ONCE - 1
        assert len(store.commits) - before <= 3
