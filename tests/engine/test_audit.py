"""The audit names what is broken on a live instance, mends what is safe, and gives no false alarm."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine import audit as auditing
from streaming.engine.audit import Audited
from streaming.engine.evidence import EVENTS_MAX
from streaming.engine.journal import Commit, RecordPage, RecordQuery
from streaming.engine.log import Log
from streaming.engine.runner import Runner
from streaming.errors import Draining, RecordDamaged, StoreUnavailable
from streaming.events import Event
from streaming.records import Change, Policy, Record, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.evidence import Violation
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.log import LogWindow
from streaming.testing.faults import Faults
from streaming.testing.world import World
from tests.kit import TestedStore, build
from tests.leftovers import leftovers
from tests.stage import broken, deaf, forever, instant, rounds, running, ticks

pytestmark = pytest.mark.clock("virtual")

STRANGER = "f" * 32


@task(run_in="outside")
def elsewhere(**params: Any) -> None:
    """Done elsewhere."""


#: What breaks an instance; it gets a running task that somebody reads, and says which task is broken.
Damage = Callable[[TaskCoordinator, TestedStore, str], Any]


def names(audited: Audited) -> set[str]:
    return {violation.invariant for violation in audited.violations}


def stored(
    store: TestedStore, status: TaskStatus, *, type: str = "forever", task_id: str = STRANGER, **fields: Any
) -> Commit:
    """A task in the store as another process may have left it."""
    time = "2001-09-09T01:46:40.000000Z"
    whole = [TaskStatus.PENDING, TaskStatus.RUNNING] if status is TaskStatus.RUNNING else [status]
    payloads = ["{}", '{"attempt":1}']
    events = [Event(task_id, seq, each, time, payloads[seq - 1]) for seq, each in enumerate(whole, 1)]
    changes = [Change(task_id, seq, each, time, "server") for seq, each in enumerate(whole, 1)]
    record = Record(task_id, type, status, {}, 60.0, time, time, last_seq=len(events), **fields)
    return Commit(events=events, created=[record], changes=changes)


# -- damages ----------------------------------------------------------------------------------------------------------


def count_one_busy_too_many(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._turns._busy["forever"] += 1


def count_a_start_too_many(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._starts._starting["forever"] += 1


def count_one_busy_too_many_of_a_principal(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._turns._busy_of.change("anonymous", 1)


def count_one_waiting_too_few_of_a_principal(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._turns.waiting_of.change("anna", -1)


def count_an_external_too_many_of_a_principal(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._outside._of.change("anonymous", 1)


def count_a_start_too_many_of_a_principal(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._starts._queueing_of.change("anonymous", 1)


def count_bytes_too_many(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._hub._backlog.bytes += 7


def count_events_too_many(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._hub.logs[task_id].backlog_events += 1
    return task_id


def forget_to_count_bytes_of_a_log(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._hub.logs[task_id].backlog_bytes += 7
    coordinator._hub._backlog.bytes += 7
    return task_id


def count_the_window_wrong(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._hub.logs[task_id].window._size += 1
    return task_id


def keep_the_log_of_nobody(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    record = dataclasses.replace(coordinator._hub.logs[task_id].record, id=STRANGER)
    coordinator._hub._logs[STRANGER] = Log(record, LogWindow(STRANGER, last_seq=3))
    return STRANGER


def keep_a_place_in_the_line_for_nobody(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._turns.line.announce(STRANGER, "anonymous a")
    return STRANGER


def keep_the_child_of_nobody(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    record = dataclasses.replace(coordinator._hub.logs[task_id].record, id=STRANGER, parent=task_id)
    coordinator._family.add(record)
    return STRANGER


def keep_an_external_task_of_nobody(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    record = dataclasses.replace(coordinator._hub.logs[task_id].record, id=STRANGER)
    log = Log(record, LogWindow(STRANGER, last_seq=3))
    coordinator._outside.take_in(coordinator.registry.get("elsewhere"), log)
    return STRANGER


def keep_the_place_of_a_run_that_is_over(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    runner = coordinator._turns.running[task_id]
    record = dataclasses.replace(runner.log.record, id=STRANGER)
    left = Runner(runner.task_type, Log(record, LogWindow(STRANGER, last_seq=3)), coordinator._workshop)
    left.over = True
    coordinator._turns.running[STRANGER] = left
    coordinator._turns._lent[STRANGER] = 1
    coordinator._turns._returning[STRANGER] = asyncio.get_running_loop().create_future()
    return STRANGER


async def end_the_run_of_a_task(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    (run,) = [each for each in asyncio.all_tasks() if each.get_name() == f"streaming-runner-{task_id}"]
    run.cancel()
    await asyncio.wait({run})
    return task_id


MENDED: list[tuple[Damage, str]] = [
    (count_one_busy_too_many, "tallies_right"),
    (count_a_start_too_many, "tallies_right"),
    (count_one_busy_too_many_of_a_principal, "tallies_right"),
    (count_one_waiting_too_few_of_a_principal, "tallies_right"),
    (count_an_external_too_many_of_a_principal, "tallies_right"),
    (count_a_start_too_many_of_a_principal, "tallies_right"),
    (count_bytes_too_many, "tallies_right"),
    (count_events_too_many, "backlog_waits"),
    (forget_to_count_bytes_of_a_log, "tallies_right"),
    (count_the_window_wrong, "tallies_right"),
    (keep_the_log_of_nobody, "no_place_without_task"),
    (keep_a_place_in_the_line_for_nobody, "no_place_without_task"),
    (keep_the_child_of_nobody, "no_place_without_task"),
    (keep_an_external_task_of_nobody, "no_place_without_task"),
    (keep_the_place_of_a_run_that_is_over, "no_place_without_task"),
    (end_the_run_of_a_task, "no_record_without_runner"),
]


async def test_the_readers_of_a_task_that_was_taken_up_anew_come_again() -> None:
    """They stand in a log that nothing is written to any more."""
    async with at_work() as (coordinator, store, task_id):
        reader = await coordinator.watch(task_id)
        while await coordinator.get(task_id) and (await reader.next()).events[-1].type != "running":
            pass
        waits = asyncio.create_task(reader.next())
        await end_the_run_of_a_task(coordinator, store, task_id)

        await coordinator.audit(repair=True)

        assert await asyncio.wait_for(waits, 10) is None
        assert (await coordinator.wait(task_id, 10)).status is TaskStatus.INTERRUPTED


async def test_a_task_whose_handler_still_runs_is_not_taken_up_beside_it() -> None:
    coordinator, store = build([deaf], grace_s=5, cancel_grace_s=1)
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=10.0)
        await end_the_run_of_a_task(coordinator, store, task_id)

        found = await coordinator.audit(repair=True)
        meanwhile = (await store.record(task_id)).status
        await asyncio.sleep(10)
        later = await coordinator.audit(repair=True)

    assert names(found) == {"no_record_without_runner"}
    assert (found.repaired, meanwhile) == ([], TaskStatus.RUNNING)
    assert [each.task_id for each in later.repaired] == [task_id], "its handler has ended"


async def waits_nowhere(coordinator: TaskCoordinator) -> Record:
    """A task that waits for its turn, and that somebody has taken out of the line."""
    lost, _ = await coordinator.start("instant", {})
    await rounds()
    coordinator._turns._stop_waiting(lost.id)
    coordinator._turns.line.ended(lost.id)
    return lost


async def test_a_task_that_waits_nowhere_is_named_and_put_into_the_line_again() -> None:
    coordinator, _ = build([forever, instant], max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever")
        lost = await waits_nowhere(coordinator)

        found = await coordinator.audit()
        mended = await coordinator.audit(repair=True)
        again = await coordinator.audit()
        await coordinator.cancel_task(blocker, wait_s=10)
        record = await coordinator.wait(lost.id, 10)

    assert [str(each) for each in found.violations] == [
        f"no_record_without_runner of task {lost.id}: it goes on here, and neither runs nor waits for its turn"
    ]
    assert [each.task_id for each in mended.repaired] == [lost.id]
    assert again.violations == []
    assert record.status is TaskStatus.COMPLETED
    assert leftovers(coordinator) == {}


async def test_a_task_that_was_taken_up_is_cancelled_if_nobody_comes_who_had_left_before() -> None:
    """As after a crash."""
    coordinator, store = build([elsewhere])
    async with coordinator:
        commit = stored(store, TaskStatus.PENDING, type="elsewhere", policy=Policy(cancel_unwatched_s=30))
        await store.commit(commit)
        left = Event(STRANGER, 2, "unwatched", "2001-09-09T01:46:41.000000Z", '{"cancel_at":null}')
        await store.commit(Commit(events=[left]))

        await coordinator.audit(repair=True)
        await asyncio.sleep(31)
        record = await coordinator.get(STRANGER)

    assert record.cancel is not None, "its worker is told"
    assert record.cancel.by == "server"


async def test_a_drain_that_begins_in_a_repair_ends_it_and_is_not_held_up() -> None:
    """Who has watched the task is not asked any more: the store may never answer."""
    coordinator, store = build([elsewhere], grace_s=1)
    async with coordinator:
        await store.commit(stored(store, TaskStatus.PENDING, type="elsewhere", policy=Policy(cancel_unwatched_s=30)))
        read, reads, looks = store.record, 0, 1000

        async def slow(task_id: str) -> Record | None:
            nonlocal reads
            reads += 1
            if reads == 2 * looks + 1:
                coordinator._drain.begin(1.0)
            return await read(task_id)  # type: ignore[no-any-return]  # the store is built by a helper

        store.record = slow
        await coordinator.audit()
        looks = reads  # of the audit; the next one, in the second audit, is that of the repair
        with pytest.raises(Draining):
            await coordinator.audit(repair=True)
        assert reads == 2 * looks + 1
    assert (await read(STRANGER)).status is TaskStatus.PENDING


async def test_who_cancels_a_task_that_waits_nowhere_is_told_once_it_was_mended() -> None:
    coordinator, _ = build([forever, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        lost = await waits_nowhere(coordinator)
        cancel = asyncio.create_task(coordinator.cancel_task(lost.id))
        await asyncio.sleep(1)
        assert not cancel.done()

        mended = await coordinator.audit(repair=True)

        assert [each.done for each in mended.repaired] == ["it was taken up as after a crash, and is cancelled"]
        await asyncio.wait_for(cancel, 10)
        assert (await coordinator.get(lost.id)).status is TaskStatus.CANCELLED


async def test_a_task_of_which_something_is_still_to_be_stored_is_left_alone() -> None:
    coordinator, store = build([forever, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        lost = await waits_nowhere(coordinator)
        said = [Violation("no_record_without_runner", lost.id, "said")]
        store.hold()
        extend = asyncio.create_task(coordinator.extend(lost.id, {Limit.RUN: 77.0}))
        await store.entered.wait()

        assert await coordinator._auditor._mender.mend(said, []) == []
        store.release()
        await extend
        (repair,) = await coordinator._auditor._mender.mend(said, [])

        assert repair.task_id == lost.id
        assert (await coordinator.get(lost.id)).timeout_s == 77.0


async def test_each_repair_is_told_when_it_is_done_whatever_follows(log_lines: list[dict[str, Any]]) -> None:
    coordinator, store = build([instant])
    async with coordinator:
        for task_id in ("e" * 32, STRANGER):
            await store.commit(stored(store, TaskStatus.PENDING, type="instant", task_id=task_id))
        read = store.record

        async def fails(task_id: str) -> Record | None:
            if task_id == STRANGER and "e" * 32 in coordinator._tasks:
                raise StoreUnavailable("The disk cannot be read.")
            return await read(task_id)  # type: ignore[no-any-return]  # the store is built by a helper

        store.record = fails
        with pytest.raises(StoreUnavailable):
            await coordinator.audit(repair=True)

    lines = [line for line in log_lines if line["event"] == "the audit has mended something"]
    assert [line["task_id"] for line in lines] == ["e" * 32]


def show_what_is_not_stored(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    window = coordinator._hub.logs[task_id].window
    window.append(Event(task_id, window.last + 1, "tick", "2001-09-09T01:46:40.000000Z", "{}"))
    window.commit(window.last)
    return task_id


def put_a_reader_behind_the_end(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    for reader in coordinator._hub.logs[task_id].readers:
        reader.cursor = 99
    return task_id


def lose_the_log_of_a_task(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._hub._logs.pop(task_id)
    return task_id


def lose_a_stored_event(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    del store._tasks[task_id].events[1]
    return task_id


def lose_the_record(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    stored = store._tasks.pop(task_id)
    store._ages.remove((stored.record.created_at, task_id))
    return task_id


def forget_a_task_that_runs(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> str:
    coordinator._tasks.pop(task_id)
    return task_id


def let_a_log_have_too_much(coordinator: TaskCoordinator, store: TestedStore, task_id: str) -> None:
    coordinator._hub.feed._items.extend([None] * 2000)  # type: ignore[list-item]  # only their number counts


NOT_MENDED: list[tuple[Damage, str]] = [
    (show_what_is_not_stored, "visible_stored"),
    (put_a_reader_behind_the_end, "readers_within_log"),
    (lose_the_log_of_a_task, "live_task_has_log"),
    (lose_a_stored_event, "record_knows_last_event"),
    (lose_the_record, "no_runner_without_record"),
    (forget_a_task_that_runs, "no_runner_without_record"),
    (let_a_log_have_too_much, "memory_within_budget"),
]


async def damaged_by(damage: Damage, *place: Any) -> Any:
    done = damage(*place)
    return (await done) if inspect.isawaitable(done) else done


@contextlib.asynccontextmanager
async def at_work() -> Any:
    """An instance with a running task that somebody reads; what it cannot end is not waited for."""
    coordinator, store = build([forever, instant, elsewhere], grace_s=5)
    async with coordinator:
        task_id = await running(coordinator, "forever")
        reader = await coordinator.watch(task_id)
        await reader.next()
        yield coordinator, store, task_id


# -- what is found, and mended ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("damage", "invariant"), MENDED)
async def test_what_can_be_put_right_safely_is_named_and_mended(damage: Damage, invariant: str) -> None:
    async with at_work() as (coordinator, store, task_id):
        broken_task = await damaged_by(damage, coordinator, store, task_id)

        found = await coordinator.audit()
        mended = await coordinator.audit(repair=True)
        again = await coordinator.audit()

        assert invariant in names(found)
        assert found.repaired == []
        assert broken_task in {each.task_id for each in found.violations if each.invariant == invariant}
        assert (invariant, broken_task) in {(each.invariant, each.task_id) for each in mended.repaired}
        assert (again.violations, again.repaired) == ([], [])


@pytest.mark.parametrize(("damage", "invariant"), NOT_MENDED)
async def test_what_cannot_be_put_right_safely_is_named_and_left_alone(damage: Damage, invariant: str) -> None:
    found = None
    with contextlib.suppress(KeyError, ExceptionGroup):  # an instance with such a damage does not end well
        async with at_work() as (coordinator, store, task_id):
            broken_task = await damaged_by(damage, coordinator, store, task_id)
            found = await coordinator.audit(repair=True)
            raise KeyError

    assert found is not None
    assert invariant in names(found)
    assert broken_task in {each.task_id for each in found.violations}
    assert invariant not in {each.invariant for each in found.repaired}


@pytest.mark.parametrize(
    ("status", "type", "fields", "becomes"),
    [
        (TaskStatus.PENDING, "instant", {}, "completed"),
        (TaskStatus.RUNNING, "instant", {"attempt": 1}, "interrupted"),
        (TaskStatus.PENDING, "unheard of", {}, "interrupted"),
        (TaskStatus.PENDING, "instant", {"parent": "e" * 32}, "interrupted"),
    ],
)
async def test_a_record_that_nobody_knows_is_taken_up_as_after_a_crash(
    status: TaskStatus, type: str, fields: dict[str, Any], becomes: str, log_lines: list[dict[str, Any]]
) -> None:
    coordinator, store = build([instant])
    async with coordinator:
        await store.commit(stored(store, status, type=type, **fields))

        found = await coordinator.audit()
        mended = await coordinator.audit(repair=True)
        record = await coordinator.wait(STRANGER, 10)
        again = await coordinator.audit()

    assert [str(each) for each in found.violations] == [
        f"no_record_without_runner of task {STRANGER}: its record is not terminal, and nobody here knows the task"
    ]
    assert [each.task_id for each in mended.repaired] == [STRANGER]
    assert record.status == becomes
    assert again.violations == []
    assert leftovers(coordinator) == {}
    lines = [line for line in log_lines if line["event"] == "the audit has mended something"]
    assert [(line["task_id"], line["invariant"]) for line in lines] == [(STRANGER, "no_record_without_runner")]


async def test_a_violation_is_told_in_log_lines_and_the_diary_with_it(log_lines: list[dict[str, Any]]) -> None:
    coordinator, store = build([forever])
    async with coordinator:
        await store.commit(stored(store, TaskStatus.PENDING))
        await coordinator.audit()
        await coordinator.audit()

    errors = [line for line in log_lines if line["event"] == "an invariant does not hold"]
    assert {(line["log_level"], line["task_id"], line["invariant"]) for line in errors} == {
        ("error", STRANGER, "no_record_without_runner")
    }
    assert len(errors) == 2
    assert len([line for line in log_lines if line["event"] == "what has happened before"]) == 1, "not again at once"


async def test_of_very_many_violations_the_first_are_log_lines(log_lines: list[dict[str, Any]]) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        await running(coordinator, "forever")  # at rest the tables are violations, too
        for number in range(auditing.LINES_MAX + 1):
            coordinator._turns.line.announce(f"{STRANGER[:28]}{number:04x}", "anonymous a")
            if number == auditing.LINES_MAX - 1:
                await coordinator.audit()
        await coordinator.audit(repair=True)

    named = [line for line in log_lines if line["event"] == "an invariant does not hold"]
    assert len(named) == 2 * auditing.LINES_MAX
    assert [line["left_out"] for line in log_lines if line["event"] == "more invariants do not hold"] == [1]


async def test_a_damaged_record_is_a_violation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may show in a list, and not when it is read; or not at all, when it is that of a live task."""
    coordinator, store = build([forever, instant])
    read = store.record

    async def damaged(task_id: str) -> Record | None:
        if task_id in bad:
            raise RecordDamaged(task_id)
        return await read(task_id)  # type: ignore[no-any-return]  # the store is built by a helper

    async with coordinator:
        live = await running(coordinator, "forever")
        over, _ = await coordinator.start("instant", {})
        await coordinator.wait(over.id, 10)
        await store.commit(stored(store, TaskStatus.PENDING))
        bad = {live, over.id, STRANGER}
        with monkeypatch.context() as patch:
            patch.setattr(store, "record", damaged)
            found = await coordinator.audit()
            patch.setattr(store, "records", no_records)
            unlisted = await coordinator.audit()

    assert {(each.invariant, each.task_id) for each in found.violations} == {("records_readable", each) for each in bad}
    assert {(each.invariant, each.task_id) for each in unlisted.violations} == {("records_readable", live)}


async def test_a_damaged_record_that_was_deleted_since_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build([instant])

    async def listed(query: RecordQuery) -> RecordPage:
        return RecordPage((), damaged=(STRANGER,))

    monkeypatch.setattr(store, "records", listed)
    async with coordinator:
        assert (await coordinator.audit()).violations == []


async def no_records(query: RecordQuery) -> RecordPage:
    return RecordPage(())


# -- how much is looked at --------------------------------------------------------------------------------------------


async def test_a_sound_instance_has_no_violations_and_the_answer_says_what_was_looked_at() -> None:
    coordinator, _ = build([forever, instant, broken, ticks, elsewhere], max_running=2)
    async with coordinator:
        await running(coordinator, "forever")
        await running(coordinator, "ticks", n=100)
        await coordinator.start("instant", {}, key="a")  # it waits
        await coordinator.start("elsewhere", {})
        audited = await coordinator.audit()

        assert audited.as_json() == {
            "checked": {"live": 4, "ended": 0, "events": audited.checked["events"], "logs": 4},
            "whole": True,
            "found": 0,
            "violations": [],
            "repaired": [],
        }
        assert audited.checked["events"] >= 6


@pytest.mark.parametrize(("most", "live", "ended"), [(0, 0, 0), (2, 2, 2), (3, 3, 3)])
async def test_no_more_tasks_are_read_than_one_audit_may(most: int, live: int, ended: int) -> None:
    coordinator, _ = build([forever, instant], audit_tasks_max=most or 1)
    async with coordinator:
        for _ in range(3):
            await running(coordinator, "forever")
            over, _ = await coordinator.start("instant", {})
            await coordinator.wait(over.id, 10)
        audited = await coordinator.audit(most)

    assert (audited.checked["live"], audited.checked["ended"]) == (live, ended)
    assert audited.whole is (most == 3)


async def test_the_setting_says_how_many_tasks_are_read() -> None:
    coordinator, _ = build([forever], audit_tasks_max=1)
    async with coordinator:
        for _ in range(3):
            await running(coordinator, "forever")
        assert (await coordinator.audit()).checked["live"] == 1


async def test_tasks_are_found_page_by_page_and_logs_let_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "PAGE", 4)
    monkeypatch.setattr(auditing, "LOGS_AT_ONCE", 3)
    coordinator, store = build([forever])
    async with coordinator:
        for _ in range(10):
            await running(coordinator, "forever")
        await store.commit(stored(store, TaskStatus.PENDING))
        sleep, turns = asyncio.sleep, [0.0]

        async def counted(delay: float) -> None:
            turns.append(delay)
            await sleep(delay)

        monkeypatch.setattr(asyncio, "sleep", counted)
        found = await coordinator.audit()

    assert found.checked["live"] == 11
    assert turns.count(0) >= 11 + 2 + 3, "after each task, page, and some logs"
    assert [each.task_id for each in found.violations] == [STRANGER]


async def test_of_a_long_log_the_newest_events_are_read() -> None:
    @task
    async def long(ctx: TaskContext) -> None:
        for _ in range(EVENTS_MAX + 500):
            await ctx.emit("tick", {"text": "x" * 100})

    coordinator, store = build([long])
    async with coordinator:
        started, _ = await coordinator.start("long", {})
        await coordinator.wait(started.id, 10)
        audited = await coordinator.audit()
        assert (audited.violations, audited.checked["events"]) == ([], EVENTS_MAX)

        del store._tasks[started.id].events[1200]
        assert names(await coordinator.audit()) == {"seq_without_holes"}


async def test_a_log_of_which_retention_has_removed_events_is_sound() -> None:
    coordinator, _ = build([ticks], memory_events_max=3)
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 20, "pause_s": 0})
        await coordinator.wait(started.id, 10)
        assert (await coordinator.audit()).violations == []


def test_an_answer_names_not_more_than_it_can_carry() -> None:
    audited = Audited(violations=[Violation("seq_without_holes", None, "x")] * (auditing.NAMED_MAX + 1))
    answer = audited.as_json()

    assert (answer["found"], len(answer["violations"])) == (auditing.NAMED_MAX + 1, auditing.NAMED_MAX)


# -- what is no violation ---------------------------------------------------------------------------------------------


async def test_what_is_on_its_way_to_the_store_is_no_violation() -> None:
    coordinator, store = build([forever, instant], store_wait_s=100)
    async with coordinator:
        await running(coordinator, "forever")
        store.hold()
        start = asyncio.create_task(coordinator.start("instant", {}, key="a"))
        await store.entered.wait()
        audit = asyncio.create_task(coordinator.audit(repair=True))
        await rounds()
        store.release()
        found = await audit
        await start

    assert (found.violations, found.repaired) == ([], [])


async def test_a_task_that_is_gone_when_it_is_read_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes it between the page on which it stands and the look at its log; and a log ends meanwhile."""
    monkeypatch.setattr(auditing, "LOGS_AT_ONCE", 1)
    coordinator, store = build([instant, forever])
    async with coordinator:
        over, _ = await coordinator.start("instant", {})
        await coordinator.wait(over.id, 10)
        first, second = await running(coordinator, "forever"), await running(coordinator, "forever")
        read = store.record

        async def gone(task_id: str) -> Record | None:
            return None if task_id == over.id else await read(task_id)

        monkeypatch.setattr(store, "record", gone)
        audit = asyncio.create_task(coordinator.audit())
        await asyncio.sleep(0)
        kept = coordinator._hub._logs.pop(second)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        coordinator._hub._logs[second] = kept
        assert (await audit).violations == []
        assert first != second


async def test_what_looks_wrong_for_a_moment_is_no_violation() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        await running(coordinator, "forever")
        coordinator._turns._busy["forever"] += 1
        asyncio.get_running_loop().call_later(auditing.AGAIN_S / 2, coordinator._turns.recount)
        assert (await coordinator.audit()).violations == []


async def test_a_task_that_ends_while_it_is_looked_for_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unknown when it is met, live when it is read, and has ended when that is judged."""
    coordinator, store = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        kept = coordinator._tasks.pop(task_id)
        read = store.record

        async def record(id: str) -> Record | None:
            coordinator._tasks.setdefault(id, kept)
            return await read(id)  # type: ignore[no-any-return]  # the store is built by a helper

        def met(*_: Any) -> Any:
            coordinator._tasks[task_id] = kept
            return asyncio.sleep(0)

        monkeypatch.setattr(coordinator._auditor, "_memory", lambda audited: no_violations())
        monkeypatch.setattr(coordinator._auditor, "_task", lambda id, audited: no_violations())
        monkeypatch.setattr(coordinator._auditor, "_arrived", met)
        monkeypatch.setattr(store, "record", record)
        assert (await coordinator.audit(repair=True)).violations == []


async def no_violations() -> list[Violation]:
    return []


async def test_what_is_wrong_is_found_although_its_numbers_move() -> None:
    coordinator, store = build([ticks])
    async with coordinator:
        task_id = await running(coordinator, "ticks", n=1000, pause_s=auditing.AGAIN_S / 3)
        await asyncio.sleep(1)
        coordinator._hub.logs[task_id].backlog_events += 3
        del store._tasks[task_id].events[2]
        found = await coordinator.audit()

    assert names(found) == {"backlog_waits", "seq_without_holes"}


async def test_a_store_that_is_away_gives_no_answer() -> None:
    coordinator, store = build([forever], store_wait_s=1)
    async with coordinator:
        await running(coordinator, "forever")
        await store.commit(stored(store, TaskStatus.PENDING))
        store.hold()
        with pytest.raises(StoreUnavailable):
            await coordinator.audit()
        store.release()
        assert names(await coordinator.audit()) == {"no_record_without_runner"}


async def test_a_server_that_has_drained_gives_no_answer() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        await coordinator.shutdown()
        with pytest.raises(Draining):
            await coordinator.audit()


async def test_a_server_that_drains_meanwhile_gives_no_answer() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        await store.commit(stored(store, TaskStatus.PENDING, type="instant"))
        audit = asyncio.create_task(coordinator.audit(repair=True))
        await asyncio.sleep(auditing.AGAIN_S / 2)
        await coordinator.shutdown()
        with pytest.raises(Draining):
            await audit
    assert (await store.record(STRANGER)).status is TaskStatus.PENDING, "it is for the next process"


async def test_a_server_that_drains_gives_no_answer_also_while_a_handler_has_its_grace() -> None:
    """What the drain leaves for the next process is not to be taken up here."""
    coordinator, store = build([ticks], grace_s=5)
    async with coordinator:
        await running(coordinator, "ticks", n=3, pause_s=1)
        drain = asyncio.create_task(coordinator.shutdown())
        await rounds()
        await store.commit(stored(store, TaskStatus.PENDING, type="ticks"))
        with pytest.raises(Draining):
            await coordinator.audit(repair=True)
        await drain
    assert (await store.record(STRANGER)).status is TaskStatus.PENDING


async def test_one_audit_runs_at_a_time() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        await store.commit(stored(store, TaskStatus.PENDING, type="instant"))
        first, second = await asyncio.gather(coordinator.audit(repair=True), coordinator.audit(repair=True))

    assert [each.task_id for each in first.repaired] == [STRANGER]
    assert (second.violations, second.repaired) == ([], [])


# -- while everything moves -------------------------------------------------------------------------------------------


@task
async def stirs(ctx: TaskContext, fails: bool = False) -> None:
    """Emit, pause, and maybe fail."""
    for _ in range(3):
        await ctx.emit("tick")
        await asyncio.sleep(0.01)
    if fails and ctx.attempt == 1:
        raise ValueError("no luck")


@pytest.mark.simulated(schedules=60)
async def test_whatever_the_order_of_steps_there_is_no_false_alarm(world: World) -> None:
    chance = world.stream("life")
    if chance.happens(0.5):
        world.faults = Faults(store_delay=0.4, store_refuses=0.05, store_forgets_to_answer=0.05)
    settings: dict[str, Any] = {"max_running": chance.draw((100, 1, 2)), "cancel_grace_s": 2.0}
    async with world.instance([stirs], **settings) as instance:
        coordinator = instance.coordinator
        await asyncio.gather(
            *(_start(world, coordinator, number) for number in range(4)),
            *(_audit(world, coordinator, number) for number in range(2)),
        )
        while any(record.status not in TERMINAL for record in world.disk.records()):  # noqa: ASYNC110  # virtual time
            await asyncio.sleep(1)
        await _audit(world, coordinator, 2)


async def _start(world: World, coordinator: TaskCoordinator, number: int) -> None:
    chance = world.stream(f"starter-{number}")
    await world.sometime(chance)
    with contextlib.suppress(StoreUnavailable):
        params = {"fails": chance.happens(0.3)}
        retry: Any = {"retries": 1, "backoff_s": 0.1}
        record, _ = await coordinator.start("stirs", params, key=chance.draw((None, "a")), retry=retry)
        await world.sometime(chance, (0.0, 0.01, 0.05))
        if chance.happens(0.5):
            with contextlib.suppress(Exception):
                await coordinator.cancel_task(record.id)


async def _audit(world: World, coordinator: TaskCoordinator, number: int) -> None:
    chance = world.stream(f"auditor-{number}")
    for _ in range(3):
        await world.sometime(chance, (0.0, 0.001, 0.01, 0.05))
        with contextlib.suppress(StoreUnavailable, Draining):
            audited = await coordinator.audit(repair=chance.happens(0.5))
            for each in (*audited.violations, *audited.repaired):
                world.must(False, f"a false alarm: {each}")


def test_an_audit_reads_at_least_one_task() -> None:
    with pytest.raises(ValueError, match="audit_tasks_max"):
        Settings(audit_tasks_max=0)
