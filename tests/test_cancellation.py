"""Cancelling a task: who is told, what runs to its end, and what the receipt says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import streaming
from streaming import TaskContext, TaskStatus, task
from streaming.config import Settings
from streaming.errors import StoreUnavailable, TaskNotFound, TaskTerminal
from streaming.records import CancelOutcome
from streaming.tasks import built_in
from tests.kit import build, collect, events_of, types
from tests.leftovers import leftovers
from tests.remote import remote, soon
from tests.stage import (
    Gate,
    broken,
    deaf,
    ended,
    forever,
    gone,
    instant,
    now,
    rounds,
    run,
    run_and_cancel,
    running,
    tidy,
)
from tests.web.live import live

pytestmark = pytest.mark.clock("virtual")


@pytest.mark.scenario("cancellation", 1)
async def test_the_last_event_that_a_reader_gets_is_cancelled_with_who_and_why() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await coordinator.cancel_task(task_id, reason="not needed", by="ann")
        events = await reader

    assert types(events) == ["pending", "running", "cancel_requested", "cancelled"]
    assert events[-2].data == {"by": "ann", "reason": "not needed", "held_by": None}
    assert events[-1].data == {"error": {"code": "cancelled", "message": "Cancelled by ann: not needed."}}


@pytest.mark.scenario("cancellation", 2)
async def test_a_cancellation_ends_one_runner_and_the_group_lives_on() -> None:
    coordinator, _ = build([forever, instant])
    async with coordinator:
        cancelled, other = await running(coordinator, "forever"), await running(coordinator, "forever")
        runner = next(each for each in asyncio.all_tasks() if each.get_name() == f"streaming-runner-{cancelled}")
        handler = next(each for each in asyncio.all_tasks() if each.get_name() == f"streaming-handler-{cancelled}")
        await coordinator.cancel_task(cancelled, wait_s=60)
        await runner

        assert handler.cancelled(), "the cancellation arrived, and was not turned into anything else"
        assert runner.exception() is None, "and the runner has seen it, and ended clean"
        assert (await coordinator.get(other)).status is TaskStatus.RUNNING
        record, _ = await run(coordinator, "instant")
        assert record.status is TaskStatus.COMPLETED


@pytest.mark.scenario("cancellation", 3)
async def test_all_of_many_readers_get_the_end() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        readers = [asyncio.create_task(events_of(coordinator, task_id, after=number % 3)) for number in range(60)]
        await asyncio.sleep(0)
        await coordinator.cancel_task(task_id)
        logs = await asyncio.gather(*readers)

    whole = logs[0]
    assert types(whole)[-1] == "cancelled"
    assert all(log == whole[number % 3 :] for number, log in enumerate(logs))


@pytest.mark.scenario("cancellation", 4)
async def test_the_cleanup_of_a_handler_runs_and_may_emit_while_it_runs() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        events = await events_of(coordinator, task_id)

    assert types(events) == ["pending", "running", "cancel_requested", "cleanup", "cleanup", "cancelled"]
    assert now() == 3, "the cleanup had the time it took"
    assert receipt.outcome is CancelOutcome.STOPPED


@pytest.mark.scenario("cancellation", 5)
def test_cancel_task_is_a_method_of_the_public_class() -> None:
    assert "TaskCoordinator" in streaming.__all__
    assert inspect.iscoroutinefunction(streaming.TaskCoordinator.cancel_task)


@pytest.mark.scenario("cancellation", 6)
async def test_cancelling_a_running_task_returns_once_it_is_delivered() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        receipt = await coordinator.cancel_task(task_id, reason="enough", by="ann")
        delivered_at, status = now(), (await coordinator.get(task_id)).status
        record = await coordinator.wait(task_id, 60)

    assert (receipt.outcome, receipt.by, receipt.reason) == (CancelOutcome.REQUESTED, "ann", "enough")
    assert (receipt.delivered_at is not None, receipt.stopped_at) == (True, None)
    assert (delivered_at, status) == (0, TaskStatus.RUNNING), "what still runs is not called stopped"
    assert (now(), record.status) == (3, TaskStatus.CANCELLED)
    assert record.cancel is not None
    assert record.cancel.outcome is CancelOutcome.STOPPED
    assert record.cancel.requested_at <= record.cancel.delivered_at < record.cancel.stopped_at  # type: ignore[operator]  # all are texts


@pytest.mark.scenario("cancellation", 6)
async def test_cancelling_can_wait_for_the_stop_up_to_a_bound() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        receipt = await coordinator.cancel_task(task_id, wait_s=2)
        assert (now(), receipt.outcome) == (2, CancelOutcome.REQUESTED)
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        assert (now(), receipt.outcome) == (3, CancelOutcome.STOPPED)


@pytest.mark.scenario("cancellation", 6)
async def test_a_task_that_waits_for_its_turn_is_cancelled_without_ever_running() -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler], max_running=1)
    async with coordinator:
        first = await running(coordinator, "gate")
        second, _ = await coordinator.start("gate", {})
        receipt = await coordinator.cancel_task(second.id)
        events = await events_of(coordinator, second.id)
        gate.opened.set()
        assert (await coordinator.wait(first, 60)).status is TaskStatus.COMPLETED

    assert types(events) == ["pending", "cancel_requested", "cancelled"]
    assert receipt.outcome is CancelOutcome.STOPPED
    assert gate.cancelled_at == []


@pytest.mark.scenario("cancellation", 6)
@pytest.mark.parametrize("asked", ["at once", "while it starts"])
async def test_a_task_cancelled_before_its_first_step_runs_nothing_of_its_own(asked: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        started, _ = await coordinator.start("gate", {})
        store.hold()  # 'running' waits for its commit, so the handler is not there yet
        if asked == "while it starts":
            await store.entered.wait()
        cancel = asyncio.create_task(coordinator.cancel_task(started.id))
        await asyncio.sleep(1)
        store.release()
        receipt = await cancel
        events = await events_of(coordinator, started.id)

    assert not gate.reached.is_set()
    assert types(events) == ["pending", "running", "cancel_requested", "cancelled"]
    assert receipt.delivered_at is not None


@pytest.mark.scenario("cancellation", 7)
async def test_an_unknown_task_cannot_be_cancelled() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        for unknown in ("0" * 32, "", "../etc/passwd", "\0", "x" * 10_000):
            with pytest.raises(TaskNotFound):
                await coordinator.cancel_task(unknown)

    assert [commit for commit in store.commits if commit.events or commit.updated] == [], "and leaves no trace"


@pytest.mark.scenario("cancellation", 8)
@pytest.mark.parametrize(("type", "status"), [("instant", "completed"), ("broken", "failed")])
async def test_a_task_that_ended_otherwise_cannot_be_cancelled(type: str, status: str) -> None:
    coordinator, _ = build([instant, broken])
    async with coordinator:
        before, _ = await run(coordinator, type)
        with pytest.raises(TaskTerminal, match=status):
            await coordinator.cancel_task(before.id)
        assert await coordinator.get(before.id) == before, "nothing was written"


@pytest.mark.scenario("cancellation", 8)
async def test_a_task_that_is_just_being_stored_as_completed_cannot_be_cancelled() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        gate.opened.set()
        await store.entered.wait()  # the terminal event is written, not yet stored
        cancel = asyncio.create_task(coordinator.cancel_task(task_id))
        await asyncio.sleep(1)
        assert not cancel.done(), "the answer waits for what is true"
        store.release()
        with pytest.raises(TaskTerminal, match="completed"):
            await cancel


@pytest.mark.scenario("cancellation", 9)
async def test_a_shutdown_stops_every_running_task() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_ids = [await running(coordinator, "forever") for _ in range(5)]
        readers = [asyncio.create_task(events_of(coordinator, task_id)) for task_id in task_ids]
        await asyncio.sleep(0)
        await coordinator.shutdown()
        logs = await asyncio.gather(*readers)

    assert [types(log)[-1] for log in logs] == ["interrupted"] * 5
    assert {log[-1].data["error"]["code"] for log in logs} == {"shutdown"}


@pytest.mark.scenario("cancellation", 9)
@pytest.mark.parametrize("first", ["cancel", "shutdown"])
async def test_the_first_cause_decides_between_cancel_and_shutdown(first: str) -> None:
    coordinator, store = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=2.5 if first == "cancel" else 1)
        if first == "cancel":
            await coordinator.cancel_task(task_id)
        shutdown = asyncio.create_task(coordinator.shutdown(5))  # stops what still runs after 2.25 s
        if first == "shutdown":
            await asyncio.sleep(2.5)
            await coordinator.cancel_task(task_id)
        await shutdown
    record = await store.record(task_id)

    assert record.cancel is not None
    if first == "cancel":
        assert (record.status, record.cancel.outcome) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED)
    else:
        assert (record.status, record.cancel.outcome) == (TaskStatus.INTERRUPTED, CancelOutcome.COMPLETED)


@pytest.mark.scenario("cancellation", 10)
async def test_a_shutdown_waits_for_the_cleanup() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=2)
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await coordinator.shutdown(10)
        events = await reader

    assert types(events) == ["pending", "running", "cleanup", "cleanup", "interrupted"]
    assert now() < 10


@pytest.mark.scenario("cancellation", 11)
async def test_a_shutdown_does_not_wait_for_a_stuck_handler_beyond_its_grace() -> None:
    coordinator, _ = build([deaf])
    async with coordinator:
        task_id = await running(coordinator, "deaf")
        reader = asyncio.create_task(events_of(coordinator, task_id))
        await coordinator.shutdown(10)
        events = await reader

        assert now() <= 10
        assert types(events)[-1] == "interrupted"
        assert "did not stop within the grace and stood at stage.py:" in events[-1].data["error"]["message"]
        assert [place[0] for place in coordinator.places()] == [task_id], "nobody calls it stopped"
        await gone(task_id)
        assert coordinator.places() == [], "and nobody calls it stuck any more"


@pytest.mark.scenario("cancellation", 11)
async def test_a_handler_left_behind_may_fail_later_without_a_word_on_stderr() -> None:
    """It runs into the end of its task, and nobody is there any more who could take its error."""

    @task
    async def late(ctx: TaskContext) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        await asyncio.sleep(50)
        await ctx.emit("too_late")

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    coordinator, store = build([late])
    async with coordinator:
        task_id = await running(coordinator, "late")
        await coordinator.shutdown(10)
        await gone(task_id)
        coordinator.stuck.clear()
        gc.collect()

    assert complaints == []
    assert (await store.record(task_id)).status is TaskStatus.INTERRUPTED


@pytest.mark.clock("real")
@pytest.mark.scenario("cancellation", 12)
async def test_an_http_fetch_cancelled_in_flight_closes_its_connection() -> None:
    fetches = built_in(Settings(fetch_allow=["127.0.0.1"]))
    async with remote(silent_after="half of the body") as far, live(fetches) as server:
        task_id = await server.start("http_fetch", params={"url": far.url})
        async with server.sse(f"/tasks/{task_id}/events") as events:
            await soon(far.silent)
            while (await anext(events)).event != "response":
                pass
            answer = await server.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 10}, json={"reason": "late"})
            await soon(far.closed)
            rest = [event.event async for event in events]

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["cancel"]["outcome"]) == ("cancelled", "stopped")
    assert [event for event in rest if event != "progress"] == ["cancel_requested", "cancelled"]


@pytest.mark.scenario("cancellation", 13)
async def test_readers_are_released_after_a_cancel() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        log = coordinator._tasks[task_id].log
        readers = [await coordinator.watch(task_id) for _ in range(10)]
        reading = [asyncio.create_task(collect(reader)) for reader in readers]
        await asyncio.sleep(0)
        await coordinator.cancel_task(task_id)
        async with asyncio.timeout(1):
            await asyncio.gather(*reading)

        assert not log.readers
        assert [await reader.next() for reader in readers] == [None] * 10, "the end stays the end"
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("cancellation", 14)
async def test_a_task_over_its_time_is_timed_out_and_not_cancelled() -> None:
    coordinator, _ = build([forever, tidy])
    async with coordinator:
        plain, _ = await coordinator.start("forever", {}, timeout_s=60)
        cleans_up, _ = await coordinator.start("tidy", {}, timeout_s=60)
        record = await coordinator.wait(plain.id, 1000)
        assert (now(), record.status, record.cancel) == (60, TaskStatus.TIMED_OUT, None)
        record = await coordinator.wait(cleans_up.id, 1000)
        assert (now(), record.status, record.cancel) == (63, TaskStatus.TIMED_OUT, None)


@pytest.mark.scenario("cancellation", 14)
@pytest.mark.parametrize("cancel_at", [59, 61])
async def test_the_first_cause_decides_between_cancel_and_timeout(cancel_at: float) -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        started, _ = await coordinator.start("tidy", {}, timeout_s=60)
        await asyncio.sleep(cancel_at)
        receipt = await coordinator.cancel_task(started.id, wait_s=60)
        record = await coordinator.get(started.id)

    if cancel_at < 60:
        assert (record.status, receipt.outcome) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED)
    else:
        assert (record.status, receipt.outcome) == (TaskStatus.TIMED_OUT, CancelOutcome.COMPLETED)


@pytest.mark.scenario("cancellation", 15)
async def test_a_timeout_reaches_readers_as_an_event_that_names_the_limit() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        _, events = await run(coordinator, "forever", timeout_s=2.5)

    assert types(events) == ["pending", "running", "deadline_warning", "timed_out"]
    message = "Ran longer than its timeout_s of 2.5 s."
    assert events[-1].data == {"error": {"code": "timed_out", "message": message}}


@pytest.mark.scenario("cancellation", 16)
@pytest.mark.parametrize("first", ["cancel", "return"])
async def test_a_cancel_in_the_step_in_which_the_handler_returns_has_one_truth(first: str) -> None:
    """Both become ready in the same step of the loop; whichever comes first there decides, and all say the same."""
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        hub = coordinator._hub
        if first == "return":
            hub.when_committed(gate.opened.set)
        cancel = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=60))
        await store.entered.wait()
        await rounds()
        if first == "cancel":
            hub.when_committed(gate.opened.set)
        store.release()
        receipt = await cancel
        record, events = await ended(coordinator, task_id)

    assert record.cancel == receipt
    assert [each for each in types(events) if each in {"cancelled", "completed"}] == [record.status]
    if first == "cancel":
        assert (record.status, receipt.outcome, record.result) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED, None)
        assert len(gate.cancelled_at) == 1
    else:
        assert (record.status, receipt.outcome) == (TaskStatus.COMPLETED, CancelOutcome.COMPLETED)
        assert (record.result, gate.cancelled_at) == ("through the gate", [])


@pytest.mark.scenario("cancellation", 16)
async def test_a_handler_that_answers_a_cancel_with_a_result_is_cancelled_and_the_result_is_kept() -> None:
    @task
    async def half(ctx: TaskContext) -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "half of it"
        return "all of it"

    coordinator, _ = build([half])
    async with coordinator:
        task_id = await running(coordinator, "half")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        record = await coordinator.get(task_id)

    assert (record.status, record.result) == (TaskStatus.CANCELLED, "half of it")
    assert receipt.outcome is CancelOutcome.STOPPED


@pytest.mark.scenario("cancellation", 17)
async def test_a_task_without_readers_is_cancelled_like_any_other() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)

    assert receipt.outcome is CancelOutcome.STOPPED
    record = await store.record(task_id)
    assert (record.status, record.cancel, record.last_seq) == (TaskStatus.CANCELLED, receipt, 4)
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("cancellation", 18)
async def test_cancelling_twice_gives_one_terminal_event_and_one_receipt() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        first = await coordinator.cancel_task(task_id, reason="first", by="ann")
        second = await coordinator.cancel_task(task_id, reason="second", by="bob")
        assert second == first, "while it cleans up"
        record, events = await ended(coordinator, task_id)
        assert await coordinator.cancel_task(task_id, reason="third") == record.cancel, "and when it has stopped"

    assert types(events) == ["pending", "running", "cancel_requested", "cleanup", "cleanup", "cancelled"]
    assert record.cancel is not None
    assert (record.cancel.by, record.cancel.reason) == ("ann", "first")


@pytest.mark.scenario("cancellation", 18)
async def test_two_cancels_at_the_same_time_get_one_receipt() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        receipts = await asyncio.gather(*(coordinator.cancel_task(task_id, by=by, wait_s=60) for by in ("ann", "bob")))
        events = await events_of(coordinator, task_id)

    assert receipts[0] == receipts[1]
    assert types(events).count("cancel_requested") == types(events).count("cancelled") == 1


@pytest.mark.scenario("cancellation", 19)
async def test_a_cancel_is_written_down_before_it_is_delivered() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        cancel = asyncio.create_task(coordinator.cancel_task(task_id))
        await store.entered.wait()
        await asyncio.sleep(1)
        assert (gate.cancelled_at, cancel.done()) == ([], False), "the store has not got it yet"
        assert (await coordinator.get(task_id)).cancel is None, "so nobody sees it"
        store.release()
        await cancel
        assert gate.cancelled_at == [1]


@pytest.mark.scenario("cancellation", 19)
async def test_a_cancel_that_comes_while_something_else_is_being_committed_follows_it() -> None:
    said = asyncio.Event()

    @task
    async def says(ctx: TaskContext) -> None:
        await said.wait()
        await ctx.emit("before")
        await asyncio.sleep(100)

    coordinator, store = build([says])
    async with coordinator:
        task_id = await running(coordinator, "says")
        store.hold()
        said.set()
        await store.entered.wait()  # 'before' is in flight
        cancel = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=60))
        await asyncio.sleep(1)
        store.release()
        assert (await cancel).outcome is CancelOutcome.STOPPED
        events = await events_of(coordinator, task_id)

    assert types(events) == ["pending", "running", "before", "cancel_requested", "cancelled"]


@pytest.mark.scenario("cancellation", 19)
@pytest.mark.parametrize("goes_away", ["before", "after"])
async def test_a_cancel_while_the_store_is_away_stops_the_handler_and_is_stored_later(goes_away: str) -> None:
    """A full disk must not keep its cause alive."""
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        if goes_away == "before":
            store.away = True
            coordinator._hub.amend(coordinator._tasks[task_id].log)
            await asyncio.sleep(1)
            assert not coordinator.ready, "it has noticed"
        else:
            store.hold()
        began_at = now()
        cancel = asyncio.create_task(coordinator.cancel_task(task_id))
        if goes_away == "after":
            await store.entered.wait()
            store.away = True
            store.release()
        with pytest.raises(StoreUnavailable):
            await cancel
        assert gate.cancelled_at == [began_at], "stopped all the same"
        store.away = False
        record, events = await ended(coordinator, task_id)

    assert types(events) == ["pending", "running", "cancel_requested", "cancelled"]
    assert record.cancel is not None
    assert record.cancel.outcome is CancelOutcome.STOPPED


def cancels_itself() -> Callable[..., Any]:
    @task("cancels_itself")
    async def handler() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(1)

    return handler


def raises_cancelled() -> Callable[..., Any]:
    @task("raises_cancelled")
    async def handler() -> None:
        raise asyncio.CancelledError

    return handler


def awaits_a_cancelled_child() -> Callable[..., Any]:
    @task("awaits_a_cancelled_child")
    async def handler() -> None:
        child = asyncio.ensure_future(asyncio.sleep(100))
        child.cancel()
        await child

    return handler


def own_timeout() -> Callable[..., Any]:
    @task("own_timeout")
    async def handler() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(100)

    return handler


@pytest.mark.scenario("cancellation", 20)
@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (cancels_itself, "handler_cancelled_itself"),
        (raises_cancelled, "handler_cancelled_itself"),
        (awaits_a_cancelled_child, "handler_cancelled_itself"),
        (own_timeout, "handler_error"),
    ],
)
async def test_a_cancellation_or_timeout_of_the_handlers_own_is_its_failure(
    handler: Callable[[], Callable[..., Any]], code: str
) -> None:
    made = handler()
    coordinator, _ = build([made])
    async with coordinator:
        record, _ = await run(coordinator, handler.__name__)

    assert (record.status, record.cancel) == (TaskStatus.FAILED, None)
    assert record.error is not None
    assert record.error.code == code


@pytest.mark.scenario("cancellation", 20)
async def test_a_handler_may_cancel_a_part_of_itself_and_go_on() -> None:
    cancelling: list[int] = []

    @task
    async def parts() -> str:
        child = asyncio.ensure_future(asyncio.sleep(100))
        await asyncio.sleep(0)
        child.cancel()
        await asyncio.wait({child})
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(100)
        except TimeoutError:
            pass
        current = asyncio.current_task()
        assert current is not None
        cancelling.append(current.cancelling())
        return "went on"

    coordinator, _ = build([parts])
    async with coordinator:
        record, _ = await run(coordinator, "parts")

    assert (record.status, record.result, cancelling) == (TaskStatus.COMPLETED, "went on", [0])


@pytest.mark.scenario("cancellation", 20)
@pytest.mark.parametrize("order", ["ours, own", "own, ours", "own, a step, ours"])
async def test_a_cancel_and_an_own_timeout_in_the_same_tick_are_told_apart(order: str) -> None:
    """Until the handler has seen its own timeout, the cancel wins; after that, its failure."""
    own = asyncio.timeout(50)

    @task
    async def handler() -> None:
        async with own:
            await asyncio.sleep(100)

    def expire_own() -> None:
        own.reschedule(now())

    coordinator, store = build([handler])
    async with coordinator:
        task_id = await running(coordinator, "handler")
        hub = coordinator._hub
        store.hold()
        if order == "own, ours":
            hub.when_committed(expire_own)
        cancel = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=60))
        await store.entered.wait()
        await rounds()
        if order == "ours, own":
            hub.when_committed(expire_own)
        if order == "own, a step, ours":
            expire_own()
            await asyncio.sleep(1)
        store.release()
        receipt = await cancel
        record = await coordinator.get(task_id)

    if order == "own, a step, ours":
        assert (record.status, receipt.outcome) == (TaskStatus.FAILED, CancelOutcome.COMPLETED)
    else:
        assert (record.status, receipt.outcome) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED)


@pytest.mark.scenario("cancellation", 20)
async def test_an_error_of_the_cleanup_does_not_hide_who_stopped_the_task() -> None:
    @task
    async def own() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise TimeoutError("the database did not answer")

    coordinator, _ = build([own])
    async with coordinator:
        record, _ = await run_and_cancel(coordinator, "own", by="ann")

    assert record.status is TaskStatus.CANCELLED
    assert record.error is not None
    assert record.error.message == "Cancelled by ann. Its cleanup raised TimeoutError: the database did not answer"
