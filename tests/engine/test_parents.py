"""Tasks that a handler starts live no longer than it, and need no place of their own while it waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming import HandlerError, TaskContext, TaskCoordinator, task
from streaming.engine.family import Child
from streaming.errors import TaskCancelled, TaskEnded, TaskFailed, TaskInterrupted
from streaming.records import Priority, TaskStatus
from streaming.rules.schedule import IfRunning
from streaming.rules.trace_context import TraceContext
from tests.kit import build, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, broken, ended, forever, instant, now, rounds, run

pytestmark = pytest.mark.clock("virtual")


@task(run_in="outside")
def there() -> None:
    """Work that is done elsewhere."""
    raise AssertionError("it is never called")


class Parent:
    """A handler that starts tasks as it is told, and says what became of them."""

    def __init__(self, *wanted: tuple[str, dict[str, Any]], collects: bool = True, **how: Any) -> None:
        self.children: list[Child] = []
        self.started = asyncio.Event()
        self.met: list[BaseException] = []

        @task("parent", **how)
        async def parent(ctx: TaskContext) -> list[Any]:
            for type, options in wanted:
                self.children.append(await ctx.start(type, options.get("params"), **options.get("options", {})))
            self.started.set()
            try:
                return [await child.result() for child in self.children] if collects else []
            except BaseException as error:
                self.met.append(error)
                raise

        self.handler = parent


async def test_the_tasks_of_a_task_belong_to_its_trace() -> None:
    trace = TraceContext(f"00-{'1' * 32}-{'2' * 16}-01", "a=1")
    parent, lone = Parent(("instant", {}), ("instant", {"options": {"trace": None}})), Parent(("instant", {}))
    coordinator, _ = build([parent.handler, instant])
    async with coordinator:
        started, _ = await coordinator.start("parent", {}, trace=trace)
        record = await coordinator.wait(started.id, 60)
        children = [await child.record() for child in parent.children]
        again, _ = await coordinator.retry(record.id)
        elsewhere, _ = await coordinator.retry(record.id, trace=TraceContext(f"00-{'3' * 32}-{'4' * 16}-00"))
    assert (record.traceparent, record.tracestate) == (trace.traceparent, "a=1")
    assert [(child.traceparent, child.tracestate) for child in children] == [(trace.traceparent, "a=1"), (None, None)]
    assert (again.traceparent, again.tracestate) == (None, None)  # who repeats a task does something of its own
    assert (elsewhere.traceparent, elsewhere.tracestate) == (f"00-{'3' * 32}-{'4' * 16}-00", None)
    coordinator, _ = build([lone.handler, instant])
    async with coordinator:
        await run(coordinator, "parent")
        assert (await lone.children[0].record()).traceparent is None


async def test_a_task_gets_results_of_tasks_that_it_has_started() -> None:
    parent = Parent(("instant", {}), ("instant", {}))
    coordinator, _ = build([parent.handler, instant])
    async with coordinator:
        record, _ = await run(coordinator, "parent")
        children = [await child.record() for child in parent.children]
    assert record.result == ["at once", "at once"]
    assert [child.parent for child in children] == [record.id, record.id]
    assert leftovers(coordinator) == {}


async def test_a_task_has_the_principal_of_its_parent_and_its_priority_unless_another_is_named() -> None:
    mallory = {"created_by": "mallory", "tenant": None}
    parent = Parent(("instant", {}), ("instant", {"options": {"priority": Priority.LOW, **mallory}}))
    coordinator, _ = build([parent.handler, instant])
    async with coordinator:
        record, _ = await coordinator.start("parent", {}, created_by="anna", tenant="acme", priority=Priority.HIGH)
        await coordinator.result(record.id)
        first, second = [await child.record() for child in parent.children]
    assert (first.created_by, first.tenant, first.priority) == ("anna", "acme", Priority.HIGH)
    assert (second.created_by, second.tenant, second.priority) == ("anna", "acme", Priority.LOW)


async def test_a_task_must_have_ended_when_the_time_of_its_parent_is_over() -> None:
    parent = Parent(("forever", {}), ("forever", {"options": {"total_timeout_s": 3}}))
    coordinator, _ = build([parent.handler, forever])
    async with coordinator:
        record, _ = await coordinator.start("parent", {}, timeout_s=10)
        await parent.started.wait()
        assert [(await child.record()).policy.total_timeout_s for child in parent.children] == [10, 3]
        assert (await ended(coordinator, record.id))[0].status is TaskStatus.TIMED_OUT
        assert now() == 10
    assert leftovers(coordinator) == {}


async def test_a_handler_whose_time_is_over_starts_nothing_more() -> None:
    met: list[BaseException] = []

    @task
    async def late(ctx: TaskContext) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            try:
                await ctx.start("instant")
            except TaskEnded as error:
                met.append(error)

    coordinator, _ = build([late, instant])
    async with coordinator:
        record, _ = await run(coordinator, "late", timeout_s=5)
    assert record.status is TaskStatus.TIMED_OUT
    assert len(met) == 1


@pytest.mark.parametrize(
    ("kind", "error"), [("broken", TaskFailed), ("forever", TaskCancelled)], ids=["fails", "is cancelled"]
)
async def test_a_parent_hears_how_a_task_ended(kind: str, error: type[Exception]) -> None:
    parent = Parent((kind, {}))
    coordinator, _ = build([parent.handler, broken, forever])
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await parent.started.wait()
        if kind == "forever":
            receipt = await parent.children[0].cancel("enough")
            assert (receipt.by, receipt.reason) == (f"task {task_id}", "enough")
        record, _ = await ended(coordinator, task_id)
    assert record.status is TaskStatus.FAILED
    assert [type(each) for each in parent.met] == [error]


@pytest.mark.parametrize("end", ["cancel", "return", "raise", "timeout"])
async def test_the_tasks_of_a_handler_end_with_it_however_it_ends(end: str) -> None:
    children: list[Child] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        children.append(await ctx.start("forever"))
        children.append(await ctx.start("forever"))
        await asyncio.sleep({"cancel": 1000, "timeout": 1000}.get(end, 5))
        if end == "raise":
            raise HandlerError("broken", "It is broken.")

    coordinator, _ = build([parent, forever], max_running=2)  # the second child waits for its turn
    async with coordinator:
        task_id = (await coordinator.start("parent", {}, timeout_s=50))[0].id
        await asyncio.sleep(2)
        if end == "cancel":
            await coordinator.cancel_task(task_id)
        await ended(coordinator, task_id)
        records = [(await ended(coordinator, child.id))[0] for child in children]
        logs = [types(await events_of(coordinator, child.id)) for child in children]
    assert leftovers(coordinator) == {}
    if end == "timeout":  # their time is over in the same moment
        assert {record.status for record in records} <= {TaskStatus.CANCELLED, TaskStatus.TIMED_OUT}
        return
    assert [record.status for record in records] == [TaskStatus.CANCELLED, TaskStatus.CANCELLED]
    assert logs == [
        ["pending", "running", "cancel_requested", "cancelled"],
        ["pending", "cancel_requested", "cancelled"],
    ]
    assert all(record.cancel is not None and record.cancel.by == "server" for record in records)


@pytest.mark.parametrize("kind", ["forever", "there"], ids=["here", "elsewhere"])
@pytest.mark.parametrize("store", ["stored", "refused"])
async def test_a_task_that_is_stored_after_its_parent_has_ended_never_runs(store: str, kind: str) -> None:
    """A start that its handler does not wait for, in the step in which the handler returns."""
    starting: list[asyncio.Task[Child]] = []
    begun = asyncio.Event()

    @task
    async def parent(ctx: TaskContext) -> None:
        starting.append(asyncio.create_task(ctx.start(kind)))
        begun.set()
        await asyncio.sleep(0)

    coordinator, journal = build([parent, forever, there])
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await begun.wait()
        journal.hold()
        await rounds()
        if store == "refused":
            journal.fail()
        journal.release()
        await asyncio.wait(starting)
        assert (await ended(coordinator, task_id))[0].status is TaskStatus.COMPLETED
        if store == "refused":
            assert starting[0].exception() is not None
        else:
            child, events = await ended(coordinator, starting[0].result().id)
            assert child.status is TaskStatus.CANCELLED
            assert types(events) == ["pending", "cancel_requested", "cancelled"]
    assert leftovers(coordinator) == {}


async def test_a_start_after_the_end_of_the_handler_is_refused() -> None:
    kept: list[TaskContext] = []

    @task
    async def leaky(ctx: TaskContext) -> None:
        kept.append(ctx)

    coordinator, _ = build([leaky, instant])
    async with coordinator:
        await run(coordinator, "leaky")
        with pytest.raises(TaskEnded):
            await kept[0].start("instant")
    assert leftovers(coordinator) == {}


async def test_what_an_attempt_has_left_behind_can_neither_tell_nor_start_in_the_next_one() -> None:
    kept: list[TaskContext] = []

    @task(retries=1)
    async def leaky(ctx: TaskContext) -> str:
        kept.append(ctx)
        if ctx.attempt == 1:
            raise ValueError("once more")
        for say in (kept[0].emit("ghost"), kept[0].progress(50), kept[0].start("instant")):
            with pytest.raises(TaskEnded):
                await say
        with pytest.raises(TaskEnded):
            await kept[0].log("ghost")
        return "done"

    coordinator, _ = build([leaky, instant])
    async with coordinator:
        record, events = await run(coordinator, "leaky")
    assert record.result == "done"
    assert types(events) == ["pending", "running", "retrying", "running", "completed"]


async def test_the_tasks_of_a_failed_attempt_end_before_the_next_one() -> None:
    children: list[Child] = []

    @task(retries=1)
    async def parent(ctx: TaskContext) -> str:
        children.append(await ctx.start("forever"))
        if ctx.attempt == 1:
            raise ValueError("once more")
        return "done"

    coordinator, _ = build([parent, forever])
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        first = await ended(coordinator, task_id)
        assert first[0].status is TaskStatus.COMPLETED
        assert [(await ended(coordinator, child.id))[0].status for child in children] == [TaskStatus.CANCELLED] * 2
    assert leftovers(coordinator) == {}


async def test_a_cancel_reaches_the_tasks_of_a_handler_when_it_reaches_the_handler() -> None:
    """A protected section of the parent may wait for a task: that is not torn either."""
    children: list[Child] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        children.append(await ctx.start("gate"))
        async with ctx.protected("pay", at_most_s=100):
            await children[0].result()
        await asyncio.sleep(1000)

    gate = Gate()
    coordinator, _ = build([parent, gate.handler])
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await gate.reached.wait()
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(5)
        assert (await children[0].record()).cancel is None
        gate.opened.set()
        record, _ = await ended(coordinator, task_id)
        child, _ = await ended(coordinator, children[0].id)
    assert (record.status, child.status) == (TaskStatus.CANCELLED, TaskStatus.COMPLETED)
    assert leftovers(coordinator) == {}


async def test_a_task_in_a_protected_section_ends_after_its_cancelled_parent() -> None:
    @task
    async def saver(ctx: TaskContext) -> None:
        async with ctx.protected("save", at_most_s=100):
            await asyncio.sleep(20)
        await asyncio.sleep(1000)

    parent = Parent(("saver", {}))
    coordinator, _ = build([parent.handler, saver])
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await parent.started.wait()
        await asyncio.sleep(1)
        await coordinator.cancel_task(task_id)
        assert (await ended(coordinator, task_id))[0].status is TaskStatus.CANCELLED
        assert now() == 1
        child, _ = await ended(coordinator, parent.children[0].id)
        assert child.status is TaskStatus.CANCELLED
        assert now() == 20
    assert leftovers(coordinator) == {}


async def test_grandchildren_end_too() -> None:
    @task
    async def nest(ctx: TaskContext, depth: int) -> None:
        child = await ctx.start("nest", {"depth": depth - 1}) if depth else await ctx.start("forever")
        await child.result()

    coordinator, _ = build([nest, forever])
    async with coordinator:
        task_id = (await coordinator.start("nest", {"depth": 3}))[0].id
        await asyncio.sleep(1)
        assert len(coordinator.running()) == 5
        await coordinator.cancel_task(task_id)
        await asyncio.sleep(1)
        assert len(coordinator.running()) == 0
        assert [(await coordinator.get(f"{number:032x}")).status for number in range(1, 6)] == ["cancelled"] * 5
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("if_running", list(IfRunning))
async def test_a_key_that_is_held_above_is_never_waited_for(if_running: IfRunning) -> None:
    """A task that waited for the key of its parent, which waits for it, would wait until the time is over."""
    parent = Parent(("middle", {}))

    @task
    async def middle(ctx: TaskContext) -> str:
        child = await ctx.start("instant", key="k", if_running=if_running)
        return str(await child.result())

    coordinator, _ = build([parent.handler, middle, instant])
    async with coordinator:
        record, _ = await coordinator.start("parent", {}, key="k")
        assert (await ended(coordinator, record.id))[0].status is TaskStatus.FAILED
        assert now() == 0
        assert (await parent.children[0].record()).error is not None
        assert (await parent.children[0].record()).error.code == "key_busy"  # type: ignore[union-attr]  # seen above
    assert leftovers(coordinator) == {}


async def test_a_parent_may_join_the_task_of_somebody_else_and_leaves_it_alive() -> None:
    gate = Gate()
    parent = Parent(("gate", {"options": {"key": "k", "if_running": IfRunning.JOIN}}))
    coordinator, _ = build([parent.handler, gate.handler], max_running=2)
    async with coordinator:
        theirs = await coordinator.start("gate", {}, key="k")
        task_id = (await coordinator.start("parent", {}))[0].id
        await parent.started.wait()
        assert parent.children[0].id == theirs[0].id
        await coordinator.cancel_task(task_id, wait_s=10)
        assert (await coordinator.get(theirs[0].id)).status is TaskStatus.RUNNING
        gate.opened.set()
        await coordinator.wait(theirs[0].id, 10)
    assert leftovers(coordinator) == {}


# -- the end of the process --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
async def test_a_parent_hears_at_once_that_a_task_has_no_turn_any_more(durable: bool) -> None:
    """In a drain nobody gets a turn: to wait for one would only waste the grace."""
    parent = Parent(("forever", {}))
    coordinator, store = build([parent.handler, forever], max_running=1)
    store.durable = durable
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        other = (await coordinator.start("forever", {}, priority=Priority.URGENT))[0].id
        await parent.started.wait()
        await rounds()
        assert [each.id for each in coordinator.running()] == [task_id, other], "lent to the one with priority"
        stopping = asyncio.create_task(coordinator.shutdown(10))
        await rounds()
        assert [type(each) for each in parent.met] == [TaskInterrupted]
        assert now() < 1
        await stopping
    child = await store.record(parent.children[0].id)
    assert child is not None
    assert child.status is TaskStatus.INTERRUPTED
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("how", ["drain", "crash"])
async def test_the_tasks_of_a_handler_do_not_outlive_its_process(how: str) -> None:
    """The next attempt of their parent knows nothing of them: it starts its own."""
    starts: list[int] = []

    @task(on_interrupt="restart", attempts_max=2)
    async def parent(ctx: TaskContext) -> str:
        if ctx.attempt == 2:
            return "again"
        child = await ctx.start("patient")
        await ctx.start("patient")
        return str(await child.result())

    @task(on_interrupt="restart")
    async def patient() -> None:
        starts.append(1)
        await asyncio.sleep(1000)

    coordinator, store = build([parent, patient], max_running=1, grace_s=2)
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await asyncio.sleep(1)
        assert len(starts) == 1
        if how == "crash":
            store.away = True
    assert (await store.record(task_id)).status is (TaskStatus.PENDING if how == "drain" else TaskStatus.RUNNING)
    assert leftovers(coordinator) == {}

    store.away = False
    again, _ = build([parent, patient], store)
    async with again:
        assert await again.result(task_id) == "again"
        children = [await again.get(f"{number:032x}") for number in (2, 3)]
        assert {child.status for child in children} == {TaskStatus.INTERRUPTED}
    assert len(starts) == 1
    assert leftovers(again) == {}


async def test_the_coordinator_is_the_host() -> None:
    coordinator, _ = build([instant])
    assert isinstance(coordinator, TaskCoordinator)
    with pytest.raises(TaskEnded):
        await coordinator.start_child("nobody", 1, "instant", {}, {}, 5.0)
