"""What is refused at the door, and what a start does that finds its key busy: exact, however many come at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from streaming import Record, TaskContext, TaskCoordinator, task
from streaming.engine.committer import RETRY_FIRST_S
from streaming.errors import Draining, IdempotencyMismatch, KeyBusy, StoreUnavailable, StreamingError, TooManyTasks
from streaming.records import TaskStatus
from streaming.rules.schedule import IfRunning
from tests.engine.hubs import end_elsewhere
from tests.kit import build, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, deaf, ended, forever, instant, now, rounds, running, tidy

pytestmark = pytest.mark.clock("virtual")

MANY = 100


class Alone:
    """A handler that must never run twice at the same time."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.at_once = self.most = 0

        @task("alone")
        async def alone(ctx: TaskContext, number: int = 0) -> int:
            self.order.append(number)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(1)
            finally:
                await asyncio.sleep(1)  # also one that is cancelled takes its time
                self.at_once -= 1
            return number

        self.handler = alone


async def start(coordinator: TaskCoordinator, type: str, **options: Any) -> Record:
    return (await coordinator.start(type, {}, **options))[0]


async def all_at_once(
    coordinator: TaskCoordinator, if_running: IfRunning, count: int = MANY, **options: Any
) -> list[tuple[Record, bool] | BaseException]:
    return await asyncio.gather(
        *(
            coordinator.start("alone", {"number": number}, key="k", if_running=if_running, **options)
            for number in range(count)
        ),
        return_exceptions=True,
    )


def outcomes(found: list[tuple[Record, bool] | BaseException]) -> Counter[str]:
    return Counter(
        each.code if isinstance(each, StreamingError) else "new" if each[1] else "joined"  # type: ignore[index]  # it is a pair
        for each in found
    )


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_of_one_key_one_task_runs_after_the_other_in_the_order_of_their_coming() -> None:
    alone = Alone()
    coordinator, _ = build([alone.handler])
    async with coordinator:
        found = await all_at_once(coordinator, IfRunning.ENQUEUE)
        assert outcomes(found) == {"new": MANY}
        assert len(coordinator.running()) == 1
        await coordinator.wait(f"{MANY:032x}", 1000)
    assert alone.order == list(range(MANY))
    assert (alone.most, now()) == (1, 2 * MANY)
    assert leftovers(coordinator) == {}


async def test_of_a_hundred_that_reject_one_starts() -> None:
    alone = Alone()
    coordinator, _ = build([alone.handler])
    async with coordinator:
        found = await all_at_once(coordinator, IfRunning.REJECT)
        assert outcomes(found) == {"new": 1, "key_busy": MANY - 1}
        assert all(f"{1:032x}" in str(each) for each in found if isinstance(each, KeyBusy))
        await coordinator.wait(f"{1:032x}", 100)
        assert outcomes(await all_at_once(coordinator, IfRunning.REJECT, 1)) == {"new": 1}
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("store", ["stores", "forgets the answer", "refuses", "refuses all"])
async def test_of_a_hundred_that_join_one_starts(store: str) -> None:
    """All get the same task, whose start the first has stored, or nothing was started."""
    alone = Alone()
    coordinator, journal = build([alone.handler], store_wait_s=1)
    async with coordinator:
        if store == "refuses all":
            journal.away = True
        elif store != "stores":
            journal.fail("after" if store == "forgets the answer" else "before")
        found = await all_at_once(coordinator, IfRunning.JOIN)
        ids = {each[0].id for each in found if not isinstance(each, BaseException)}
        if store == "refuses":
            assert outcomes(found) == {"store_unavailable": 1, "new": 1, "joined": MANY - 2}
            assert ids == {f"{2:032x}"}
        elif store == "refuses all":
            assert outcomes(found) == {"store_unavailable": MANY}
            journal.away = False
            await asyncio.sleep(10)
            assert await journal.record(f"{1:032x}") is None
            assert outcomes(await all_at_once(coordinator, IfRunning.JOIN, 2)) == {"new": 1, "joined": 1}
        else:
            assert outcomes(found) == {"new": 1, "joined": MANY - 1}
            assert ids == {f"{1:032x}"}
    assert leftovers(coordinator) == {}


async def test_of_a_hundred_that_replace_the_last_runs_to_its_end() -> None:
    alone = Alone()
    coordinator, _ = build([alone.handler])
    async with coordinator:
        first, _ = await coordinator.start("alone", {"number": -1}, key="k")
        await asyncio.sleep(0.5)
        found = await all_at_once(coordinator, IfRunning.REPLACE)
        assert outcomes(found) == {"new": MANY}
        last = found[-1]
        assert not isinstance(last, BaseException)
        assert await coordinator.result(last[0].id) == MANY - 1
        replaced = [each[0].id for each in found[:-1] if not isinstance(each, BaseException)]
        for task_id in [first.id, *replaced]:
            record, _ = await ended(coordinator, task_id)
            assert record.status is TaskStatus.CANCELLED
            assert record.cancel is not None
            assert record.cancel.by == "server"
    assert alone.most == 1
    assert alone.order == [-1, MANY - 1]
    assert now() == 3.5, "0.5 s, the cleanup of the first, and the whole of the last"
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_replacement_that_could_not_be_stored_cancels_nothing(when: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        held = (await coordinator.start("gate", {}, key="k"))[0].id
        await rounds()
        store.fail(when)
        replacing = coordinator.start("gate", {}, key="k", if_running=IfRunning.REPLACE)
        if when == "before":
            with pytest.raises(StoreUnavailable):
                await replacing
            await asyncio.sleep(RETRY_FIRST_S + 1)
            assert (await coordinator.get(held)).cancel is None
        else:  # it was stored, and only the answer was lost
            await replacing
            assert (await ended(coordinator, held))[0].status is TaskStatus.CANCELLED
        gate.opened.set()
        assert await coordinator.result(task_id) == "through the gate"
    assert leftovers(coordinator) == {}


async def test_a_replacement_is_answered_once_the_cancel_of_the_old_task_is_stored() -> None:
    """A server that dies right after the answer would else leave the old one to go on, and the new one to wait."""
    coordinator, journal = build([tidy, instant])
    async with coordinator:
        old, _ = await coordinator.start("tidy", {"takes_s": 3}, key="k")
        await asyncio.sleep(1)
        journal.hold()
        replacing = asyncio.create_task(coordinator.start("instant", {}, key="k", if_running=IfRunning.REPLACE))
        await journal.entered.wait()
        journal.release()
        journal.hold()  # only the new task went through
        await journal.entered.wait()
        await rounds()
        assert not replacing.done()
        journal.release()
        await replacing
        assert (await journal.record(old.id)).cancel is not None
    assert leftovers(coordinator) == {}


async def test_a_replacement_waits_until_the_old_task_has_stopped() -> None:
    coordinator, _ = build([tidy, instant])
    async with coordinator:
        old, _ = await coordinator.start("tidy", {"takes_s": 3}, key="k")
        await asyncio.sleep(1)
        new = await start(coordinator, "instant", key="k", if_running=IfRunning.REPLACE)
        assert await coordinator.result(new.id) == "at once"
        assert now() == 4
        assert types(await events_of(coordinator, old.id))[-1] == "cancelled"
    assert leftovers(coordinator) == {}


async def test_nobody_joins_a_task_that_is_about_to_stop_and_its_key_is_busy_all_the_same() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        old = await start(coordinator, "tidy", key="k")
        await asyncio.sleep(1)
        await coordinator.cancel_task(old.id)
        with pytest.raises(KeyBusy):
            await start(coordinator, "tidy", key="k", if_running=IfRunning.REJECT)
        record, created = await coordinator.start("tidy", {}, key="k", if_running=IfRunning.JOIN)
        assert created
        again, created = await coordinator.start("tidy", {}, key="k", if_running=IfRunning.JOIN)
        assert (again.id, created) == (record.id, False)
        await ended(coordinator, old.id)
        await coordinator.cancel_task(record.id, wait_s=10)
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("if_running", list(IfRunning))
async def test_a_start_in_the_step_in_which_the_task_with_its_key_ends(if_running: IfRunning) -> None:
    """Its end is decided, and not stored yet: whoever comes now has the next turn."""
    gate = Gate()
    coordinator, store = build([gate.handler, instant])
    async with coordinator:
        old = await start(coordinator, "gate", key="k")
        await gate.reached.wait()
        store.hold()
        gate.opened.set()
        await store.entered.wait()
        starting = asyncio.create_task(coordinator.start("instant", {}, key="k", if_running=if_running))
        await rounds()
        store.release()
        record, created = await starting
        assert created
        assert await coordinator.result(record.id) == "at once"
        assert (await coordinator.get(old.id)).status is TaskStatus.COMPLETED
    assert leftovers(coordinator) == {}


async def test_the_key_of_somebody_else_is_another_one() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        anna = await start(coordinator, "forever", key="k", created_by="anna")
        bert, created = await coordinator.start("forever", {}, key="k", if_running=IfRunning.JOIN, created_by="bert")
        assert created
        assert anna.id != bert.id
        there = await start(coordinator, "forever", key="k", created_by="anna", tenant="bert")
        assert there.id not in (anna.id, bert.id)
        await rounds()
        assert len(coordinator.running()) == 3
    assert leftovers(coordinator) == {}


async def test_a_task_between_two_attempts_keeps_its_key() -> None:
    order: list[str] = []

    @task(retries=2, backoff_s=10)
    async def fails(ctx: TaskContext) -> None:
        order.append(f"attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise ValueError("once more")

    @task
    async def follows() -> None:
        order.append("follower")

    coordinator, _ = build([fails, follows])
    async with coordinator:
        first = await start(coordinator, "fails", key="k")
        second = await start(coordinator, "follows", key="k")
        await asyncio.sleep(1)
        joined, created = await coordinator.start("fails", {}, key="k", if_running=IfRunning.JOIN)
        assert (joined.id, joined.status, created) == (first.id, TaskStatus.RETRYING, False)
        await coordinator.wait(second.id, 1000)
    assert order == ["attempt 1", "attempt 2", "attempt 3", "follower"]
    assert leftovers(coordinator) == {}


# -- keys and Idempotency-Keys -----------------------------------------------------------------------------------------


async def test_a_start_that_joins_is_remembered_under_its_idempotency_key() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])

    async def once(fingerprint: str = "f") -> tuple[Record, bool]:
        return await coordinator.start(
            "gate", {}, key="k", if_running=IfRunning.JOIN, idempotency_key="once", fingerprint=fingerprint
        )

    async with coordinator:
        first = await start(coordinator, "gate", key="k")
        found = await asyncio.gather(*(once() for _ in range(20)))
        assert {(record.id, created) for record, created in found} == {(first.id, False)}
        assert (await store.key("anonymous", "once", created_after="")).task_id == first.id
        gate.opened.set()
        await coordinator.wait(first.id, 10)
        record, created = await once()
        assert (record.id, record.status, created) == (first.id, TaskStatus.COMPLETED, False), "and not a new one"
        with pytest.raises(IdempotencyMismatch):
            await once("another body")
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("order", ["the task is gone before", "the task goes meanwhile"])
async def test_the_idempotency_key_of_a_task_that_is_gone_stops_nobody(order: str) -> None:
    """A key that points to nothing must not be a commit that fails for ever."""
    coordinator, store = build([forever, instant])
    async with coordinator:
        first = await start(coordinator, "forever", key="k")
        await rounds()
        if order == "the task is gone before":
            await end_elsewhere(store, first.id, delete=True)
        else:
            store.hold()
        joining = asyncio.create_task(
            coordinator.start("forever", {}, key="k", if_running=IfRunning.JOIN, idempotency_key="once")
        )
        await rounds()
        if order != "the task is gone before":
            await end_elsewhere(store, first.id, delete=True)
            store.release()
        await asyncio.wait({joining})
        assert coordinator.ready
        other = await start(coordinator, "instant")
        assert await coordinator.result(other.id) == "at once"
    assert leftovers(coordinator) == {}


async def test_a_start_that_joins_while_the_store_is_away_is_refused_in_time() -> None:
    coordinator, store = build([forever], store_wait_s=2)
    async with coordinator:
        first = await start(coordinator, "forever", key="k")
        await rounds()
        store.away = True
        with pytest.raises(StoreUnavailable):
            await start(coordinator, "forever")
        joined, created = await coordinator.start("forever", {}, key="k", if_running=IfRunning.JOIN)
        assert (joined.id, created) == (first.id, False), "to look needs no store"
        with pytest.raises(StoreUnavailable):
            await coordinator.start("forever", {}, key="k", if_running=IfRunning.JOIN, idempotency_key="once")
        store.away = False
    assert leftovers(coordinator) == {}


# -- how many may wait -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
async def test_as_many_wait_as_may(together: bool) -> None:
    coordinator, _ = build([forever], max_running=2, max_pending=3)
    async with coordinator:
        starts = [coordinator.start("forever", {}) for _ in range(8)]
        if together:
            found = await asyncio.gather(*starts, return_exceptions=True)
        else:
            found = [(await asyncio.gather(each, return_exceptions=True))[0] for each in starts]
        assert outcomes(found) == {"new": 5, "too_many_tasks": 3}
        assert coordinator.limits_hit["too_many_tasks"] == 3
        await rounds()
        assert (len(coordinator.running()), len(coordinator._turns)) == (2, 3)
        await coordinator.cancel_task(f"{1:032x}", wait_s=10)
        await rounds()
        await start(coordinator, "forever")
        with pytest.raises(TooManyTasks):
            await start(coordinator, "forever")
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("together", [False, True])
async def test_of_one_principal_no_more_are_taken_in_than_may_run_and_wait_and_others_are_not_held_up(
    together: bool,
) -> None:
    coordinator, _ = build([forever], principal_running_max=2, principal_pending_max=3)
    async with coordinator:
        starts = [coordinator.start("forever", {}, created_by="anna") for _ in range(8)]
        if together:
            found = await asyncio.gather(*starts, return_exceptions=True)
        else:
            found = [(await asyncio.gather(each, return_exceptions=True))[0] for each in starts]
        assert outcomes(found) == {"new": 5, "too_many_tasks": 3}
        assert coordinator.limits_hit["too_many_tasks_of_principal"] == 3
        await rounds()
        assert (len(coordinator.running()), len(coordinator._turns)) == (2, 3)
        await start(coordinator, "forever", created_by="bert")
        await start(coordinator, "forever", created_by="anna", tenant="x")
        await coordinator.cancel_task(f"{1:032x}", wait_s=10)
        await rounds()
        await start(coordinator, "forever", created_by="anna")
        with pytest.raises(TooManyTasks, match="at most 3 of one principal may") as refused:
            await start(coordinator, "forever", created_by="anna")
        assert refused.value.retry_after_s == 5
        assert coordinator.limits_hit["too_many_tasks"] == 0
    assert leftovers(coordinator) == {}


async def test_a_task_that_a_handler_starts_counts_for_the_principal_of_that() -> None:
    met: list[str] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        for _ in range(4):
            try:
                await ctx.start("forever", created_by="somebody else")
            except TooManyTasks as refusal:
                met.append(refusal.detail)

    coordinator, _ = build([parent, forever], principal_running_max=2, principal_pending_max=1)
    async with coordinator:
        record, _ = await coordinator.start("parent", {}, created_by="anna")
        await coordinator.wait(record.id, 10)
    assert met == ["Too many tasks of yours wait already: at most 1 of one principal may."] * 2
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("why", ["key", "type"])
async def test_those_that_wait_for_something_else_than_a_place_count_as_well(together: bool, why: str) -> None:
    """A thousand places that are free are none for those that must not have them."""
    limits: dict[str, Any] = {"type_limits": {"forever": 1}} if why == "type" else {}
    key = "k" if why == "key" else None
    coordinator, _ = build([forever, instant], max_running=1000, max_pending=3, **limits)
    async with coordinator:
        starts = [coordinator.start("forever", {}, key=key) for _ in range(8)]
        if together:
            found = await asyncio.gather(*starts, return_exceptions=True)
        else:
            found = [(await asyncio.gather(each, return_exceptions=True))[0] for each in starts]
        assert outcomes(found) == {"new": 4, "too_many_tasks": 4}
        assert await coordinator.result((await start(coordinator, "instant")).id) == "at once", "others need not wait"
        await coordinator.shutdown(0)
    assert leftovers(coordinator) == {}


async def test_tasks_that_pause_take_the_room_of_those_that_would_wait_and_of_no_others() -> None:
    @task(retries=1, backoff_s=1000)
    async def fails() -> None:
        raise ValueError("once more")

    coordinator, _ = build([fails, forever, instant], max_running=1, max_pending=2)
    async with coordinator:
        for _ in range(3):
            await start(coordinator, "fails")
            await rounds()
        assert len(coordinator._turns) == 3, "who was taken in may fail"
        assert await coordinator.result((await start(coordinator, "instant")).id) == "at once"
        await rounds()
        await start(coordinator, "forever")
        with pytest.raises(TooManyTasks):
            await start(coordinator, "instant")
    assert leftovers(coordinator) == {}


async def test_who_only_joins_or_is_refused_by_its_key_needs_no_room() -> None:
    coordinator, _ = build([forever], max_running=1, max_pending=1)
    async with coordinator:
        first = await start(coordinator, "forever", key="k")
        await start(coordinator, "forever")
        with pytest.raises(TooManyTasks):
            await start(coordinator, "forever")
        assert (await start(coordinator, "forever", key="k", if_running=IfRunning.JOIN)).id == first.id
        with pytest.raises(KeyBusy):
            await start(coordinator, "forever", key="k", if_running=IfRunning.REJECT)
    assert leftovers(coordinator) == {}


# -- the store and the end of the process ------------------------------------------------------------------------------


async def test_a_start_that_nobody_waits_for_any_more_runs_once_it_is_stored() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("instant", {}, key="k"))
        await store.entered.wait()
        starting.cancel()
        await rounds()
        store.release()
        await asyncio.sleep(1)
        assert (await coordinator.get(f"{1:032x}")).status is TaskStatus.COMPLETED
    assert leftovers(coordinator) == {}


async def test_a_start_that_the_store_does_not_answer_says_so_in_time_and_may_run_later() -> None:
    coordinator, store = build([instant], store_wait_s=2)
    async with coordinator:
        store.hold()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await start(coordinator, "instant", key="k")
        assert now() == 2
        store.release()
        await asyncio.sleep(1)
        assert (await coordinator.get(f"{1:032x}")).status is TaskStatus.COMPLETED
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("stored", [True, False])
async def test_an_idempotency_key_waits_for_the_fate_of_its_start_and_never_begins_a_second_one(stored: bool) -> None:
    """The one who asked was told 503, and asks again, while the store has not answered yet."""
    coordinator, store = build([instant], store_wait_s=2)
    async with coordinator:
        store.hold()
        if not stored:
            store.fail()
        for _ in range(3):
            begin = now()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await coordinator.start("instant", {}, idempotency_key="once")
            assert now() == begin + 2
        store.release()
        await asyncio.sleep(1)
        record, created = await coordinator.start("instant", {}, idempotency_key="once")
        assert created is not stored
        assert record.id == f"{1 if stored else 2:032x}"
        assert await coordinator.result(record.id) == "at once"
    assert leftovers(coordinator) == {}


async def test_a_key_that_joins_waits_until_that_is_stored() -> None:
    coordinator, store = build([forever], store_wait_s=2)
    async with coordinator:
        first = await start(coordinator, "forever", key="k")
        await rounds()
        store.hold()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await coordinator.start("forever", {}, key="k", if_running=IfRunning.JOIN, idempotency_key="once")
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await coordinator.cancel_task(first.id)
        store.release()
        await asyncio.sleep(1)
        again, created = await coordinator.start(
            "forever", {}, key="k", if_running=IfRunning.JOIN, idempotency_key="once"
        )
        assert (again.id, created) == (first.id, False)
    assert leftovers(coordinator) == {}


async def test_those_behind_a_start_that_was_not_stored_have_their_turn() -> None:
    coordinator, store = build([instant, forever], commit_events_max=1)
    async with coordinator:
        store.hold()
        store.fail()
        first = asyncio.create_task(start(coordinator, "forever", key="k"))
        await store.entered.wait()
        second = asyncio.create_task(start(coordinator, "instant", key="k"))
        await rounds()
        store.release()
        with pytest.raises(StoreUnavailable):
            await first
        assert await coordinator.result((await second).id) == "at once"
    assert leftovers(coordinator) == {}


async def test_in_a_drain_nothing_is_taken_in() -> None:
    coordinator, _ = build([deaf, forever], grace_s=100)
    async with coordinator:
        await running(coordinator, "deaf", for_s=10)
        first, _ = await coordinator.start("deaf", {"for_s": 10}, key="k")
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(0)
        for if_running in IfRunning:
            with pytest.raises(Draining):
                await start(coordinator, "forever", key="k", if_running=if_running)
        assert first.key == "k"
        await stopping
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("durable", [True, False])
async def test_a_start_that_is_stored_in_the_step_in_which_the_drain_begins(durable: bool) -> None:
    coordinator, store = build([instant])
    store.durable = durable
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(start(coordinator, "instant", key="k"))
        await store.entered.wait()
        stopping = asyncio.create_task(coordinator.shutdown())
        await rounds()
        store.release()
        record = await starting
        await stopping
    assert (await store.record(record.id)).status is (TaskStatus.PENDING if durable else TaskStatus.INTERRUPTED)
    assert leftovers(coordinator) == {}
