"""Whoever traces is told of each step of a task once; where nobody does, a trace goes through as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import structlog

from streaming import TaskContext, task
from streaming.engine.tracer import UNTRACED, Untraced
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Record, TaskStatus, changed
from streaming.rules.trace_context import TraceContext
from tests.kit import build
from tests.stage import Gate, broken, ended, instant, rounds, run, running

pytestmark = pytest.mark.clock("virtual")

CALLER = TraceContext(f"00-{'1' * 32}-{'2' * 16}-01", "a=1")
RECORD = Record("7", "x", TaskStatus.RUNNING, {}, 1.0, "", "", traceparent=CALLER.traceparent, tracestate="a=1")


class Told(Untraced):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def starting(self, record: Record, repeats: TraceContext | None) -> Record:
        self.told.append(("starting", record.id, repeats))
        return changed(record, traceparent=CALLER.traceparent)

    def created(self, task_id: str, problem: StoreUnavailable | None) -> None:
        self.told.append(("created", task_id, problem and problem.code))

    def resumed(self, record: Record) -> None:
        self.told.append(("resumed", record.id, record.status.value))

    def committed(self, events: Iterable[Event], records: Iterable[Record]) -> None:
        ids = {record.id for record in records}
        assert all(event.task_id in ids for event in events if event.type in set(TaskStatus))
        self.told.extend(("committed", event.task_id, event.type) for event in events)

    def section(self, task_id: str, reason: str, *, begun: bool) -> None:
        self.told.append(("section", task_id, reason, begun))

    def gone(self, task_id: str) -> None:
        self.told.append(("gone", task_id))

    def around(self, task_id: str) -> AbstractContextManager[object]:
        return self._around(task_id)

    @contextmanager
    def _around(self, task_id: str) -> Iterator[None]:
        self.told.append(("enter", task_id))
        try:
            yield
        finally:
            self.told.append(("leave", task_id))


@task
async def careful(ctx: TaskContext) -> dict[str, str]:
    async with ctx.protected("a"):
        pass
    return ctx.trace_headers()


async def test_each_step_is_told_once_and_in_its_order() -> None:
    tracer = Told()
    coordinator, _ = build([careful], tracer=tracer)
    async with coordinator:
        record, _ = await run(coordinator, "careful")
        await rounds()

    assert [told[0] if told[0] != "committed" else told[2] for told in tracer.told] == [
        *("starting", "pending", "created", "running", "enter", "section", "section", "leave", "completed", "gone"),
    ]
    assert {told[1] for told in tracer.told} == {record.id}
    assert [told for told in tracer.told if told[0] == "section"] == [
        ("section", record.id, "a", True),
        ("section", record.id, "a", False),
    ]
    assert record.traceparent == CALLER.traceparent  # what it has made of it is stored
    assert record.result == {"traceparent": CALLER.traceparent}


async def test_a_start_that_is_not_stored_is_told_as_that() -> None:
    tracer = Told()
    coordinator, store = build([instant], tracer=tracer)
    async with coordinator:
        store.fail()
        with pytest.raises(StoreUnavailable):
            await coordinator.start("instant", {})

    assert [told[0] for told in tracer.told] == ["starting", "created"]
    assert tracer.told[1][2] == "store_unavailable"


async def test_a_task_that_is_repeated_is_told_with_the_trace_of_the_first() -> None:
    tracer = Told()
    coordinator, _ = build([broken], tracer=tracer)
    async with coordinator:
        record, _ = await run(coordinator, "broken")
        again, _ = await coordinator.retry(record.id)
        await ended(coordinator, again.id)

    assert [told[2] for told in tracer.told if told[0] == "starting"] == [None, TraceContext(CALLER.traceparent)]


async def test_what_an_earlier_process_has_left_is_told_before_it_goes_on() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler, instant], max_running=1)
    async with coordinator:
        await running(coordinator, "gate")
        waiting, _ = await coordinator.start("instant", {})
        coordinator._drain.begin(0)
    tracer = Told()
    coordinator, _ = build([instant], store, tracer=tracer)
    async with coordinator:
        await ended(coordinator, waiting.id)
    assert tracer.told[0] == ("resumed", waiting.id, "pending")


# -- nobody traces -----------------------------------------------------------------------------------------------------


def test_nobody_changes_nothing() -> None:
    assert UNTRACED.starting(RECORD, CALLER) is RECORD
    UNTRACED.created("7", None)
    UNTRACED.resumed(RECORD)
    UNTRACED.committed([], [])
    UNTRACED.section("7", "a", begun=True)
    UNTRACED.gone("7")
    with UNTRACED.around("7"):
        assert structlog.contextvars.get_contextvars() == {}


def test_a_request_carries_what_the_start_has_come_with() -> None:
    assert UNTRACED.headers(RECORD) == CALLER.headers
    assert UNTRACED.headers(changed(RECORD, traceparent=None)) == {}


def test_lines_of_a_worker_process_name_the_task() -> None:
    with UNTRACED.in_worker(RECORD)():
        assert structlog.contextvars.get_contextvars() == {"task_id": "7"}
