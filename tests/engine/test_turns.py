"""Whose turn it is, how many may run, and what becomes of those that wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.engine.family import Child
from streaming.errors import TaskCancelled, TaskFailed, TooManyTasks
from streaming.events import rfc3339
from streaming.records import Priority, TaskStatus
from streaming.rules.deadlines import Limit
from tests.engine.hubs import end_elsewhere
from tests.kit import EPOCH_S, build, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, broken, deaf, ended, forever, instant, now, rounds, running

pytestmark = pytest.mark.clock("virtual")


class Works:
    """A handler that writes down who works, and how many at once."""

    def __init__(self, name: str = "work", **how: Any) -> None:
        self.order: list[str] = []
        self.at_once = 0
        self.most = 0

        @task(name, **how)
        async def work(ctx: TaskContext, name: str = "", takes_s: float = 1.0) -> None:
            self.order.append(name)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(takes_s)
            finally:
                self.at_once -= 1

        self.handler = work


async def start_all(coordinator: TaskCoordinator, *wanted: tuple[str, dict[str, Any]], type: str = "work") -> list[str]:
    return [(await coordinator.start(type, {"name": name}, **options))[0].id for name, options in wanted]


async def wait_all(coordinator: TaskCoordinator, ids: list[str]) -> None:
    await asyncio.gather(*(coordinator.wait(id, 10_000) for id in ids))


# -- order -------------------------------------------------------------------------------------------------------------


async def test_priority_decides_whose_turn_is_next_and_among_equals_the_time() -> None:
    works = Works()
    coordinator, _ = build([works.handler], max_running=1)
    async with coordinator:
        wanted = [("first", Priority.LOW), ("b", Priority.LOW), ("c", Priority.NORMAL), ("d", Priority.URGENT)]
        more = [("e", Priority.HIGH), ("f", Priority.URGENT)]
        ids = await start_all(coordinator, *((name, {"priority": priority}) for name, priority in wanted + more))
        await wait_all(coordinator, ids)
    assert works.order == ["first", "d", "f", "e", "c", "b"]
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize(("waited_s", "order"), [(179, ["x", "new", "old"]), (181, ["x", "old", "new"])])
async def test_who_has_waited_long_enough_is_overtaken_by_nobody(waited_s: float, order: list[str]) -> None:
    """From low to urgent there are three steps of a minute."""
    works = Works()
    coordinator, _ = build([works.handler], max_running=1, ageing_s=60)
    async with coordinator:
        blocker = (await coordinator.start("work", {"name": "x", "takes_s": 500}))[0].id
        ids = await start_all(coordinator, ("old", {"priority": Priority.LOW}))
        await asyncio.sleep(waited_s)
        ids += await start_all(coordinator, ("new", {"priority": Priority.URGENT}))
        await wait_all(coordinator, [blocker, *ids])
    assert works.order == order
    assert leftovers(coordinator) == {}


async def test_a_low_task_does_not_starve_among_urgent_ones() -> None:
    works = Works()
    coordinator, _ = build([works.handler], max_running=1, ageing_s=10)
    async with coordinator:
        ids = await start_all(coordinator, ("first", {}), ("low", {"priority": Priority.LOW}))
        for number in range(60):  # each takes a second, and one a second comes
            ids += await start_all(coordinator, (str(number), {"priority": Priority.URGENT}))
            await asyncio.sleep(1)
        await wait_all(coordinator, ids)
    assert works.order.index("low") in range(29, 33)


async def test_after_a_restart_those_with_priority_come_first_and_those_that_had_begun_hold_their_keys() -> None:
    works = Works(on_interrupt="restart", attempts_max=3)
    coordinator, store = build([works.handler], max_running=1, grace_s=0.5)
    async with coordinator:
        await start_all(
            coordinator,
            ("runs", {"key": "k", "priority": Priority.LOW}),
            ("low", {"priority": Priority.LOW}),
            ("next", {"key": "k", "priority": Priority.URGENT}),
            ("high", {"priority": Priority.HIGH}),
        )
        await rounds()
    assert leftovers(coordinator) == {}
    assert works.order == ["runs"]

    works.order.clear()
    again, _ = build([works.handler], store, max_running=1)
    async with again:
        await wait_all(again, [f"{number:032x}" for number in range(1, 5)])
    assert works.order == ["high", "runs", "next", "low"]
    assert leftovers(again) == {}


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "settings", "most"),
    [
        ({}, {"max_running": 3}, 3),
        ({"max_running": 2}, {"max_running": 5}, 2),
        ({"max_running": 2}, {"max_running": 5, "type_limits": {"work": 4}}, 4),
        ({}, {"max_running": 5, "type_limits": {"work": 1}}, 1),
    ],
    ids=["instance", "type", "setting over type", "setting"],
)
async def test_no_more_run_at_once_than_may(how: dict[str, Any], settings: dict[str, Any], most: int) -> None:
    works, others = Works(**how), Works("other")
    coordinator, _ = build([works.handler, others.handler], **settings)
    async with coordinator:
        ids = await start_all(coordinator, *((str(number), {}) for number in range(12)))
        ids += await start_all(coordinator, ("other", {}), type="other")
        await wait_all(coordinator, ids)
    assert works.most == most
    assert sorted(works.order) == sorted(map(str, range(12)))
    assert leftovers(coordinator) == {}


async def test_a_type_that_is_full_holds_no_other_up() -> None:
    works, others = Works(max_running=1), Works("other")
    coordinator, _ = build([works.handler, others.handler], max_running=2)
    async with coordinator:
        ids = await start_all(coordinator, ("a", {}), ("b", {"priority": Priority.URGENT}))
        ids += await start_all(coordinator, ("c", {}), type="other")
        await rounds()
        assert (works.order, others.order) == (["a"], ["c"])
        await wait_all(coordinator, ids)


# -- of one principal --------------------------------------------------------------------------------------------------


ANNA: dict[str, Any] = {"created_by": "anna"}
BERT: dict[str, Any] = {"created_by": "bert"}


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_of_one_principal_run_at_once_than_may(most: int) -> None:
    works = Works()
    coordinator, _ = build([works.handler], principal_running_max=most)
    async with coordinator:
        ids = await start_all(coordinator, *((str(number), ANNA) for number in range(10)))
        await wait_all(coordinator, ids)
    assert works.most == most
    assert works.order == [str(number) for number in range(10)]
    assert leftovers(coordinator) == {}


async def test_a_principal_that_is_full_holds_no_other_up_whatever_its_priority() -> None:
    works = Works()
    coordinator, _ = build([works.handler], max_running=3, principal_running_max=1)
    async with coordinator:
        ids = await start_all(coordinator, *((f"anna {n}", {**ANNA, "priority": Priority.URGENT}) for n in range(3)))
        ids += await start_all(coordinator, ("bert", {**BERT, "priority": Priority.LOW}))
        await rounds()
        assert works.order == ["anna 0", "bert"]
        await wait_all(coordinator, ids)
    assert leftovers(coordinator) == {}


async def test_principals_of_one_name_in_two_tenants_are_two() -> None:
    works = Works()
    coordinator, _ = build([works.handler], principal_running_max=1)
    async with coordinator:
        whose: list[dict[str, Any]] = [ANNA, {**ANNA, "tenant": "x"}, {**ANNA, "tenant": "y"}, {**ANNA, "tenant": "x"}]
        ids = await start_all(coordinator, *((str(number), each) for number, each in enumerate(whose)))
        await rounds()
        assert works.order == ["0", "1", "2"]
        await wait_all(coordinator, ids)
    assert works.order[3:] == ["3"]
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("first", ["end", "start"])
async def test_a_start_and_the_end_of_another_of_its_principal_in_the_same_step(first: str) -> None:
    works = Works()
    coordinator, store = build([works.handler], principal_running_max=1)
    async with coordinator:
        ids = await start_all(coordinator, ("old", ANNA), ("waits", ANNA))
        if first == "start":
            await asyncio.sleep(0.999)
            store.hold()
        else:
            await asyncio.sleep(1)  # the end is written, and not stored
            store.hold()
        starting = asyncio.create_task(start_all(coordinator, ("new", ANNA)))
        await asyncio.sleep(0.5)
        store.release()
        ids += await starting
        await wait_all(coordinator, ids)
    assert (works.order, works.most) == (["old", "waits", "new"], 1)
    assert leftovers(coordinator) == {}


async def test_between_two_attempts_a_task_leaves_its_place_to_others_of_its_principal() -> None:
    works = Works()

    @task(retries=1, backoff_s=10)
    async def fails(ctx: TaskContext) -> None:
        works.order.append(f"attempt {ctx.attempt}")
        await asyncio.sleep(1)
        raise ValueError("no luck")

    coordinator, _ = build([works.handler, fails], principal_running_max=1)
    async with coordinator:
        record, _ = await coordinator.start("fails", {}, created_by="anna")
        ids = [record.id, *await start_all(coordinator, ("a", {**ANNA, "key": "k"}), ("b", {**ANNA, "key": "k"}))]
        ids += await start_all(coordinator, ("c", ANNA), ("d", ANNA))
        assert coordinator._turns.waiting_of["anna"] == 4
        await asyncio.sleep(1)
        assert coordinator._turns.waiting_of["anna"] == 4, "who pauses waits"
        await wait_all(coordinator, ids)
    assert works.order == ["attempt 1", "a", "b", "c", "d", "attempt 2"]
    assert leftovers(coordinator) == {}


async def test_after_a_crash_more_wait_than_may_and_no_more_run_than_may() -> None:
    works = Works()
    coordinator, store = build([works.handler], principal_running_max=1, grace_s=0)
    async with coordinator:
        await start_all(coordinator, *((str(number), ANNA) for number in range(6)))
    works.order.clear()

    again, _ = build([works.handler], store, principal_running_max=2, principal_pending_max=1)
    async with again:
        await rounds()
        assert again._turns.waiting_of["anna"] == 3
        with pytest.raises(TooManyTasks, match="at most 1 of one principal"):
            await again.start("work", {}, created_by="anna")
        await wait_all(again, [f"{number:032x}" for number in range(2, 7)])
    assert works.most == 2
    assert sorted(works.order) == ["1", "2", "3", "4", "5"]
    assert leftovers(again) == {}


async def test_a_principal_that_is_counted_wrong_is_full_or_not_as_soon_as_that_is_put_right() -> None:
    works = Works()
    coordinator, _ = build([works.handler, forever], principal_running_max=2)
    async with coordinator:
        turns = coordinator._turns
        blocker = (await coordinator.start("forever", {}, created_by="anna"))[0].id
        await rounds()
        turns._busy_of.change("anna", 1)
        turns._open_or_close("anna")
        ids = await start_all(coordinator, ("a", ANNA), ("b", ANNA))
        await rounds()
        assert works.order == []
        turns.recount()
        turns.fill()
        await wait_all(coordinator, ids)
        assert (works.order, works.most) == (["a", "b"], 1)

        await coordinator.start("forever", {}, created_by="anna")
        await rounds()
        turns._busy_of.change("anna", -1)
        turns._open_or_close("anna")
        turns.recount()
        assert turns.line.full == {"anna"}
        await coordinator.cancel_task(blocker, wait_s=10)
        await rounds()
        assert turns.line.full == set()
    assert leftovers(coordinator) == {}


# -- places that are lent ----------------------------------------------------------------------------------------------


@task
async def nest(ctx: TaskContext, depth: int) -> int:
    """A task in a task in a task."""
    if depth == 0:
        return 0
    child = await ctx.start("nest", {"depth": depth - 1})
    return 1 + int(await child.result())


@pytest.mark.parametrize(
    "settings",
    [{"max_running": 1}, {"type_limits": {"nest": 1}}, {"principal_running_max": 1}],
    ids=["instance", "type", "principal"],
)
async def test_tasks_under_tasks_never_wait_for_the_place_of_their_parents(settings: dict[str, Any]) -> None:
    coordinator, _ = build([nest], **settings)
    async with coordinator:
        record, _ = await coordinator.start("nest", {"depth": 20})
        assert await coordinator.result(record.id) == 20
    assert now() == 0
    assert leftovers(coordinator) == {}


class Family:
    """A handler whose work and whose children's work is counted: never more than may run at once."""

    def __init__(self, children: int, *, together: bool = False, kind: str = "work") -> None:
        self.works = Works()
        self.returned: list[float] = []
        self.met: list[BaseException] = []

        @task("parent")
        async def parent(ctx: TaskContext) -> None:
            for _ in range(1 if together else children):
                await self._work(1)
                wanted = [await ctx.start(kind) for _ in range(children if together else 1)]
                try:
                    await asyncio.gather(*(child.result() for child in wanted))
                except TaskFailed as error:
                    self.met.append(error)
                self.returned.append(now())
            await self._work(1)

        self.handler = parent

    async def _work(self, seconds: float) -> None:
        self.works.at_once += 1
        self.works.most = max(self.works.most, self.works.at_once)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.works.at_once -= 1


@pytest.mark.parametrize("kind", ["work", "broken"])
@pytest.mark.parametrize("settings", [{"max_running": 2}, {"principal_running_max": 2}], ids=["instance", "principal"])
@pytest.mark.parametrize("together", [False, True])
async def test_one_that_comes_back_waits_until_there_is_a_place_again(
    together: bool, kind: str, settings: dict[str, Any]
) -> None:
    """Otherwise each round of waiting would add one to those that run."""
    family = Family(3, together=together, kind=kind)
    coordinator, _ = build([family.handler, family.works.handler, broken], **settings)
    async with coordinator:
        ids = [(await coordinator.start("parent", {}))[0].id for _ in range(6)]
        ids += await start_all(coordinator, *((str(number), {"priority": Priority.HIGH}) for number in range(20)))
        await wait_all(coordinator, ids)
        assert {(await coordinator.get(id)).status for id in ids} == {TaskStatus.COMPLETED}
    assert family.works.most == 2
    assert leftovers(coordinator) == {}


async def test_one_that_comes_back_goes_on_before_anybody_begins() -> None:
    works = Works()
    order: list[str] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        await (await ctx.start("work", {"name": "child"})).result()
        order.append(f"back at {now():g}")

    coordinator, _ = build([parent, works.handler], max_running=1)
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        await rounds()
        ids = await start_all(coordinator, ("late", {"priority": Priority.HIGH}), ("later", {}))
        await wait_all(coordinator, [task_id, *ids])
    assert works.order == ["child", "late", "later"]
    assert order == ["back at 1"]
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("end", ["cancel", "timeout", "drain"])
async def test_one_that_waits_for_its_place_again_can_be_stopped(end: str) -> None:
    @task
    async def parent(ctx: TaskContext) -> None:
        await (await ctx.start("instant")).result()

    coordinator, _ = build([parent, instant, forever], max_running=1, grace_s=5)
    async with coordinator:
        task_id = (await coordinator.start("parent", {}, timeout_s=50))[0].id
        blocker = (await coordinator.start("forever", {}, priority=Priority.HIGH))[0].id
        await asyncio.sleep(1)
        await coordinator.cancel_task(f"{3:032x}", wait_s=10)  # never had its turn: that one has the place
        assert {each.id for each in coordinator.running()} == {task_id, blocker}
        if end == "cancel":
            await coordinator.cancel_task(task_id)
        if end != "drain":
            record, _ = await ended(coordinator, task_id)
            assert record.status is (TaskStatus.CANCELLED if end == "cancel" else TaskStatus.TIMED_OUT)
            await coordinator.cancel_task(blocker)
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("first", ["place", "cancel", "cancel, not noticed yet"])
async def test_a_place_that_is_given_back_in_the_step_of_a_cancel(first: str) -> None:
    @task
    async def parent(ctx: TaskContext) -> None:
        try:
            await (await ctx.start("instant")).result()
        except TaskCancelled:
            await asyncio.sleep(100)

    coordinator, _ = build([parent, instant, forever], max_running=1)
    turns = coordinator._turns
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        blocker = (await coordinator.start("forever", {}, priority=Priority.HIGH))[0].id
        await rounds()
        await coordinator.cancel_task(f"{3:032x}")
        await rounds()
        runner = turns.running[task_id]
        handler = runner._handler
        assert handler is not None
        if first == "place":
            turns._let_on(runner)  # as the end of the blocker does
            handler.cancel()
        else:
            handler.cancel()
            if first == "cancel":
                await rounds()
            else:
                turns._let_on(runner)
        await ended(coordinator, task_id)
        assert len(turns._returning) == 0
        await coordinator.cancel_task(blocker, wait_s=10)
    assert leftovers(coordinator) == {}


async def test_one_that_waits_for_something_else_meanwhile_needs_no_place() -> None:
    """Two branches of a handler: one has its result, and would wait for a place that it does not need."""
    times: list[float] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        children = [await ctx.start("instant"), await ctx.start("instant")]

        async def branch(child: Child, after_s: float) -> None:
            await asyncio.sleep(after_s)
            with pytest.raises(TaskCancelled):
                await child.result()
            times.append(now())

        await asyncio.gather(branch(children[0], 0), branch(children[1], 3))

    coordinator, _ = build([parent, instant, forever], max_running=1)
    async with coordinator:
        task_id = (await coordinator.start("parent", {}))[0].id
        blocker = (await coordinator.start("forever", {}, priority=Priority.HIGH))[0].id
        await asyncio.sleep(1)
        await coordinator.cancel_task(f"{3:032x}")
        await asyncio.sleep(9)
        assert times == [3], "it waited for a place until the other branch waited for something else"
        await coordinator.cancel_task(f"{4:032x}")
        await asyncio.sleep(10)
        await coordinator.cancel_task(blocker)
        await coordinator.wait(task_id, 100)
    assert times == [3, 20]
    assert leftovers(coordinator) == {}


async def test_what_a_handler_leaves_behind_lends_no_place() -> None:
    left: list[asyncio.Task[Any]] = []
    gate = Gate()

    @task
    async def parent(ctx: TaskContext) -> None:
        child = await ctx.start("gate")
        left.append(asyncio.create_task(child.result()))
        await asyncio.sleep(5)

    coordinator, _ = build([parent, gate.handler, forever], max_running=1)
    async with coordinator:
        waits = (await coordinator.start("parent", {}))[0].id
        await coordinator.wait(waits, 100)
        with pytest.raises(TaskCancelled):
            await left[0]
        comes_back = (await coordinator.start("parent", {}))[0].id
        blocker = (await coordinator.start("forever", {}, priority=Priority.HIGH))[0].id
        await rounds()
        await coordinator.cancel_task(f"{5:032x}", by="anna")  # its child, which has never had a turn
        await asyncio.sleep(1)
        assert not left[1].done(), "the place is the blocker's"
        await coordinator.wait(comes_back, 100)
        with pytest.raises(TaskCancelled, match="anna"):
            await left[1]
        await coordinator.cancel_task(blocker, wait_s=10)
        async with coordinator.lending("nobody"):
            pass
    assert leftovers(coordinator) == {}


# -- deadlines of those that wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "code", "at"),
    [
        ({"queue_timeout_s": 10}, "queue_timeout", 10),
        ({"total_timeout_s": 20}, "total_timeout", 20),
        ({"queue_timeout_s": 30, "total_timeout_s": 20}, "total_timeout", 20),
        ({"queue_timeout_s": 10, "total_timeout_s": 10}, "queue_timeout", 10),
    ],
)
async def test_a_task_that_waits_too_long_is_timed_out(limits: dict[str, Any], code: str, at: float) -> None:
    coordinator, _ = build([forever, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        record, _ = await coordinator.start("instant", {}, **limits)
        events = await events_of(coordinator, record.id)
        assert now() == at
        record = await coordinator.get(record.id)
        assert types(events)[0] == "pending"
        assert types(events)[-1] == "timed_out"
        assert set(types(events)[1:-1]) == {"deadline_warning"}
        assert record.error is not None
        assert (record.status, record.error.code) == (TaskStatus.TIMED_OUT, code)
        assert len(coordinator._turns) == 0
        await coordinator.cancel_task(f"{1:032x}")
    assert leftovers(coordinator) == {}


async def test_who_waits_is_warned_in_the_last_fifth_of_the_time() -> None:
    coordinator, _ = build([forever, instant], max_running=1, deadline_warning_s=60)
    async with coordinator:
        await running(coordinator, "forever")
        record, _ = await coordinator.start("instant", {}, queue_timeout_s=100)
        events = await events_of(coordinator, record.id)
    assert types(events) == ["pending", "deadline_warning", "timed_out"]
    assert events[1].time == rfc3339(EPOCH_S + 80)
    assert events[1].data == {"deadline": "queue_timeout_s", "at": rfc3339(EPOCH_S + 100), "remaining_s": 20}


async def test_the_deadlines_of_a_queue_do_not_count_in_a_run() -> None:
    coordinator, _ = build([forever], max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever")
        record, _ = await coordinator.start("forever", {}, queue_timeout_s=10)
        await asyncio.sleep(9.5)
        await coordinator.cancel_task(blocker)
        await asyncio.sleep(100)
        assert (await coordinator.get(record.id)).status is TaskStatus.RUNNING
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("first", ["turn", "deadline"])
async def test_a_turn_and_a_deadline_in_the_same_step(first: str) -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "gate")
        record, _ = await coordinator.start("instant", {}, queue_timeout_s=10)
        loop = asyncio.get_running_loop()
        loop.call_at(10 - (1e-6 if first == "turn" else -1e-6), gate.opened.set)
        final, events = await ended(coordinator, record.id)
        terminal = [event.type for event in events if event.type in {"completed", "timed_out"}]
        assert terminal == ["completed" if first == "turn" else "timed_out"] == [final.status]
    assert leftovers(coordinator) == {}


async def test_in_a_drain_no_deadline_of_a_queue_ends_a_task_that_waits_for_the_next_server() -> None:
    coordinator, store = build([deaf, instant], max_running=1, grace_s=100, cancel_grace_s=1)
    async with coordinator:
        await running(coordinator, "deaf", for_s=90)
        record, _ = await coordinator.start("instant", {}, queue_timeout_s=10)
        await coordinator.shutdown()
        assert now() >= 80
    assert (await store.record(record.id)).status is TaskStatus.PENDING
    assert leftovers(coordinator) == {}

    again, _ = build([deaf, instant], store)
    async with again:
        assert await again.result(record.id) == "at once", "there is a place for it at once"
    assert leftovers(again) == {}


async def test_the_wait_of_a_task_that_was_interrupted_begins_anew() -> None:
    """It had its turn in time once; the next wait is another one."""

    @task(on_interrupt="restart", attempts_max=2)
    async def again(ctx: TaskContext) -> int:
        await asyncio.sleep(1000 if ctx.attempt == 1 else 0)
        return ctx.attempt

    coordinator, store = build([again, forever], grace_s=0, max_running=2)
    async with coordinator:
        record, _ = await coordinator.start("again", {}, queue_timeout_s=10)
        other, _ = await coordinator.start("forever", {})
        await asyncio.sleep(50)
        store.away = True
    store.away = False
    coordinator, _ = build([again, forever], store, max_running=1)
    async with coordinator:
        await asyncio.sleep(1)
        assert await coordinator.result(record.id) == 2
    assert (await store.record(other.id)).status is TaskStatus.INTERRUPTED


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
async def test_a_wall_clock_that_jumps_over_a_restart_makes_no_wait_longer_than_it_may_be(jump_s: float) -> None:
    @task(retries=1, backoff_s=10, backoff_max_s=10)
    async def fails_once(ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            raise ValueError("once more")
        return ctx.attempt

    coordinator, store = build([fails_once, forever], max_running=1, grace_s=0)
    async with coordinator:
        paused = (await coordinator.start("fails_once", {}, priority=Priority.HIGH))[0].id
        await asyncio.sleep(1)
        await running(coordinator, "forever")
        waits = (await coordinator.start("forever", {}, queue_timeout_s=20))[0].id
    begun = now()
    again, _ = build([fails_once, forever], store, max_running=2)
    again._hub._wall = lambda: EPOCH_S + now() + jump_s
    async with again:
        assert await again.result(paused) == 2
        assert now() - begun <= (10 if jump_s < 0 else 0)
        assert (await again.get(waits)).status is TaskStatus.RUNNING
    assert leftovers(again) == {}


async def test_an_attempt_that_fails_in_a_drain_is_repeated_by_the_next_server() -> None:
    @task(retries=1, backoff_s=10)
    async def fails_late(ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            await asyncio.sleep(5)
            raise ValueError("once more")
        return ctx.attempt

    coordinator, store = build([fails_late], grace_s=20)
    async with coordinator:
        record, _ = await coordinator.start("fails_late", {}, key="k")
        await asyncio.sleep(1)
    found = await store.record(record.id)
    assert (found.status, found.retry_at) == (TaskStatus.RETRYING, rfc3339(EPOCH_S + 10)), "5 s, and half of 10 s"
    assert leftovers(coordinator) == {}
    again, _ = build([fails_late], store)
    async with again:
        assert await again.result(record.id) == 2
    assert now() == 10
    assert leftovers(again) == {}


# -- leaving the line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "retrying"])
async def test_one_that_is_withdrawn_leaves_nothing_behind_and_passes_its_key_on(status: str) -> None:
    @task(retries=3, backoff_s=1000)
    async def fails() -> None:
        raise ValueError("once more")

    coordinator, _ = build([fails, forever, instant], max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever") if status == "pending" else None
        record, _ = await coordinator.start("fails", {}, key="k", queue_timeout_s=5000, total_timeout_s=5000)
        follower, _ = await coordinator.start("instant", {}, key="k")
        await asyncio.sleep(5)
        assert (await coordinator.get(record.id)).status == status
        assert (await coordinator.get(follower.id)).status is TaskStatus.PENDING
        receipt = await coordinator.cancel_task(record.id, by="anna", reason="enough")
        assert (receipt.outcome, receipt.by) == ("stopped", "anna")
        assert (await coordinator.get(record.id)).status is TaskStatus.CANCELLED
        if blocker is not None:
            await coordinator.cancel_task(blocker)
        assert await coordinator.result(follower.id) == "at once"
        assert now() == 5
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("status", ["pending", "retrying"])
async def test_one_that_is_lost_while_it_waits_is_forgotten_at_once(status: str) -> None:
    """The loss is found out when something of it is written: a warning, say."""

    @task(retries=3, backoff_s=1000)
    async def fails() -> None:
        raise ValueError("once more")

    coordinator, store = build([fails, forever, instant], max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever") if status == "pending" else None
        record, _ = await coordinator.start("fails", {}, key="k", total_timeout_s=100)
        follower, _ = await coordinator.start("instant", {}, key="k")
        await asyncio.sleep(5)
        await end_elsewhere(store, record.id, delete=status == "retrying")
        await asyncio.sleep(94)  # the warning is over, the deadline is not
        assert record.id not in coordinator._tasks
        if blocker is not None:
            await coordinator.cancel_task(blocker)
        assert await coordinator.result(follower.id) == "at once"
        await asyncio.sleep(1000)
    assert leftovers(coordinator) == {}


async def test_a_task_in_its_run_that_is_lost_passes_its_key_on() -> None:
    @task
    async def emits(ctx: TaskContext) -> None:
        while True:
            await asyncio.sleep(1)
            await ctx.emit("tick")

    coordinator, store = build([emits, instant])
    async with coordinator:
        record, _ = await coordinator.start("emits", {}, key="k")
        follower, _ = await coordinator.start("instant", {}, key="k")
        await asyncio.sleep(5.5)
        await end_elsewhere(store, record.id, delete=True)
        assert await coordinator.result(follower.id) == "at once"
        assert now() < 8
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("durable", [True, False])
async def test_those_that_wait_when_the_drain_begins_keep_their_place_or_end(durable: bool) -> None:
    @task(retries=3, backoff_s=1000)
    async def fails() -> None:
        raise ValueError("once more")

    coordinator, store = build([fails, forever, instant], max_running=1)
    store.durable = durable
    async with coordinator:
        paused = (await coordinator.start("fails", {}, key="k"))[0].id
        await asyncio.sleep(1)
        await running(coordinator, "forever")
        waits = (await coordinator.start("instant", {}, key="k"))[0].id
        also = (await coordinator.start("instant", {}))[0].id
    kept = [TaskStatus.RETRYING, TaskStatus.PENDING, TaskStatus.PENDING]
    found = [(await store.record(id)).status for id in (paused, waits, also)]
    assert found == (kept if durable else [TaskStatus.INTERRUPTED] * 3)
    assert leftovers(coordinator) == {}


async def test_more_time_is_given_to_a_task_that_asked_for_no_limit() -> None:
    coordinator, _ = build([forever, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        record, _ = await coordinator.start("instant", {})
        await asyncio.sleep(3)
        await coordinator.extend(record.id, {Limit.QUEUE: 10})
        assert types(await events_of(coordinator, record.id))[-1] == "timed_out"
        assert now() == 10, "it counts from where the waiting began"
    assert leftovers(coordinator) == {}
