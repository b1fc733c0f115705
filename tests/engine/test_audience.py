"""A task that asks for it ends when its last viewer has been away for too long, and never because nobody came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.errors import StoreUnavailable
from streaming.events import Event, encode_payload, rfc3339
from streaming.records import TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.reporting import Report
from streaming.tasks.external import external
from tests.engine.hubs import end_elsewhere
from tests.kit import EPOCH_S, TestedStore, build, types
from tests.leftovers import leftovers
from tests.stage import deaf, forever, instant, now, rounds, running, tidy

pytestmark = pytest.mark.clock("virtual")


@task(retries=5, backoff_s=100)
async def fails() -> None:
    raise ValueError("once more")


@task
async def saver(ctx: TaskContext, at_most_s: float = 100) -> str:
    async with ctx.protected("save", at_most_s=at_most_s):
        await asyncio.sleep(50)
    await asyncio.sleep(1000)
    return "saved"


@task(on_interrupt="restart", attempts_max=9)
async def restarts() -> None:
    await asyncio.sleep(10_000)


def built(store: TestedStore | None = None, **settings: Any) -> tuple[TaskCoordinator, Any]:
    return build([forever, instant, tidy, deaf, fails, saver, restarts, external], store, **settings)


async def started(coordinator: TaskCoordinator, type: str = "forever", **params: Any) -> str:
    """A task that is cancelled 30 s after its last viewer has left."""
    record, _ = await coordinator.start(type, params, cancel_unwatched_s=30)
    await asyncio.sleep(0.5)
    return record.id


async def watched(coordinator: TaskCoordinator, task_id: str, for_s: float = 0.5) -> None:
    """Somebody looks, and leaves."""
    reader = await coordinator.watch(task_id)
    await asyncio.sleep(for_s)
    reader.close()


async def log_of(coordinator: TaskCoordinator, task_id: str) -> list[Event]:
    return list(await coordinator.history(task_id, after=0, limit=100))


async def status_of(coordinator: TaskCoordinator, task_id: str) -> TaskStatus:
    return (await coordinator.get(task_id)).status


async def test_a_task_ends_when_nobody_has_watched_it_for_so_long() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        await watched(coordinator, task_id)
        await asyncio.sleep(29.9)
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        await asyncio.sleep(0.2)
        record = await coordinator.get(task_id)
        events = await log_of(coordinator, task_id)
    assert record.status is TaskStatus.CANCELLED
    assert record.cancel is not None
    assert (record.cancel.by, record.cancel.reason) == ("server", "Nobody has watched it for 30 s")
    assert types(events) == ["pending", "running", "unwatched", "cancel_requested", "cancelled"]
    assert events[2].data == {"cancel_at": rfc3339(EPOCH_S + 31)}
    assert [event.time for event in events[3:]] == [rfc3339(EPOCH_S + 31)] * 2
    assert leftovers(coordinator) == {}


async def test_a_task_that_nobody_has_watched_goes_on() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        await asyncio.sleep(500)
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        assert types(await log_of(coordinator, task_id)) == ["pending", "running"]


async def test_a_task_that_did_not_ask_for_it_goes_on() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        await watched(coordinator, task_id)
        await asyncio.sleep(500)
        assert types(await log_of(coordinator, task_id)) == ["pending", "running"]


async def test_only_the_last_viewer_counts_and_who_comes_back_in_time_finds_it_going_on() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        first, second = await coordinator.watch(task_id), await coordinator.watch(task_id)
        first.close()
        await asyncio.sleep(100)
        second.close()
        second.close()
        await asyncio.sleep(29)
        back = await coordinator.watch(task_id)
        await asyncio.sleep(100)
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        back.close()  # and the time begins anew
        await asyncio.sleep(29)
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        await asyncio.sleep(2)
        assert await status_of(coordinator, task_id) is TaskStatus.CANCELLED
        assert types(await log_of(coordinator, task_id)).count("unwatched") == 2
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("first", ["viewer", "time"])
async def test_a_viewer_who_comes_back_in_the_step_in_which_the_time_is_over(first: str) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        await watched(coordinator, task_id)  # the time is over at 31
        await asyncio.sleep(31 - now() + (-1e-6 if first == "viewer" else 1e-6))
        back = await coordinator.watch(task_id)
        await asyncio.sleep(1)
        assert await status_of(coordinator, task_id) is (
            TaskStatus.RUNNING if first == "viewer" else TaskStatus.CANCELLED
        )
        back.close()
    assert leftovers(coordinator) == {}


async def test_a_protected_section_is_not_torn_and_the_cancel_comes_right_after_it() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator, "saver")
        await watched(coordinator, task_id)
        await asyncio.sleep(40 - now())
        assert (await coordinator.get(task_id)).cancel is None, "it is not even written down"
        await asyncio.sleep(49.9 - now())
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        await asyncio.sleep(1)
        events = await log_of(coordinator, task_id)
        assert types(events)[-1] == "cancelled"
        assert events[-1].time == rfc3339(EPOCH_S + 50)
    assert leftovers(coordinator) == {}


async def test_who_comes_back_during_a_protected_section_finds_the_task_going_on() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator, "saver")
        await watched(coordinator, task_id)
        await asyncio.sleep(40 - now())
        back = await coordinator.watch(task_id)
        await asyncio.sleep(100)
        assert await status_of(coordinator, task_id) is TaskStatus.RUNNING
        back.close()
        await asyncio.sleep(31)
        assert await status_of(coordinator, task_id) is TaskStatus.CANCELLED
    assert leftovers(coordinator) == {}


async def test_a_section_that_overruns_protects_no_more() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator, "saver", at_most_s=40)
        await watched(coordinator, task_id)
        await asyncio.sleep(41 - now())
        events = await log_of(coordinator, task_id)
        assert types(events)[-3:] == ["log", "cancel_requested", "cancelled"]
        assert events[-1].time == rfc3339(EPOCH_S + 40)


@pytest.mark.parametrize("status", ["pending", "retrying"])
async def test_a_task_that_waits_is_cancelled_too(status: str) -> None:
    coordinator, _ = built(max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever") if status == "pending" else ""
        task_id = await started(coordinator, "fails")
        await watched(coordinator, task_id)
        await asyncio.sleep(29)
        assert await status_of(coordinator, task_id) == status
        await asyncio.sleep(2)
        assert await status_of(coordinator, task_id) is TaskStatus.CANCELLED
        if blocker:
            await coordinator.cancel_task(blocker, wait_s=10)
    assert leftovers(coordinator) == {}


async def test_the_time_goes_on_over_the_attempts_of_a_task() -> None:
    """Whose last viewer has left in the first attempt."""

    @task(retries=5, backoff_s=20)
    async def flaky() -> None:
        await asyncio.sleep(8)
        raise ValueError("once more")

    coordinator, _ = build([flaky])
    async with coordinator:
        task_id = await started(coordinator, "flaky")
        await watched(coordinator, task_id)
        await asyncio.sleep(100)
        events = await log_of(coordinator, task_id)
        assert events[-1].type == "cancelled"
        assert events[-1].time == rfc3339(EPOCH_S + 31)
        assert types(events).count("retrying") >= 1
    assert leftovers(coordinator) == {}


async def test_a_viewer_of_a_task_that_has_ended_changes_nothing() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {}, cancel_unwatched_s=30)
        reader = await coordinator.watch(record.id)
        await coordinator.wait(record.id, 10)
        reader.close()
        late = await coordinator.watch(record.id)
        late.close()
        await asyncio.sleep(100)
        assert types(await log_of(coordinator, record.id)) == ["pending", "running", "completed"]
    assert leftovers(coordinator) == {}


async def test_the_time_is_over_after_the_end_of_the_task() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        await watched(coordinator, task_id)
        await coordinator.cancel_task(task_id, by="anna", wait_s=10)
        await asyncio.sleep(100)
        record = await coordinator.get(task_id)
        assert record.cancel is not None
        assert record.cancel.by == "anna"
    assert leftovers(coordinator) == {}


async def test_a_task_that_was_lost_is_nobodys_to_cancel() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await started(coordinator)
        reader = await coordinator.watch(task_id)
        await end_elsewhere(store, task_id)
        reader.close()  # the event that tells it finds the loss
        await asyncio.sleep(100)
        assert await status_of(coordinator, task_id) is TaskStatus.FAILED
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("where", ["running", "pending"])
async def test_streams_that_end_with_the_server_are_no_viewers_that_leave(where: str) -> None:
    coordinator, store = built(grace_s=3, max_running=1, cancel_grace_s=1)
    async with coordinator:
        if where == "pending":
            await running(coordinator, "deaf", for_s=2)
        record, _ = await coordinator.start("instant" if where == "pending" else "forever", {}, cancel_unwatched_s=1)
        reader = await coordinator.watch(record.id)
        await coordinator.shutdown()
        reader.close()
        await asyncio.sleep(10)
    final = await store.record(record.id)
    assert final.status is (TaskStatus.PENDING if where == "pending" else TaskStatus.INTERRUPTED)
    events = await store.events_after(record.id, 0, last_seq=100, limit=100)
    assert "unwatched" not in types(events)
    assert leftovers(coordinator) == {}


async def test_a_viewer_who_leaves_in_a_drain_counts_as_long_as_the_handler_runs() -> None:
    coordinator, store = built(grace_s=100, cancel_grace_s=5)
    async with coordinator:
        record, _ = await coordinator.start("forever", {}, cancel_unwatched_s=10)
        reader = await coordinator.watch(record.id)
        await rounds()
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(1)
        reader.close()
        await stopping
        assert now() == 11
    assert (await store.record(record.id)).status is TaskStatus.CANCELLED
    assert leftovers(coordinator) == {}


async def test_a_viewer_who_comes_back_while_the_end_is_being_stored_is_too_late() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await started(coordinator)
        await watched(coordinator, task_id)
        await asyncio.sleep(30.2 - now() + 0.5)
        store.hold()
        await asyncio.sleep(1)
        store.release()
        await rounds()
        store.hold()
        back = await coordinator.watch(task_id)
        await rounds()
        store.release()
        assert (await coordinator.wait(task_id, 10)).status is TaskStatus.CANCELLED
        back.close()
    assert leftovers(coordinator) == {}


async def test_a_task_that_is_gone_is_nobodys_to_cancel_either() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await started(coordinator)
        task = coordinator._tasks[task_id]
        await coordinator.cancel_task(task_id, wait_s=10)
        await rounds()
        coordinator._cancel_unwatched(task.log, None)
        coordinator._cancel_unwatched(task.log, "late")
        record = await coordinator.get(task_id)
        assert record.cancel is not None
        assert record.cancel.reason == ""
    assert leftovers(coordinator) == {}


# -- over a restart ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def restarted(store: TestedStore, **settings: Any) -> AsyncIterator[TaskCoordinator]:
    coordinator, _ = built(store, grace_s=0, **settings)
    async with coordinator:
        yield coordinator
    assert leftovers(coordinator) == {}


async def left_by_one_process(type: str = "restarts", *, watch: bool = True, killed: bool = True) -> TestedStore:
    """A store with the task 1, whose last viewer has left at 1; the process ends at 20, or a little later."""
    coordinator, store = built(grace_s=0 if killed else 2)
    async with coordinator:
        task_id = await started(coordinator, type.split()[-1])
        if type == "running external":
            await coordinator.report(task_id, Report())
        if watch:
            await watched(coordinator, task_id)
        await asyncio.sleep(20 - now())
        store.away = killed
    store.away = False
    assert isinstance(store, TestedStore)
    return store


ID = f"{1:032x}"


async def is_cancelled_at(coordinator: TaskCoordinator, at: float) -> None:
    """A task ends then, and not before; the worker of an external one is only told."""
    await asyncio.sleep(at - 0.1 - now())
    assert (await coordinator.get(ID)).cancel is None
    await asyncio.sleep(0.2)
    record = await coordinator.get(ID)
    assert record.cancel is not None
    assert (record.cancel.by, record.cancel.reason) == ("server", "Nobody has watched it for 30 s")
    assert record.status is TaskStatus.CANCELLED or record.type == "external"


async def goes_on(coordinator: TaskCoordinator) -> None:
    await asyncio.sleep(500)
    record = await coordinator.get(ID)
    assert record.cancel is None
    assert record.status not in TERMINAL


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("type", ["restarts", "fails", "external", "running external"])
async def test_the_time_begins_anew_with_a_new_process(type: str, killed: bool) -> None:
    store = await left_by_one_process(type, killed=killed)
    async with restarted(store) as coordinator:
        ends_at = now() + 30
        await is_cancelled_at(coordinator, ends_at)
        events = await log_of(coordinator, ID)
        told = [event.data["cancel_at"] for event in events if event.type == "unwatched"]
        assert told == [rfc3339(EPOCH_S + 31), rfc3339(EPOCH_S + ends_at)]


async def test_the_time_begins_anew_for_one_that_has_not_had_its_turn() -> None:
    coordinator, store = built(max_running=1, grace_s=2)
    async with coordinator:
        blocker = await running(coordinator, "restarts")
        task_id = await started(coordinator, "restarts")
        await watched(coordinator, task_id)
    again, _ = built(store, max_running=1)
    async with again:
        assert await status_of(again, task_id) is TaskStatus.PENDING
        await asyncio.sleep(31)
        assert await status_of(again, task_id) is TaskStatus.CANCELLED
        assert await status_of(again, blocker) is TaskStatus.RUNNING
        await again.cancel_task(blocker, wait_s=10)


async def test_a_task_that_nobody_has_watched_goes_on_after_a_restart() -> None:
    store = await left_by_one_process(watch=False)
    async with restarted(store) as coordinator:
        await goes_on(coordinator)
        assert "unwatched" not in types(await log_of(coordinator, ID))


async def test_who_comes_back_after_the_restart_finds_the_task_going_on() -> None:
    store = await left_by_one_process()
    async with restarted(store) as coordinator:
        await asyncio.sleep(29)
        back = await coordinator.watch(ID)
        await asyncio.sleep(100)
        assert await status_of(coordinator, ID) is TaskStatus.RUNNING
        back.close()
        await is_cancelled_at(coordinator, now() + 30)


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_comes_back_before_the_log_is_read_is_a_viewer_as_ever(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await left_by_one_process()
    monkeypatch.setattr(store, "events_after", slowed(store))
    async with restarted(store) as coordinator:
        back = await coordinator.watch(ID, after=1)
        if not leaves:
            await goes_on(coordinator)
        back.close()
        await is_cancelled_at(coordinator, now() + 30)
        assert types(await log_of(coordinator, ID)).count("unwatched") == 2


async def test_who_has_come_and_left_before_the_log_is_read_is_not_told_of_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await left_by_one_process("running external")
    monkeypatch.setattr(store, "events_after", slowed(store, by_s=100))
    async with restarted(store) as coordinator:
        (await coordinator.watch(ID, after=1)).close()
        await is_cancelled_at(coordinator, now() + 30)
        await asyncio.sleep(150)
        assert types(await log_of(coordinator, ID)).count("unwatched") == 2
        await coordinator.report(ID, Report(status=TaskStatus.CANCELLED))
    assert now() > 150


async def test_one_that_is_cancelled_already_is_not_cancelled_again() -> None:
    store = await left_by_one_process("running external")
    async with restarted(store) as coordinator:
        await coordinator.cancel_task(ID, by="anna")
    async with restarted(store) as coordinator:
        await asyncio.sleep(100)
        assert types(await log_of(coordinator, ID)).count("unwatched") == 2


def slowed(store: TestedStore, by_s: float = 5) -> Any:
    original = store.events_after

    async def events_after(*asked: Any, **more: Any) -> list[Event]:
        await asyncio.sleep(by_s)
        return await original(*asked, **more)

    return events_after


async def test_a_log_that_is_not_read_before_the_process_ends_is_read_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await left_by_one_process()
    with monkeypatch.context() as patch:
        patch.setattr(store, "events_after", slowed(store))
        async with restarted(store):
            store.away = True
    store.away = False
    async with restarted(store) as coordinator:
        await is_cancelled_at(coordinator, now() + 30)


@pytest.mark.parametrize("watch", [True, False])
async def test_a_long_log_is_read_to_its_end(watch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.engine.recovery._PAGE", 1)
    store = await left_by_one_process("fails", watch=watch)
    async with restarted(store) as coordinator:
        await (is_cancelled_at(coordinator, now() + 30) if watch else goes_on(coordinator))


async def test_a_log_that_cannot_be_read_is_read_later(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[MutableMapping[str, Any]]
) -> None:
    store = await left_by_one_process()

    async def unreadable(*_: Any, **__: Any) -> list[Event]:
        raise StoreUnavailable("The disk cannot be read.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "events_after", unreadable)
        coordinator, _ = built(store, grace_s=0)
        await coordinator.__aenter__()
        begun = now()
        await asyncio.sleep(5.5)
    await is_cancelled_at(coordinator, begun + 36)
    await coordinator.__aexit__(None, None, None)
    assert "who has watched a task cannot be read" in [line["event"] for line in log_lines]


@pytest.mark.parametrize("what", ["kept no more", "damaged", "all gone"])
async def test_where_the_log_cannot_tell_the_time_begins(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that asks to end rather than to go on unseen may end once too often, and not go on for ever."""
    store = await left_by_one_process(watch=False)
    original = store.events_after

    async def events_after(*asked: Any, **more: Any) -> list[Event]:
        first, *rest = await original(*asked, **more)
        if what == "kept no more":
            return rest
        if what == "all gone":
            return []
        return [Event(first.task_id, 1, "gap", first.time, encode_payload({"from": 1, "to": 1})), *rest]

    monkeypatch.setattr(store, "events_after", events_after)
    async with restarted(store) as coordinator:
        await is_cancelled_at(coordinator, now() + 30)


async def test_a_task_that_has_ended_before_its_log_is_read_is_nobodys_to_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await left_by_one_process()
    monkeypatch.setattr(store, "events_after", slowed(store))
    async with restarted(store) as coordinator:
        await coordinator.cancel_task(ID, by="anna", wait_s=3)
        await asyncio.sleep(100)
        assert types(await log_of(coordinator, ID))[-1] == "cancelled"
