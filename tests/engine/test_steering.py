"""What can be asked of a task that goes on: to stop, to take more or less time, to listen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.errors import (
    Draining,
    InvalidParams,
    StoreUnavailable,
    TaskNotFound,
    TaskTerminal,
    TimeOver,
    TooManyInputs,
)
from streaming.records import Change, TaskStatus
from streaming.rules.deadlines import Limit
from tests.engine.hubs import end_elsewhere
from tests.kit import build, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, deaf, ended, forever, instant, now, rounds, running, tidy

pytestmark = pytest.mark.clock("virtual")


@task(retries=3, backoff_s=100)
async def fails(ctx: TaskContext) -> None:
    raise ValueError(f"attempt {ctx.attempt}")


@task
async def listens(ctx: TaskContext, wants: int = 3) -> list[Any]:
    found: list[Any] = []
    async for each in ctx.inputs():
        found.append([each.by, each.data])
        if len(found) == wants:
            break
    return found


async def task_in(coordinator: TaskCoordinator, status: str, **options: Any) -> str:
    """A task that is pending, running or between two attempts."""
    if status == "pending":
        await running(coordinator, "forever")
    record, _ = await coordinator.start("fails" if status == "retrying" else "forever", {}, **options)
    await asyncio.sleep(1)
    assert (await coordinator.get(record.id)).status == status
    return record.id


def built(**settings: Any) -> tuple[TaskCoordinator, Any]:
    return build([fails, listens, forever, instant, tidy, deaf], **{"max_running": 1, **settings})


# -- cancel ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "retrying", "running"])
async def test_a_cancel_ends_a_task_wherever_it_is(status: str) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await task_in(coordinator, status, queue_timeout_s=1000, total_timeout_s=5000)
        receipt = await coordinator.cancel_task(task_id, by="anna", reason="enough", wait_s=10)
        record, events = await ended(coordinator, task_id)
        assert (receipt.by, receipt.outcome, record.status) == ("anna", "stopped", TaskStatus.CANCELLED)
        assert record.cancel == receipt
        assert types(events)[-2:] == ["cancel_requested", "cancelled"]
        assert now() == 1
        assert await coordinator.cancel_task(task_id) == receipt
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("by", ["cancel", "unwatched"])
async def test_a_cancel_while_a_failure_is_being_stored_ends_the_task(by: str) -> None:
    """The attempt is over and the next one is not there yet: the wish holds all the same."""
    gate = Gate()
    attempts: list[int] = []

    @task(retries=3, backoff_s=10)
    async def at_gate(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        gate.reached.set()
        await gate.opened.wait()
        raise ValueError("once more")

    coordinator, store = build([at_gate])
    async with coordinator:
        record, _ = await coordinator.start("at_gate", {}, cancel_unwatched_s=1, key="k")
        await gate.reached.wait()
        store.hold()
        gate.opened.set()
        await store.entered.wait()
        if by == "cancel":
            cancelling = asyncio.create_task(coordinator.cancel_task(record.id, by="anna"))
            await rounds()
            store.release()
            assert (await cancelling).by == "anna"
        else:
            (await coordinator.watch(record.id)).close()
            await asyncio.sleep(2)
            store.release()
        final, events = await ended(coordinator, record.id)
        assert final.status is TaskStatus.CANCELLED
        assert types(events)[-3:] == ["retrying", "cancel_requested", "cancelled"] or by == "unwatched"
        await asyncio.sleep(100)
    assert attempts == [1]
    assert leftovers(coordinator) == {}


async def test_a_cancel_in_a_drain_is_not_forgotten_by_the_next_server() -> None:
    """A task that would be run again by it is not, where somebody wants it to end."""
    runs: list[int] = []

    @task(on_interrupt="restart", attempts_max=3)
    async def again(ctx: TaskContext) -> None:
        runs.append(ctx.attempt)
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)

    coordinator, store = build([again], grace_s=5, cancel_grace_s=3)
    async with coordinator:
        record, _ = await coordinator.start("again", {})
        await asyncio.sleep(1)
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(2.5)  # the handler cleans up after the cause shutdown
        receipt = await coordinator.cancel_task(record.id, by="anna")
        assert receipt.by == "anna"
        await stopping
    assert (await store.record(record.id)).status is TaskStatus.INTERRUPTED
    coordinator, _ = build([again], store)
    async with coordinator:
        await asyncio.sleep(10)
    assert runs == [1]
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize(
    "wrong", [{"reason": "x" * 1001}, {"reason": "\ud800"}, {"by": "\ud800"}], ids=["long", "text", "principal"]
)
async def test_a_reason_that_cannot_be_stored_is_refused(wrong: dict[str, Any]) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await task_in(coordinator, "running")
        with pytest.raises(InvalidParams):
            await coordinator.cancel_task(task_id, **wrong)
        assert (await coordinator.get(task_id)).cancel is None


# -- extend ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "limit", "code", "counted_from"),
    [
        ("pending", Limit.QUEUE, "queue_timeout", 0),
        ("pending", Limit.TOTAL, "total_timeout", 0),
        ("retrying", Limit.QUEUE, "queue_timeout", 50),  # half of the pause: from its end
        ("retrying", Limit.TOTAL, "total_timeout", 0),
        ("running", Limit.RUN, "timed_out", 0),
        ("running", Limit.HEARTBEAT, "heartbeat_timeout", 0),
        ("running", Limit.TOTAL, "total_timeout", 0),
    ],
)
@pytest.mark.parametrize("seconds", [0.5, 30.0])
@pytest.mark.parametrize("before", [None, 20.0])
async def test_a_limit_is_moved(
    status: str, limit: Limit, code: str, counted_from: float, seconds: float, before: float | None
) -> None:
    """Also to a time that is over: then it is over at once."""
    coordinator, _ = built(max_running=1)
    options: dict[str, Any] = {} if before is None else {limit.value: before}
    async with coordinator:
        task_id = await task_in(coordinator, status, **options)
        if status == "retrying" and limit is Limit.QUEUE:
            await running(coordinator, "forever")  # somebody else has the place when the pause is over
        record = await coordinator.extend(task_id, {limit: seconds})
        assert (record.timeout_s if limit is Limit.RUN else getattr(record.policy, limit.value)) == seconds
        final, events = await ended(coordinator, task_id)
        assert final.error is not None
        assert (final.status, final.error.code) == (TaskStatus.TIMED_OUT, code)
        assert f"of {seconds:g} s" in final.error.message
        assert now() == max(1, counted_from + seconds)
        warnings = [event for event in events if event.type == "deadline_warning"]
        assert len(warnings) <= 1
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("limit", [Limit.QUEUE, Limit.HEARTBEAT, Limit.TOTAL])
async def test_a_limit_is_taken_away(limit: Limit) -> None:
    status = "pending" if limit is Limit.QUEUE else "running"
    coordinator, _ = built(max_running=1)
    async with coordinator:
        options: dict[str, Any] = {limit.value: 20}
        task_id = await task_in(coordinator, status, **options)
        record = await coordinator.extend(task_id, {limit: None})
        assert getattr(record.policy, limit.value) is None
        await asyncio.sleep(500)
        assert (await coordinator.get(task_id)).status == status
    assert leftovers(coordinator) == {}


async def test_several_limits_are_moved_at_once_or_none_is() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await task_in(coordinator, "running", timeout_s=50)
        for wrong in ({Limit.RUN: None}, {Limit.RUN: 0}, {Limit.TOTAL: -1}, {Limit.QUEUE: 1e9}, {Limit.HEARTBEAT: 0}):
            with pytest.raises(InvalidParams) as refused:
                await coordinator.extend(task_id, {Limit.RUN: 90, **wrong})
            assert [each.field for each in refused.value.errors] == [next(iter(wrong)).value]
        assert (await coordinator.get(task_id)).timeout_s == 50
        record = await coordinator.extend(task_id, {Limit.RUN: 90, Limit.TOTAL: 100, Limit.QUEUE: 3})
        assert (record.timeout_s, record.policy.total_timeout_s, record.policy.queue_timeout_s) == (90, 100, 3)
        await ended(coordinator, task_id)
        assert now() == 90
    assert leftovers(coordinator) == {}


@task
async def tidies(ctx: TaskContext) -> None:
    """Takes its time to clean up."""
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(20)


@task
async def guarded(ctx: TaskContext) -> None:
    """Is over its time in a protected section."""
    async with ctx.protected("it must be whole", at_most_s=50):
        await asyncio.sleep(20)
    await asyncio.sleep(1000)


@pytest.mark.parametrize("type", ["tidies", "guarded"])
@pytest.mark.parametrize("limit", [Limit.RUN, Limit.HEARTBEAT, Limit.TOTAL])
async def test_a_time_that_is_over_is_not_given_again(type: str, limit: Limit) -> None:
    """Its handler is being stopped: the end tells of the time that it had."""
    coordinator, _ = build([tidies, guarded], cancel_grace_s=100)
    given: dict[str, Any] = {limit.value: 10}
    async with coordinator:
        record, _ = await coordinator.start(type, {}, **given)
        await asyncio.sleep(15)
        for other in (limit, Limit.TOTAL):
            with pytest.raises(TimeOver, match=f"is being stopped: its {limit.value} is over"):
                await coordinator.extend(record.id, {other: 500})
        final, _ = await ended(coordinator, record.id)
        assert final.error is not None
        assert final.error.message.endswith(f"than its {limit.value} of 10 s.")
        assert final.timeout_s == record.timeout_s


async def test_a_record_that_has_more_time_was_changed() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await task_in(coordinator, "running")
        await asyncio.sleep(3)
        before = (await coordinator.get(task_id)).updated_at
        assert (await coordinator.extend(task_id, {Limit.RUN: 90})).updated_at > before


async def test_more_time_for_a_run_that_is_to_come_holds_for_that_run() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await task_in(coordinator, "pending", timeout_s=5)
        await coordinator.extend(task_id, {Limit.RUN: 40})
        await coordinator.cancel_task(f"{1:032x}")
        final, _ = await ended(coordinator, task_id)
        assert (final.status, now()) == (TaskStatus.TIMED_OUT, 41)


# -- inputs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "running", "retrying"])
async def test_an_input_is_an_event_of_the_task(status: str) -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await task_in(coordinator, status)
        event = await coordinator.send_input(task_id, {"move": "left"}, by="anna")
        assert event.type == "input"
        assert event.data == {"by": "anna", "data": {"move": "left"}}
        assert (await store.events_after(task_id, event.seq - 1, last_seq=event.seq, limit=1)) == [event]
        assert (await coordinator.get(task_id)).last_seq == event.seq
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("ask", ["extend", "input"])
async def test_of_a_task_that_has_ended_nothing_can_be_asked(ask: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])

    async def asked(task_id: str) -> Any:
        if ask == "extend":
            return await coordinator.extend(task_id, {Limit.RUN: 5})
        return await coordinator.send_input(task_id, "late")

    async with coordinator:
        with pytest.raises(TaskNotFound):
            await asked("f" * 32)
        task_id = await running(coordinator, "gate")
        store.hold()
        gate.opened.set()
        await store.entered.wait()
        asking = asyncio.create_task(asked(task_id))  # in the step in which it ends
        await rounds()
        store.release()
        with pytest.raises(TaskTerminal):
            await asking
        await ended(coordinator, task_id)
        await rounds()
        with pytest.raises(TaskTerminal):
            await asked(task_id)
    assert leftovers(coordinator) == {}


async def test_an_input_has_limits() -> None:
    coordinator, _ = built(inputs_max=2, event_bytes_max=100)
    async with coordinator:
        task_id = await task_in(coordinator, "running")
        for wrong in ("x" * 200, object(), float("nan"), "\ud800"):
            with pytest.raises(InvalidParams):
                await coordinator.send_input(task_id, wrong)
        for number in range(2):
            await coordinator.send_input(task_id, number)
        with pytest.raises(TooManyInputs):
            await coordinator.send_input(task_id, 3)
        assert types(await coordinator.history(task_id, after=0, limit=10)) == ["pending", "running", "input", "input"]


async def test_while_the_store_is_away_an_input_is_refused_and_not_kept() -> None:
    coordinator, store = built(store_wait_s=2)
    async with coordinator:
        task_id = await task_in(coordinator, "running")
        store.away = True
        with pytest.raises(StoreUnavailable, match="as soon as it can"):
            await coordinator.send_input(task_id, "first")  # it finds out that the store is away
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="nothing was sent"):
                await coordinator.send_input(task_id, "again")
        assert now() == 9, "each has waited for a while"
        assert coordinator._tasks[task_id].log.backlog_events == 1
        store.away = False
        await asyncio.sleep(10)
        await coordinator.send_input(task_id, "last")
        events = await coordinator.history(task_id, after=2, limit=10)
        assert [event.data["data"] for event in events] == ["first", "last"]
    assert leftovers(coordinator) == {}


async def test_an_input_waits_for_a_store_that_is_back_in_time() -> None:
    coordinator, store = built(store_wait_s=5)
    async with coordinator:
        task_id = await task_in(coordinator, "running")
        store.away = True
        first = asyncio.create_task(coordinator.send_input(task_id, "first"))
        await asyncio.sleep(1)
        second = asyncio.create_task(coordinator.send_input(task_id, "second"))
        await asyncio.sleep(1)
        assert coordinator._tasks[task_id].log.backlog_events == 1
        store.away = False
        assert (await first).seq + 1 == (await second).seq
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("ends", ["here", "elsewhere"])
async def test_an_input_that_comes_too_late_is_refused_also_if_it_had_to_wait(ends: str) -> None:
    coordinator, store = built(store_wait_s=50)
    async with coordinator:
        task_id = await task_in(coordinator, "pending", queue_timeout_s=10)
        store.away = True
        written = asyncio.create_task(coordinator.send_input(task_id, "written"))
        await rounds()
        waiting = asyncio.create_task(coordinator.send_input(task_id, "waits for room"))
        if ends == "here":
            await asyncio.sleep(10)
        else:
            await end_elsewhere(store, task_id)
        store.away = False
        with pytest.raises(TaskTerminal):
            await waiting
        if ends == "here":
            assert (await written).seq == 2
        else:
            with pytest.raises(TaskTerminal):
                await written


async def test_a_task_that_waits_for_the_next_server_is_asked_there() -> None:
    coordinator, store = build([forever, deaf], max_running=1, grace_s=20)
    async with coordinator:
        await running(coordinator, "deaf", for_s=10)
        record, _ = await coordinator.start("forever", {})
        await coordinator.shutdown()
        for asked in (
            coordinator.cancel_task(record.id),
            coordinator.extend(record.id, {Limit.RUN: 3}),
            coordinator.send_input(record.id, 1),
        ):
            with pytest.raises(Draining):
                await asked
    assert (await store.record(record.id)).status is TaskStatus.PENDING


async def test_what_was_asked_in_a_drain_is_there_after_it() -> None:
    coordinator, store = build([listens, deaf], max_running=1, grace_s=20, cancel_grace_s=1)
    async with coordinator:
        await running(coordinator, "deaf", for_s=10)
        record, _ = await coordinator.start("listens", {"wants": 1})
        also, _ = await coordinator.start("listens", {"wants": 1})
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(1)
        await coordinator.send_input(record.id, "hello", by="anna")
        await coordinator.extend(record.id, {Limit.RUN: 33, Limit.QUEUE: 500})
        await coordinator.cancel_task(also.id)
        await stopping
    assert (await store.record(also.id)).status is TaskStatus.CANCELLED
    assert leftovers(coordinator) == {}
    again, _ = build([listens, deaf], store)
    async with again:
        assert await again.result(record.id) == [["anna", "hello"]]
        found = await again.get(record.id)
        assert (found.timeout_s, found.policy.queue_timeout_s) == (33, 500)


# -- replaced and lost -------------------------------------------------------------------------------------------------


async def test_who_cancels_a_task_that_somebody_else_has_ended_hears_of_it() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await task_in(coordinator, "pending")
        await end_elsewhere(store, task_id)
        with pytest.raises(TaskTerminal):
            await coordinator.cancel_task(task_id)
        await coordinator.cancel_task(f"{1:032x}", wait_s=10)
    assert leftovers(coordinator) == {}


# -- history -----------------------------------------------------------------------------------------------------------


def told(changes: Sequence[Change]) -> list[tuple[str, str, str]]:
    return [(change.status.value, change.by, change.reason) for change in changes]


async def test_each_status_event_has_one_entry_in_the_history_in_the_same_transaction() -> None:
    @task(retries=1, backoff_s=2)
    async def works(ctx: TaskContext, fate: str) -> None:
        await ctx.progress(10)
        if ctx.attempt == 1:
            raise ValueError("no luck")
        await asyncio.sleep({"cancel": 1000, "timeout": 1000}.get(fate, 1))
        if fate == "raise":
            raise KeyError("again")

    coordinator, store = build([works])
    async with coordinator:
        for fate, last in {
            "return": ("completed", "handler", ""),
            "raise": ("failed", "handler", "KeyError: 'again'"),
            "cancel": ("cancelled", "bert", "Cancelled by bert: enough."),
            "timeout": ("timed_out", "server", "Ran longer than its timeout_s of 20 s."),
        }.items():
            record, _ = await coordinator.start("works", {"fate": fate}, created_by="anna", timeout_s=20)
            if fate == "cancel":
                await asyncio.sleep(5)
                await coordinator.cancel_task(record.id, by="bert", reason="enough")
            _, events = await ended(coordinator, record.id)
            changes = await coordinator.changes(record.id)
            assert told(changes) == [
                ("pending", "anna", ""),
                ("running", "server", ""),
                ("retrying", "handler", "ValueError: no luck"),
                ("running", "server", ""),
                last,
            ]
            status_events = [event for event in events if event.type in set(TaskStatus)]
            assert [(each.seq, each.time) for each in changes] == [(each.seq, each.time) for each in status_events]
        for commit in store.commits:
            of_status = [(event.task_id, event.seq) for event in commit.events if event.type in set(TaskStatus)]
            assert of_status == [(change.task_id, change.seq) for change in commit.changes]
    assert leftovers(coordinator) == {}


async def test_the_history_tells_of_a_drain_and_of_a_restart() -> None:
    @task(on_interrupt="restart", attempts_max=2)
    async def again(ctx: TaskContext) -> None:
        await asyncio.sleep(1000 if ctx.attempt == 1 else 1)

    coordinator, store = build([again], grace_s=2)
    async with coordinator:
        record, _ = await coordinator.start("again", {})
        await asyncio.sleep(1)
    coordinator, _ = build([again], store)
    async with coordinator:
        await coordinator.wait(record.id, 100)
        assert [(status, why) for status, _, why in told(await coordinator.changes(record.id))] == [
            ("pending", ""),
            ("running", ""),
            ("pending", "shutdown"),
            ("running", ""),
            ("completed", ""),
        ]


async def test_a_manual_retry_is_a_new_task_with_the_wishes_of_the_old() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start(
            "fails", {}, retry={"retries": 0}, key="k", tags=["a"], external_id="x", timeout_s=7, created_by="anna"
        )
        with pytest.raises(Exception, match="cancel it first"):
            await coordinator.retry(record.id)
        old, _ = await ended(coordinator, record.id)
        new, created = await coordinator.retry(old.id, by="bert", tenant="acme")
        assert created
        assert (new.retry_of, new.created_by, new.key, new.tags) == (old.id, "bert", "k", ("a",))
        assert new.tenant == "acme", "that of whoever retries"
        assert (new.external_id, new.timeout_s, new.policy, new.status) == ("x", 7, old.policy, TaskStatus.PENDING)
        assert (await ended(coordinator, new.id))[0].status is TaskStatus.FAILED
        assert (await events_of(coordinator, old.id))[-1].type == "failed"
        with pytest.raises(TaskNotFound):
            await coordinator.retry("f" * 32)
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("what", ["input", "cancel", "extend"])
async def test_between_the_last_commit_and_the_end_of_a_drain_nothing_is_written_that_goes_nowhere(what: str) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        await coordinator._hub.close(now() + 1)
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "input": lambda: coordinator.send_input(task_id, 1),
            "cancel": lambda: coordinator.cancel_task(task_id),
            "extend": lambda: coordinator.extend(task_id, {Limit.RUN: 5.0}),
        }
        with pytest.raises(Draining):
            await asks[what]()
        assert coordinator._hub.backlog_bytes == 0
