"""The attempts of one task: which failure is followed by another one, after which pause, and what all of them share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming import HandlerError, Record, TaskContext, TaskCoordinator, task
from streaming.engine.runner import Runner
from streaming.events import Event, rfc3339
from streaming.records import Progress, TaskError, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from tests.engine.hubs import end_elsewhere
from tests.kit import EPOCH_S, build, events_of, types
from tests.leftovers import leftovers
from tests.stage import ended, forever, instant, now, rounds, run, running

pytestmark = pytest.mark.clock("virtual")


class Oops(ConnectionError):
    """A failure of its own class."""


@task
async def fails(ctx: TaskContext, times: int = 99, kind: str = "ValueError", runs_s: float = 0.0) -> int:
    await ctx.emit("try", {"attempt": ctx.attempt})
    await ctx.progress(50)
    await asyncio.sleep(runs_s)
    if ctx.attempt <= times:
        kinds: dict[str, Any] = {"ValueError": ValueError("no luck"), "Oops": Oops("no line")}
        raise kinds.get(kind) or HandlerError(kind, "It is so.")
    return ctx.attempt


def retry(retries: int, backoff_s: float = 8, **more: Any) -> dict[str, Any]:
    return {"retry": {"retries": retries, "backoff_s": backoff_s, **more}}


async def play(options: dict[str, Any], **params: Any) -> tuple[Record, list[Event], TaskCoordinator]:
    coordinator, _ = build([fails])
    async with coordinator:
        record, _ = await coordinator.start("fails", params, **options)
        record, events = await ended(coordinator, record.id)
    assert leftovers(coordinator) == {}
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "attempts share one log"
    assert [event.type for event in events if event.type in TERMINAL] == [record.status] == [events[-1].type]
    return record, events, coordinator


async def test_attempts_share_one_log_and_the_last_one_has_the_only_end() -> None:
    record, events, _ = await play(retry(2), times=2)
    attempt = ["running", "try", "progress"]
    assert types(events) == ["pending", *attempt, "retrying", *attempt, "retrying", *attempt, "completed"]
    assert (record.result, record.attempt, record.retries_left, record.retry_at, record.error) == (3, 3, 0, None, None)
    assert [event.data["attempt"] for event in events if event.type == "running"] == [1, 2, 3]


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_after_so_many_retries_the_task_has_failed(retries: int) -> None:
    record, events, _ = await play(retry(retries))
    assert types(events).count("running") == 1 + retries
    assert (record.status, record.attempt, record.retries_left) == (TaskStatus.FAILED, 1 + retries, 0)
    assert record.error == TaskError("handler_error", "ValueError: no luck")
    assert events[-1].data["error"]["message"] == "ValueError: no luck"


async def test_the_pause_doubles_up_to_its_limit_and_chance_takes_a_part_of_it() -> None:
    _, events, _ = await play(retry(5, backoff_s=8, backoff_max_s=20))
    failed = [event for event in events if event.type == "retrying"]
    begun = [event for event in events if event.type == "running"][1:]
    pauses = [4.0, 8.0, 10.0, 10.0, 10.0]  # half of 8, 16, 20, 20, 20
    at = 0.0
    for pause, event, start in zip(pauses, failed, begun, strict=True):
        assert event.time == rfc3339(EPOCH_S + at)
        at += pause
        assert event.data["retry_at"] == start.time == rfc3339(EPOCH_S + at)


async def test_between_two_attempts_the_record_says_what_went_wrong_and_when_it_goes_on() -> None:
    coordinator, store = build([fails])
    async with coordinator:
        record, _ = await coordinator.start("fails", {"times": 1}, **retry(3, 20))
        await asyncio.sleep(5)
        found = await coordinator.get(record.id)
        assert found == await store.record(record.id)
        assert (found.status, found.attempt, found.retries_left) == (TaskStatus.RETRYING, 2, 2)
        assert (found.retry_at, found.progress) == (rfc3339(EPOCH_S + 10), None)
        assert found.error is not None
        assert found.error.message == "ValueError: no luck"
        assert len(coordinator.running()) == 0
        await asyncio.sleep(5.1)
        found = await coordinator.get(record.id)
        assert (found.status, found.result, found.retry_at, found.error) == (TaskStatus.COMPLETED, 2, None, None)
        assert found.progress == Progress(50.0)
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize(
    ("on", "kind", "again"),
    [
        ([], "ValueError", True),
        ([], "busy", True),
        ([], "invalid_params", False),
        (["Oops"], "Oops", True),
        (["ConnectionError"], "Oops", True),
        (["OSError"], "Oops", True),
        (["Oops"], "ValueError", False),
        (["busy"], "busy", True),
        (["busy"], "other", False),
        (["invalid_params"], "invalid_params", True),
    ],
)
async def test_only_the_failures_that_are_listed_are_tried_again(on: list[str], kind: str, again: bool) -> None:
    record, events, _ = await play(retry(1, on=on), kind=kind)
    assert types(events).count("running") == 1 + again
    assert record.status is TaskStatus.FAILED
    assert record.retries_left == (0 if again else 1)


@pytest.mark.parametrize(("on", "attempts"), [([], 1), (["timed_out"], 2)])
async def test_a_run_that_took_too_long_is_tried_again_where_that_is_listed(on: list[str], attempts: int) -> None:
    record, events, _ = await play({**retry(1, 8, on=on), "timeout_s": 5}, runs_s=100)
    assert types(events).count("running") == attempts
    assert record.status is TaskStatus.TIMED_OUT
    assert events[-1].time == rfc3339(EPOCH_S + 5 + (attempts - 1) * 9)


@pytest.mark.parametrize("total_s", [3, 8, 11], ids=["run", "pause", "second run"])
async def test_the_time_as_a_whole_counts_over_all_attempts_and_pauses(total_s: float) -> None:
    record, events, _ = await play({**retry(9, 8), "total_timeout_s": total_s, "timeout_s": 500}, runs_s=5)
    assert record.error is not None
    assert (record.status, record.error.code) == (TaskStatus.TIMED_OUT, "total_timeout")
    assert events[-1].time == rfc3339(EPOCH_S + total_s)
    assert types(events).count("deadline_warning") >= 1


# -- stops in between --------------------------------------------------------------------------------------------------


async def test_a_cancel_in_the_pause_is_the_end_at_once() -> None:
    coordinator, _ = build([fails])
    async with coordinator:
        record, _ = await coordinator.start("fails", {}, **retry(3, 100))
        await asyncio.sleep(5)
        receipt = await coordinator.cancel_task(record.id, by="anna")
        final, events = await ended(coordinator, record.id)
        assert (final.status, final.cancel, final.retry_at) == (TaskStatus.CANCELLED, receipt, None)
        assert types(events)[-3:] == ["retrying", "cancel_requested", "cancelled"]
        await asyncio.sleep(1000)
        assert (await coordinator.get(record.id)).last_seq == len(events)
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("first", ["cancel", "turn"])
async def test_a_cancel_in_the_step_in_which_the_pause_is_over(first: str) -> None:
    attempts: list[int] = []

    @task(retries=1, backoff_s=20)
    async def counts(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("once more")
        await asyncio.sleep(100)

    coordinator, _ = build([counts])
    async with coordinator:
        record, _ = await coordinator.start("counts", {})
        await rounds()
        await asyncio.sleep(10 - now() + (-1e-6 if first == "cancel" else 1e-6))
        await coordinator.cancel_task(record.id)
        final, events = await ended(coordinator, record.id)
        assert final.status is TaskStatus.CANCELLED
        assert attempts == ([1] if first == "cancel" else [1, 2])
        assert types(events)[-1] == "cancelled"
    assert leftovers(coordinator) == {}


async def test_a_handler_that_fails_because_it_was_cancelled_is_not_tried_again() -> None:
    @task(retries=5)
    async def bad_loser() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError("how rude")

    coordinator, _ = build([bad_loser])
    async with coordinator:
        record, _ = await coordinator.start("bad_loser", {})
        await asyncio.sleep(1)
        await coordinator.cancel_task(record.id)
        final, events = await ended(coordinator, record.id)
        assert final.status is TaskStatus.CANCELLED
        assert "retrying" not in types(events)


async def test_a_cancel_that_was_declined_says_nothing_about_the_next_attempt() -> None:
    @task(retries=1, backoff_s=2)
    async def declines(ctx: TaskContext) -> str:
        if ctx.attempt == 1:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                current = asyncio.current_task()
                assert current is not None
                current.uncancel()
            await asyncio.sleep(20)
            raise ValueError("once more")
        await asyncio.sleep(10)
        return "done"

    coordinator, _ = build([declines])
    async with coordinator:
        record, _ = await coordinator.start("declines", {})
        await asyncio.sleep(1)
        await coordinator.cancel_task(record.id)
        await asyncio.sleep(10)
        assert (await coordinator.get(record.id)).cancel is not None
        await asyncio.sleep(15)
        assert (await coordinator.get(record.id)).cancel is None
        assert await coordinator.result(record.id) == "done"


@pytest.mark.parametrize("durable", [True, False])
async def test_a_shutdown_in_the_pause(durable: bool) -> None:
    coordinator, store = build([fails])
    store.durable = durable
    async with coordinator:
        record, _ = await coordinator.start("fails", {"times": 1}, key="k", **retry(3, 100))
        await asyncio.sleep(5)
        await coordinator.shutdown()
        assert now() == 5, "nobody waits for a pause"
    found = await store.record(record.id)
    assert leftovers(coordinator) == {}
    if not durable:
        assert (found.status, found.error.code, found.retry_at) == (TaskStatus.INTERRUPTED, "shutdown", None)
        return
    assert (found.status, found.retry_at) == (TaskStatus.RETRYING, rfc3339(EPOCH_S + 50))
    again, _ = build([fails], store)
    async with again:
        assert (await again.get(record.id)).retry_at == rfc3339(EPOCH_S + 50)
        assert await again.result(record.id) == 2
        assert now() == 50
        events = await events_of(again, record.id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert types(events).count("completed") == 1
    assert leftovers(again) == {}


async def test_a_pause_that_was_over_before_the_restart_is_over() -> None:
    coordinator, store = build([fails])
    async with coordinator:
        record, _ = await coordinator.start("fails", {"times": 1}, **retry(3, 100))
        await asyncio.sleep(5)
    await asyncio.sleep(500)
    again, _ = build([fails], store)
    async with again:
        assert await again.result(record.id) == 2
        assert now() == 505
    assert leftovers(again) == {}


async def test_interruptions_and_failures_are_counted_apart() -> None:
    @task(on_interrupt="restart", attempts_max=2, retries=1, backoff_s=2)
    async def unlucky(ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            raise ValueError("once more")
        await asyncio.sleep(1000 if ctx.attempt == 2 else 1)
        return ctx.attempt

    coordinator, store = build([unlucky], grace_s=2)
    async with coordinator:
        record, _ = await coordinator.start("unlucky", {})
        await asyncio.sleep(5)
    again, _ = build([unlucky], store)
    async with again:
        assert await again.result(record.id) == 3
        assert (await again.get(record.id)).retries_left == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_store_that_stumbles_while_a_failure_is_stored_changes_nothing(when: str) -> None:
    @task(retries=1, backoff_s=2)
    async def fails_once(ctx: TaskContext) -> int:
        await asyncio.sleep(1)
        if ctx.attempt == 1:
            store.fail(when)
            raise ValueError("once more")
        return ctx.attempt

    coordinator, store = build([fails_once])
    async with coordinator:
        record, events = await run(coordinator, "fails_once")
        assert (record.result, types(events)) == (2, ["pending", "running", "retrying", "running", "completed"])
    assert leftovers(coordinator) == {}


# -- silence -----------------------------------------------------------------------------------------------------------


async def test_a_handler_that_says_nothing_for_too_long_is_timed_out() -> None:
    @task(heartbeat_timeout_s=10)
    async def silent(ctx: TaskContext) -> None:
        for pause_s in (9, 9, 9, 100):
            await ctx.emit("alive")
            await asyncio.sleep(pause_s)

    coordinator, _ = build([silent])
    async with coordinator:
        record, events = await run(coordinator, "silent")
    assert record.error is not None
    assert (record.status, record.error.code) == (TaskStatus.TIMED_OUT, "heartbeat_timeout")
    assert events[-1].time == rfc3339(EPOCH_S + 37)
    assert record.heartbeat_at == rfc3339(EPOCH_S + 27)
    warned = [event for event in events if event.type == "deadline_warning"]
    assert [event.data["deadline"] for event in warned] == ["heartbeat_timeout_s"] * 4, "each silence is a new one"


@pytest.mark.parametrize("word", ["emit", "progress", "steps", "log"])
async def test_every_word_of_the_handler_ends_its_silence(word: str) -> None:
    @task(heartbeat_timeout_s=10)
    async def talks(ctx: TaskContext) -> str:
        for number in range(1, 5):
            await asyncio.sleep(9)
            if word == "emit":
                await ctx.emit("alive")
            elif word == "progress":
                await ctx.progress(number)
            elif word == "steps":
                await ctx.steps(number, 9)
            else:
                await ctx.log("alive")
        return "done"

    coordinator, _ = build([talks])
    async with coordinator:
        assert (await run(coordinator, "talks"))[0].result == "done"


async def test_what_the_server_and_others_say_is_no_sign_of_life() -> None:
    """A warning, an input, a viewer who leaves."""

    @task(heartbeat_timeout_s=10)
    async def silent() -> None:
        await asyncio.sleep(1000)

    coordinator, _ = build([silent])
    async with coordinator:
        record, _ = await coordinator.start("silent", {}, cancel_unwatched_s=500)
        await asyncio.sleep(3)
        await coordinator.send_input(record.id, "hello?")
        (await coordinator.watch(record.id)).close()
        await asyncio.sleep(3)
        await coordinator.send_input(record.id, "anybody?")
        final, events = await ended(coordinator, record.id)
        assert final.status is TaskStatus.TIMED_OUT
        assert events[-1].time == rfc3339(EPOCH_S + 10)
        assert {"input", "unwatched", "deadline_warning"} <= set(types(events))


async def test_a_handler_that_waits_for_the_store_is_not_silent() -> None:
    """It would talk if it could: an outage of the store must not end all tasks."""

    @task(heartbeat_timeout_s=10)
    async def talks(ctx: TaskContext) -> str:
        for _ in range(5):
            await ctx.emit("alive")
            await asyncio.sleep(5)
        await asyncio.sleep(4)
        return "done"

    coordinator, store = build([talks])
    async with coordinator:
        record, _ = await coordinator.start("talks", {})
        await asyncio.sleep(7)
        store.away = True
        await asyncio.sleep(100)
        store.away = False
        assert (await ended(coordinator, record.id))[0].result == "done"
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize(("on", "attempts"), [([], 1), (["heartbeat_timeout"], 3)])
async def test_a_silent_run_is_tried_again_where_that_is_listed(on: list[str], attempts: int) -> None:
    @task
    async def silent() -> None:
        await asyncio.sleep(1000)

    coordinator, _ = build([silent, instant])
    async with coordinator:
        record, _ = await coordinator.start("silent", {}, heartbeat_timeout_s=10, **retry(2, 2, on=on))
        final, events = await ended(coordinator, record.id)
        assert types(events).count("running") == attempts
        assert final.status is TaskStatus.TIMED_OUT
        silences = [event for event in events if event.type == "deadline_warning"]
        assert len(silences) == attempts
    assert leftovers(coordinator) == {}


# -- lost --------------------------------------------------------------------------------------------------------------


async def test_an_attempt_of_a_task_that_is_lost_before_its_first_step_does_not_begin() -> None:
    coordinator, _ = build([instant, forever], max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        record, _ = await coordinator.start("instant", {})
        runner = coordinator._tasks[record.id]
        assert isinstance(runner, Runner)
        coordinator._turns.withdraw(runner)
        coordinator._hub.drop(runner.log)
        await runner.run()
        assert runner.settled.is_set()
        assert runner.where() == "not started"
        coordinator._forget(runner)
        assert (await coordinator.get(record.id)).status is TaskStatus.PENDING
    assert leftovers(coordinator) == {}


async def test_nobody_is_warned_in_a_log_that_is_ours_no_longer() -> None:
    @task
    async def protects(ctx: TaskContext) -> None:
        async with ctx.protected("save", at_most_s=1000):
            await asyncio.sleep(2)
            await ctx.emit("tick")
            await asyncio.sleep(160)

    coordinator, store = build([protects])
    async with coordinator:
        record, _ = await coordinator.start("protects", {}, timeout_s=100)
        await asyncio.sleep(1)
        await end_elsewhere(store, record.id)
        await asyncio.sleep(200)
        assert [event.type for event in await coordinator.history(record.id, after=0, limit=9)] == [
            "pending",
            "running",
            "failed",
        ]
    assert leftovers(coordinator) == {}
