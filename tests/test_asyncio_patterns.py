"""What our code relies on asyncio for, shown on our own classes: fan-out, deadlines, groups, protection, counting."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from streaming import HandlerError, TaskContext, TaskStatus, task
from streaming.config import Settings
from streaming.engine.subscription import Subscription
from streaming.errors import StoreUnavailable, TaskTimedOut
from streaming.events import Event
from streaming.records import CancelOutcome
from streaming.rules.deadlines import Limit
from tests.kit import TestedStore, build, collect, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, broken, deaf, forever, now, rounds, running, ticks, tidy

pytestmark = pytest.mark.clock("virtual")


def current() -> asyncio.Task[Any]:
    """The asyncio task that runs this."""
    found = asyncio.current_task()
    assert found is not None
    return found


async def fragile(subscription: Subscription, breaks_at: int) -> list[Event]:
    """A reader that fails at an event."""
    events: list[Event] = []
    while (batch := await subscription.next()) is not None:
        for event in batch.events:
            if event.seq == breaks_at:
                raise ConnectionResetError
            events.append(event)
    return events


# -- fan-out ----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("patterns", 1)
async def test_a_reader_that_fails_stops_neither_the_task_nor_another_reader() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 5})
        good = [asyncio.create_task(events_of(coordinator, started.id)) for _ in range(3)]
        bad = [asyncio.create_task(fragile(await coordinator.watch(started.id), breaks_at)) for breaks_at in (1, 3, 8)]
        logs = await asyncio.gather(*good)
        failures = await asyncio.gather(*bad, return_exceptions=True)

    assert [type(failure) for failure in failures] == [ConnectionResetError] * 3
    assert types(logs[0]) == ["pending", "running", *["tick"] * 5, "completed"]
    assert logs[0] == logs[1] == logs[2]


@pytest.mark.scenario("patterns", 1)
async def test_a_reader_whose_history_cannot_be_read_waits_alone() -> None:
    """Below the window a reader asks the store; who is in the window does not notice that it is away."""

    class Unreadable(TestedStore):
        readable = True

        async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
            if not self.readable:
                raise StoreUnavailable("The disk is gone.")
            return await super().events_after(task_id, seq, last_seq=last_seq, limit=limit)

    store = Unreadable(Settings())
    await store.open()
    coordinator, _ = build([ticks], store)
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 10})
        await asyncio.sleep(4.5)
        live = await coordinator.watch(started.id, tail=0)
        store.readable = False
        waits = asyncio.create_task(events_of(coordinator, started.id))
        newest = await collect(live)
        assert (now(), types(newest)) == (10, [*["tick"] * 5, "completed"])
        assert not waits.done()
        store.readable = True
        whole = await waits

    assert [event.seq for event in whole] == list(range(1, 14))
    assert whole[-6:] == newest


@pytest.mark.scenario("patterns", 2)
async def test_cancelling_a_fan_out_cancels_nothing_else() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 5})
        outside = asyncio.create_task(events_of(coordinator, started.id))

        async def fan_out() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(events_of(coordinator, started.id))

        inside = asyncio.create_task(fan_out())
        await asyncio.sleep(2.5)
        inside.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inside
        events = await outside

    assert types(events) == ["pending", "running", *["tick"] * 5, "completed"]


# -- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("patterns", 3)
async def test_a_timeout_raises_our_error_with_the_task_and_the_limit_in_it() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        started, _ = await coordinator.start("forever", {}, timeout_s=2.5)
        with pytest.raises(TaskTimedOut, match=r"timeout_s of 2\.5 s") as raised:
            await coordinator.result(started.id)

    assert (raised.value.task_id, raised.value.task_code, raised.value.code) == (started.id, "timed_out", "timed_out")


@pytest.mark.scenario("patterns", 4)
@pytest.mark.parametrize(("limit_s", "end"), [(10, "completed"), (5, "timed_out")])
async def test_one_deadline_covers_several_awaits(limit_s: float, end: str) -> None:
    left: list[float] = []

    @task
    async def several(ctx: TaskContext) -> None:
        for name in ("a", "b", "c"):
            await ctx.emit(name)
            left.append(ctx.deadline.remaining_s)
            await asyncio.sleep(2)

    coordinator, _ = build([several])
    async with coordinator:
        started, _ = await coordinator.start("several", {}, timeout_s=limit_s)
        events = await events_of(coordinator, started.id)

    warned = ["deadline_warning"] if end == "timed_out" else []
    assert types(events) == ["pending", "running", "a", "b", *warned, "c", end], "warned in the last fifth of the time"
    assert now() == min(limit_s, 6)
    assert left == [limit_s, limit_s - 2, limit_s - 4], "each await has what the ones before left over"


@pytest.mark.scenario("patterns", 5)
async def test_a_deadline_moved_later_gives_a_running_task_more_time() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        started, _ = await coordinator.start("forever", {}, timeout_s=10)
        await asyncio.sleep(9)
        record = await coordinator.extend(started.id, {Limit.RUN: 30})
        await coordinator.wait(started.id, 1000)

    assert (record.timeout_s, now()) == (30, 30), "counted from its start"
    ended = await store.record(started.id)
    assert (ended.status, ended.timeout_s) == (TaskStatus.TIMED_OUT, 30)
    assert ended.error.message == "Ran longer than its timeout_s of 30 s."


@pytest.mark.scenario("patterns", 6)
@pytest.mark.parametrize(("moved_to_s", "ends_at"), [(12, 12), (5, 9)])
async def test_a_deadline_moved_earlier_ends_the_task_earlier_if_need_be_at_once(
    moved_to_s: float, ends_at: float
) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        started, _ = await coordinator.start("forever", {}, timeout_s=20)
        await asyncio.sleep(9)
        await coordinator.extend(started.id, {Limit.RUN: moved_to_s})
        record = await coordinator.wait(started.id, 1000)

    assert (now(), record.status) == (ends_at, TaskStatus.TIMED_OUT)


@pytest.mark.scenario("patterns", 5)
@pytest.mark.scenario("patterns", 6)
async def test_a_deadline_moved_while_the_task_waits_for_its_turn_holds_from_its_start() -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler, forever], max_running=1)
    async with coordinator:
        await running(coordinator, "gate")
        queued, _ = await coordinator.start("forever", {}, timeout_s=10)
        await coordinator.extend(queued.id, {Limit.RUN: 3})
        await asyncio.sleep(100)
        gate.opened.set()
        await coordinator.wait(queued.id, 1000)

    assert now() == 103


@pytest.mark.scenario("patterns", 7)
async def test_every_task_has_a_timeout() -> None:
    @task(timeout_s=20)
    async def typed() -> None:
        await asyncio.sleep(1000)

    @task(timeout_s=500)
    async def generous() -> None:
        await asyncio.sleep(1000)

    coordinator, _ = build([forever, typed, generous], timeout_default_s=30, timeout_max_s=100)
    async with coordinator:
        limits = [(await coordinator.start(type, {}))[0].timeout_s for type in ("forever", "typed", "generous")]
        asked, _ = await coordinator.start("typed", {}, timeout_s=90)
        assert [*limits, asked.timeout_s] == [30, 20, 100, 90]
        await asyncio.sleep(101)
        assert coordinator.running() == []


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("patterns", 8)
async def test_leaving_the_coordinator_means_that_all_its_runners_have_ended() -> None:
    coordinator, _ = build([tidy, forever, ticks])
    async with coordinator:
        for type in ("tidy", "forever", "ticks"):
            await running(coordinator, type)
        runners = {each for each in asyncio.all_tasks() if each.get_name().startswith("streaming-runner-")}
        assert runners < coordinator._group._tasks, "one group holds them all, and who writes"

    assert asyncio.all_tasks() == {current()}
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("patterns", 8)
async def test_an_error_in_the_body_of_the_coordinator_still_drains_it() -> None:
    coordinator, store = build([tidy])
    task_ids: list[str] = []

    async def embedding_program() -> None:
        async with coordinator:
            task_ids.append(await running(coordinator, "tidy"))
            raise ValueError("a mistake of the embedding program")

    with pytest.raises(ExceptionGroup) as raised:
        await embedding_program()

    assert [str(error) for error in raised.value.exceptions] == ["a mistake of the embedding program"]
    task_id = task_ids[0]
    assert (await store.record(task_id)).status is TaskStatus.INTERRUPTED
    assert asyncio.all_tasks() == {current()}


@pytest.mark.scenario("patterns", 9)
async def test_an_exception_of_one_handler_leaves_its_siblings_running() -> None:
    coordinator, _ = build([ticks, broken])
    async with coordinator:
        sibling, _ = await coordinator.start("ticks", {})
        failing = [(await coordinator.start("broken", {}))[0].id for _ in range(3)]
        failed = [await coordinator.wait(task_id, 60) for task_id in failing]
        assert {record.status for record in failed} == {TaskStatus.FAILED}
        assert (await coordinator.wait(sibling.id, 60)).status is TaskStatus.COMPLETED


@pytest.mark.scenario("patterns", 9)
@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
async def test_not_even_what_is_meant_to_end_the_process_ends_a_sibling(raised: type[BaseException]) -> None:
    @task
    async def fatal() -> None:
        raise raised

    coordinator, _ = build([ticks, fatal])
    async with coordinator:
        sibling, _ = await coordinator.start("ticks", {})
        started, _ = await coordinator.start("fatal", {})
        assert (await coordinator.wait(started.id, 60)).status is TaskStatus.FAILED
        assert (await coordinator.wait(sibling.id, 60)).status is TaskStatus.COMPLETED


@pytest.mark.scenario("patterns", 10)
async def test_an_exception_group_of_a_handler_is_reported_whole() -> None:
    @task
    async def group() -> None:
        raise ExceptionGroup(
            "two", [ValueError("a"), ExceptionGroup("deeper", [KeyError("b"), HandlerError("c", "d")])]
        )

    coordinator, _ = build([group])
    async with coordinator:
        started, _ = await coordinator.start("group", {})
        record = await coordinator.wait(started.id, 60)

    assert record.error is not None
    for part in ("ValueError: a", "deeper", "KeyError: 'b'", "HandlerError: d"):
        assert part in record.error.message


@pytest.mark.scenario("patterns", 11)
async def test_events_of_several_children_of_one_handler_have_one_order() -> None:
    told: list[tuple[int, int, int]] = []

    @task
    async def family(ctx: TaskContext) -> None:
        async def child(name: int) -> None:
            for number in range(20):
                told.append((await ctx.emit("said", {"child": name, "number": number}), name, number))
                await asyncio.sleep((name * 7 + number) % 3)

        async with asyncio.TaskGroup() as group:
            for name in range(5):
                group.create_task(child(name))

    coordinator, _ = build([family], backlog_events_max=3)
    async with coordinator:
        started, _ = await coordinator.start("family", {})
        logs = await asyncio.gather(*(events_of(coordinator, started.id) for _ in range(3)))

    said = [event for event in logs[0] if event.type == "said"]
    assert logs[0] == logs[1] == logs[2]
    assert [event.seq for event in logs[0]] == list(range(1, 104))
    assert sorted(told) == [(event.seq, event.data["child"], event.data["number"]) for event in said], (
        "each emit was told its own seq"
    )
    for name in range(5):
        assert [event.data["number"] for event in said if event.data["child"] == name] == list(range(20))


# -- protection -------------------------------------------------------------------------------------------------------


def protects(log: list[str], at_most_s: float = 5.0) -> Callable[..., Any]:
    @task("protects")
    async def handler(ctx: TaskContext) -> None:
        await asyncio.sleep(1)
        try:
            async with ctx.protected("save", at_most_s=at_most_s):
                log.append("begun")
                await asyncio.sleep(2)
                log.append("saved")
            await asyncio.sleep(1)
            log.append("went on")
        except asyncio.CancelledError:
            log.append(f"cancelled at {now():g}")
            raise

    return handler


@pytest.mark.scenario("patterns", 12)
@pytest.mark.parametrize(
    ("cancel_at", "log"),
    [
        (0.5, []),
        (1.5, ["begun", "saved", "cancelled at 3"]),
        (3.5, ["begun", "saved", "cancelled at 3.5"]),
    ],
)
async def test_a_protected_section_finishes_under_a_cancel(cancel_at: float, log: list[str]) -> None:
    seen: list[str] = []
    coordinator, _ = build([protects(seen)])
    async with coordinator:
        started, _ = await coordinator.start("protects", {})
        await asyncio.sleep(cancel_at)
        receipt = await coordinator.cancel_task(started.id)
        returned_at = now()
        events = await events_of(coordinator, started.id)
        record = await coordinator.get(started.id)

    assert seen == log
    assert returned_at == cancel_at, "who cancels does not wait for the section"
    held = cancel_at == 1.5
    assert (receipt.delivered_at is None) is held
    assert [event.data["held_by"] for event in events if event.type == "cancel_requested"] == ["save" if held else None]
    assert record.status is TaskStatus.CANCELLED


@pytest.mark.scenario("patterns", 12)
@pytest.mark.parametrize("stop", ["timeout", "shutdown"])
async def test_a_protected_section_finishes_under_a_timeout_or_a_shutdown_as_well(stop: str) -> None:
    seen: list[str] = []
    coordinator, store = build([protects(seen)])
    async with coordinator:
        started, _ = await coordinator.start("protects", {}, timeout_s=2 if stop == "timeout" else 60)
        await asyncio.sleep(1.5)
        if stop == "shutdown":
            await coordinator.shutdown(3)
        else:
            await coordinator.wait(started.id, 60)

    assert seen == ["begun", "saved", "cancelled at 3"]
    assert (await store.record(started.id)).status == {"timeout": "timed_out", "shutdown": "interrupted"}[stop]


@pytest.mark.scenario("patterns", 12)
async def test_a_section_that_begins_while_the_cancel_is_being_stored_does_not_keep_the_caller() -> None:
    gate = Gate()

    @task
    async def late(ctx: TaskContext) -> None:
        await gate.opened.wait()
        async with ctx.protected("save"):
            await asyncio.sleep(4)

    coordinator, store = build([late])
    async with coordinator:
        task_id = await running(coordinator, "late")
        store.hold()
        coordinator._hub.when_committed(gate.opened.set)
        cancel = asyncio.create_task(coordinator.cancel_task(task_id))
        await store.entered.wait()
        await rounds()
        store.release()
        receipt = await cancel
        assert (now(), receipt.delivered_at) == (0, None), "it is held back"
        record = await coordinator.wait(task_id, 60)

    assert (now(), record.status) == (4, TaskStatus.CANCELLED)


@pytest.mark.scenario("patterns", 12)
async def test_a_section_that_overruns_is_reported_and_loses_its_protection() -> None:
    seen: list[str] = []
    coordinator, _ = build([protects(seen, at_most_s=1.5)])
    async with coordinator:
        started, _ = await coordinator.start("protects", {})
        await asyncio.sleep(1.5)
        await coordinator.cancel_task(started.id)
        events = await events_of(coordinator, started.id)

    assert seen == ["begun", "cancelled at 2.5"]
    assert types(events) == ["pending", "running", "cancel_requested", "log", "cancelled"]
    assert events[3].data["section"] == "save"


@pytest.mark.scenario("patterns", 13)
@pytest.mark.parametrize("second", ["cancel", "deadline", "shutdown"])
async def test_a_protected_section_finishes_under_a_second_stop_as_well(second: str) -> None:
    seen: list[str] = []
    coordinator, store = build([protects(seen)])
    async with coordinator:
        started, _ = await coordinator.start("protects", {})
        await asyncio.sleep(1.5)
        await coordinator.cancel_task(started.id, reason="first")
        await asyncio.sleep(0.5)
        if second == "cancel":
            await coordinator.cancel_task(started.id, reason="second")
        elif second == "deadline":
            await coordinator.extend(started.id, {Limit.RUN: 1})
        else:
            await coordinator.shutdown(2.5)
        await coordinator.wait(started.id, 60)

    record = await store.record(started.id)
    assert seen == ["begun", "saved", "cancelled at 3"]
    assert (record.status, record.cancel.reason) == (TaskStatus.CANCELLED, "first"), "the first cause wins"


@pytest.mark.scenario("patterns", 13)
async def test_a_cleanup_that_is_protected_is_not_cancelled_a_second_time() -> None:
    seen: list[str] = []

    @task
    async def careful(ctx: TaskContext) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            async with ctx.protected("undo", at_most_s=20):
                await asyncio.sleep(12)
                seen.append("undone")

    coordinator, _ = build([careful], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "careful")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        events = await events_of(coordinator, task_id)

    assert seen == ["undone"]
    assert types(events) == ["pending", "running", "cancel_requested", "cancelled"]
    assert (now(), receipt.outcome) == (12, CancelOutcome.STOPPED)


@pytest.mark.scenario("patterns", 14)
async def test_the_first_failure_wins_in_a_handlers_own_group_and_is_the_recorded_error() -> None:
    seen: list[str] = []

    @task
    async def group(ctx: TaskContext) -> None:
        async def fails(after_s: float, text: str) -> None:
            try:
                await asyncio.sleep(after_s)
                raise ValueError(text)
            except asyncio.CancelledError:
                seen.append(f"{text} was cancelled")
                raise

        async with asyncio.TaskGroup() as children:
            children.create_task(fails(2, "second"))
            children.create_task(fails(1, "first"))

    coordinator, _ = build([group])
    async with coordinator:
        started, _ = await coordinator.start("group", {})
        record = await coordinator.wait(started.id, 60)

    assert now() == 1
    assert seen == ["second was cancelled"]
    assert record.error is not None
    assert "ValueError: first" in record.error.message
    assert "second" not in record.error.message


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario("patterns", 15)
@pytest.mark.parametrize(
    "order",
    [order for count in (1, 2, 3) for order in itertools.permutations(("growth", "disconnect", "cancel"), count)],
    ids=", ".join,
)
async def test_waiting_for_the_first_of_growth_disconnect_and_cancel_leaks_no_task(order: tuple[str, ...]) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        log = coordinator._tasks[task_id].log
        before = asyncio.all_tasks()
        subscription = await coordinator.watch(task_id, tail=0)
        waiting = asyncio.create_task(subscription.next())
        await rounds()
        assert asyncio.all_tasks() == {*before, waiting}, "waiting takes no task of ours"

        for what in order:
            if what == "growth":
                coordinator._hub.append(log, "grown", "{}")
                await coordinator._hub.committed()
            elif what == "disconnect":
                subscription.close()
            else:
                waiting.cancel()
        await asyncio.wait({waiting})
        subscription.close()

        assert not log.readers
        assert asyncio.all_tasks() == before
        if order[0] == "cancel" or order[:2] == ("disconnect", "cancel"):
            assert waiting.cancelled(), "a cancel is never swallowed"
        elif order[0] == "disconnect":
            assert waiting.result() is None
        else:
            batch = waiting.result()
            assert batch is not None
            assert types(batch.events) == ["grown"]


@pytest.mark.scenario("patterns", 15)
async def test_a_cancelled_wait_loses_no_event() -> None:
    """The cancel of one wait and the growth come in the same step: the next wait still finds the event."""
    for order in ("growth, cancel", "cancel, growth"):
        coordinator, _ = build([ticks])
        async with coordinator:
            started, _ = await coordinator.start("ticks", {"n": 1, "pause_s": 50})
            await asyncio.sleep(1)
            subscription = await coordinator.watch(started.id)
            first = await subscription.next()
            assert first is not None
            seen = [event.seq for event in first.events]
            waiting = asyncio.create_task(subscription.next())
            await rounds()
            if order == "growth, cancel":
                subscription.wake()
                waiting.cancel()
            else:
                waiting.cancel()
                subscription.wake()
            await asyncio.wait({waiting})
            seen += [event.seq for event in await collect(subscription)]

        assert seen == [1, 2, 3, 4], order


# -- cancellation through a handler -----------------------------------------------------------------------------------


@pytest.mark.scenario("patterns", 16)
async def test_a_cancellation_passes_through_nested_awaits_from_the_inside_out() -> None:
    left: list[str] = []

    async def leaves(name: str, inner: Callable[[], Any]) -> None:
        try:
            await inner()
        finally:
            left.append(name)

    async def sleeps() -> None:
        await leaves("sleep", lambda: asyncio.sleep(100))

    async def in_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeps())

    async def in_timeout() -> None:
        async with asyncio.timeout(50):
            await leaves("group", in_group)

    @task
    async def nested() -> None:
        await leaves("timeout", in_timeout)

    coordinator, _ = build([nested])
    async with coordinator:
        task_id = await running(coordinator, "nested")
        await coordinator.cancel_task(task_id, wait_s=60)
        record = await coordinator.get(task_id)

    assert left == ["sleep", "group", "timeout"]
    assert (now(), record.status) == (0, TaskStatus.CANCELLED)


@pytest.mark.scenario("patterns", 17)
async def test_except_exception_in_a_handler_does_not_eat_a_cancellation() -> None:
    eaten: list[str] = []

    @task
    async def retries(ctx: TaskContext) -> None:
        while True:
            try:
                await asyncio.sleep(1)
                raise ConnectionError
            except Exception as error:
                eaten.append(type(error).__name__)

    coordinator, _ = build([retries])
    async with coordinator:
        started, _ = await coordinator.start("retries", {})
        await asyncio.sleep(3.5)
        receipt = await coordinator.cancel_task(started.id, wait_s=60)

    assert now() == 3.5
    assert receipt.outcome is CancelOutcome.STOPPED
    assert eaten == ["ConnectionError"] * 3


@pytest.mark.scenario("patterns", 18)
async def test_except_base_exception_that_eats_it_is_found_out_and_named_with_its_line() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=18)
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(6)
        record = await coordinator.get(task_id)
        assert record.cancel is not None
        assert (record.status, record.cancel.outcome) == (TaskStatus.RUNNING, CancelOutcome.IGNORED)
        assert record.cancel.where is not None
        assert record.cancel.where.startswith("stage.py:")
        assert record.cancel.where.endswith(" in deaf")
        assert record.cancel.stopped_at is None, "never called stopped while it runs"
        events = await events_of(coordinator, task_id)
        ended = await coordinator.get(task_id)

    ignored = [event for event in events if event.type == "cancel_ignored"]
    assert [(event.data["deliveries"], event.data["where"]) for event in ignored] == [
        (1, record.cancel.where),
        (2, record.cancel.where),
    ], "after 5 s, and after 10 more"
    assert now() == 18
    assert (types(events)[-1], ended.result) == ("cancelled", "what cancel?")
    assert ended.cancel is not None
    assert (ended.cancel.outcome, ended.cancel.stopped_at is None) == (CancelOutcome.STOPPED, False)


@pytest.mark.scenario("patterns", 18)
async def test_a_timeout_that_is_eaten_is_reported_too_and_no_cancel_is_blamed() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=5)
    async with coordinator:
        started, _ = await coordinator.start("deaf", {"for_s": 8}, timeout_s=1)
        events = await events_of(coordinator, started.id)
        record = await coordinator.get(started.id)

    assert types(events) == ["pending", "running", "deadline_warning", "cancel_ignored", "timed_out"]
    assert (events[3].data["cause"], record.cancel) == ("timeout", None)


@pytest.mark.scenario("patterns", 19)
async def test_the_cancel_counter_is_right_after_each() -> None:
    counted: list[tuple[str, int]] = []

    @task
    async def counts(ctx: TaskContext) -> None:
        counted.append(("at the start", current().cancelling()))
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        counted.append(("after an own timeout", current().cancelling()))
        try:
            async with ctx.protected("save"):
                await asyncio.sleep(2)
                counted.append(("in a protected section", current().cancelling()))
        except asyncio.CancelledError:
            counted.append(("delivered", current().cancelling()))
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            counted.append(("insisted", current().cancelling()))
            raise

    coordinator, _ = build([counts], cancel_grace_s=5)
    async with coordinator:
        started, _ = await coordinator.start("counts", {})
        await asyncio.sleep(2)
        runner = next(each for each in asyncio.all_tasks() if each.get_name() == f"streaming-runner-{started.id}")
        await coordinator.cancel_task(started.id, wait_s=60)
        assert runner.cancelling() == 0, "the runner was never cancelled itself"
        assert current().cancelling() == 0, "nor who asked"

    assert counted == [
        ("at the start", 0),
        ("after an own timeout", 0),
        ("in a protected section", 0),
        ("delivered", 1),
        ("insisted", 2),
    ]


def takes_back(goes_on_s: float) -> Callable[..., Any]:
    @task("takes_back")
    async def handler() -> str:
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            current().uncancel()
        await asyncio.sleep(goes_on_s)
        return "finished all the same"

    return handler


@pytest.mark.scenario("patterns", 20)
async def test_a_handler_that_takes_a_cancel_back_goes_on_and_its_receipt_says_so() -> None:
    coordinator, _ = build([takes_back(goes_on_s=30)], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "takes_back")
        await coordinator.cancel_task(task_id, by="ann")
        again = await coordinator.cancel_task(task_id, by="bob", wait_s=10)
        events = await events_of(coordinator, task_id)
        record = await coordinator.get(task_id)

    assert types(events) == ["pending", "running", "cancel_requested", "cancel_ignored", "completed"]
    assert (events[3].data["declined"], events[3].data["deliveries"]) == (True, 1), "and it was not cancelled again"
    assert (now(), record.status, record.result) == (30, TaskStatus.COMPLETED, "finished all the same")
    assert record.cancel == again
    assert (again.by, again.outcome, again.declined) == ("ann", CancelOutcome.IGNORED, True)
    assert again.where is not None
    assert again.where.endswith(" in handler")


@pytest.mark.scenario("patterns", 20)
async def test_a_handler_that_takes_a_cancel_back_to_clean_up_in_its_grace_has_stopped() -> None:
    coordinator, _ = build([takes_back(goes_on_s=4)], cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "takes_back")
        receipt = await coordinator.cancel_task(task_id, wait_s=60)
        record = await coordinator.get(task_id)

    assert (now(), record.status, receipt.outcome) == (4, TaskStatus.CANCELLED, CancelOutcome.STOPPED)


@pytest.mark.scenario("patterns", 20)
async def test_a_timeout_cannot_be_taken_back() -> None:
    coordinator, _ = build([takes_back(goes_on_s=30)], cancel_grace_s=5)
    async with coordinator:
        started, _ = await coordinator.start("takes_back", {}, timeout_s=1)
        events = await events_of(coordinator, started.id)

    assert types(events) == ["pending", "running", "deadline_warning", "cancel_ignored", "timed_out"]
    assert events[3].data["declined"] is False
    assert now() == 6, "cancelled again after the grace"
