"""One principal's tasks are there for it, and no others: in each method, live or ended, with and without a tenant."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streaming.engine import subscription
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.journal import RecordQuery
from streaming.engine.view import View
from streaming.errors import BadCursor, StoreUnavailable, TaskNotFound
from streaming.events import rfc3339
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from streaming.rules.deadlines import Limit
from streaming.rules.feed import FeedFilter
from streaming.rules.filters import EVERYTHING
from streaming.rules.log import Batch, Reading
from streaming.rules.reporting import Report
from streaming.rules.statistics import StatisticsQuery
from tests.kit import EPOCH_S, TestedStore, build, collect, events_of
from tests.stage import forever, instant

pytestmark = pytest.mark.clock("virtual")

HANDLERS = [forever, instant]

ANNA = Principal("anna", SCOPES_DEFAULT)
BOB = Principal("bob", SCOPES_DEFAULT)
ADMIN = Principal("root", frozenset({Scope.ADMIN}))
ACME_ANNA = Principal("anna", SCOPES_DEFAULT, "acme")
ACME_BOB = Principal("bob", SCOPES_DEFAULT, "acme")
OTHER_ANNA = Principal("anna", SCOPES_DEFAULT, "other")
NAMED_ACME = Principal("acme", SCOPES_DEFAULT)

#: Who owns a task, and who else sees it.
SEEN = [
    (ANNA, {ANNA, ADMIN}),
    (BOB, {BOB, ADMIN}),
    (ACME_ANNA, {ACME_ANNA, ACME_BOB, ADMIN}),
    (OTHER_ANNA, {OTHER_ANNA, ADMIN}),
    (NAMED_ACME, {NAMED_ACME, ADMIN}),
    (ADMIN, {ADMIN}),
]
ALL = [owner for owner, _ in SEEN] + [ACME_BOB]

#: Everything about one task; each is to refuse one that is not there.
OF_ONE: dict[str, Callable[[View, str], Coroutine[Any, Any, Any]]] = {
    "get": lambda view, task_id: view.get(task_id),
    "wait": lambda view, task_id: view.wait(task_id, 0),
    "why": lambda view, task_id: view.why(task_id),
    "changes": lambda view, task_id: view.changes(task_id),
    "watch": lambda view, task_id: view.watch(task_id),
    "watch_all": lambda view, task_id: view.watch_all({task_id: 0}),
    "history": lambda view, task_id: view.history(task_id, after=0, limit=10),
    "cancel_task": lambda view, task_id: view.cancel_task(task_id),
    "extend": lambda view, task_id: view.extend(task_id, {Limit.RUN: 5.0}),
    "send_input": lambda view, task_id: view.send_input(task_id, 1),
    "report": lambda view, task_id: view.report(task_id, Report(events=[])),
    "acknowledge": lambda view, task_id: view.acknowledge(task_id),
    "delete": lambda view, task_id: view.delete(task_id),
    "retry": lambda view, task_id: view.retry(task_id),
}
OF_MANY = {"list", "count", "statistics", "follow", "start"}


class Asked(TestedStore):
    """A store that notes what it is asked for."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked: list[str] = []

    async def is_seen_by(self, principal: Principal, task_id: str) -> bool:
        self.asked.append("is_seen_by")
        return await super().is_seen_by(principal, task_id)

    async def record(self, task_id: str) -> Any:
        self.asked.append("record")
        return await super().record(task_id)


def test_each_public_method_is_held_by_a_test() -> None:
    public = {name for name, _ in inspect.getmembers(View, inspect.iscoroutinefunction) if not name.startswith("_")}

    assert public == OF_ONE.keys() | OF_MANY


def test_whatever_the_coordinator_tells_of_one_task_has_a_view() -> None:
    """A method that takes a task id, and is not here, could be called past the view."""
    of_one = {
        name
        for name, method in inspect.getmembers(TaskCoordinator, inspect.isfunction)
        if not name.startswith("_") and "task_id" in inspect.signature(method).parameters
    }

    assert of_one - OF_ONE.keys() == {"is_seen_by", "result", "lending"}  # the last two are for handlers


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize("type", ["forever", "instant"])
async def test_a_task_of_somebody_else_is_none(name: str, type: str) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await View(coordinator, ANNA).start(type, {})
        if type == "instant":
            await events_of(coordinator, record.id)
        for stranger in (BOB, ACME_ANNA, NAMED_ACME):
            with pytest.raises(TaskNotFound) as foreign:
                await OF_ONE[name](View(coordinator, stranger), record.id)
            with pytest.raises(TaskNotFound) as absent:
                await OF_ONE[name](View(coordinator, stranger), "f" * 32)
            assert foreign.value.detail.replace(record.id, "") == absent.value.detail.replace("f" * 32, "")
        assert (await coordinator.get(record.id)).cancel is None
        await coordinator.shutdown(0)


@pytest.mark.parametrize("live", [True, False])
async def test_a_foreign_task_and_an_absent_one_take_the_same_way(live: bool) -> None:
    store = Asked(build(HANDLERS)[0].settings)
    coordinator, _ = build(HANDLERS, store)
    async with coordinator:
        record, _ = await View(coordinator, ANNA).start("forever" if live else "instant", {})
        if not live:
            await events_of(coordinator, record.id)
        ways = []
        for task_id in (record.id, "f" * 32):
            store.asked.clear()
            with pytest.raises(TaskNotFound):
                await View(coordinator, BOB).get(task_id)
            ways.append(list(store.asked))
        assert ways == [["is_seen_by"], ["is_seen_by"]]
        await coordinator.shutdown(0)


async def test_nobody_is_told_of_a_foreign_task_by_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await View(coordinator, ANNA).start("forever", {})

        async def away(*_: Any) -> bool:
            raise StoreUnavailable("The store is away.")

        monkeypatch.setattr(store, "is_seen_by", away)
        assert (await View(coordinator, ANNA).get(record.id)).id == record.id
        for task_id in (record.id, "f" * 32):
            with pytest.raises(StoreUnavailable):
                await View(coordinator, BOB).get(task_id)
        await coordinator.shutdown(0)


@pytest.mark.parametrize(("owner", "seen_by"), SEEN, ids=lambda each: getattr(each, "owner", ""))
@pytest.mark.parametrize("type", ["forever", "instant"])
async def test_who_sees_a_task_sees_it_everywhere(owner: Principal, seen_by: set[Principal], type: str) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        feeds = {who: await View(coordinator, who).follow() for who in ALL}
        record, _ = await View(coordinator, owner).start(type, {})
        if type == "instant":
            await events_of(coordinator, record.id)
        assert (record.created_by, record.tenant) == (owner.name, owner.tenant)
        until = rfc3339(EPOCH_S + 60)
        for who in ALL:
            view, sees = View(coordinator, who), who in seen_by
            assert (await coordinator.is_seen_by(who, record.id)) is sees
            assert [each.id for each in await view.list(RecordQuery())] == ([record.id] if sees else [])
            assert sum(count for _, count in await view.count(EVERYTHING)) == sees
            question = StatisticsQuery(since=rfc3339(EPOCH_S - 60), until=until, types=(), by=None, tasks_max=10)
            counted = (await view.statistics(question)).as_json()
            assert bool(counted["total"]["tasks"]) is (sees and type == "instant"), counted
        await coordinator.shutdown(0)
        for who, feed in feeds.items():
            assert bool(await collect(feed)) is (who in seen_by)


async def test_a_feed_from_its_beginning_has_what_is_its_own_wherever_that_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One question to the store looks at few positions, and what they have of others is passed over."""
    monkeypatch.setattr(subscription, "LOOKED_AT", 4)
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        own = []
        for who in (ANNA, ANNA, BOB, ANNA, ANNA, ANNA, BOB, ANNA):
            record, _ = await View(coordinator, who).start("instant", {})
            await events_of(coordinator, record.id)
            own += [record.id] if who is BOB else []
        feeds = [await View(coordinator, who).follow() for who in (BOB, ADMIN)]
        await coordinator.shutdown(0)
        mine, all_of_them = [await collect(feed) for feed in feeds]

        assert mine == [event for event in all_of_them if event.task_id in own]
        assert len(mine) == 6
        assert len(all_of_them) == 24


async def test_a_granted_task_is_there_and_nothing_else() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await View(coordinator, ANNA).start("forever", {})
        other, _ = await View(coordinator, ANNA).start("forever", {})
        view = View(coordinator, BOB, granted=record.id)

        assert (await view.get(record.id)).id == record.id
        with pytest.raises(TaskNotFound):
            await view.get(other.id)
        assert len(await view.list(RecordQuery())) == 0
        await coordinator.shutdown(0)


async def test_what_is_done_is_done_by_the_principal() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await View(coordinator, ACME_ANNA).start("forever", {})
        receipt = await View(coordinator, ACME_BOB).cancel_task(record.id, reason="enough", wait_s=1)
        again, created = await View(coordinator, ACME_BOB).retry(record.id)

        assert (receipt.by, receipt.reason) == ("bob", "enough")
        assert (created, again.created_by, again.tenant, again.retry_of) == (True, "bob", "acme", record.id)
        await coordinator.shutdown(0)


async def test_a_retry_by_an_admin_is_the_admins() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await View(coordinator, ACME_ANNA).start("instant", {})
        await events_of(coordinator, record.id)
        again, _ = await View(coordinator, ADMIN).retry(record.id)

        assert (again.created_by, again.tenant) == ("root", None)


async def test_who_is_refused_one_of_many_logs_reads_none_of_them() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        mine, _ = await View(coordinator, ANNA).start("forever", {})
        other, _ = await View(coordinator, BOB).start("forever", {})
        with pytest.raises(TaskNotFound):
            await View(coordinator, ANNA).watch_all({mine.id: 0, other.id: 0}, feed=FeedFilter())
        with pytest.raises(BadCursor):
            await View(coordinator, ANNA).watch_all({mine.id: 0}, feed=FeedFilter(), feed_after=99)
        hub = coordinator._hub
        assert [list(log.readers) for log in hub.logs.values()] == [[], []]
        assert not hub.feed_readers
        await coordinator.shutdown(0)


async def test_the_feed_among_many_is_that_of_the_principal() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        first, _ = await View(coordinator, ANNA).start("forever", {})
        view = View(coordinator, BOB)
        watch = await view.watch_all({}, feed=FeedFilter(types=frozenset({"pending"})), feed_after=0)
        now = await view.watch_all({}, feed=FeedFilter())
        second, _ = await view.start("forever", {})
        await asyncio.sleep(1)
        place, early = watch.poll(), watch.poll()  # nobody followed the feed then: it comes from the store
        assert early is Reading.WAIT
        await asyncio.sleep(1)
        found = watch.poll()
        assert isinstance(place, Batch)
        assert b"id: f=0\n" in place.sse
        assert isinstance(found, Batch)
        assert (first.id.encode() in found.sse, found.sse.count(second.id.encode())) == (False, 1)
        begin = now.poll()
        assert isinstance(begin, Batch)
        assert b"id: f=0\n" not in begin.sse
        watch.close()
        now.close()
        await coordinator.shutdown(0)
