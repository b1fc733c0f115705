"""External tasks: a worker elsewhere reports, and log, time and keys are kept here as for every other task."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.errors import (
    Draining,
    InvalidParams,
    InvalidTaskType,
    KeyBusy,
    LogTooLarge,
    NotExternal,
    StatusConflict,
    StoreUnavailable,
    TaskNotFound,
    TaskTerminal,
    TooManyEvents,
)
from streaming.events import Event
from streaming.records import CancelOutcome, Priority, Progress, Steps, TaskError, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import Outcome
from streaming.rules.reporting import Report, ReportedEvent
from streaming.rules.schedule import IfRunning
from streaming.tasks.external import external
from tests.engine.hubs import end_elsewhere
from tests.kit import EPOCH_S, TestedStore, build, collect, events_of, types
from tests.leftovers import leftovers
from tests.stage import forever, instant, now, rounds, running, ticks

pytestmark = pytest.mark.clock("virtual")

WORD = Report()
DONE = Report(status=TaskStatus.COMPLETED, result={"frames": 7})
GIVEN_UP = Report(status=TaskStatus.FAILED, error=TaskError("no_disk", "The disk is full."))
STOPPED = Report(status=TaskStatus.CANCELLED)


@task("encode", run_in="outside", heartbeat_timeout_s=20)
def encode(path: str, crf: int = 23) -> None:
    """Encode a film."""
    raise AssertionError("it is never called")


HANDLERS: list[Callable[..., Any]] = [external, encode, forever, instant, ticks]


def built(store: TestedStore | None = None, **settings: Any) -> tuple[TaskCoordinator, Any]:
    return build(HANDLERS, store, **settings)


def ticked(*numbers: int | None) -> Report:
    """A report of ticks."""
    return Report(events=[ReportedEvent("tick", {"n": n}, n, f"events.{i}.") for i, n in enumerate(numbers)])


async def begun(coordinator: TaskCoordinator, type: str = "external", **options: Any) -> str:
    """Start a task whose worker was heard of."""
    record, _ = await coordinator.start(type, {"path": "x"}, **options)
    await coordinator.report(record.id, WORD)
    return record.id


async def log_of(coordinator: TaskCoordinator, task_id: str) -> list[Event]:
    """All events that there are."""
    return list(await coordinator.history(task_id, after=0, limit=100))


@asynccontextmanager
async def restarted(store: TestedStore, **settings: Any) -> AsyncIterator[TaskCoordinator]:
    coordinator, _ = built(store, **settings)
    async with coordinator:
        yield coordinator


# -- the life of one -------------------------------------------------------------------------------------------------


async def test_it_is_pending_until_its_worker_is_heard_of_and_ends_as_that_says() -> None:
    coordinator, store = built()
    async with coordinator:
        record, created = await coordinator.start("external", {"path": "x", "any": [1]})
        await asyncio.sleep(10)
        assert created
        assert (await coordinator.get(record.id)).status is TaskStatus.PENDING

        await asyncio.sleep(1)
        told = await coordinator.report(record.id, Report(status=TaskStatus.RUNNING), by="worker")
        assert (told.status, told.started_at) == (TaskStatus.RUNNING, "2001-09-09T01:46:51.000000Z")

        ended = await coordinator.report(record.id, DONE, by="worker")

        assert (ended.status, ended.result, ended.error) == (TaskStatus.COMPLETED, {"frames": 7}, None)
        assert ended == await store.record(record.id)
        assert types(await log_of(coordinator, record.id)) == ["pending", "running", "completed"]
        who = [(change.status, change.by) for change in await coordinator.changes(record.id)]
        assert who == [("pending", "anonymous"), ("running", "worker"), ("completed", "worker")]
        assert leftovers(coordinator) == {}


async def test_one_report_may_tell_the_whole_life_in_one_transaction() -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        before = len(store.commits)

        report = dataclasses.replace(ticked(1, 2), progress=(50, "half"), steps=(1, 2, "b"), status=TaskStatus.FAILED)
        ended = await coordinator.report(record.id, dataclasses.replace(report, error=TaskError("a", "b")))

        written = [commit for commit in store.commits[before:] if commit.events]
        assert [types(commit.events) for commit in written] == [["running", "tick", "tick", "progress", "failed"]]
        assert (ended.status, ended.error, ended.client_seq) == ("failed", TaskError("a", "b"), 2)
        assert (ended.progress, ended.steps) == (Progress(50.0, "half"), Steps(1, 2, "b"))


async def test_a_declared_type_has_its_parameters_checked_and_its_function_is_never_called() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("encode", {"path": "x"})
        assert record.params == {"path": "x", "crf": 23}
        with pytest.raises(InvalidParams):
            await coordinator.start("encode", {"path": "x", "other": 1})

        await coordinator.report(record.id, DONE)

        assert (await coordinator.result(record.id)) == {"frames": 7}


async def test_it_takes_no_place_of_those_that_run_here_and_waits_for_none() -> None:
    coordinator, _ = built(max_running=1, max_pending=1)
    async with coordinator:
        first, second = [await begun(coordinator) for _ in range(2)]
        await running(coordinator, "forever")
        third = await begun(coordinator)

        assert [(await coordinator.get(each)).status for each in (first, second, third)] == ["running"] * 3


# -- reports -----------------------------------------------------------------------------------------------------------


async def test_events_that_were_taken_are_not_taken_again() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        for numbers in ((1, 2), (1, 2), (2, 5)):
            await coordinator.report(task_id, ticked(*numbers))
        told = await coordinator.report(task_id, ticked(1, 2, 5, 9))

        assert told.client_seq == 9
        ticked_ = [event.data["n"] for event in await log_of(coordinator, task_id) if event.type == "tick"]
        assert ticked_ == [1, 2, 5, 9]
        assert (await store.record(task_id)).client_seq == 9


async def test_the_same_report_at_the_same_time_is_taken_once() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await asyncio.gather(*(coordinator.report(task_id, ticked(1, 2, 3)) for _ in range(5)))

        assert types(await log_of(coordinator, task_id)).count("tick") == 3


async def test_a_report_is_stored_before_it_is_acknowledged() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        store.hold()
        reporting = asyncio.create_task(coordinator.report(task_id, ticked(1)))
        await rounds()
        assert not reporting.done()

        store.release()
        told = await reporting

        assert (told.client_seq, told.last_seq) == (1, (await store.record(task_id)).last_seq)


async def test_a_report_is_one_transaction_whatever_else_is_written() -> None:
    """Were it torn by a crash, the number of its last event would not say what is stored."""
    coordinator, store = built(commit_events_max=10)
    async with coordinator:
        one, other = await begun(coordinator), await begun(coordinator)
        store.hold()
        reports = [
            asyncio.create_task(coordinator.report(task_id, ticked(*range(1, count + 1))))
            for task_id, count in ((one, 7), (other, 7), (one, 25), (other, 9))
        ]
        await rounds()
        store.release()
        await asyncio.gather(*reports)

        for commit in store.commits:
            numbers = {each.id: each.client_seq for each in commit.updated}
            for task_id in {event.task_id for event in commit.events if event.type == "tick"}:
                sent = [event.data["n"] for event in commit.events if (event.task_id, event.type) == (task_id, "tick")]
                assert numbers[task_id] == sent[-1]


async def test_one_bad_event_refuses_the_whole_report() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        bad = ReportedEvent("completed", {}, 4, "events.3.")
        with pytest.raises(InvalidParams) as caught:
            await coordinator.report(record.id, Report(events=[*ticked(1, 2, 3).events, bad]))

        assert [error.field for error in caught.value.errors] == ["events.3.type"]
        assert await coordinator.get(record.id) == record


@pytest.mark.parametrize("settings", [{"report_events_max": 2}, {"event_bytes_max": 6}])
async def test_the_limits_of_the_settings_hold(settings: dict[str, Any]) -> None:
    coordinator, _ = built(**settings)
    async with coordinator:
        task_id = await begun(coordinator)
        await coordinator.report(task_id, Report(events=[ReportedEvent("tick", 1)] * 2))
        with pytest.raises(InvalidParams):
            await coordinator.report(task_id, Report(events=[ReportedEvent("tick", "1234567")] * 3))
        assert coordinator.limits_hit["report_too_large"] == 1
        with pytest.raises(InvalidParams):
            await coordinator.report(task_id, Report(events=[ReportedEvent("a b", 1)]))
        assert coordinator.limits_hit["report_too_large"] == 1


@pytest.mark.parametrize("known", [True, False])
async def test_a_log_has_so_many_events_and_takes_no_more_of_its_worker(known: bool) -> None:
    coordinator, _ = built(events_max=6)
    async with coordinator:
        task_id = await begun(coordinator) if known else (await coordinator.start("external", {}))[0].id
        half_way = dataclasses.replace(ticked(1, 2, 3), progress=(50, None))
        with pytest.raises(TooManyEvents, match="and can have 6"):
            await coordinator.report(task_id, dataclasses.replace(half_way, events=ticked(1, 2, 3, 4).events))
        assert (await coordinator.get(task_id)).last_seq == (2 if known else 1), "all of a report is taken, or nothing"
        assert (await coordinator.report(task_id, half_way)).last_seq == 6
        for more in (ticked(4), Report(progress=(51, None)), dataclasses.replace(DONE, events=ticked(4).events)):
            with pytest.raises(TooManyEvents):
                await coordinator.report(task_id, more)
        assert coordinator.limits_hit["too_many_events"] == 4

        await coordinator.report(task_id, ticked(1, 2, 3))  # sent once more: nothing of it is new
        await coordinator.report(task_id, WORD)
        assert (await coordinator.report(task_id, DONE)).status is TaskStatus.COMPLETED
        assert types(await log_of(coordinator, task_id))[-1] == "completed"
    assert leftovers(coordinator) == {}


@pytest.mark.parametrize("full", [{"events_max": 1}, {"log_bytes_max": 1}], ids=["events", "bytes"])
async def test_a_worker_can_begin_and_end_a_task_whose_log_is_full(full: dict[str, Any]) -> None:
    coordinator, _ = built(**full)
    async with coordinator:
        task_id = await begun(coordinator)
        await coordinator.cancel_task(task_id)
        assert (await coordinator.report(task_id, STOPPED)).status is TaskStatus.CANCELLED
        assert sum(coordinator.limits_hit.values()) == 0


async def test_a_log_has_so_many_bytes_and_takes_no_more_of_its_worker() -> None:
    said = Report(events=ticked(1, 2).events, progress=(50, "half"))
    size = 2 * len('{"n":1}') + len('{"percent":50.0,"message":"half"}')
    for room, fits in ((size, True), (size - 1, False)):
        coordinator, _ = built(log_bytes_max=2 + len('{"attempt":1}') + room)
        async with coordinator:
            task_id = await begun(coordinator)
            if fits:
                await coordinator.report(task_id, said)
            else:
                with pytest.raises(LogTooLarge):
                    await coordinator.report(task_id, said)
            assert coordinator.limits_hit["log_too_large"] == (0 if fits else 1)
            assert (await coordinator.report(task_id, DONE)).status is TaskStatus.COMPLETED


async def test_a_heartbeat_is_no_event_and_is_stored() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await asyncio.sleep(5)
        told = await coordinator.report(task_id, WORD)

        assert told.heartbeat_at == (await store.record(task_id)).heartbeat_at == "2001-09-09T01:46:45.000000Z"
        assert types(await log_of(coordinator, task_id)) == ["pending", "running"]


async def test_progress_alone_and_steps_alone_are_shown() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        told = await coordinator.report(task_id, Report(steps=(1, 4, "b")))
        assert (told.progress, told.steps) == (Progress(25.0, "b"), Steps(1, 4, "b"))
        told = await coordinator.report(task_id, Report(progress=(30, None)))
        assert (told.progress, told.steps) == (Progress(30.0, None), Steps(1, 4, "b"))


async def test_what_is_not_external_or_not_there_or_over_takes_no_report() -> None:
    coordinator, _ = built()
    async with coordinator:
        handled = await running(coordinator, "forever")
        task_id = await begun(coordinator)
        await coordinator.report(task_id, DONE)
        with pytest.raises(NotExternal):
            await coordinator.report(handled, WORD)
        with pytest.raises(TaskTerminal, match="completed"):
            await coordinator.report(task_id, DONE)
        with pytest.raises(TaskNotFound):
            await coordinator.report("f" * 32, WORD)
        with pytest.raises(StatusConflict, match="pending, and cannot become cancelled"):
            await coordinator.report((await coordinator.start("external", {}))[0].id, STOPPED)


async def test_a_report_while_the_end_is_being_stored_finds_the_task_ended() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        store.hold()
        first = asyncio.create_task(coordinator.report(task_id, DONE))
        await rounds()
        second = asyncio.create_task(coordinator.report(task_id, GIVEN_UP))
        await rounds()
        store.release()

        assert (await first).status is TaskStatus.COMPLETED
        with pytest.raises(TaskTerminal, match="completed"):
            await second


async def test_while_the_store_is_away_a_report_is_refused_and_still_a_sign_of_life() -> None:
    coordinator, store = built(store_wait_s=1, external_stale_s=30, external_fail_s=60)
    async with coordinator:
        task_id = await begun(coordinator)
        store.away = True
        with pytest.raises(StoreUnavailable):
            await coordinator.report(task_id, ticked(1))
        for _ in range(20):
            await asyncio.sleep(10)
            with pytest.raises(StoreUnavailable, match="nothing of the report was taken"):
                await coordinator.report(task_id, ticked(1, 2))
        store.away = False
        await asyncio.sleep(5)

        told = await coordinator.report(task_id, ticked(1, 2))

        assert (told.status, told.client_seq) == (TaskStatus.RUNNING, 2)
        assert types(await log_of(coordinator, task_id)) == ["pending", "running", "tick", "tick"]


async def test_the_time_for_which_a_report_had_to_wait_is_no_silence() -> None:
    coordinator, store = built(store_wait_s=20, external_stale_s=25, external_fail_s=100)
    async with coordinator:
        task_id = await begun(coordinator)
        store.away = True
        with pytest.raises(StoreUnavailable):
            await coordinator.report(task_id, ticked(1))
        report = asyncio.create_task(coordinator.report(task_id, ticked(1, 2)))
        await asyncio.sleep(12)
        store.away = False
        await report
        begun_at = now()
        await asyncio.sleep(14)

        assert "stale" not in types(await log_of(coordinator, task_id))
        assert now() == begun_at + 14
        await coordinator.report(task_id, WORD)


async def test_a_task_that_ends_while_a_report_waits_for_room_takes_none() -> None:
    coordinator, store = built(store_wait_s=10)
    async with coordinator:
        task_id = await begun(coordinator)
        store.away = True
        with pytest.raises(StoreUnavailable):
            await coordinator.report(task_id, ticked(1))
        report = asyncio.create_task(coordinator.report(task_id, ticked(2)))
        await asyncio.sleep(1)
        ending = Outcome(Transition.RAISE, TaskError("heartbeat_lost", ""))
        coordinator._tasks[task_id]._end(ending)  # type: ignore[attr-defined]  # as a deadline would at this moment
        store.away = False

        with pytest.raises(TaskTerminal):
            await report
        assert types(await events_of(coordinator, task_id)) == ["pending", "running", "tick", "failed"]


# -- silence and deadlines -------------------------------------------------------------------------------------------


async def test_a_silent_worker_is_stale_once_a_silence_and_then_has_failed() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await asyncio.sleep(450)
        await coordinator.report(task_id, WORD)
        events = await events_of(coordinator, task_id)
        record = await coordinator.get(task_id)

        assert types(events) == ["pending", "running", "stale", "stale", "failed"]
        assert events[2].time == "2001-09-09T01:51:40.000000Z"
        assert events[2].data == {"silent_s": 300.0, "fails_at": "2001-09-09T01:56:40.000000Z"}
        assert events[3].time == "2001-09-09T01:59:10.000000Z"
        assert now() == 450 + 600
        assert record.error == TaskError("heartbeat_lost", "Its worker was silent for 600 s.")
        assert [change.by for change in await coordinator.changes(task_id)][-1] == "server"


async def test_a_worker_that_is_heard_of_in_time_is_never_stale() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        for _ in range(10):
            await asyncio.sleep(299)
            await coordinator.report(task_id, WORD)

        assert types(await log_of(coordinator, task_id)) == ["pending", "running"]


async def test_a_task_with_a_heartbeat_timeout_of_its_own_is_stale_half_way_to_it() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, "encode")
        events = await events_of(coordinator, task_id)

        assert types(events) == ["pending", "running", "stale", "failed"]
        assert events[2].data["silent_s"] == 10.0
        assert now() == 20


async def test_a_pending_task_is_not_silent_yet() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        await asyncio.sleep(80_000)

        assert (await coordinator.get(record.id)).last_seq == 1


@pytest.mark.parametrize(
    ("options", "code", "at"),
    [
        ({"timeout_s": 100}, "timed_out", 100),
        ({"total_timeout_s": 90}, "total_timeout", 90),
        ({"timeout_s": 100, "total_timeout_s": 110}, "timed_out", 100),
    ],
)
async def test_its_run_has_deadlines_and_warnings_like_every_other(
    options: dict[str, Any], code: str, at: float
) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, **options)
        events = await events_of(coordinator, task_id)

        assert types(events)[-2:] == ["deadline_warning", "timed_out"]
        assert events[-1].data["error"]["code"] == code
        assert now() == at


async def test_a_worker_that_does_not_come_within_the_queue_timeout_is_not_waited_for() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {}, queue_timeout_s=10)
        events = await events_of(coordinator, record.id)

        assert types(events) == ["pending", "deadline_warning", "timed_out"]
        assert events[-1].data["error"]["code"] == "queue_timeout"
        with pytest.raises(TaskTerminal):
            await coordinator.report(record.id, WORD)


async def test_the_time_to_the_first_word_is_no_part_of_the_run() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {}, timeout_s=10, queue_timeout_s=50)
        await asyncio.sleep(40)
        await coordinator.report(record.id, WORD)
        await events_of(coordinator, record.id)

        assert now() == 50


@pytest.mark.parametrize(
    ("limits", "ends_at", "code"),
    [
        ({Limit.RUN: 50.0}, 50, "timed_out"),
        ({Limit.RUN: 900.0, Limit.HEARTBEAT: 40.0}, 40, "heartbeat_lost"),
        ({Limit.RUN: 900.0, Limit.HEARTBEAT: 800.0}, 800, "heartbeat_lost"),
        ({Limit.RUN: 900.0, Limit.HEARTBEAT: None}, 600, "heartbeat_lost"),
        ({Limit.TOTAL: 30.0}, 30, "total_timeout"),
    ],
)
async def test_its_deadlines_can_be_moved(limits: dict[Limit, float | None], ends_at: float, code: str) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, timeout_s=100)
        await asyncio.sleep(20)
        await coordinator.extend(task_id, limits)
        events = await events_of(coordinator, task_id)

        assert events[-1].data["error"]["code"] == code
        assert now() == ends_at


async def test_more_time_for_a_silence_that_was_told_ends_it_later() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, heartbeat_timeout_s=20)
        await asyncio.sleep(15)
        await coordinator.extend(task_id, {Limit.HEARTBEAT: 100.0})
        events = await events_of(coordinator, task_id)

        assert [(event.type, event.data.get("silent_s")) for event in events[2:]] == [
            ("stale", 10.0),
            ("stale", 50.0),
            ("failed", None),
        ]
        assert now() == 100


async def test_a_moved_heartbeat_means_nothing_before_the_worker_is_heard_of() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        await coordinator.extend(record.id, {Limit.HEARTBEAT: 5.0, Limit.QUEUE: 100.0})
        await asyncio.sleep(50)

        assert (await coordinator.get(record.id)).status is TaskStatus.PENDING


# -- cancel ------------------------------------------------------------------------------------------------------------


async def test_a_pending_one_is_cancelled_at_once() -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        receipt = await coordinator.cancel_task(record.id, by="anna", reason="no need")

        assert receipt.outcome is CancelOutcome.STOPPED
        assert receipt == (await store.record(record.id)).cancel
        events = await log_of(coordinator, record.id)
        assert types(events) == ["pending", "cancel_requested", "cancelled"]
        assert events[-1].data["error"] == {"code": "cancelled", "message": "Cancelled by anna: no need."}


async def test_a_running_one_is_told_with_the_answer_to_its_next_report() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        receipt = await coordinator.cancel_task(task_id, by="anna", reason="slow")
        assert (receipt.outcome, receipt.delivered_at) == (CancelOutcome.REQUESTED, None)
        assert await coordinator.cancel_task(task_id, by="bert") == receipt
        await asyncio.sleep(5)

        told = await coordinator.report(task_id, ticked(1))
        assert told.cancel is not None
        assert (told.cancel.by, told.cancel.delivered_at) == ("anna", "2001-09-09T01:46:45.000000Z")
        assert (await store.record(task_id)).cancel == told.cancel
        assert (await coordinator.report(task_id, ticked(2))).cancel == told.cancel

        await asyncio.sleep(5)
        ended = await coordinator.report(task_id, STOPPED, by="worker")

        assert ended.status is TaskStatus.CANCELLED
        assert ended.cancel is not None
        assert (ended.cancel.outcome, ended.cancel.delivered_at, ended.cancel.stopped_at) == (
            CancelOutcome.STOPPED,
            "2001-09-09T01:46:45.000000Z",
            "2001-09-09T01:46:50.000000Z",
        )
        assert await coordinator.cancel_task(task_id) == ended.cancel


@pytest.mark.parametrize("report", [DONE, GIVEN_UP])
async def test_a_worker_that_ends_before_it_learns_of_the_cancel_was_not_stopped_by_it(report: Report) -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await coordinator.cancel_task(task_id)
        ended = await coordinator.report(task_id, report)

        assert ended.status is report.status
        assert ended.cancel is not None
        assert (ended.cancel.outcome, ended.cancel.delivered_at) == (CancelOutcome.COMPLETED, None)


async def test_a_worker_that_never_speaks_again_is_cancelled_by_its_silence() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await coordinator.cancel_task(task_id, by="anna")
        events = await events_of(coordinator, task_id)
        record = await coordinator.get(task_id)

        assert types(events) == ["pending", "running", "cancel_requested", "stale", "cancelled"]
        assert now() == 600
        assert record.error is not None
        assert record.error.message == "Cancelled by anna. Its worker was silent for 600 s."


async def test_a_cancel_can_be_waited_for() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        waiting = asyncio.create_task(coordinator.cancel_task(task_id, wait_s=30))
        await asyncio.sleep(7)
        await coordinator.report(task_id, STOPPED)

        assert (await waiting).outcome is CancelOutcome.STOPPED
        assert now() == 7


async def test_one_that_nobody_watches_any_more_is_cancelled() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, cancel_unwatched_s=10)
        reader = await coordinator.watch(task_id)
        reader.close()
        await asyncio.sleep(5)
        again = await coordinator.watch(task_id)
        await asyncio.sleep(20)
        assert (await coordinator.get(task_id)).cancel is None
        again.close()
        await asyncio.sleep(11)

        told = await coordinator.report(task_id, WORD)

        assert told.cancel is not None
        assert (told.cancel.by, told.cancel.reason) == ("server", "Nobody has watched it for 10 s")
        (await coordinator.watch(task_id)).close()  # too late: a cancel is not taken back
        await rounds()
        assert (await coordinator.get(task_id)).cancel == told.cancel


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_tasks_with_one_key_run_one_after_the_other_wherever_they_run() -> None:
    coordinator, _ = built()
    async with coordinator:
        first = await begun(coordinator, key="k")
        second, _ = await coordinator.start("external", {}, key="k")
        third, _ = await coordinator.start("instant", {}, key="k")
        with pytest.raises(KeyBusy) as caught:
            await coordinator.report(second.id, DONE)
        assert caught.value.task_id == first
        assert (await coordinator.get(second.id)).status is TaskStatus.PENDING

        await coordinator.report(first, DONE)
        await rounds()
        assert (await coordinator.get(third.id)).status is TaskStatus.PENDING
        await coordinator.report(second.id, DONE)

        assert await coordinator.result(third.id) == "at once"


async def test_a_key_that_an_external_task_holds_is_busy() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator, key="k")
        with pytest.raises(KeyBusy):
            await coordinator.start("external", {}, key="k", if_running=IfRunning.REJECT)
        joined, created = await coordinator.start("external", {}, key="k", if_running=IfRunning.JOIN)
        assert (joined.id, created) == (task_id, False)

        other, _ = await coordinator.start("external", {}, key="k", if_running=IfRunning.REPLACE)
        told = await coordinator.report(task_id, WORD)
        assert told.cancel is not None
        await coordinator.report(task_id, STOPPED)

        assert (await coordinator.report(other.id, WORD)).status is TaskStatus.RUNNING


# -- options, inputs, children -----------------------------------------------------------------------------------------


async def test_what_a_start_asks_for_is_kept_except_attempts() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {}, priority=Priority.HIGH, external_id="film 7", tags=["a"])
        assert (record.priority, record.external_id, record.tags) == ("high", "film 7", ("a",))
        with pytest.raises(InvalidParams) as caught:
            await coordinator.start("external", {}, retry={"retries": 1})
        assert [error.field for error in caught.value.errors] == ["retry.retries"]


async def test_one_under_another_task_is_told_to_stop_when_that_ends() -> None:
    @task
    async def parent(ctx: TaskContext) -> str:
        child = await ctx.start("external")
        await asyncio.sleep(10)
        return child.id

    coordinator, _ = build([*HANDLERS, parent])
    async with coordinator:
        above = await running(coordinator, "parent")
        await asyncio.sleep(1)
        (child,) = (each for each in coordinator._tasks if each != above)
        await coordinator.report(child, WORD)
        assert await coordinator.result(above) == child
        await rounds()
        told = await coordinator.report(child, WORD)

        assert told.parent == above
        assert told.cancel is not None
        assert told.cancel.by == "server"
        assert (await coordinator.report(child, STOPPED)).status is TaskStatus.CANCELLED


async def test_one_that_runs_is_told_only_once_that_it_is_to_stop() -> None:
    @task
    async def parent(ctx: TaskContext) -> str:
        child = await ctx.start("external")
        await asyncio.sleep(5)
        await child.cancel("enough")
        return child.id

    coordinator, _ = build([*HANDLERS, parent])
    async with coordinator:
        above = await running(coordinator, "parent")
        await asyncio.sleep(1)
        (child,) = (each for each in coordinator._tasks if each != above)
        await coordinator.report(child, WORD)
        assert await coordinator.result(above) == child
        await rounds()

        assert types(await log_of(coordinator, child)) == ["pending", "running", "cancel_requested"]


async def test_one_that_has_ended_can_be_started_again() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        await coordinator.report(task_id, GIVEN_UP)

        again, _ = await coordinator.retry(task_id)

        assert (again.retry_of, again.status, again.client_seq) == (task_id, TaskStatus.PENDING, 0)
        await coordinator.report(again.id, DONE)


async def test_its_worker_reads_inputs_in_the_log() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await begun(coordinator)
        event = await coordinator.send_input(task_id, {"go": 1}, by="anna")

        assert (await log_of(coordinator, task_id))[-1] == event


@pytest.mark.parametrize(
    "wrong", [{"retries": 1}, {"on_interrupt": "restart"}, {"max_running": 1}, {"retry_on": ["x"], "retries": 2}]
)
def test_nothing_is_promised_for_a_type_that_nobody_runs_here(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskType, match="outside"):

        @task("elsewhere", run_in="outside", **wrong)
        def elsewhere() -> None: ...


# -- restart and drain -------------------------------------------------------------------------------------------------


async def test_a_restart_leaves_them_as_they_are() -> None:
    coordinator, store = built()
    async with coordinator:
        waits, _ = await coordinator.start("external", {}, queue_timeout_s=1000)
        task_id = await begun(coordinator, key="k")
        cancelled = await begun(coordinator)
        await coordinator.cancel_task(cancelled)
        await coordinator.report(task_id, ticked(1, 2))
        behind, _ = await coordinator.start("instant", {}, key="k")
        before = [await coordinator.get(each) for each in (waits.id, task_id, cancelled)]
        began = now()
        await coordinator.shutdown()
        assert now() == began, "nobody waits for a worker"

    async with restarted(store) as coordinator:
        assert [await coordinator.get(each) for each in (waits.id, task_id, cancelled)] == before
        told = await coordinator.report(task_id, ticked(1, 2, 3))
        assert (told.client_seq, told.attempt) == (3, 1)
        assert (await coordinator.get(behind.id)).status is TaskStatus.PENDING
        with pytest.raises(KeyBusy):
            await coordinator.start("instant", {}, key="k", if_running=IfRunning.REJECT)
        told = await coordinator.report(cancelled, WORD)
        assert told.cancel is not None
        assert told.cancel.delivered_at is not None
        await coordinator.report(waits.id, DONE)
        await coordinator.report(task_id, DONE)

        assert await coordinator.result(behind.id) == "at once"
        assert types(await log_of(coordinator, task_id)) == ["pending", "running", *["tick"] * 3, "completed"]


async def test_after_a_restart_a_new_silence_begins_and_the_old_deadline_goes_on() -> None:
    coordinator, store = built()
    async with coordinator:
        silent = await begun(coordinator)
        late = await begun(coordinator, timeout_s=700)
        await asyncio.sleep(500)

    async with restarted(store) as coordinator:
        for _ in range(2):
            await asyncio.sleep(95)
            await coordinator.report(late, WORD)
        assert (await events_of(coordinator, late))[-1].data["error"]["code"] == "timed_out"
        assert now() == 700
        events = await events_of(coordinator, silent)

        assert events[-1].data["error"]["code"] == "heartbeat_lost"
        assert now() == 500 + 600


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_a_wall_clock_that_goes_back_over_a_restart_makes_no_deadline_later_than_it_may_be(status: str) -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("external", {}, timeout_s=100, queue_timeout_s=100)
        if status == "running":
            await coordinator.report(record.id, WORD)
        await asyncio.sleep(10)
    again, _ = built(store)
    again._hub._wall = lambda: EPOCH_S + now() - 3600
    async with again:
        assert (await again.wait(record.id, 200)).status is TaskStatus.TIMED_OUT
        assert now() == 110, "all of the time at most, and not an hour more"
    assert leftovers(again) == {}


async def test_without_a_durable_store_they_end_with_the_process() -> None:
    coordinator, store = build(HANDLERS, TestedStore(built()[0].settings, durable=False))
    async with coordinator:
        waits, _ = await coordinator.start("external", {})
        task_id = await begun(coordinator)
        readers = [await coordinator.watch(each) for each in (waits.id, task_id)]
        await coordinator.shutdown()
        logs = [types(await collect(reader)) for reader in readers]

        assert logs == [["pending", "interrupted"], ["pending", "running", "interrupted"]]
        assert (await store.record(task_id)).error.code == "shutdown"
        assert leftovers(coordinator) == {}


async def test_while_the_handlers_have_their_grace_a_worker_may_report_and_no_clock_is_looked_at() -> None:
    coordinator, store = built(grace_s=50, external_stale_s=2, external_fail_s=4)
    async with coordinator:
        record, _ = await coordinator.start("external", {})
        finishing = await begun(coordinator)
        await running(coordinator, "ticks", n=20)
        stopping = asyncio.create_task(coordinator.shutdown())
        await asyncio.sleep(10)
        await coordinator.extend(record.id, {Limit.TOTAL: 3.0})
        assert (await coordinator.report(record.id, WORD)).status is TaskStatus.RUNNING
        assert (await coordinator.report(finishing, DONE)).status is TaskStatus.COMPLETED
        await asyncio.sleep(8)
        await stopping
        with pytest.raises(Draining):
            await coordinator.report(record.id, WORD)

        assert (await store.record(record.id)).status is TaskStatus.RUNNING


async def test_a_start_that_is_stored_during_the_shutdown_is_there_after_it() -> None:
    coordinator, store = built()
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("external", {}, queue_timeout_s=5))
        await rounds()
        stopping = asyncio.create_task(coordinator.shutdown())
        await rounds()
        store.release()
        record, _ = await starting
        await stopping

    async with restarted(store) as coordinator:
        assert (await coordinator.report(record.id, DONE)).status is TaskStatus.COMPLETED


async def test_one_that_somebody_else_has_ended_is_ours_no_longer() -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator, key="k")
        await end_elsewhere(store, task_id)
        with pytest.raises(TaskTerminal):
            await coordinator.report(task_id, ticked(1))
        await asyncio.sleep(5000)

        assert leftovers(coordinator) == {}
        await coordinator.start("instant", {}, key="k", if_running=IfRunning.REJECT)


# -- any order of all that can happen ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(["report", "cancel", "done", "silence"])))
async def test_in_every_order_there_is_one_end_and_it_stays(order: tuple[str, ...]) -> None:
    coordinator, store = built()
    async with coordinator:
        task_id = await begun(coordinator)
        for what in order:
            try:
                if what == "report":
                    await coordinator.report(task_id, ticked(1))
                elif what == "cancel":
                    await coordinator.cancel_task(task_id)
                elif what == "done":
                    await coordinator.report(task_id, DONE)
                else:
                    await asyncio.sleep(600)
            except TaskTerminal:
                continue
        events = await events_of(coordinator, task_id)
        record = await store.record(task_id)

        ends = [event.type for event in events if event.type in ("completed", "failed", "cancelled")]
        assert ends == [record.status] == [events[-1].type]
        assert [change.status for change in await coordinator.changes(task_id)][-1] == record.status
        assert leftovers(coordinator) == {}


async def test_a_report_that_waits_for_room_until_the_last_commit_is_for_the_next_server() -> None:
    coordinator, store = build([external], backlog_events_max=1)
    async with coordinator:
        task_id = (await coordinator.start("external", {}))[0].id
        store.hold()
        first = asyncio.create_task(coordinator.report(task_id, Report(events=[ReportedEvent("a", {})])))
        await rounds()
        second = asyncio.create_task(coordinator.report(task_id, Report(events=[ReportedEvent("b", {})])))
        await rounds()
        await coordinator._hub.close(now())
        with pytest.raises(StoreUnavailable):
            await first
        with pytest.raises(Draining):
            await second
        assert coordinator._hub.backlog_bytes == 0
