"""What is to be seen of a task: nothing of it is newer than its record, and it is not too much."""

from __future__ import annotations

import pytest

from streaming import TaskContext, task
from streaming.engine import evidence as module
from streaming.engine.evidence import evidence_in_memory, evidence_of, stored
from streaming.events import Event
from streaming.rules.evidence import Budget, Tally
from streaming.rules.invariants import check_instance, check_log, check_task
from tests.engine.hubs import Desk
from tests.kit import build
from tests.stage import instant

pytestmark = pytest.mark.clock("virtual")

ABSENT = "f" * 32


@task
async def speaks(ctx: TaskContext) -> None:
    """Emit five ticks."""
    for _ in range(5):
        await ctx.emit("tick", {"text": "x" * 1000})


async def test_of_a_task_that_is_gone_there_is_no_evidence() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        assert await evidence_of(store, ABSENT) is None


async def test_a_task_is_seen_as_its_record_says_whatever_comes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build([speaks])
    async with coordinator:
        started, _ = await coordinator.start("speaks", {})
        early = await store.record(started.id)
        await coordinator.wait(started.id, 10)

        async def record(task_id: str) -> object:
            return early

        monkeypatch.setattr(store, "record", record)
        evidence = await evidence_of(store, started.id)

    assert evidence is not None
    assert check_task(evidence) == []
    assert ([event.seq for event in evidence.events], len(evidence.changes)) == ([1], 1)


async def test_no_payload_is_kept_but_that_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    coordinator, store = build([speaks])
    async with coordinator:
        started, _ = await coordinator.start("speaks", {})
        await coordinator.wait(started.id, 10)
        evidence = await evidence_of(store, started.id)

    assert evidence is not None
    assert [event.payload for event in evidence.events] == ["null", '{"attempt":1}', *["null"] * 6]
    assert (evidence.whole, evidence.told) == (False, True)


async def test_a_task_that_is_older_than_histories_has_none_to_tell() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        started, _ = await coordinator.start("instant", {})
        await coordinator.wait(started.id, 10)
        store._tasks[started.id].changes.clear()
        evidence = await evidence_of(store, started.id)

    assert evidence is not None
    assert not evidence.told
    assert check_task(evidence) == []


async def test_a_log_of_which_nothing_is_left_is_no_endless_search() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        started, _ = await coordinator.start("instant", {})
        await coordinator.wait(started.id, 10)
        store._tasks[started.id].events.clear()
        evidence = await evidence_of(store, started.id)

    assert evidence is not None
    assert {each.invariant for each in check_task(evidence)} >= {"record_knows_last_event", "one_terminal_event"}


async def test_a_log_in_memory_is_measured_anew() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 0)
        desk.store.hold()
        desk.hub.append(log, "tick", '"waits"')
        window, memory = evidence_in_memory(log, desk.settings)
        desk.store.release()
        reader.close()

    assert (window.committed, window.last, window.waiting, window.cursors) == (2, 3, 1, [0])
    assert check_log(window) + check_instance(memory) == []
    assert [tally.name for tally in memory.tallies] == ["backlog bytes", "window bytes"]
    assert isinstance(memory.budgets[0], Budget)
    assert isinstance(memory.tallies[0], Tally)


def test_what_readers_may_see_is_compared_with_the_store_alone() -> None:
    assert check_log(stored("a", 3, 3)) == []
    assert check_log(stored("a", 0, 0)) == []
    assert [each.invariant for each in check_log(stored("a", 3, 2))] == ["visible_stored"]


def test_an_event_of_a_run_keeps_what_its_check_looks_at() -> None:
    event = Event("a", 1, "running", "", "{}")

    assert module._slim(event) is event
