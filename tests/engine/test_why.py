"""What is to be seen of a task is what it really waits for: handlers of many kinds, on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine import why as engine_why
from streaming.errors import StoreUnavailable, TaskNotFound
from streaming.records import TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.reporting import Report
from streaming.rules.waits import Wait
from streaming.rules.why import Hindrance, Seen, sentence, why
from streaming.tasks.external import external
from tests.kit import TestedStore, build
from tests.leftovers import leftovers
from tests.stage import Gate, deaf, forever, instant, now, rounds, running, tidy

pytestmark = pytest.mark.clock("virtual")


@task
async def naps(seconds: float = 100.0) -> None:
    await asyncio.sleep(seconds)


@task
async def listens(ctx: TaskContext) -> None:
    async for _ in ctx.inputs():
        pass


@task
async def floods(ctx: TaskContext) -> None:
    while True:
        await ctx.emit("drop")


@task
async def guards(ctx: TaskContext) -> None:
    async with ctx.protected("a page is written", at_most_s=5):
        await asyncio.sleep(10)
    await asyncio.sleep(100)


@task
async def parent(ctx: TaskContext) -> None:
    child = await ctx.start("naps")
    await child.result()


@task
async def crowd() -> None:
    async def inner() -> None:
        await asyncio.sleep(50)

    async with asyncio.TaskGroup() as group:
        group.create_task(inner())
        group.create_task(inner())


@task
async def streams() -> None:
    async def numbers() -> AsyncIterator[int]:
        await asyncio.sleep(7)
        yield 1

    async for _ in numbers():
        pass


@task(retries=3, backoff_s=100)
async def fails() -> None:
    raise ValueError


@task("single", max_running=1)
async def single() -> None:
    await asyncio.sleep(100)


HANDLERS: list[Callable[..., Any]] = [
    naps, listens, floods, guards, parent, crowd, streams, fails, single, forever, instant, tidy, deaf, external,
]  # fmt: skip


def built(store: TestedStore | None = None, **settings: Any) -> tuple[TaskCoordinator, Any]:
    return build(HANDLERS, store, **settings)


def line(handler: Any, offset: int) -> str:
    code = handler.__wrapped__.__code__ if hasattr(handler, "__wrapped__") else handler.__code__
    return f"test_why.py:{code.co_firstlineno + offset} in {code.co_name}"


async def seen_of(type: str, *, after_s: float = 1.0, **settings: Any) -> Seen:
    coordinator, _ = built(**settings)
    async with coordinator:
        task_id = await running(coordinator, type)
        await asyncio.sleep(after_s)
        found = await coordinator.why(task_id)
        await coordinator.shutdown(1)
    assert leftovers(coordinator) == {}
    return found


async def test_a_sleep_is_told_with_its_line_and_its_rest() -> None:
    found = await seen_of("naps", after_s=30)
    assert sentence(found) == f"It sleeps for another 70 s at {line(naps, 2)}; it has run for 30 s."


@pytest.mark.parametrize(
    ("type", "wait"),
    [("forever", Wait.FUTURE), ("listens", Wait.INPUT), ("parent", Wait.CHILD), ("streams", Wait.SLEEP)],
)
async def test_a_handler_is_seen_to_wait_for_what_it_waits_for(type: str, wait: Wait) -> None:
    found = await seen_of(type)
    assert found.stack is not None
    assert found.stack.wait is wait
    assert found.stack.where is not None
    assert all("calls.py" not in frame.where for frame in found.stack.frames)


async def test_an_asynchronous_generator_is_looked_into() -> None:
    assert "in numbers; it has run" in sentence(await seen_of("streams"))


async def test_a_child_is_named_and_listed() -> None:
    found = await seen_of("parent")
    assert found.stack is not None
    assert found.children == ((f"{2:032x}", "naps", TaskStatus.RUNNING),)
    assert found.stack.task_id == found.children[0][0]


async def test_the_tasks_of_a_group_are_followed() -> None:
    found = await seen_of("crowd")
    assert "for 2 asyncio tasks, the first of which sleeps for another 49 s at test_why.py:" in sentence(found)


async def test_a_handler_that_waits_for_room_is_said_to() -> None:
    coordinator, store = built(backlog_events_max=2)
    async with coordinator:
        task_id = await running(coordinator, "floods")
        store.away = True
        await asyncio.sleep(5)
        found = await coordinator.why(task_id)
        store.away = False
        await coordinator.shutdown(0)
    assert "waits until the store has taken more of its events at test_why.py:" in sentence(found)


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_a_cancel_that_a_protected_section_holds_back_is_told() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "guards")
        await asyncio.sleep(1)
        await coordinator.cancel_task(task_id, by="anna")
        found = await coordinator.why(task_id)
    assert sentence(found).startswith(
        "It is to stop (a cancel by anna), which its protected section 'a page is written' holds back for 4 s at most; "
    )


async def test_a_section_that_has_overrun_holds_nothing_back() -> None:
    found = await seen_of("guards", after_s=6)
    assert [(each.reason, each.left_s) for each in found.protections] == [("a page is written", 0.0)]


async def test_a_handler_that_ignores_its_cancel_is_said_to() -> None:
    coordinator, _ = built(cancel_grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=100)
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(6)
        found = await coordinator.why(task_id)
    assert sentence(found).startswith(
        "It was told 6 s ago to stop (a cancel by anonymous, 2 times by now), and has not; sleeps for another 94 s at "
    )
    assert why(found)["cancel"]["outcome"] == "ignored"


# -- since when --------------------------------------------------------------------------------------------------------


async def test_that_it_has_not_moved_is_known_from_the_second_look_on() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        first = await coordinator.why(task_id)
        await asyncio.sleep(20)
        second, third = await coordinator.why(task_id), await coordinator.why(task_id)
        assert [each.unmoved_since for each in (first, second, third)] == [None, first.time, first.time]
        assert "in this very wait for 20 s at least" in sentence(second)
        await coordinator.shutdown(0)


async def test_the_same_line_in_another_wait_is_none_that_has_not_moved() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "listens")
        await coordinator.why(task_id)
        await coordinator.send_input(task_id, 1)
        await asyncio.sleep(1)
        found = await coordinator.why(task_id)
        assert found.unmoved_since is None
        await coordinator.shutdown(0)


async def test_only_the_last_looks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_why, "LOOKS_MAX", 1)
    coordinator, _ = built()
    async with coordinator:
        one, two = await running(coordinator, "forever"), await running(coordinator, "forever")
        for task_id in (one, two):
            await coordinator.why(task_id)
        assert (await coordinator.why(one)).unmoved_since is None
        await coordinator.shutdown(0)


async def test_it_is_compared_with_past_runs_of_its_type() -> None:
    coordinator, _ = built()
    async with coordinator:
        for seconds in (1, 2, 50):
            await running(coordinator, "naps", seconds=seconds)
        await asyncio.sleep(60)
        task_id = await running(coordinator, "naps")
        await asyncio.sleep(10)
        found = await coordinator.why(task_id)
        assert list(found.past) == [50, 2, 1]
        assert "(longer than 2 of the last 3 runs of its type)" in sentence(found)
        assert found.eta is not None
        await coordinator.shutdown(0)


async def test_past_runs_that_cannot_be_read_are_not_waited_for_and_not_told() -> None:
    class Silent(TestedStore):
        async def durations(self, type: str, *, limit: int) -> list[float]:
            await asyncio.sleep(1000)
            raise StoreUnavailable("It is away.")

    coordinator, _ = built(Silent(Settings()))
    async with coordinator:
        task_id = await running(coordinator, "forever")
        before = now()
        found = await coordinator.why(task_id)
        assert now() - before == engine_why.PAST_WAIT_S
        assert (found.past, found.eta) == ((), None)
        await coordinator.shutdown(0)


# -- tasks that wait ---------------------------------------------------------------------------------------------------


async def turn_of(coordinator: TaskCoordinator, type: str, **options: Any) -> Seen:
    record, _ = await coordinator.start(type, {}, **options)
    await rounds()
    return await coordinator.why(record.id)


async def test_a_task_behind_others_is_told_how_many_and_why() -> None:
    coordinator, _ = built(max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        await turn_of(coordinator, "forever")
        found = await turn_of(coordinator, "forever", queue_timeout_s=60)
        assert sentence(found) == (
            "It waits for its turn, as no more tasks may run at the same time, with 1 waiting task ahead of it."
        )
        assert [limit for limit, _ in found.deadlines] == [Limit.QUEUE]
        await coordinator.shutdown(0)


async def test_a_limit_of_the_type_and_one_of_the_principal_are_told_apart() -> None:
    coordinator, _ = built(principal_running_max=2)
    async with coordinator:
        await running(coordinator, "single")
        of_type = await turn_of(coordinator, "single")
        await running(coordinator, "forever")
        of_principal = await turn_of(coordinator, "forever")
        assert of_type.turn is not None
        assert of_principal.turn is not None
        assert (of_type.turn.hindrance, of_principal.turn.hindrance) == (Hindrance.TYPE, Hindrance.PRINCIPAL)
        await coordinator.shutdown(0)


async def test_the_holder_of_a_key_is_named() -> None:
    coordinator, _ = built()
    async with coordinator:
        holder, _ = await coordinator.start("forever", {}, key="k")
        found = await turn_of(coordinator, "instant", key="k")
        assert f"as task {holder.id} has its key, with 0 waiting tasks ahead of it" in sentence(found)
        await coordinator.shutdown(0)


async def test_a_pause_between_attempts_says_when_it_ends() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("fails", {})
        await asyncio.sleep(1)
        found = await coordinator.why(record.id)
        assert sentence(found) == f"It pauses before attempt 2 until {found.record.retry_at}."
        await coordinator.shutdown(0)


async def test_a_task_whose_turn_comes_just_now_says_so() -> None:
    coordinator, _ = built()
    async with coordinator:
        with coordinator._turns.together():
            record, _ = await coordinator.start("forever", {}, key="k")
            found = await coordinator.why(record.id)
        assert sentence(found) == "It is about to begin."
        await coordinator.shutdown(0)


async def test_a_task_that_is_kept_for_the_next_server_says_so() -> None:
    coordinator, _ = built(max_running=1)
    async with coordinator:
        await running(coordinator, "tidy")
        record, _ = await coordinator.start("forever", {})
        await rounds()
        leaving = asyncio.create_task(coordinator.shutdown(10))
        await asyncio.sleep(1)
        found = await coordinator.why(record.id)
        await leaving
    assert sentence(found) == "It waits for the next server, as this one is stopping."


async def test_a_handler_that_has_not_begun_yet_waits_for_the_store() -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("forever", {})
        store.hold()
        found = await coordinator.why(record.id)
        store.release()
        assert sentence(found) == "It is about to begin."
        await coordinator.shutdown(0)


async def test_a_handler_that_has_ended_waits_for_the_store() -> None:
    coordinator, store = built()
    gate = Gate()
    coordinator.registry.add(gate.handler)
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        gate.opened.set()
        await rounds()
        found = await coordinator.why(task_id)
        store.release()
        await coordinator.wait(task_id, 10)
    assert sentence(found).startswith("It waits for the store; it has run for ")


# -- external tasks ----------------------------------------------------------------------------------------------------


async def test_a_worker_elsewhere_is_told_with_its_silence_and_when_it_fails() -> None:
    coordinator, _ = built(external_fail_s=100)
    async with coordinator:
        record, _ = await coordinator.start("external", {}, total_timeout_s=1000)
        await asyncio.sleep(5)
        pending = await coordinator.why(record.id)
        assert sentence(pending) == "It waits for a worker elsewhere, which has not been heard of for 5 s."
        assert [limit for limit, _ in pending.deadlines] == [Limit.TOTAL]
        await coordinator.report(record.id, Report(status=TaskStatus.RUNNING))
        await asyncio.sleep(30)
        found = await coordinator.why(record.id)
        assert "worked on elsewhere, by a worker that was last heard of 30 s ago; it has run for 30 s." in sentence(
            found
        )
        assert {limit for limit, _ in found.deadlines} == {Limit.RUN, Limit.TOTAL, Limit.HEARTBEAT}
        await coordinator.shutdown(0)


async def test_a_worker_that_was_not_told_of_a_cancel_yet_is_said_so_and_then_that_it_was() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        await coordinator.report(record.id, Report())
        await coordinator.cancel_task(record.id, by="anna")
        untold = await coordinator.why(record.id)
        await coordinator.report(record.id, Report())
        await asyncio.sleep(3)
        told = await coordinator.why(record.id)
        assert "is to stop (a cancel by anna), and has not been told yet; is worked on elsewhere" in sentence(untold)
        assert "was told 3 s ago to stop (a cancel by anna), and has not; is worked on elsewhere" in sentence(told)
        await coordinator.shutdown(0)


async def test_an_external_task_whose_key_is_busy_names_the_holder() -> None:
    coordinator, _ = built()
    async with coordinator:
        holder, _ = await coordinator.start("forever", {}, key="k")
        found = await turn_of(coordinator, "external", key="k")
        assert f"as task {holder.id} has its key" in sentence(found)
        await coordinator.shutdown(0)


async def test_at_the_end_no_clock_is_looked_at_and_no_limit_told() -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "tidy")
        record, _ = await coordinator.start("external", {})
        await coordinator.report(record.id, Report())
        leaving = asyncio.create_task(coordinator.shutdown(10))
        await asyncio.sleep(1)
        assert (await coordinator.why(record.id)).deadlines == ()
        await leaving


# -- no live task ------------------------------------------------------------------------------------------------------


async def test_a_task_that_has_ended_says_how() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("naps", {"seconds": 3})
        await coordinator.wait(record.id, 10)
        assert sentence(await coordinator.why(record.id)) == "It has ended: completed after a run of 3 s."


async def test_nothing_is_said_of_a_task_that_does_not_exist() -> None:
    coordinator, _ = built()
    async with coordinator:
        with pytest.raises(TaskNotFound):
            await coordinator.why("f" * 32)


async def test_to_look_changes_nothing() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "crowd")
        before = (await coordinator.get(task_id), len(store.commits))
        await coordinator.why(task_id)
        await rounds()
        assert (await coordinator.get(task_id), len(store.commits)) == before
        await coordinator.shutdown(0)
