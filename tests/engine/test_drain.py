"""The grace is spent in order - finish, stop, flush - and the process never waits longer than it was told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from streaming import TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.runner import Runner
from streaming.errors import Draining
from streaming.rules.drain import Outlook, Phase, plan_drain
from tests.kit import TestedStore, build, collect, types
from tests.leftovers import leftovers
from tests.stage import Gate, deaf, forever, gone, now, rounds, running, ticks, tidy

pytestmark = pytest.mark.clock("virtual")

GRACE_S = 10.0
PLAN = plan_drain(GRACE_S, 5.0)
HANDLERS: list[Callable[..., Any]] = [deaf, forever, ticks, tidy]

LogLines = list[MutableMapping[str, Any]]


def built(*handlers: Callable[..., Any], **settings: Any) -> tuple[TaskCoordinator, Any]:
    return build([*HANDLERS, *handlers], **settings)


# -- each phase --------------------------------------------------------------------------------------------------------


async def test_with_nothing_running_it_takes_no_time() -> None:
    coordinator, _ = built()
    async with coordinator:
        assert await coordinator.shutdown() == 0
        assert now() == 0
        assert leftovers(coordinator) == {}


async def test_a_handler_that_finishes_in_its_time_is_left_in_peace() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "ticks", n=2, pause_s=2.0)
        await coordinator.shutdown(GRACE_S)

        assert now() == 4
        assert (await store.record(task_id)).status == "completed"


async def test_a_handler_that_does_not_is_stopped_when_that_time_is_over() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=2.0)
        await coordinator.shutdown(GRACE_S)

        assert now() == PLAN.finish_s + 2
        record = await store.record(task_id)
        assert (record.status, record.error.code) == ("interrupted", "shutdown")
        assert record.error.message == "The server stopped before the task had ended."


async def test_a_handler_that_is_stuck_is_left_behind_with_its_line(log_lines: LogLines) -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "deaf")
        await coordinator.shutdown(GRACE_S)

        assert now() == pytest.approx(PLAN.finish_s + PLAN.stop_s)
        record = await store.record(task_id)
        assert record.status == "interrupted"
        assert "stood at stage.py:" in record.error.message
        assert [(task_id, place.split(":")[0]) for task_id, place in coordinator.places()] == [(task_id, "stage.py")]
        stopping = [line for line in log_lines if line["event"] == "stopping a task"]
        assert [(line["task_id"], line["task_type"], line["where"][:9]) for line in stopping] == [
            (task_id, "deaf", "stage.py:")
        ]
        await gone(task_id)
    assert coordinator.places() == []


async def test_a_store_that_is_away_is_waited_for_until_the_end_and_not_longer(log_lines: LogLines) -> None:
    coordinator, store = built()
    async with coordinator:
        await running(coordinator, "forever")
        store.away = True

        lost = await coordinator.shutdown(GRACE_S)

        assert lost == 1  # the terminal event
        assert now() == GRACE_S
        assert leftovers(coordinator) == {}
        assert [line["events"] for line in log_lines if "could not be stored before the end" in line["event"]] == [1]


async def test_a_store_that_comes_back_in_time_loses_nothing() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        store.away = True
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(GRACE_S - 1)
        store.away = False

        assert await stopping == 0
        assert (await store.record(task_id)).status == "interrupted"


@pytest.mark.parametrize("grace_s", [0.0, 0.001, 1.0])
async def test_a_short_grace_is_kept_too(grace_s: float) -> None:
    coordinator, store = built()
    async with coordinator:
        stuck, obedient = await running(coordinator, "deaf"), await running(coordinator, "forever")
        await coordinator.shutdown(grace_s)

        assert now() <= grace_s + 1e-9
        for task_id in (stuck, obedient):
            assert (await store.record(task_id)).status == "interrupted"
        await gone(stuck)


# -- again, at once, shorter -------------------------------------------------------------------------------------------


async def test_calling_it_again_is_the_same_drain() -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "forever")
        first, second = await asyncio.gather(coordinator.shutdown(GRACE_S), coordinator.shutdown(1000))
        assert (first, second, now()) == (0, 0, PLAN.finish_s)

        assert await coordinator.shutdown(1000) == 0
        assert now() == PLAN.finish_s


@pytest.mark.parametrize(("at", "ends"), [(1.0, 1.0 + plan_drain(2.0, 5.0).finish_s), (4.0, PLAN.finish_s)])
async def test_a_shorter_grace_shortens_the_time_to_finish(at: float, ends: float) -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "forever")
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(at)
        coordinator.hurry(2.0)
        await stopping

        assert now() == pytest.approx(ends)


async def test_a_shorter_grace_shortens_the_time_to_clean_up() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=3.0)
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(PLAN.finish_s + 1)
        coordinator.hurry(0)
        await stopping

        assert now() == PLAN.finish_s + 1
        assert "did not stop within the grace" in (await store.record(task_id)).error.message
        await gone(task_id)


async def test_a_shorter_grace_shortens_the_wait_for_the_store() -> None:
    """A second Ctrl-C while a disk hangs."""
    coordinator, store = built()
    async with coordinator:
        await running(coordinator, "forever")
        store.hold()
        stopping = asyncio.create_task(coordinator.shutdown(100))
        await asyncio.sleep(98.5)  # in the flush
        coordinator.hurry(0.1)

        assert await stopping == 1
        assert now() == pytest.approx(98.6)


async def test_a_longer_grace_lengthens_nothing() -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "forever")
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(1)
        coordinator.hurry(1000)
        await stopping

        assert now() == PLAN.finish_s


async def test_a_caller_that_is_cancelled_does_not_end_the_drain() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        leaving = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.wait({leaving})

        await coordinator.shutdown(GRACE_S)

        assert (await store.record(task_id)).status == "interrupted"
        assert leftovers(coordinator) == {}


# -- the doors ---------------------------------------------------------------------------------------------------------


async def test_nothing_new_is_accepted_from_the_first_moment() -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "forever")
        assert (coordinator.ready, coordinator.draining) == (True, False)
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(0)

        assert (coordinator.ready, coordinator.draining) == (False, True)
        with pytest.raises(Draining):
            await coordinator.start("forever", {})
        await stopping
        with pytest.raises(Draining):
            await coordinator.start("forever", {}, idempotency_key="k")


@pytest.mark.parametrize(("durable", "status"), [(True, "pending"), (False, "interrupted")])
async def test_those_who_wait_keep_their_place_where_there_is_one(durable: bool, status: str) -> None:
    coordinator, store = built(max_running=1)
    store.durable = durable
    async with coordinator:
        await running(coordinator, "forever")
        waiting, _ = await coordinator.start("ticks", {})
        reading = asyncio.create_task(collect(await coordinator.watch(waiting.id)))
        await coordinator.shutdown(GRACE_S)

        assert (await store.record(waiting.id)).status == status
        assert types(await reading) == ["pending"] + [status] * (not durable)


@pytest.mark.parametrize("durable", [True, False])
async def test_a_start_that_is_stored_during_the_drain_is_a_task_that_waits(durable: bool) -> None:
    coordinator, store = built()
    store.durable = durable
    async with coordinator:
        await running(coordinator, "forever")
        store.hold()
        starting = asyncio.create_task(coordinator.start("ticks", {}))
        await store.entered.wait()
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(1)
        store.release()
        record, _ = await starting
        await stopping

        assert (await store.record(record.id)).status == ("pending" if durable else "interrupted")
        assert leftovers(coordinator) == {}


@task(on_interrupt="restart", attempts_max=2)
async def restarts(ctx: TaskContext) -> None:
    await forever()


@pytest.mark.parametrize(("durable", "status", "attempt"), [(True, "pending", 2), (False, "interrupted", 1)])
async def test_a_type_that_restarts_goes_back_to_the_queue_where_there_is_one(
    durable: bool, status: str, attempt: int
) -> None:
    coordinator, store = built(restarts)
    store.durable = durable
    async with coordinator:
        task_id = await running(coordinator, "restarts")
        await coordinator.shutdown(1)
        record = await store.record(task_id)

    assert (record.status, record.attempt) == (status, attempt)


@task(retries=3, backoff_s=1000)
async def fails_when_stopped(ctx: TaskContext) -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        raise ValueError("no luck")


@task(retries=3, backoff_s=1000)
async def fails_soon(ctx: TaskContext) -> None:
    await asyncio.sleep(0.5)
    raise ValueError("no luck")


@pytest.mark.parametrize("type", ["restarts", "fails_when_stopped", "fails_soon"])
@pytest.mark.parametrize("grace_s", [0, 1, GRACE_S])
async def test_one_that_is_to_go_on_later_and_cannot_be_stored_so_holds_up_no_exit(type: str, grace_s: float) -> None:
    """The store has it as running: the next process finds out what became of it."""
    coordinator, store = built(restarts, fails_when_stopped, fails_soon, store_wait_s=0.1)
    async with asyncio.timeout(GRACE_S + 5), coordinator:
        task_id = await running(coordinator, type)
        store.away = True
        await coordinator.shutdown(grace_s)
    assert (await store.record(task_id)).status == "running"


async def test_its_attempts_are_counted_over_the_shutdowns() -> None:
    coordinator, store = built(restarts)
    async with coordinator:
        task_id = await running(coordinator, "restarts")
    for _ in range(2):
        again, _ = build([restarts], store)
        async with again:
            await rounds()
            await again.shutdown(1)
    record = await store.record(task_id)

    assert (record.status, record.attempt) == ("interrupted", 2)


async def test_a_cancel_before_the_drain_is_a_cancel_and_one_in_it_comes_too_late() -> None:
    coordinator, store = built()
    async with coordinator:
        before, within = await running(coordinator, "tidy"), await running(coordinator, "tidy")
        await coordinator.cancel_task(before)
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(PLAN.finish_s + 1)
        receipt = await coordinator.cancel_task(within)
        await stopping

        assert (await store.record(before)).status == "cancelled"
        record = await store.record(within)
        assert (record.status, record.cancel.outcome, receipt.delivered_at) == ("interrupted", "completed", None)


async def test_a_cancel_in_the_time_to_finish_still_counts() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(1)
        await coordinator.cancel_task(task_id)
        await stopping

        assert (await store.record(task_id)).status == "cancelled"
        assert now() == 1


async def test_every_reader_ends_with_the_drain() -> None:
    gate = Gate()
    coordinator, _ = built(gate.handler)
    async with coordinator:
        task_id = await running(coordinator, "gate")
        log = asyncio.create_task(collect(await coordinator.watch(task_id)))
        feed = asyncio.create_task(collect(await coordinator.follow()))
        await coordinator.shutdown(1)

        assert types(await log) == types(await feed) == ["pending", "running", "interrupted"]
        assert leftovers(coordinator) == {}


# -- a grace that is over before a handler has begun ------------------------------------------------------------------

#: What had begun in the steps of each handler that must not begin.
begun: list[str] = []


@task("again", on_interrupt="restart")
async def again(fails: bool = False) -> None:
    """The next process may run it again."""
    begun.append("again")
    if fails:
        raise ValueError("no luck")
    await asyncio.sleep(1000)


@pytest.fixture(autouse=True)
def nothing_has_begun() -> None:
    begun.clear()


@pytest.fixture
def late_runners(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Runners have their first step when it is set."""
    go, run = asyncio.Event(), Runner.run

    async def late(runner: Runner) -> None:
        await go.wait()
        await run(runner)

    monkeypatch.setattr(Runner, "run", late)
    return go


async def test_a_task_whose_turn_has_just_come_keeps_its_place_in_a_durable_store(late_runners: asyncio.Event) -> None:
    """It hung: what has not begun cannot be sent back to the queue."""
    coordinator, store = built(again)
    async with coordinator:
        started, _ = await coordinator.start("again", {})
        stopping = asyncio.create_task(coordinator.shutdown(0))
        await rounds()
        late_runners.set()
        assert await stopping == 0
        record, log = await store.record(started.id), await store.events_after(started.id, 0, last_seq=9, limit=9)

    assert (record.status, types(log), begun) == ("pending", ["pending"], [])
    assert leftovers(coordinator) == {}


async def test_without_a_durable_store_it_ends(late_runners: asyncio.Event) -> None:
    coordinator, _ = build([again], TestedStore(Settings(), durable=False))
    async with coordinator:
        started, _ = await coordinator.start("again", {})
        log = await coordinator.watch(started.id)
        stopping = asyncio.create_task(coordinator.shutdown(1))
        await asyncio.sleep(1)
        late_runners.set()
        await stopping

    assert (types(await collect(log)), begun) == (["pending", "interrupted"], [])


async def test_a_handler_does_not_begin_once_it_was_given_up() -> None:
    """The store was asked to note that it runs, and has answered only when the grace was over."""
    coordinator, store = built(again)
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("again", {}))
        await store.entered.wait()
        store.release()
        store.hold()  # for the next commit
        await starting
        await store.entered.wait()
        stopping = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(PLAN.finish_s + PLAN.stop_s + 0.1)
        store.release()
        await stopping
        (record,) = [each.record for each in store._tasks.values()]

    assert (record.status, record.attempt, begun) == ("pending", 2, [])


def abandon_in_the_step_of_its_end(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = runner._handler_ended

    def abandoned_first(handler: asyncio.Task[Any]) -> None:
        runner.abandon()
        ended(handler)

    monkeypatch.setattr(runner, "_handler_ended", abandoned_first)


@pytest.mark.parametrize(("durable", "last"), [(True, "retrying"), (False, "failed")])
async def test_who_has_ended_when_the_grace_is_over_ends_once(
    durable: bool, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner has not seen the end of its handler, and the drain has written it down already."""
    coordinator, store = build([again], TestedStore(Settings(), durable=durable))
    async with coordinator:
        started, _ = await coordinator.start("again", {"fails": True}, retry={"retries": 1, "backoff_s": 100})
        abandon_in_the_step_of_its_end(coordinator._turns.running[started.id], monkeypatch)
        with capture_logs() as lines:
            await rounds()
        log = await store.events_after(started.id, 0, last_seq=9, limit=9)

    assert types(log) == ["pending", "running", last]
    assert begun == ["again"]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []


async def test_a_cancel_that_is_the_last_word_is_left_to_the_next_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stored with the last commit: what follows from it could not be stored any more."""
    coordinator, store = built(again)
    run = Runner.run

    async def slow(runner: Runner) -> None:
        await run(runner)
        while not coordinator._hub.closed:  # noqa: ASYNC110  # a hub does not tell, and the clock is virtual
            await asyncio.sleep(0)

    monkeypatch.setattr(Runner, "run", slow)
    async with coordinator:
        started, _ = await coordinator.start("again", {"fails": True}, retry={"retries": 1, "backoff_s": 100})
        runner = coordinator._turns.running[started.id]
        await runner.settled.wait()
        runner.cancel("somebody", "enough")
        assert await coordinator.shutdown(0) == 0
        record = await store.record(started.id)

    assert (record.status, record.cancel.by) == ("retrying", "somebody")
    assert leftovers(coordinator) == {}


async def test_without_a_durable_store_a_task_between_two_attempts_ends() -> None:
    """Its failed attempt is over, and its runner waits for that to be stored."""
    coordinator, store = build([again], TestedStore(Settings(), durable=False))
    async with coordinator:
        started, _ = await coordinator.start("again", {"fails": True}, retry={"retries": 1, "backoff_s": 100})
        log = await coordinator.watch(started.id)
        runner = coordinator._turns.running[started.id]
        while runner.log.record.status != "retrying":  # noqa: ASYNC110  # a log does not tell, and the clock is virtual
            await asyncio.sleep(0)
        store.hold()
        stopping = asyncio.create_task(coordinator.shutdown(1))
        await asyncio.sleep(0.9)
        store.release()
        await stopping

    assert types(await collect(log)) == ["pending", "running", "retrying", "interrupted"]


async def test_the_phase_is_told_and_so_is_when_it_is_over_at_the_latest() -> None:
    coordinator, store = built()
    drain = coordinator.parts.drain
    async with coordinator:
        await running(coordinator, "deaf")
        assert (drain.phase, drain.begun) == (Phase.NONE, False)
        leaving = asyncio.create_task(coordinator.shutdown(GRACE_S))
        seen = []
        for at in (0.1, PLAN.finish_s + 0.1, PLAN.finish_s + PLAN.stop_s + 0.1):
            store.hold()
            await asyncio.sleep(at - now())
            seen.append(drain.phase)
        assert (seen, drain.end_at, drain.begun) == ([Phase.BEGIN, Phase.STOP, Phase.FLUSH], GRACE_S, True)
        coordinator.hurry(GRACE_S)
        assert drain.phase is Phase.FLUSH, "asking again does not begin it anew"
        store.release()
        await leaving
        assert str(drain.phase) == "end"


# -- what becomes of those that run ------------------------------------------------------------------------------------


@task
async def lasts(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def with_a_past(coordinator: TaskCoordinator) -> None:
    """Some runs of a type are over: three that took 3 s, and three that took 60 s."""
    for seconds in (3, 3, 3, 60, 60, 60):
        await running(coordinator, "lasts", seconds=seconds)
    await asyncio.sleep(100)


async def test_at_its_beginning_it_is_said_what_becomes_of_the_running_tasks(log_lines: LogLines) -> None:
    coordinator, _ = built(lasts)
    async with coordinator:
        await with_a_past(coordinator)
        stays = await running(coordinator, "lasts", seconds=60)
        await asyncio.sleep(10)  # longer than three of the past runs, so it is going to take 60 s
        unknown = await running(coordinator, "forever")
        leaving = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await rounds()
        assert {record.id: outlook for record, outlook in coordinator.outlooks()} == {
            stays: Outlook.STOP,
            unknown: Outlook.UNKNOWN,
        }
        left_s, counts = coordinator.drain_outlook()
        assert (left_s, dict(counts)) == (PLAN.finish_s, {Outlook.STOP: 1, Outlook.UNKNOWN: 1})
        await leaving
    (line,) = [line for line in log_lines if line["event"] == "what becomes of the running tasks"]
    assert {name: line[name] for name in Outlook} == {"finish": 0, "stop": 1, "unknown": 1}
    (stopped,) = [line for line in log_lines if line["event"] == "a task will be stopped"]
    assert (stopped["task_id"], stopped["task_type"], stopped["in_s"]) == (stays, "lasts", round(PLAN.finish_s, 1))


async def test_a_task_that_ends_in_time_is_said_to(log_lines: LogLines) -> None:
    coordinator, _ = built(lasts)
    async with coordinator:
        for _ in range(3):
            await running(coordinator, "lasts", seconds=3)
        await asyncio.sleep(10)
        await running(coordinator, "lasts", seconds=3)
        await coordinator.shutdown(GRACE_S)
    (line,) = [line for line in log_lines if line["event"] == "what becomes of the running tasks"]
    assert (line["finish"], line["stop"], line["unknown"]) == (1, 0, 0)


async def test_a_store_that_does_not_answer_holds_no_drain_up(log_lines: LogLines) -> None:
    class Silent(TestedStore):
        async def durations(self, type: str, *, limit: int) -> list[float]:
            await asyncio.sleep(1000)
            return []

    coordinator, _ = build([*HANDLERS], Silent(Settings()))
    async with coordinator:
        await running(coordinator, "ticks", n=1, pause_s=0.5)
        await coordinator.shutdown(GRACE_S)
        assert now() == 0.5
        await rounds()
    assert [line for line in log_lines if line["event"] == "what becomes of the running tasks"] == []
    assert leftovers(coordinator) == {}


async def test_with_nothing_running_there_is_nothing_to_say(log_lines: LogLines) -> None:
    coordinator, _ = built()
    async with coordinator:
        await coordinator.shutdown(GRACE_S)
        assert coordinator.outlooks() == []
    assert [line for line in log_lines if line["event"] == "what becomes of the running tasks"] == []


async def test_once_handlers_are_being_stopped_nobody_finishes_any_more() -> None:
    coordinator, _ = built()
    async with coordinator:
        await running(coordinator, "tidy", takes_s=2.0)
        leaving = asyncio.create_task(coordinator.shutdown(GRACE_S))
        await asyncio.sleep(PLAN.finish_s + 1)
        assert coordinator.drain_outlook() == (0.0, {Outlook.STOP: 1})
        await leaving
