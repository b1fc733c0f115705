"""After a crash every task is what the table says, written down before anybody can ask."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.errors import StoreUnavailable
from streaming.records import CancelOutcome, CancelReceipt, Progress, Record, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from tests.engine.hubs import Desk
from tests.kit import TestedStore, build, events_of, types
from tests.leftovers import leftovers
from tests.stage import forever, rounds

pytestmark = pytest.mark.clock("virtual")

RECEIPT = CancelReceipt("then", "anna", "slow")


@task
async def reports(ctx: TaskContext) -> int:
    return ctx.attempt


@task(on_interrupt="restart", attempts_max=3)
async def restarts(ctx: TaskContext) -> int:
    return ctx.attempt


async def left_behind(type: str, status: str, **changes: Any) -> tuple[TestedStore, Record]:
    """A store as a crash leaves it, with one task."""
    desk = Desk()
    async with desk:
        log = desk.create("a", type)
        await desk.hub.committed()
        if status == "running":
            now = desk.hub.now()
            desk.hub.append_with(log, "running", {}, now, status=TaskStatus.RUNNING, started_at=now)
        desk.hub.amend(log, **changes)
        desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
    record = await desk.store.record("a")
    assert record is not None
    return desk.store, record


@asynccontextmanager
async def restarted(store: TestedStore, **settings: Any) -> AsyncIterator[TaskCoordinator]:
    coordinator, _ = build([reports, restarts, forever], store, **settings)
    async with coordinator:
        yield coordinator


@pytest.mark.parametrize(
    ("type", "status", "changes", "new_types", "code"),
    [
        ("reports", "pending", {}, ["running", "completed"], None),
        ("restarts", "pending", {}, ["running", "completed"], None),
        ("reports", "running", {}, ["interrupted"], "crash"),
        ("restarts", "running", {}, ["pending", "running", "completed"], None),
        ("restarts", "running", {"attempt": 2}, ["pending", "running", "completed"], None),
        ("restarts", "running", {"attempt": 3}, ["interrupted"], "crash"),
        ("unknown", "pending", {}, ["interrupted"], "unknown_type"),
        ("unknown", "running", {}, ["interrupted"], "unknown_type"),
        ("reports", "pending", {"cancel": RECEIPT}, ["cancelled"], "cancelled"),
        ("reports", "running", {"cancel": RECEIPT}, ["cancelled"], "cancelled"),
        ("restarts", "running", {"cancel": RECEIPT}, ["cancelled"], "cancelled"),
        ("unknown", "running", {"cancel": RECEIPT}, ["cancelled"], "cancelled"),
    ],
)
async def test_each_status_becomes_what_the_table_says(
    type: str, status: str, changes: dict[str, Any], new_types: list[str], code: str | None
) -> None:
    store, before = await left_behind(type, status, **changes)

    async with restarted(store) as coordinator:
        events = await events_of(coordinator, "a")
        record = await coordinator.get("a")

    assert types(events)[before.last_seq :] == new_types
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert record.status in TERMINAL
    assert (record.error.code if record.error else None) == code
    assert record.last_seq == len(events)


async def test_a_restarted_task_begins_anew_with_the_next_attempt() -> None:
    store, _ = await left_behind("restarts", "running", progress=Progress(40.0))

    async with restarted(store) as coordinator:
        record = await coordinator.wait("a", 10)

    assert (record.result, record.attempt, record.progress) == (2, 2, None)


async def test_an_obeyed_cancel_of_the_last_process_has_a_true_receipt() -> None:
    store, _ = await left_behind("reports", "running", cancel=RECEIPT)

    async with restarted(store) as coordinator:
        receipt = (await coordinator.get("a")).cancel

    assert receipt is not None
    assert (receipt.requested_at, receipt.by, receipt.outcome) == ("then", "anna", CancelOutcome.STOPPED)


@pytest.mark.parametrize(("type", "ends"), [("reports", "interrupted"), ("restarts", "completed")])
async def test_a_cancel_that_was_taken_back_before_the_crash_stays_so(type: str, ends: str) -> None:
    declined = dataclasses.replace(RECEIPT, outcome=CancelOutcome.IGNORED, where="a.py:1 in f", declined=True)
    store, _ = await left_behind(type, "running", cancel=declined)

    async with restarted(store) as coordinator:
        record = await coordinator.wait("a", 10)

    assert record.status == ends


async def test_what_became_of_them_is_stored_before_anybody_can_ask() -> None:
    store, _ = await left_behind("reports", "running")

    async with restarted(store):
        record = await store.record("a")

    assert record is not None
    assert record.status is TaskStatus.INTERRUPTED


async def test_those_who_wait_keep_their_order_and_the_limit() -> None:
    desk = Desk()
    async with desk:
        for name in "abc":
            desk.create(name, "forever")
            await desk.hub.committed()

    async with restarted(desk.store, max_running=1) as coordinator:
        assert [record.id for record in coordinator.running()] == ["a"]
        for name in "bc":
            await coordinator.cancel_task(coordinator.running()[0].id, wait_s=10)
            await rounds()
            assert [record.id for record in coordinator.running()] == [name]


async def test_an_ended_task_is_not_touched() -> None:
    store, before = await left_behind("reports", "running")
    async with restarted(store):
        ended = await store.record("a")
    commits = len(store.commits)

    async with restarted(store):
        assert await store.record("a") == ended

    assert ended != before
    assert not any(commit.events or commit.updated for commit in store.commits[commits:])


async def test_of_recovered_tasks_that_ended_nothing_is_left_in_memory() -> None:
    store, _ = await left_behind("reports", "running")

    async with restarted(store) as coordinator:
        assert leftovers(coordinator) == {}


async def test_a_store_that_cannot_be_read_at_the_start_ends_the_start_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, before = await left_behind("reports", "running")

    async def unreadable() -> list[Record]:
        raise StoreUnavailable("The store cannot be read.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "unfinished", unreadable)
        coordinator, _ = build([reports], store)
        with pytest.raises(StoreUnavailable):
            await coordinator.__aenter__()
        assert leftovers(coordinator) == {}

    assert await store.record("a") == before
    async with restarted(store) as coordinator:
        assert (await coordinator.get("a")).status == "interrupted"
