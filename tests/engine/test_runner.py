"""One task, seen from outside its handler: what it is stopped for, when, how often, and what is said about it."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from streaming import Record, TaskContext, ThreadContext, task
from streaming.config import Settings
from streaming.engine import runner as runner_module
from streaming.engine.journal import Commit
from streaming.errors import HandlerError, StoreUnavailable, TaskNotFound, TaskTerminal, TooManyEvents
from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt, TaskError, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import TERMINAL
from tests.engine.hubs import end_elsewhere
from tests.kit import TestedStore, build, collect, events_of, types
from tests.leftovers import leftovers
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

pytestmark = pytest.mark.clock("virtual")

LogLines = list[MutableMapping[str, Any]]


def receipt_of(record: Record) -> CancelReceipt:
    assert record.cancel is not None
    return record.cancel


def only_end(events: list[Event]) -> str:
    """The one terminal event, which is the last."""
    ends = [event.type for event in events if event.type in TERMINAL]
    assert len(ends) == 1
    assert events[-1].type == ends[0]
    return ends[0]


# -- log lines ---------------------------------------------------------------------------------------------------------


class Bound(logging.Handler):
    """Collects each line of standard logging, and what is bound to the context that it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.getMessage(), structlog.contextvars.get_contextvars().get("task_id")))


def say(name: str) -> None:
    structlog.get_logger("theirs").warning(f"{name} by structlog")
    logging.getLogger("tests.theirs").warning("%s by logging", name)


@task
async def speaks() -> None:
    say("loop")
    await asyncio.sleep(0)
    await asyncio.create_task(asyncio.to_thread(say, "child of loop"))


@task(run_in="thread")
def speaks_in_a_thread(ctx: ThreadContext) -> None:
    say("thread")
    ctx.progress(50)
    say("thread again")


@pytest.mark.clock("real")
@pytest.mark.parametrize(
    ("type", "said"), [("speaks", ["loop", "child of loop"]), ("speaks_in_a_thread", ["thread", "thread again"])]
)
async def test_the_log_lines_of_a_handler_carry_the_id_of_its_task(type: str, said: list[str]) -> None:
    bound = Bound()
    logging.getLogger("tests.theirs").addHandler(bound)
    coordinator, _ = build([speaks, speaks_in_a_thread])
    try:
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            async with coordinator:
                ids = [(await run(coordinator, type))[0].id for _ in range(2)]
    finally:
        logging.getLogger("tests.theirs").removeHandler(bound)

    ours = [(line["event"], line.get("task_id")) for line in lines if line["event"].endswith("by structlog")]
    assert ours == [(f"{name} by structlog", task_id) for task_id in ids for name in said]
    assert bound.lines == [(f"{name} by logging", task_id) for task_id in ids for name in said]


# -- protected sections ------------------------------------------------------------------------------------------------


@task
async def protects(ctx: TaskContext, for_s: float = 2.0, at_most_s: float = 60.0, after_s: float = 100.0) -> str:
    async with ctx.protected("pay", at_most_s=at_most_s):
        await asyncio.sleep(for_s)
        await ctx.emit("paid")
    await asyncio.sleep(after_s)
    return "all of it"


async def test_a_held_cancel_tells_readers_what_it_waits_for_and_arrives_where_the_section_ends() -> None:
    coordinator, _ = build([protects])
    async with coordinator:
        task_id = await running(coordinator, "protects")
        receipt = await coordinator.cancel_task(task_id)
        assert (now(), receipt.outcome, receipt.delivered_at) == (0, CancelOutcome.REQUESTED, None)

        record, events = await ended(coordinator, task_id)

    assert types(events)[2:] == ["cancel_requested", "paid", "cancelled"]
    assert events[2].data["held_by"] == "pay"
    assert now() == 2
    assert receipt_of(record).delivered_at == receipt_of(record).stopped_at == events[-1].time


@task
async def stubborn_after_section(ctx: TaskContext) -> None:
    try:
        async with ctx.protected("pay", at_most_s=1000):
            await asyncio.sleep(2)
    except asyncio.CancelledError:
        await forever()


async def test_who_does_not_obey_after_a_section_is_cancelled_again_in_the_usual_time() -> None:
    """The time runs from the delivery, and not from the time at which the section would have overrun."""
    coordinator, _ = build([stubborn_after_section], cancel_grace_s=5)
    async with coordinator:
        _, events = await run_and_cancel(coordinator, "stubborn_after_section")

    assert types(events)[-2:] == ["cancel_ignored", "cancelled"]
    assert now() == 7


async def test_a_section_that_ends_in_time_costs_a_handler_nothing() -> None:
    coordinator, _ = build([protects])
    async with coordinator:
        record, events = await run(coordinator, "protects", after_s=1)

    assert (record.status, record.result) == ("completed", "all of it")
    assert types(events) == ["pending", "running", "paid", "completed"]


@task
async def nests(ctx: TaskContext) -> None:
    async with ctx.protected("outer", at_most_s=60):
        async with ctx.protected("inner", at_most_s=60):
            await asyncio.sleep(2)
        await asyncio.sleep(2)
        await ctx.emit("outer done")  # never: a type has no blank


@task
async def nests_well(ctx: TaskContext) -> None:
    async with ctx.protected("outer", at_most_s=60):
        async with ctx.protected("inner", at_most_s=60):
            await asyncio.sleep(2)
        await asyncio.sleep(2)
        await ctx.emit("outer.done")
    await forever()


async def test_of_nested_sections_the_outer_one_lets_go() -> None:
    coordinator, _ = build([nests_well])
    async with coordinator:
        _, events = await run_and_cancel(coordinator, "nests_well")

    assert types(events)[-2:] == ["outer.done", "cancelled"]
    assert now() == 4


async def test_an_error_in_a_section_that_held_a_cancel_is_told_with_the_cancel() -> None:
    coordinator, _ = build([nests])
    async with coordinator:
        record, _ = await run_and_cancel(coordinator, "nests")

    assert record.status == "cancelled"


@task
async def two_at_once(ctx: TaskContext) -> None:
    async def part(name: str, for_s: float) -> None:
        async with ctx.protected(name, at_most_s=60):
            await asyncio.sleep(for_s)
            await ctx.emit(name)
        await forever()

    async with asyncio.TaskGroup() as group:
        group.create_task(part("first", 1))
        group.create_task(part("second", 3))


async def test_of_two_sections_at_once_the_last_one_lets_go() -> None:
    coordinator, _ = build([two_at_once])
    async with coordinator:
        _, events = await run_and_cancel(coordinator, "two_at_once")

    assert types(events)[-3:] == ["first", "second", "cancelled"]
    assert now() == 3


@pytest.mark.parametrize(("way", "status"), [("timeout", "timed_out"), ("shutdown", "interrupted")])
async def test_a_timeout_and_a_shutdown_are_held_back_too(way: str, status: str) -> None:
    coordinator, store = build([protects], grace_s=100, cancel_grace_s=50)
    async with coordinator:
        record, _ = await coordinator.start("protects", {"for_s": 5}, timeout_s=1 if way == "timeout" else 1000)
        if way == "shutdown":
            await asyncio.sleep(0)
            await coordinator.shutdown(8)  # 5 s into its section it is told, at 4.8 s less the stop and the flush
        else:
            await coordinator.wait(record.id, 1000)
        events = await store.events_after(record.id, 0, last_seq=99, limit=99)

    told = [type for type in types(events) if type != "deadline_warning"]
    assert told == ["pending", "running", "paid", status], "they wait without an event of their own"


async def test_an_overrun_is_told_and_the_stop_is_delivered_then() -> None:
    coordinator, _ = build([protects])
    async with coordinator:
        _, events = await run_and_cancel(coordinator, "protects", for_s=100, at_most_s=5)

    assert types(events)[-3:] == ["cancel_requested", "log", "cancelled"]
    assert events[-2].data["section"] == "pay"
    assert now() == 5


async def test_an_overrun_without_a_stop_only_costs_the_protection() -> None:
    coordinator, _ = build([protects])
    async with coordinator:
        _, events = await run(coordinator, "protects", for_s=10, at_most_s=5, after_s=1)

    assert types(events) == ["pending", "running", "log", "paid", "completed"]


# -- who does not obey -------------------------------------------------------------------------------------------------


async def test_each_insistence_is_said_with_the_line_and_the_waits_double() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        record, events = await run_and_cancel(coordinator, "deaf", for_s=100.0)

    ignored = [event.data for event in events if event.type == "cancel_ignored"]
    assert [each["deliveries"] for each in ignored] == [1, 2, 3, 4]  # at 5, 15, 35 and 75 s; the next would be at 135 s
    assert {each["where"].split(":")[0] for each in ignored} == {"stage.py"}
    assert {(each["cause"], each["declined"]) for each in ignored} == {("cancel", False)}
    assert (record.status, record.result) == ("cancelled", "what cancel?")
    assert receipt_of(record).outcome is CancelOutcome.STOPPED


async def test_as_long_as_it_runs_it_is_ignored_and_not_stopped() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=100.0)
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(50)
        record = await coordinator.get(task_id)

        assert record.status == "running"
        assert receipt_of(record).outcome is CancelOutcome.IGNORED
        assert receipt_of(record).stopped_at is None
        assert await coordinator.cancel_task(task_id) == receipt_of(record)


async def test_a_timeout_that_is_ignored_has_no_receipt_to_change() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        record, events = await run(coordinator, "deaf", timeout_s=10, for_s=20.0)

    assert [event.data["cause"] for event in events if event.type == "cancel_ignored"] == ["timeout"]
    assert (record.status, record.cancel) == ("timed_out", None)


async def test_a_cancel_was_delivered_when_it_arrived_first_however_often_it_is_repeated() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=100.0)
        await asyncio.sleep(3)
        first = await coordinator.cancel_task(task_id)
        await asyncio.sleep(50)
        assert receipt_of(await coordinator.get(task_id)).outcome is CancelOutcome.IGNORED, "it was repeated"
        insisted = await coordinator.cancel_task(task_id)
        record, _ = await ended(coordinator, task_id)

    assert first.delivered_at is not None
    assert insisted.delivered_at == receipt_of(record).delivered_at == first.delivered_at


@task
async def declines(ctx: TaskContext, then_s: float = 20.0) -> str:
    try:
        await forever()
    except asyncio.CancelledError:
        current = asyncio.current_task()
        assert current is not None
        current.uncancel()
    await ctx.emit("going.on")
    await asyncio.sleep(then_s)
    return "after all"


async def test_a_cancel_that_is_taken_back_is_said_so_and_sent_no_second_time() -> None:
    coordinator, _ = build([declines], cancel_grace_s=5)
    async with coordinator:
        record, events = await run_and_cancel(coordinator, "declines")

    assert types(events)[2:] == ["cancel_requested", "going.on", "cancel_ignored", "completed"]
    assert (record.result, now()) == ("after all", 20)
    receipt = receipt_of(record)
    assert (receipt.outcome, receipt.declined, receipt.stopped_at) == (CancelOutcome.IGNORED, True, None)


async def test_who_took_a_cancel_back_is_still_timed_out() -> None:
    coordinator, _ = build([declines], cancel_grace_s=5)
    async with coordinator:
        started, _ = await coordinator.start("declines", {}, timeout_s=10)
        await rounds()
        await coordinator.cancel_task(started.id)
        record, _ = await ended(coordinator, started.id)

    assert (record.status, now()) == ("timed_out", 10)
    assert receipt_of(record).declined


async def test_asking_again_after_it_was_taken_back_changes_nothing() -> None:
    coordinator, _ = build([declines], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "declines")
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(6)

        receipt = await coordinator.cancel_task(task_id, wait_s=1)

        assert (receipt.declined, now()) == (True, 7)
        assert (await coordinator.get(task_id)).status == "running"


# -- the deadline ------------------------------------------------------------------------------------------------------


@task
async def asks_time(ctx: TaskContext) -> list[float]:
    found = [ctx.deadline.remaining_s]
    await asyncio.sleep(4)
    found.append(ctx.deadline.remaining_s)
    await asyncio.sleep(4)
    found.append(ctx.deadline.remaining_s)
    return found


async def test_a_handler_sees_how_much_time_is_left_also_when_it_is_moved() -> None:
    coordinator, _ = build([asks_time])
    async with coordinator:
        record, _ = await coordinator.start("asks_time", {}, timeout_s=10)
        await asyncio.sleep(5)
        await coordinator.extend(record.id, {Limit.RUN: 100})
        record = await coordinator.wait(record.id, 100)

    assert record.result == [10, 6, 92]
    assert record.timeout_s == 100


# -- what a handler may do ---------------------------------------------------------------------------------------------


@task
async def says(what: str) -> Any:
    outcomes: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "object": lambda: object(),
        "large": lambda: "x" * 1000,
    }
    return outcomes[what]()


@pytest.mark.parametrize(("what", "code"), [("object", "invalid_result"), ("large", "result_too_large")])
async def test_a_result_that_cannot_be_kept_is_the_handlers_failure(what: str, code: str) -> None:
    coordinator, _ = build([says], event_bytes_max=500)
    async with coordinator:
        record, events = await run(coordinator, "says", what=what)

    assert only_end(events) == "failed"
    assert record.error is not None
    assert record.error.code == code
    assert record.result is None
    assert coordinator.limits_hit["result_too_large"] == (1 if code == "result_too_large" else 0)


@task
async def tells_too_much(ctx: TaskContext) -> None:
    await ctx.emit("tick", "x" * 1000)


@task
async def tells_nonsense(ctx: TaskContext) -> None:
    await ctx.emit("tick", object())


@pytest.mark.parametrize(("type", "code"), [("tells_too_much", "event_too_large"), ("tells_nonsense", "invalid_event")])
async def test_an_event_that_cannot_be_kept_is_the_handlers_failure(type: str, code: str) -> None:
    coordinator, _ = build([tells_too_much, tells_nonsense], event_bytes_max=500)
    async with coordinator:
        record, events = await run(coordinator, type)

    assert types(events) == ["pending", "running", "failed"]
    assert record.error is not None
    assert record.error.code == code


@task(retries=3)
async def chatters(ctx: TaskContext, n: int, how: str, attempts: int = 1) -> int:
    said = 0
    for number in range(n):
        if how == "emit":
            await ctx.emit("tick", 1)
        else:
            await ctx.progress(number)
        said += 1
    if ctx.attempt < attempts:
        raise ValueError("once more")
    return said


@task(run_in="thread")
def chatters_in_a_thread(ctx: ThreadContext, n: int, how: str) -> int:
    for number in range(n):
        if how == "log":
            ctx.log("a line")
        else:
            ctx.steps(number, n)
    return n


@pytest.mark.parametrize("how", ["emit", "progress"])
@pytest.mark.parametrize("durable", [True, False])
async def test_a_handler_that_says_more_than_a_log_may_have_has_failed(how: str, durable: bool) -> None:
    await _has_failed("chatters", how, durable=durable)


@pytest.mark.clock("real")
@pytest.mark.parametrize("how", ["log", "steps"])
async def test_a_handler_in_a_thread_that_says_more_than_a_log_may_have_has_failed(how: str) -> None:
    await _has_failed("chatters_in_a_thread", how, durable=True)


async def _has_failed(type: str, how: str, *, durable: bool) -> None:
    store = TestedStore(Settings(memory_events_max=3), durable=durable)  # what it forgets counts as well
    coordinator, _ = build([chatters, chatters_in_a_thread], store, events_max=10)
    async with coordinator:
        record, _ = await run(coordinator, type, n=8, how=how)
        assert (record.status, record.result, record.last_seq) == (TaskStatus.COMPLETED, 8, 11)
        assert coordinator.limits_hit["too_many_events"] == 0

        record, _ = await run(coordinator, type, n=9, how=how)
        assert record.error == TaskError("too_many_events", "The task has 10 events, and can have 10.")
        assert (record.status, record.last_seq) == (TaskStatus.FAILED, 11)
        assert coordinator.limits_hit["too_many_events"] == 1


async def test_a_handler_that_says_more_bytes_than_a_log_may_have_has_failed() -> None:
    coordinator, _ = build([chatters], log_bytes_max=100)
    async with coordinator:
        record, _ = await run(coordinator, "chatters", n=200, how="emit")
        assert record.error is not None
        assert record.error.code == "log_too_large"
        assert coordinator.limits_hit["log_too_large"] == 1
        assert record.last_seq == 2 + (100 - 2 - len('{"attempt":1}')) + 1, "another attempt would fail as well"


async def test_what_a_failed_attempt_has_said_counts_for_the_next_one() -> None:
    coordinator, _ = build([chatters], events_max=20)
    async with coordinator:
        record, _ = await run(coordinator, "chatters", n=7, how="emit", attempts=2)  # 1, 1 + 7, 1, 1 + 7
        assert (record.status, record.last_seq) == (TaskStatus.COMPLETED, 19)
        record, _ = await run(coordinator, "chatters", n=9, how="emit", attempts=2)
        assert record.error is not None
        assert (record.error.code, record.attempt, record.last_seq) == ("too_many_events", 2, 21)


async def test_what_was_said_before_a_crash_counts() -> None:
    @task("chatters", on_interrupt="restart", attempts_max=2)
    async def chatters_on(ctx: TaskContext) -> None:
        for _ in range(5):
            await ctx.emit("tick")
        if ctx.attempt == 1:
            await asyncio.get_running_loop().create_future()

    for events_max, status in ((14, TaskStatus.COMPLETED), (13, TaskStatus.FAILED)):
        coordinator, store = build([chatters_on], events_max=events_max, grace_s=0.5)
        async with coordinator:
            task_id = await running(coordinator, "chatters")
        again, _ = build([chatters_on], store, events_max=events_max)
        async with again:
            assert (await again.wait(task_id, 10)).status is status


async def test_a_full_log_takes_all_that_the_server_has_to_say() -> None:
    @task
    async def fills(ctx: TaskContext) -> None:
        await ctx.emit("tick")
        with suppress(TooManyEvents):
            await ctx.emit("tick")
        await asyncio.get_running_loop().create_future()

    coordinator, _ = build([fills], events_max=3)
    async with coordinator:
        task_id = await running(coordinator, "fills")
        with pytest.raises(TooManyEvents):
            await coordinator.send_input(task_id, "more")
        await coordinator.cancel_task(task_id, wait_s=10)
        assert types(await events_of(coordinator, task_id)) == [
            *("pending", "running", "tick", "cancel_requested", "cancelled")
        ]
        record, _ = await coordinator.start("fills", {}, timeout_s=1)
        assert types(await events_of(coordinator, record.id)) == [
            *("pending", "running", "tick", "deadline_warning", "timed_out")
        ]


@task
async def undecodable() -> None:
    raise OSError("no such file: caf\udce9")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


@task
async def mute() -> None:
    raise Mute


@pytest.mark.parametrize("type", ["undecodable", "mute"])
async def test_a_failure_that_cannot_be_told_in_words_is_an_end_all_the_same(type: str) -> None:
    coordinator, _ = build([undecodable, mute])
    async with coordinator:
        _, events = await run(coordinator, type)

    assert only_end(events) == "failed"


@task
async def leaves_a_child(ctx: TaskContext) -> None:
    async def child() -> None:
        await asyncio.sleep(5)
        try:
            await ctx.emit("late")
        except Exception as error:
            LATE.append(type(error).__name__)

    CHILDREN.append(asyncio.create_task(child()))


LATE: list[str] = []
CHILDREN: list[asyncio.Task[None]] = []


async def test_what_a_handler_leaves_behind_cannot_speak_for_it() -> None:
    LATE.clear()
    coordinator, _ = build([leaves_a_child])
    async with coordinator:
        _, events = await run(coordinator, "leaves_a_child")
        await CHILDREN.pop()

    assert LATE == ["TaskEnded"]
    assert only_end(events) == "completed"


@task(on_interrupt="restart")
async def leaves_a_child_and_waits(ctx: TaskContext) -> None:
    async def child() -> None:
        for _ in range(50):
            try:
                await ctx.emit("late")
            except Exception as error:
                LATE.append(type(error).__name__)
                return
            await asyncio.sleep(0.5)

    CHILDREN.append(asyncio.create_task(child()))
    await forever()


async def test_nor_can_it_after_its_task_went_back_to_the_queue() -> None:
    """It would bring the committer down, with all that other tasks wait for."""
    LATE.clear()
    coordinator, store = build([leaves_a_child_and_waits, forever], grace_s=10)
    async with coordinator:
        task_id = await running(coordinator, "leaves_a_child_and_waits")
        await coordinator.shutdown()
        await CHILDREN.pop()
        record = await store.record(task_id)

    assert record is not None
    assert (record.status, record.attempt) == ("pending", 2)
    assert LATE in ([], ["TaskEnded"])


@task(on_interrupt="restart")
async def declines_once(ctx: TaskContext) -> None:
    if ctx.attempt == 1:
        await declines(ctx, 1000.0)
    await forever()


async def test_a_cancel_that_one_attempt_has_declined_does_not_keep_the_next_one_from_being_cancelled() -> None:
    coordinator, store = build([declines_once], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "declines_once")
        await coordinator.cancel_task(task_id, by="ann")
        await asyncio.sleep(6)
        assert receipt_of(await coordinator.get(task_id)).declined
        await coordinator.shutdown(1)
    again, _ = build([declines_once], store, cancel_grace_s=5)
    async with again, asyncio.timeout(60):
        await asyncio.sleep(1)
        record = await again.get(task_id)
        assert (record.status, record.attempt, record.cancel) == ("running", 2, None)
        receipt = await again.cancel_task(task_id, by="bob", wait_s=10)
        record = await again.get(task_id)

    assert (receipt.by, receipt.outcome) == ("bob", CancelOutcome.STOPPED)
    assert record.status == "cancelled"


# -- before the handler ------------------------------------------------------------------------------------------------


async def test_a_handler_is_not_at_work_before_the_store_calls_it_running() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        record, _ = await coordinator.start("gate", {})
        store.hold()
        await store.entered.wait()
        await asyncio.sleep(100)
        assert not gate.reached.is_set()
        assert coordinator.places() == [(record.id, "not started")]

        store.release()
        await gate.reached.wait()

        assert (await store.record(record.id)).status == "running"
        gate.opened.set()


@pytest.mark.parametrize("by", ["cancel", "shutdown"])
async def test_a_task_that_is_stopped_while_its_start_is_stored_runs_nothing(by: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        record, _ = await coordinator.start("gate", {})
        store.hold()
        await store.entered.wait()
        stopping: Any = coordinator.cancel_task(record.id, wait_s=9) if by == "cancel" else coordinator.shutdown(100)
        stopping = asyncio.create_task(stopping)
        await asyncio.sleep(97 if by == "shutdown" else 1)
        store.release()
        await stopping
        events = await store.events_after(record.id, 0, last_seq=9, limit=9)

    assert not gate.reached.is_set()
    asked = ["cancel_requested"] if by == "cancel" else []
    assert types(events) == ["pending", "running", *asked, "cancelled" if by == "cancel" else "interrupted"]


@pytest.mark.parametrize("delete", [False, True])
async def test_a_task_that_was_ended_elsewhere_before_its_turn_never_runs(delete: bool) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler, forever], max_running=1)
    async with coordinator:
        first = await running(coordinator, "forever")
        second, _ = await coordinator.start("gate", {})
        await end_elsewhere(store, second.id, delete=delete)
        await coordinator.cancel_task(first, wait_s=10)
        await asyncio.sleep(1)

        assert not gate.reached.is_set()
        assert coordinator.running() == []
        if delete:
            with pytest.raises(TaskNotFound):
                await coordinator.get(second.id)
        else:
            assert (await coordinator.get(second.id)).status == "failed"


async def test_its_time_begins_with_its_handler_and_not_in_the_queue() -> None:
    coordinator, _ = build([forever], max_running=1)
    async with coordinator:
        first = await running(coordinator, "forever")
        second, _ = await coordinator.start("forever", {}, timeout_s=5)
        await asyncio.sleep(100)
        await coordinator.cancel_task(first)
        record, _ = await ended(coordinator, second.id)

    assert (record.status, now()) == ("timed_out", 105)


@task
async def chatty(ctx: TaskContext) -> None:
    while True:
        await ctx.emit("tick")
        await asyncio.sleep(1)


# -- lost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete", [False, True])
async def test_a_task_that_was_ended_elsewhere_is_stopped_and_writes_nothing(delete: bool) -> None:
    coordinator, store = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        await end_elsewhere(store, task_id, delete=delete)
        stored = len(store.commits)
        with pytest.raises(TaskNotFound if delete else TaskTerminal):
            await coordinator.cancel_task(task_id)
        await asyncio.sleep(10)

        assert coordinator.running() == []
        assert [
            event for commit in store.commits[stored:] for event in commit.events if event.type != "cancel_requested"
        ] == []


@pytest.mark.parametrize("delete", [False, True])
async def test_a_task_whose_loss_is_found_by_its_own_event_is_stopped(delete: bool) -> None:
    coordinator, store = build([chatty])
    async with coordinator:
        task_id = await running(coordinator, "chatty")
        reading = asyncio.create_task(collect(await coordinator.watch(task_id)))
        await asyncio.sleep(2.5)
        await end_elsewhere(store, task_id, delete=delete)
        await asyncio.sleep(1)

        assert coordinator.running() == []
        assert types(await reading) == ["pending", "running", "tick", "tick", "tick"]
        assert leftovers(coordinator) == {}


async def test_a_task_to_whose_log_somebody_else_writes_is_stopped_and_holds_up_no_other(log_lines: LogLines) -> None:
    coordinator, store = build([chatty])
    async with coordinator:
        task_id, other = await running(coordinator, "chatty"), await running(coordinator, "chatty")
        record = await coordinator.get(task_id)
        await store.commit(Commit([Event(task_id, record.last_seq + 1, "theirs", record.updated_at, "{}")]))
        await asyncio.sleep(5)

        assert [each.id for each in coordinator.running()] == [other]
        assert coordinator.ready
        assert [line["task_id"] for line in log_lines if line["log_level"] == "error"] == [task_id]
        assert types(await collect(await coordinator.watch(task_id)))[-1] == "theirs"
        with pytest.raises(StoreUnavailable, match="runs nowhere here"):
            await coordinator.cancel_task(task_id)
        await coordinator.cancel_task(other)
        await asyncio.sleep(1)
        assert leftovers(coordinator) == {}


async def test_a_lost_task_that_does_not_obey_is_insisted_on_and_left_behind_at_the_end(log_lines: LogLines) -> None:
    coordinator, store = build([deaf], grace_s=10, cancel_grace_s=2)
    async with coordinator:
        task_id = await running(coordinator, "deaf")
        await end_elsewhere(store, task_id)
        with pytest.raises(TaskTerminal):
            await coordinator.cancel_task(task_id)
        await asyncio.sleep(20)
        assert [line for line in log_lines if "goes on after it was stopped" in line["event"]]
        await coordinator.shutdown()

        assert [each.id for each in coordinator.stuck] == [task_id]
        assert (await store.record(task_id)).error.code == "elsewhere"
        await gone(task_id)


async def test_the_deadline_of_a_task_that_was_ended_elsewhere_cannot_be_moved() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        await end_elsewhere(store, task_id)
        with pytest.raises(TaskTerminal):
            await coordinator.cancel_task(task_id)

        with pytest.raises(TaskTerminal):
            await coordinator.extend(task_id, {Limit.RUN: 5})


# -- the end of the process --------------------------------------------------------------------------------------------


@task(on_interrupt="restart")
async def restarts(ctx: TaskContext) -> None:
    await ctx.emit("begun")


@pytest.mark.parametrize(("type", "status"), [("gate", "interrupted"), ("restarts", "pending")])
async def test_a_task_whose_handler_never_began_is_not_said_to_have_stood_anywhere(type: str, status: str) -> None:
    gate = Gate()
    coordinator, store = build([gate.handler, restarts], grace_s=10)
    async with coordinator:
        record, _ = await coordinator.start(type, {})
        store.hold()
        await store.entered.wait()
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(9)
        store.release()
        await stopping
        events = await store.events_after(record.id, 0, last_seq=9, limit=9)
        record = await store.record(record.id)

    assert types(events) == ["pending", "running", status]
    assert record.status == status
    assert record.error is None or record.error.message == "The server stopped before the task had begun."


@task(on_interrupt="restart")
async def deaf_and_restarts() -> str:
    return await deaf(1000.0)


async def test_a_handler_that_outlives_the_grace_is_not_begun_again_beside_itself() -> None:
    """It still works on whatever it works on: the next server must not start a second one."""
    coordinator, store = build([deaf_and_restarts], grace_s=10)
    async with coordinator:
        task_id = await running(coordinator, "deaf_and_restarts")
        reading = asyncio.create_task(collect(await coordinator.watch(task_id)))
        await coordinator.shutdown()
        assert [each.id for each in coordinator.stuck] == [task_id], "it still runs"
        await gone(task_id)

    assert only_end(await reading) == "interrupted"
    record = await store.record(task_id)
    assert (record.status, record.attempt) == ("interrupted", 1)
    assert await store.unfinished() == []


async def test_the_end_that_could_not_be_stored_is_said_in_the_log(log_lines: LogLines) -> None:
    coordinator, store = build([instant], grace_s=10)
    async with coordinator:
        await coordinator.start("instant", {})
        store.away = True
        assert await coordinator.shutdown() > 0

    assert "the end of a task could not be stored" in [line["event"] for line in log_lines]


async def test_an_error_of_ours_ends_neither_the_group_nor_the_others(
    monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    coordinator, _ = build([instant, forever])
    async with coordinator:
        other = await running(coordinator, "forever")
        with monkeypatch.context() as patch:
            patch.setattr(runner_module, "outcome", lambda *_, **__: 1 / 0)
            record, events = await run(coordinator, "instant")

        assert "the runner failed" in [line["event"] for line in log_lines]
        assert only_end(events) == "failed"
        assert record.error is not None
        assert (record.error.code, record.error.message) == ("internal", "The server failed to end this task properly.")
        assert [each.id for each in coordinator.running()] == [other]


async def test_an_error_of_ours_after_the_end_changes_the_end_no_more(
    monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    coordinator, store = build([instant])
    async with coordinator:
        committed = coordinator._hub.committed

        async def broken(within_s: float | None = None) -> None:
            await committed(within_s)
            if any(record.status in TERMINAL for commit in store.commits for record in commit.updated):
                raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(coordinator._hub, "committed", broken)
            _, events = await run(coordinator, "instant")
            await rounds()

        assert "the runner failed" in [line["event"] for line in log_lines]
        assert only_end(events) == "completed"
        assert coordinator._tasks == {}


# -- the store is away -------------------------------------------------------------------------------------------------


async def test_a_cancel_while_the_store_does_not_answer_is_refused_in_time_and_done_later() -> None:
    coordinator, store = build([forever], store_wait_s=5)
    async with coordinator:
        task_id = await running(coordinator, "forever")
        store.hold()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await coordinator.cancel_task(task_id)
        assert now() == 5
        assert len(coordinator.running()) == 1

        store.release()
        record, _ = await ended(coordinator, task_id)

    assert record.status == "cancelled"
    assert receipt_of(record).outcome is CancelOutcome.STOPPED


@pytest.mark.parametrize("away", ["before", "meanwhile"])
async def test_a_cancel_stops_its_handler_also_while_the_store_is_away(away: str) -> None:
    """A full disk must not keep alive what fills it."""
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        if away == "before":
            store.away = True
            coordinator._hub.amend(coordinator._tasks[task_id].log)
            await rounds()
        else:
            store.hold()
        cancelling = asyncio.create_task(coordinator.cancel_task(task_id))
        await asyncio.sleep(1)
        assert len(gate.cancelled_at) == (away == "before")
        store.away = True
        store.release()
        await rounds()
        assert len(gate.cancelled_at) == 1

        store.away = False
        assert (await cancelling).delivered_at is not None
        record, _ = await ended(coordinator, task_id)

    assert record.status == "cancelled"


async def test_a_handler_pauses_at_its_emit_while_the_store_is_away_and_loses_nothing() -> None:
    coordinator, store = build([chatty])
    async with coordinator:
        task_id = await running(coordinator, "chatty")
        reading = asyncio.create_task(collect(await coordinator.watch(task_id)))
        await asyncio.sleep(3.5)
        store.away = True
        await asyncio.sleep(100)
        store.away = False
        await asyncio.sleep(10)
        await coordinator.cancel_task(task_id)
        events = await reading

    ticks = [event for event in events if event.type == "tick"]
    assert len(ticks) < 20
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert only_end(events) == "cancelled"


@task
async def fails_while_cleaning() -> None:
    try:
        await forever()
    finally:
        raise HandlerError("dirty", "There is a stain.")


async def test_an_error_while_cleaning_up_is_told_beside_who_cancelled() -> None:
    coordinator, _ = build([fails_while_cleaning])
    async with coordinator:
        record, _ = await run_and_cancel(coordinator, "fails_while_cleaning", by="anna", reason="too slow")

    assert record.error is not None
    assert record.error.message == "Cancelled by anna: too slow. Its cleanup raised HandlerError: There is a stain."


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nobody looks for garbage meanwhile."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("type", ["instant", "broken", "tidy"])
async def test_an_attempt_that_has_ended_is_freed_at_once(type: str) -> None:
    """Nothing of it refers to itself: where many tasks run, nobody has to look for their garbage."""
    coordinator, _ = build([instant, broken, tidy])
    async with coordinator:
        task_id = await running(coordinator, type) if type == "tidy" else (await coordinator.start(type, {}))[0].id
        runner = weakref.ref(coordinator._tasks[task_id])
        if type == "tidy":
            await coordinator.cancel_task(task_id)
        await ended(coordinator, task_id)
        await rounds()
        assert runner() is None
