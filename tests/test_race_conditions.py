"""Races: two things at the same moment, in both orders, and in orders that a seed chooses."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from streaming import TaskContext, TaskStatus, task
from streaming.config import Settings
from streaming.engine.journal import Commit, Committed, RecordQuery
from streaming.engine.subscription import Subscription
from streaming.errors import StoreUnavailable, TaskNotFound, TaskTerminal
from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt
from streaming.rules.lifecycle import TERMINAL
from streaming.store import open_store
from streaming.tasks import http_fetch
from streaming.testing.world import World
from streaming.web.application import Application
from tests.engine.hubs import end_elsewhere
from tests.kit import TestedStore, build, collect, events_of, types
from tests.leftovers import leftovers
from tests.remote import SILENT_AFTER, SOON_S, remote, soon
from tests.stage import Gate, broken, deaf, forever, instant, now, rounds, running, ticks, tidy
from tests.worlds.crowd import crowd
from tests.worlds.life import life

pytestmark = pytest.mark.clock("virtual")


def ends(store: TestedStore, task_id: str) -> list[str]:
    """The terminal events of a task that the store was given and has taken."""
    events = [event for commit in store.commits for event in commit.events]
    return [event.type for event in events if event.task_id == task_id and event.type in TERMINAL]


async def asked(cancel: asyncio.Task[CancelReceipt]) -> CancelReceipt | TaskTerminal:
    """What became of a cancel."""
    try:
        return await cancel
    except TaskTerminal as terminal:
        return terminal


# -- cancel against the end -------------------------------------------------------------------------------------------


@pytest.mark.scenario("races", 1)
@pytest.mark.parametrize("distance", range(-8, 9))
async def test_a_cancel_just_before_or_after_the_completion_has_one_truth(distance: int) -> None:
    """The gate opens ``distance`` rounds of the loop after the cancel; negative: before."""
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        if distance <= 0:
            gate.opened.set()
            for _ in range(-distance):
                await asyncio.sleep(0)
        cancel = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=60))
        if distance > 0:
            for _ in range(distance):
                await asyncio.sleep(0)
            gate.opened.set()
        answer = await asked(cancel)
        events = await events_of(coordinator, task_id)
        record = await coordinator.get(task_id)

    assert ends(store, task_id) == [record.status] == types(events)[-1:]
    if isinstance(answer, TaskTerminal):
        assert (record.status, record.cancel, record.result) == (TaskStatus.COMPLETED, None, "through the gate")
    elif record.status is TaskStatus.COMPLETED:
        assert (answer, answer.outcome, gate.cancelled_at) == (record.cancel, CancelOutcome.COMPLETED, [])
    else:
        assert record.status is TaskStatus.CANCELLED
        assert (answer, answer.outcome, len(gate.cancelled_at)) == (record.cancel, CancelOutcome.STOPPED, 1)


@pytest.mark.scenario("races", 2)
@pytest.mark.parametrize("first", ["the end", "the cancel"])
async def test_a_cancel_while_the_terminal_status_is_being_stored(first: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        if first == "the end":
            gate.opened.set()
            await rounds()
        cancel = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=60))
        await rounds()
        gate.opened.set()
        await asyncio.sleep(1)
        assert (await coordinator.get(task_id)).status is TaskStatus.RUNNING, "nobody sees what is not stored"
        assert not cancel.done()
        store.release()
        answer = await asked(cancel)
        record = await coordinator.get(task_id)

    assert ends(store, task_id) == [TaskStatus.COMPLETED] == [record.status]
    if first == "the end":
        assert isinstance(answer, TaskTerminal)
        assert record.cancel is None
    else:
        assert isinstance(answer, CancelReceipt)
        assert (answer, answer.outcome) == (record.cancel, CancelOutcome.COMPLETED)


@pytest.mark.scenario("races", 3)
@pytest.mark.parametrize("handler", [forever, tidy, deaf])
async def test_a_hundred_cancels_at_once_are_one(handler: Callable[..., Any]) -> None:
    coordinator, store = build([handler])
    async with coordinator:
        task_id = await running(coordinator, handler.__name__)
        waits_s = itertools.cycle((0, 100, 2000))
        receipts = await asyncio.gather(
            *(coordinator.cancel_task(task_id, by=f"caller {n}", wait_s=next(waits_s)) for n in range(100))
        )
        record = await coordinator.wait(task_id, 10_000)
        events = await events_of(coordinator, task_id)

    assert {(receipt.by, receipt.requested_at) for receipt in receipts} == {("caller 0", receipts[0].requested_at)}
    assert types(events).count("cancel_requested") == 1
    assert ends(store, task_id) == ["cancelled"] == [record.status]
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("races", 4)
@pytest.mark.parametrize("moment", range(12))
async def test_a_reader_that_connects_while_the_task_is_being_cancelled_sees_the_whole_end(moment: int) -> None:
    """It comes at each round of the loop between the wish and the terminal event, and behind it."""
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=0)
        first = asyncio.create_task(events_of(coordinator, task_id))
        cancel = asyncio.create_task(coordinator.cancel_task(task_id))
        for _ in range(moment):
            await asyncio.sleep(0)
        late = await events_of(coordinator, task_id)
        await cancel

    assert types(late) == ["pending", "running", "cancel_requested", "cleanup", "cleanup", "cancelled"]
    assert late == await first


@pytest.mark.scenario("races", 4)
async def test_a_reader_that_connects_in_the_middle_of_the_cleanup_sees_the_whole_end() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(1.5)
        late = await events_of(coordinator, task_id)

    assert types(late) == ["pending", "running", "cancel_requested", "cleanup", "cleanup", "cancelled"]


# -- readers that leave -----------------------------------------------------------------------------------------------


class Connection:
    """A reader's connection, by ASGI: it takes a piece only when it is told to, and leaves when it is told to."""

    def __init__(self, path: str) -> None:
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "query_string": b"",
            "server": ("127.0.0.1", 80),
        }
        self.taken = bytearray()
        self.ended = False
        self.hanging = asyncio.Event()
        self._takes = asyncio.Event()
        self._takes.set()
        self._left = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            if not self._takes.is_set():
                self.hanging.set()
                await self._takes.wait()
            self.taken += message["body"]
            self.ended = not message.get("more_body", False)

    def freeze(self) -> None:
        self._takes.clear()

    def thaw(self) -> None:
        self._takes.set()

    def leave(self) -> None:
        self._left.set()


@pytest.mark.scenario("races", 5)
@pytest.mark.parametrize("first", ["the reader leaves", "the send ends", "the task ends"])
async def test_a_reader_that_leaves_in_the_middle_of_a_send_leaves_nothing_behind(first: str) -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        web = Application(coordinator, coordinator.settings)
        task_id = await running(coordinator, "ticks", n=3)
        reader, other = Connection(f"/tasks/{task_id}/events"), Connection(f"/tasks/{task_id}/events")
        responses = [asyncio.create_task(web(each.scope, each.receive, each.send)) for each in (reader, other)]
        await rounds()
        reader.freeze()
        await reader.hanging.wait()
        if first == "the reader leaves":
            reader.leave()
            await rounds()
            reader.thaw()
        elif first == "the send ends":
            reader.thaw()
            reader.leave()
        else:
            await coordinator.wait(task_id, 60)
            reader.leave()
            await rounds()
            reader.thaw()
        await asyncio.gather(*responses)
        record = await coordinator.get(task_id)

    assert record.status is TaskStatus.COMPLETED
    assert other.taken.count(b"\nid: ") == 6
    assert other.ended
    assert other.taken.startswith(reader.taken), "what it got is a beginning of what there was"
    assert web.heartbeat.open == 0
    assert leftovers(coordinator) == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.scenario("races", 6)
@pytest.mark.parametrize("moment", ["before the commit", "in the commit", "after the commit"])
async def test_when_all_readers_leave_at_once_the_task_goes_on_and_nothing_is_held_for_them(moment: str) -> None:
    coordinator, store = build([ticks])
    async with coordinator:
        task_id = await running(coordinator, "ticks", n=5)
        log = coordinator._tasks[task_id].log
        readers = [await coordinator.watch(task_id) for _ in range(50)]
        reading = [asyncio.create_task(collect(reader)) for reader in readers]
        await asyncio.sleep(0.5)
        if moment == "in the commit":
            store.hold()
            await store.entered.wait()
        if moment == "after the commit":
            await asyncio.sleep(0.5)
        for reader in readers:
            reader.close()
        store.release()
        logs = await asyncio.gather(*reading)
        assert not log.readers
        await coordinator.wait(task_id, 60)
        again = await events_of(coordinator, task_id)

    assert types(again) == ["pending", "running", *["tick"] * 5, "completed"]
    assert all(each == again[: len(each)] for each in logs)
    assert leftovers(coordinator) == {}


# -- the database is changed behind our back --------------------------------------------------------------------------


@pytest.mark.scenario("races", 7)
@pytest.mark.scenario("races", 8)
@pytest.mark.parametrize("deleted", [False, True], ids=["ended", "deleted"])
@pytest.mark.parametrize("handler", [ticks, deaf], ids=["obeys", "is deaf"])
async def test_a_task_ended_or_deleted_in_the_database_is_left_as_it_is_there(
    handler: Callable[..., Any], deleted: bool
) -> None:
    coordinator, store = build([handler, instant], cancel_grace_s=1)
    async with coordinator:
        params = {"n": 50, "pause_s": 4} if handler is ticks else {"for_s": 5}
        task_id = await running(coordinator, handler.__name__, **params)
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await asyncio.sleep(0.5)
        await end_elsewhere(store, task_id, delete=deleted)
        elsewhere = await store.record(task_id)
        if handler is deaf:
            with suppress(TaskNotFound, TaskTerminal):
                await coordinator.cancel_task(task_id)  # the first write notices it
        events = await reader
        runner = [each for each in asyncio.all_tasks() if each.get_name() == f"streaming-runner-{task_id}"]
        await asyncio.gather(*runner)

        assert await store.record(task_id) == elsewhere, "nothing of ours was written over it"
        assert "completed" not in types(events)
        if deleted:
            for ask in (coordinator.get, coordinator.watch, coordinator.cancel_task):
                with pytest.raises(TaskNotFound):
                    await ask(task_id)
        else:
            assert (await coordinator.get(task_id)).status is TaskStatus.FAILED
            with pytest.raises(TaskTerminal, match="failed"):
                await coordinator.cancel_task(task_id)
        started, _ = await coordinator.start("instant", {})
        assert (await coordinator.wait(started.id, 60)).status is TaskStatus.COMPLETED, "all others go on"

    assert now() <= 5, "and its handler was stopped as soon as it was noticed"
    assert leftovers(coordinator) == {}


def operate(path: Path, statement: str, task_id: str) -> None:
    """What an operator does by hand."""
    with closing(sqlite3.connect(path, isolation_level=None)) as operator:
        operator.execute("PRAGMA foreign_keys = on")
        operator.execute(statement, (task_id,))


@pytest.mark.clock("real")
@pytest.mark.scenario("races", 7)
@pytest.mark.scenario("races", 8)
@pytest.mark.parametrize(
    "statement",
    ["UPDATE tasks SET status = 'failed' WHERE id = ?", "DELETE FROM tasks WHERE id = ?"],
    ids=["ended", "deleted"],
)
async def test_a_row_that_an_operator_changes_in_sqlite_stays_as_it_is(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "streaming.db"
    store = open_store(Settings(store_url=f"sqlite:///{path}"))
    await store.open()
    gate = Gate()
    coordinator, _ = build([gate.handler, forever], store)
    async with coordinator:
        task_id, other = await running(coordinator, "gate"), await running(coordinator, "forever")
        reader = await coordinator.watch(task_id)
        seen: list[Event] = []
        while len(seen) < 2:
            batch = await reader.next()
            assert batch is not None
            seen += batch.events
        operate(path, statement, task_id)
        gate.opened.set()
        async with asyncio.timeout(SOON_S):
            assert await collect(reader) == []
        if "DELETE" in statement:
            with pytest.raises(TaskNotFound):
                await coordinator.get(task_id)
        else:
            changed = await coordinator.get(task_id)
            assert (changed.status, changed.result, changed.last_seq) == (TaskStatus.FAILED, None, 2)
            assert types(await events_of(coordinator, task_id)) == ["pending", "running"]
        receipt = await coordinator.cancel_task(other, wait_s=SOON_S)
        assert receipt.outcome is CancelOutcome.STOPPED, "all others go on"
    await store.close()

    assert leftovers(coordinator) == {}


@pytest.mark.clock("real")
@pytest.mark.scenario("races", 7)
async def test_a_finished_task_that_an_operator_sets_back_neither_starts_again_nor_keeps_the_server_from_starting(
    tmp_path: Path,
) -> None:
    path = tmp_path / "streaming.db"
    settings = Settings(store_url=f"sqlite:///{path}")
    task_ids: list[str] = []
    for which in ("first", "second"):
        store = open_store(settings)
        await store.open()
        gate = Gate()
        coordinator, _ = build([instant, gate.handler], store)
        if which == "second":
            for task_id, status in zip(task_ids, ("pending", "running"), strict=True):
                operate(path, f"UPDATE tasks SET status = '{status}' WHERE id = ?", task_id)  # noqa: S608  # a status of this test
            coordinator._starts._new_id = lambda: "f" * 32
        async with asyncio.timeout(SOON_S), coordinator:
            if which == "first":
                task_ids = [(await coordinator.start("instant", {}))[0].id for _ in range(2)]
                for task_id in task_ids:
                    await coordinator.wait(task_id, SOON_S)
            started, _ = await coordinator.start("instant", {})
            assert (await coordinator.wait(started.id, SOON_S)).status is TaskStatus.COMPLETED
            for task_id in task_ids:
                assert types(await events_of(coordinator, task_id)) == ["pending", "running", "completed"]
        await store.close()
        assert leftovers(coordinator) == {}


@pytest.mark.scenario("races", 8)
@pytest.mark.parametrize("first", ["the deletion", "the end"])
async def test_a_record_deleted_in_the_step_in_which_its_task_ends(first: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await rounds()
        if first == "the end":
            gate.opened.set()
            events = await reader
            await coordinator.delete(task_id)
        else:
            store.hold()
            gate.opened.set()
            await store.entered.wait()
            await end_elsewhere(store, task_id, delete=True)
            store.release()
            events = await reader
        await rounds()
        with pytest.raises(TaskNotFound):
            await coordinator.get(task_id)

    assert types(events) == ["pending", "running", *(["completed"] if first == "the end" else [])]
    assert leftovers(coordinator) == {}


# -- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("races", 9)
@pytest.mark.parametrize("goes_away", [False, True])
async def test_a_hundred_concurrent_starts_and_lookups_under_one_key_are_one_task(goes_away: bool) -> None:
    coordinator, store = build([instant])

    async def start() -> tuple[str, bool]:
        while True:
            with suppress(StoreUnavailable):
                record, created = await coordinator.start("instant", {}, idempotency_key="k", fingerprint="f")
                assert (await coordinator.get(record.id)).id == record.id
                return record.id, created
            await asyncio.sleep(1)

    async def look() -> list[str]:
        return [record.id for record in await coordinator.list(RecordQuery())]

    async with coordinator:
        if goes_away:
            store.fail("before")
            store.fail("after")
        lookups = [asyncio.create_task(look()) for _ in range(100)]
        starts = await asyncio.gather(*(start() for _ in range(100)))
        await coordinator.wait(starts[0][0], 60)
        seen = [ids for ids in await asyncio.gather(*lookups) if ids]
        stored = await look()

    assert len({task_id for task_id, _ in starts}) == 1
    assert sum(created for _, created in starts) == 1 or goes_away, "the answer to the one that created may be lost"
    assert stored == [starts[0][0]]
    assert all(ids == stored for ids in seen)
    assert ends(store, stored[0]) == ["completed"], "it ran once"
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("races", 16)
@pytest.mark.parametrize("distance", range(-6, 7))
async def test_a_start_under_a_key_never_starts_again_what_is_just_completing(distance: int) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        first, _ = await coordinator.start("gate", {}, idempotency_key="k", fingerprint="f")
        await rounds()
        if distance <= 0:
            gate.opened.set()
        for _ in range(abs(distance)):
            await asyncio.sleep(0)
        again, created = await coordinator.start("gate", {}, idempotency_key="k", fingerprint="f")
        gate.opened.set()
        record = await coordinator.wait(first.id, 60)

    assert (again.id, created) == (first.id, False)
    assert (record.status, record.attempt) == (TaskStatus.COMPLETED, 1)
    assert ends(store, first.id) == ["completed"]


@pytest.mark.scenario("races", 16)
@pytest.mark.parametrize("distance", range(-6, 7))
async def test_a_start_that_meets_a_completion_gets_the_place_that_becomes_free(distance: int) -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler, instant], max_running=1)
    async with coordinator:
        first = await running(coordinator, "gate")
        if distance <= 0:
            gate.opened.set()
        for _ in range(abs(distance)):
            await asyncio.sleep(0)
        second = asyncio.create_task(coordinator.start("instant", {}))
        await asyncio.sleep(0)
        gate.opened.set()
        started, _ = await second
        record = await coordinator.wait(started.id, 60)
        assert (await coordinator.get(first)).status is TaskStatus.COMPLETED

    assert record.status is TaskStatus.COMPLETED
    assert leftovers(coordinator) == {}


# -- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.clock("real")
@pytest.mark.scenario("races", 10)
@pytest.mark.parametrize("phase", ["the start", *SILENT_AFTER])
async def test_an_http_fetch_is_cancelled_in_flight_wherever_it_is(phase: str) -> None:
    fetch = http_fetch(Settings(fetch_allow=["127.0.0.1"]))
    silent_after = "the request" if phase == "the start" else phase
    coordinator, store = build([fetch])
    async with remote(silent_after) as far, coordinator:
        started, _ = await coordinator.start("http_fetch", {"url": far.url})
        if phase != "the start":
            await soon(far.silent)
        answer = await asked(asyncio.create_task(coordinator.cancel_task(started.id, wait_s=10)))
        record = await coordinator.get(started.id)
        if far.silent.is_set():
            await soon(far.closed)

    assert ends(store, started.id) == [record.status]
    if phase == "all":
        assert record.status in {"cancelled", "completed"}, "whichever was first"
    else:
        assert record.status is TaskStatus.CANCELLED
    if isinstance(answer, CancelReceipt):
        assert answer == record.cancel
    assert leftovers(coordinator) == {}


@pytest.mark.clock("real")
@pytest.mark.scenario("races", 11)
@pytest.mark.parametrize("silent_after", ["the request", "the head", "half of the body"])
@pytest.mark.parametrize("first", ["the network", "the task"])
async def test_a_network_that_times_out_during_a_fetch_is_a_failure_and_not_the_timeout_of_the_task(
    first: str, silent_after: str
) -> None:
    short_s, long_s = 0.05, 60
    read_s, timeout_s = (short_s, long_s) if first == "the network" else (long_s, short_s)
    fetch = http_fetch(Settings(fetch_allow=["127.0.0.1"]), read_s=read_s)
    coordinator, store = build([fetch])
    async with remote(silent_after) as far, coordinator:
        started, _ = await coordinator.start("http_fetch", {"url": far.url}, timeout_s=timeout_s)
        record = await coordinator.wait(started.id, 10)
        if far.silent.is_set():
            await soon(far.closed)

    assert record.error is not None
    if first == "the network":
        assert (record.status, record.error.code) == (TaskStatus.FAILED, "fetch_timeout")
    else:
        assert (record.status, record.error.code) == (TaskStatus.TIMED_OUT, "timed_out")
    assert ends(store, started.id) == [record.status]
    assert leftovers(coordinator) == {}


# -- many -------------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("races", 12)
async def test_ten_thousand_events_and_a_reader_that_does_not_read() -> None:
    @task
    async def floods(ctx: TaskContext) -> None:
        for number in range(10_000):
            await ctx.emit("drop", {"n": number})

    coordinator, _ = build([floods], memory_events_max=20_000, window_events_max=100)
    async with coordinator:
        started, _ = await coordinator.start("floods", {})
        sleeper = await coordinator.watch(started.id)
        log = coordinator._tasks[started.id].log
        held = last = 0
        reader = await coordinator.watch(started.id)
        while (batch := await reader.next()) is not None:
            held = max(held, len(log.window._entries) - log.backlog_events)
            last = batch.last
        assert (last, now()) == (10_003, 0), "nobody waited for the one that sleeps"
        assert held <= 100, "and nothing is kept for it"
        events = await collect(sleeper)

    assert [event.seq for event in events] == list(range(1, 10_004)), "it finds everything when it wakes"
    assert [event.data["n"] for event in events[2:-1]] == list(range(10_000))


@pytest.mark.scenario("races", 12)
async def test_what_a_store_has_forgotten_meanwhile_is_one_named_gap() -> None:
    @task
    async def floods(ctx: TaskContext) -> None:
        for number in range(10_000):
            await ctx.emit("drop", {"n": number})

    coordinator, _ = build([floods], memory_events_max=1000, window_events_max=100)
    async with coordinator:
        started, _ = await coordinator.start("floods", {})
        sleeper = await coordinator.watch(started.id)
        await coordinator.wait(started.id, 60)
        events = await collect(sleeper)

    assert types(events[:2]) == ["gap", "drop"]
    assert events[0].data == {"from": 1, "to": 9003, "reason": "retention"}
    assert [event.seq for event in events] == list(range(9003, 10_004))


@pytest.mark.scenario("races", 13)
async def test_a_thousand_concurrent_tasks() -> None:
    coordinator, store = build([ticks], max_running=1000)
    async with coordinator:
        started = await asyncio.gather(*(coordinator.start("ticks", {"n": 5}) for _ in range(1000)))
        await rounds()
        assert len(coordinator.running()) == 1000, "at the same time"
        records = await asyncio.gather(*(coordinator.wait(record.id, 60) for record, _ in started))

    assert Counter(record.status for record in records) == {TaskStatus.COMPLETED: 1000}
    assert now() == 5, "none waited for another"
    assert len(store.commits) < 100, "and their events were stored together"
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("races", 14)
async def test_a_thousand_readers_of_one_task() -> None:
    coordinator, _ = build([ticks])

    async def wire(subscription: Subscription) -> list[bytes]:
        batches = []
        while (batch := await subscription.next()) is not None:
            batches.append(batch.sse)
        return batches

    async with coordinator:
        task_id = await running(coordinator, "ticks", n=10)
        readers = [asyncio.create_task(wire(await coordinator.watch(task_id, tail=0))) for _ in range(1000)]
        logs = await asyncio.gather(*readers)

    assert all(log == logs[0] for log in logs)
    assert b"".join(logs[0]).count(b"event: tick") == 10 - 1, "the first one was there before"
    assert all(log[-1] is logs[0][-1] for log in logs), "the bytes of a batch are joined once for all of them"
    assert leftovers(coordinator) == {}


# -- the end and what is left -----------------------------------------------------------------------------------------


@pytest.mark.scenario("races", 15)
@pytest.mark.parametrize("moment", range(10))
async def test_a_reader_that_arrives_while_a_finished_task_is_cleaned_up_gets_all_of_it(moment: int) -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        gate.opened.set()
        for _ in range(moment):
            await asyncio.sleep(0)
        events = await events_of(coordinator, task_id)

    assert types(events) == ["pending", "running", "completed"]


@pytest.mark.scenario("races", 15)
@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_reader_of_a_finished_task_that_is_deleted_under_it_gets_the_rest_or_a_gap(in_memory: bool) -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 2})
        early = await coordinator.watch(started.id, after=1)
        await coordinator.wait(started.id, 60)
        await rounds()
        reader = early if in_memory else await coordinator.watch(started.id, after=1)
        await coordinator.delete(started.id)  # at once: what has ended can be deleted
        events = await collect(reader)
        with pytest.raises(TaskNotFound):
            await coordinator.watch(started.id)

    if in_memory:
        assert types(events) == ["running", "tick", "tick", "completed"]
    else:
        assert types(events) == ["gap"], "never silence"
        assert events[0].data == {"from": 2, "to": 5, "reason": "deleted"}
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("races", 15)
async def test_a_reader_that_found_a_task_in_the_list_follows_it_although_its_creation_is_just_being_acknowledged() -> (
    None
):
    """The store has it a moment before we know: whoever saw it there must not end up with a log that never grows."""

    class Slow(TestedStore):
        async def commit(self, commit: Commit) -> Committed:
            done = await super().commit(commit)
            if commit.created:
                await asyncio.sleep(1)
            return done

    store = Slow(Settings())
    coordinator, _ = build([ticks], store)
    async with coordinator:
        start = asyncio.create_task(coordinator.start("ticks", {"n": 2}))
        await asyncio.sleep(0.5)
        (listed,) = await coordinator.list(RecordQuery())
        events = await events_of(coordinator, listed.id)
        await start

    assert types(events) == ["pending", "running", "tick", "tick", "completed"]


@pytest.mark.scenario("races", 15)
async def test_a_reader_that_arrives_while_an_interrupted_task_goes_back_to_the_queue_ends_with_the_drain() -> None:
    @task(on_interrupt="restart")
    async def again(ctx: TaskContext) -> None:
        await asyncio.sleep(1000)

    coordinator, store = build([again, tidy])
    async with coordinator:
        task_id = await running(coordinator, "again")
        await running(coordinator, "tidy", takes_s=2)
        shutdown = asyncio.create_task(coordinator.shutdown(10))
        await asyncio.sleep(5)  # the tidy one still cleans up
        assert (await coordinator.get(task_id)).status is TaskStatus.PENDING
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await shutdown
        async with asyncio.timeout(1):
            events = await reader

    assert types(events) == ["pending", "running", "pending"]
    assert (await store.record(task_id)).attempt == 2


@pytest.mark.scenario("races", 17)
@pytest.mark.parametrize("order", list(itertools.permutations(("completes", "fails", "is cancelled", "times out"))))
async def test_the_tables_are_empty_after_everything_ended_whatever_the_order(order: tuple[str, ...]) -> None:
    @task
    async def ends_in(ctx: TaskContext, after_s: float, fails: bool = False) -> None:
        await asyncio.sleep(after_s)
        if fails:
            raise ValueError

    coordinator, _ = build([ends_in], max_running=3)
    async with coordinator:
        task_ids = []
        for place, end in enumerate(order, start=1):
            after_s = place if end in {"completes", "fails"} else 1000
            timeout_s = place if end == "times out" else None
            params = {"after_s": after_s, "fails": end == "fails"}
            record, _ = await coordinator.start("ends_in", params, timeout_s=timeout_s, idempotency_key=end)
            task_ids.append(record.id)
        readers = [asyncio.create_task(events_of(coordinator, task_id)) for task_id in task_ids]
        feed = await coordinator.follow()
        await asyncio.sleep(order.index("is cancelled") + 1)
        await coordinator.cancel_task(task_ids[order.index("is cancelled")])
        logs = await asyncio.gather(*readers)
        feed.close()
        await rounds()
        assert leftovers(coordinator) == {}, "also before the coordinator is left"

    statuses = {"completes": "completed", "fails": "failed", "is cancelled": "cancelled", "times out": "timed_out"}
    assert [types(log)[-1] for log in logs] == [statuses[end] for end in order]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.scenario("races", 17)
async def test_the_tables_are_empty_after_a_shutdown_in_the_middle_of_everything() -> None:
    coordinator, _ = build([tidy, forever, ticks, instant, broken], max_running=4)
    async with coordinator:
        for type in ("tidy", "forever", "ticks", "instant", "broken", "tidy", "forever"):
            await coordinator.start(type, {})
        readers = [asyncio.create_task(collect(await coordinator.follow())) for _ in range(3)]
        await asyncio.sleep(0.5)
        await coordinator.shutdown(10)
        await asyncio.gather(*readers)
        assert leftovers(coordinator) == {}

    assert asyncio.all_tasks() == {asyncio.current_task()}


def cleanup_fails() -> list[Any]:
    @task("handler")
    async def plain() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise ValueError("cannot undo")

    @task("handler")
    async def group() -> None:
        async def child() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                raise ValueError("cannot undo")

        async with asyncio.TaskGroup() as children:
            children.create_task(child())
            children.create_task(child())

    @task("handler")
    async def nested_group() -> None:
        async with asyncio.TaskGroup(), asyncio.TaskGroup() as children:
            children.create_task(fails_when_cancelled())
            await asyncio.sleep(100)

    @task("handler")
    async def base() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise SystemExit(3)

    @task("handler")
    async def second_cancel() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(100)

    return [plain, group, nested_group, base, second_cancel]


async def fails_when_cancelled() -> None:
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        raise ValueError("cannot undo") from None


@pytest.mark.scenario("races", 18)
@pytest.mark.parametrize("handler", cleanup_fails(), ids=lambda handler: handler.__name__)
async def test_an_exception_while_a_cancellation_is_handled_is_told_and_changes_nothing(
    handler: Callable[..., Any],
) -> None:
    coordinator, store = build([handler, ticks])
    async with coordinator:
        other, _ = await coordinator.start("ticks", {})
        task_id = await running(coordinator, "handler")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        record = await coordinator.get(task_id)
        assert (await coordinator.wait(other.id, 60)).status is TaskStatus.COMPLETED

    assert (record.status, receipt.outcome) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED)
    assert ends(store, task_id) == ["cancelled"]
    assert record.error is not None
    if handler.__name__ in {"plain", "group", "nested_group"}:
        assert "Its cleanup raised" in record.error.message
        assert "cannot undo" in record.error.message


@pytest.mark.scenario("races", 19)
@pytest.mark.parametrize("failures", [["before"], ["after"], ["before"] * 5, ["before", "after"], ["after", "after"]])
@pytest.mark.parametrize("mute", [0, 1, 3], ids=lambda mute: f"mute {mute} times")
async def test_a_store_error_at_the_terminal_event_is_retried_never_lost_never_twice(
    failures: list[str], mute: int
) -> None:
    """``mute``: how often the store cannot even say whether a commit took place."""

    class Mute(TestedStore):
        async def outcome(self, commit: Commit) -> Committed | None:
            nonlocal mute
            if mute:
                mute -= 1
                raise StoreUnavailable("The disk cannot be read.")
            return await super().outcome(commit)

    gate = Gate()
    store = Mute(Settings())
    coordinator, _ = build([gate.handler], store)
    async with coordinator:
        task_id = await running(coordinator, "gate")
        readers = [asyncio.create_task(events_of(coordinator, task_id)) for _ in range(3)]
        await rounds()
        for when in failures:
            store.fail(when)
        gate.opened.set()
        logs = await asyncio.gather(*readers)
        record = await coordinator.get(task_id)
        stored: list[Event] = await store.events_after(task_id, 0, last_seq=100, limit=100)

    assert types(stored) == ["pending", "running", "completed"]
    assert logs == [stored] * 3
    assert (record.status, record.result) == (TaskStatus.COMPLETED, "through the gate")
    assert ends(store, task_id) == ["completed"]


@pytest.mark.scenario("races", 19)
async def test_a_terminal_event_waits_for_a_store_that_is_away_for_an_hour() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        reader = asyncio.create_task(events_of(coordinator, task_id))
        store.away = True
        gate.opened.set()
        await asyncio.sleep(3600)
        assert not reader.done(), "nobody is told what is not stored"
        assert (await coordinator.get(task_id)).status is TaskStatus.RUNNING
        store.away = False
        assert types(await reader) == ["pending", "running", "completed"]

    assert now() < 3605
    assert ends(store, task_id) == ["completed"]


# -- orders that a seed chooses ---------------------------------------------------------------------------------------


@pytest.mark.scenario("races", 1)
@pytest.mark.scenario("races", 2)
@pytest.mark.scenario("races", 4)
@pytest.mark.scenario("races", 17)
@pytest.mark.scenario("races", 18)
@pytest.mark.scenario("races", 19)
@pytest.mark.simulated(schedules=150)
async def test_whatever_the_order_of_steps_all_tell_the_same_story(world: World) -> None:
    """A task, four readers, cancels, a timeout, a shutdown and a store that stumbles, in many orders."""
    await life(world)


@pytest.mark.scenario("races", 9)
@pytest.mark.scenario("races", 16)
@pytest.mark.scenario("races", 17)
@pytest.mark.scenario("races", 19)
@pytest.mark.simulated(schedules=60)
async def test_whatever_the_order_of_steps_tasks_that_depend_on_each_other_keep_their_rules(world: World) -> None:
    """Keys, priorities, attempts, children, inputs, deadlines, viewers, a full house and a store that stumbles."""
    await crowd(world)


async def test_a_start_does_not_wait_for_ever_for_a_store_that_hangs() -> None:
    """The caller hears that it is not known; the task runs once the store answers, for it is stored then."""
    coordinator, store = build([instant], store_wait_s=5)
    async with coordinator:
        store.hold()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await coordinator.start("instant", {})
        assert now() == 5

        store.release()
        feed = await coordinator.follow()
        seen: list[Event] = []
        while not seen or seen[-1].type != "completed":
            batch = await feed.next()
            assert batch is not None
            seen += batch.events
        feed.close()

    assert types(seen) == ["pending", "running", "completed"]
