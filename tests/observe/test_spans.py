"""What becomes of tasks is told by spans: each task once, whole, and in its place, whatever happens to its process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from streaming import HandlerError, TaskContext, task
from streaming.config import Settings
from streaming.engine.journal import Commit
from streaming.errors import StoreUnavailable
from streaming.events import rfc3339
from streaming.observe import contexts, provider
from streaming.observe.contexts import trace_context_of, worker_scope
from streaming.observe.spans import TaskSpans, span_id_of
from streaming.records import TaskError, TaskStatus
from streaming.rules.reporting import Report
from streaming.rules.trace_context import TraceContext
from tests.kit import EPOCH_S, TestedStore, build
from tests.stage import Gate, broken, deaf, ended, forever, instant, rounds, run, run_and_cancel, running, tidy
from tests.store.samples import record as record_of
from tests.store.samples import start, task_id

pytestmark = pytest.mark.clock("virtual")

TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = TraceContext(f"00-{TRACE}-{ABOVE}-01", "a=1")


class Seen:
    """A provider whose spans are seen here, and a tracer on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        self.exporter = InMemorySpanExporter()
        self.provider, self.ids = provider._made()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def tracer(self, *, choose: bool = True) -> TaskSpans:
        loop = asyncio.get_running_loop()
        return TaskSpans(self.provider, lambda: EPOCH_S + loop.time(), self.ids if choose else None)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, *names: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name in names]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


def told(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """From when to when, on the loop's clock."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9 - EPOCH_S, span.end_time / 1e9 - EPOCH_S


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def above(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_a_start_a_task_and_its_attempt_are_spans_in_the_trace_of_the_caller(seen: Seen) -> None:
    coordinator, _ = build([tidy], tracer=seen.tracer())
    async with coordinator:
        await asyncio.sleep(5)
        started, _ = await coordinator.start("tidy", {}, trace=CALLER)
        await asyncio.sleep(2)
        await coordinator.cancel_task(started.id, by="anna", reason="a secret reason")
        record, _ = await ended(coordinator, started.id)

    start, task, attempt = seen.one("start tidy"), seen.one("task tidy"), seen.one("attempt")
    assert {span.context.trace_id for span in seen.spans if span.context} == {int(TRACE, 16)}
    assert (start.kind, task.kind, attempt.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL)
    assert (above(start), above(task), above(attempt)) == (int(ABOVE, 16), id_of(start), id_of(task))
    assert record.traceparent == f"00-{TRACE}-{id_of(start):016x}-01"
    assert record.tracestate == "a=1"
    assert task.attributes == {
        "streaming.task.id": record.id,
        "streaming.task.type": "tidy",
        "streaming.task.status": "cancelled",
        "streaming.task.attempts": 1,
    }
    assert attempt.attributes == {"streaming.task.id": record.id, "streaming.task.attempt": 1}
    assert (seconds(start), seconds(task), seconds(attempt)) == ((5, 5), (5, 10), (5, 10))
    assert told(task) == ["pending", "cancel requested", "cancel delivered", "stopped"]
    assert [event.timestamp / 1e9 - EPOCH_S for event in task.events] == [5, 7, 7, 10]
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}
    assert "secret" not in "".join(span.to_json() for span in seen.spans)
    assert "anna" not in "".join(span.to_json() for span in seen.spans)


async def test_without_a_caller_a_trace_begins_that_the_record_keeps(seen: Seen) -> None:
    coordinator, _ = build([instant], tracer=seen.tracer())
    async with coordinator:
        record, _ = await run(coordinator, "instant")

    start = seen.one("start instant")
    assert start.parent is None
    assert start.context is not None
    assert record.traceparent is not None
    assert record.traceparent[3:52] == f"{start.context.trace_id:032x}-{id_of(start):016x}"
    assert above(seen.one("task instant")) == id_of(start)


@pytest.mark.parametrize(("handler", "code"), [("broken", "broken"), ("forever", "timed_out")])
async def test_a_failure_is_told_by_its_code_and_by_nothing_else(seen: Seen, handler: str, code: str) -> None:
    coordinator, _ = build([broken, forever], tracer=seen.tracer())
    async with coordinator:
        record, _ = await run(coordinator, handler, timeout_s=60)

    assert record.error is not None
    assert record.error.code == code
    for name in (f"task {handler}", "attempt"):
        span = seen.one(name)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, code)
        assert span.attributes is not None
        assert span.attributes["error.type"] == code
        assert record.error.message not in span.to_json()
        assert not span.events or set(told(span)) == {"pending"}


async def test_each_attempt_is_a_span_and_the_pause_between_them_is_told(seen: Seen) -> None:
    tries: list[int] = []

    @task
    async def flaky() -> str:
        tries.append(1)
        await asyncio.sleep(1)
        if len(tries) < 3:
            raise HandlerError("again", "once more")
        return "done"

    coordinator, _ = build([flaky], tracer=seen.tracer())
    async with coordinator:
        started, _ = await coordinator.start("flaky", {}, retry={"retries": 5, "backoff_s": 8})
        record, _ = await ended(coordinator, started.id)

    whole, attempts = seen.one("task flaky"), seen.named("attempt")
    assert [span.attributes and span.attributes["streaming.task.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.status.description for span in attempts] == ["again", "again", None]
    assert len({id_of(span) for span in (whole, *attempts)}) == 4
    assert {above(span) for span in attempts} == {id_of(whole)}
    assert told(whole) == ["pending", "retrying", "retrying"]
    assert whole.events[1].attributes is not None
    assert str(whole.events[1].attributes["streaming.retry_at"]) > record.created_at
    assert seconds(attempts[1])[0] == 1 + 4  # half of the longest pause
    assert whole.attributes is not None
    assert whole.attributes["streaming.task.attempts"] == 3
    assert whole.status.status_code is StatusCode.UNSET


async def test_a_handler_that_goes_on_is_told_with_its_place(seen: Seen) -> None:
    coordinator, _ = build([deaf], tracer=seen.tracer(), cancel_grace_s=2)
    async with coordinator:
        await run_and_cancel(coordinator, "deaf", for_s=5)

    whole = seen.one("task deaf")
    assert told(whole) == [
        "pending",
        "cancel requested",
        "cancel delivered",
        "cancel ignored",
        "stopped",
    ]
    ignored = whole.events[3]
    assert ignored.attributes is not None
    assert "stage.py" in str(ignored.attributes["code.location"])
    assert ignored.timestamp / 1e9 - EPOCH_S == 2


async def test_protected_sections_are_told_without_what_looks_like_a_secret(seen: Seen) -> None:
    @task
    async def careful(ctx: TaskContext) -> None:
        async with ctx.protected("swap the files"):
            await asyncio.sleep(1)
        async with ctx.protected("password=hunter2 " + "x" * 500):
            pass

    coordinator, _ = build([careful], tracer=seen.tracer())
    async with coordinator:
        await run(coordinator, "careful")

    attempt = seen.one("attempt")
    assert told(attempt) == ["protected section begins", "protected section ends"] * 2
    reasons = [str(event.attributes and event.attributes["streaming.section.reason"]) for event in attempt.events]
    assert reasons[0] == "swap the files"
    assert "hunter2" not in reasons[2]
    assert len(reasons[2]) == 200
    assert attempt.events[1].timestamp - attempt.events[0].timestamp == 10**9


async def test_a_task_that_never_runs_is_told_too(seen: Seen) -> None:
    coordinator, _ = build([forever, instant], tracer=seen.tracer(), max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        waiting, _ = await coordinator.start("instant", {})
        await coordinator.cancel_task(waiting.id, by="anna", reason="")
        await coordinator.wait(waiting.id, 10)
        whole = seen.one("task instant")
        assert whole.attributes is not None
        assert (whole.attributes["streaming.task.status"], whole.attributes["streaming.task.attempts"]) == (
            "cancelled",
            0,
        )
        assert seen.named("attempt") == []


async def test_a_start_that_is_not_stored_is_told_and_no_task(seen: Seen) -> None:
    tracer = seen.tracer()
    coordinator, store = build([instant], tracer=tracer)
    async with coordinator:
        store.fail()
        with pytest.raises(StoreUnavailable):
            await coordinator.start("instant", {}, trace=CALLER)
        await asyncio.sleep(10)
        store.fail("after")
        await run(coordinator, "instant")

    failed, stored = seen.named("start instant")
    assert (failed.status.description, stored.status.status_code) == ("store_unavailable", StatusCode.UNSET)
    assert len(seen.named("task instant")) == 1
    assert (tracer._starts, tracer._tasks) == ({}, {})


@task(run_in="outside")
def there() -> None:
    raise AssertionError("it is never called")


@pytest.mark.parametrize("at_once", [False, True])
async def test_work_that_is_done_elsewhere_is_told_as_it_is_reported(at_once: bool, seen: Seen) -> None:
    coordinator, store = build([there], tracer=seen.tracer())
    async with coordinator:
        started, _ = await coordinator.start("there", {}, trace=CALLER)
        store.hold()  # so that both are stored by one commit, or each by its own
        reports = [Report(status=TaskStatus.RUNNING), Report(status=TaskStatus.FAILED, error=TaskError("e", "no"))]
        if not at_once:
            store.release()
            for report in reports:
                await coordinator.report(started.id, report)
                await asyncio.sleep(1)
        else:
            reporting = [asyncio.create_task(coordinator.report(started.id, report)) for report in reports]
            await rounds()
            store.release()
            await asyncio.gather(*reporting)
        await coordinator.wait(started.id, 10)

    whole, attempt = seen.one("task there"), seen.one("attempt")
    assert (above(attempt), whole.status.description, attempt.status.description) == (id_of(whole), "e", "e")


async def test_tasks_of_a_task_are_below_its_attempt(seen: Seen) -> None:
    @task
    async def parent(ctx: TaskContext) -> Any:
        child = await ctx.start("instant")
        with trace.get_tracer("mine", tracer_provider=seen.provider).start_as_current_span("mine"):
            mine = await ctx.start("instant")
        return [await child.result(), await mine.result()]

    coordinator, _ = build([parent, instant], tracer=seen.tracer())
    async with coordinator:
        started, _ = await coordinator.start("parent", {}, trace=CALLER)
        await ended(coordinator, started.id)

    first, second = seen.named("start instant")
    (outer,) = (span for span in seen.named("attempt") if above(span) == id_of(seen.one("task parent")))
    assert (above(first), above(second)) == (id_of(outer), id_of(seen.one("mine")))
    assert above(seen.one("mine")) == id_of(outer)
    assert {above(span) for span in seen.named("task instant")} == {id_of(first), id_of(second)}
    assert {span.context.trace_id for span in seen.spans if span.context} == {int(TRACE, 16)}


async def test_a_handler_runs_in_its_own_attempt_whoever_has_given_it_its_turn(seen: Seen) -> None:
    """A place that becomes free is filled in the step, and the context, of whoever has left it."""
    found: dict[str, Any] = {}

    @task
    async def looks(ctx: TaskContext, name: str) -> dict[str, str]:
        found[name] = trace.get_current_span().get_span_context()
        await asyncio.sleep(1)
        return ctx.trace_headers()

    coordinator, _ = build([looks], tracer=seen.tracer(), max_running=1)
    async with coordinator:
        started = [(await coordinator.start("looks", {"name": name}))[0] for name in "abc"]
        results = [(await ended(coordinator, each.id))[0].result for each in started]

    for each, result, name in zip(started, results, "abc", strict=True):
        assert found[name].span_id == span_id_of(each.id, 1)
        assert each.traceparent is not None
        assert result["traceparent"] == f"{each.traceparent[:35]}-{span_id_of(each.id, 1):016x}{each.traceparent[52:]}"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_task_that_is_repeated_has_a_link_to_the_trace_of_the_first(seen: Seen) -> None:
    coordinator, _ = build([broken], tracer=seen.tracer())
    async with coordinator:
        started, _ = await coordinator.start("broken", {}, trace=CALLER)
        await ended(coordinator, started.id)
        again, _ = await coordinator.retry(started.id)
        await ended(coordinator, again.id)

    (first, second), (start, _) = seen.named("task broken"), seen.named("start broken")
    assert not first.links
    assert [(link.context.trace_id, link.context.span_id) for link in second.links] == [(int(TRACE, 16), id_of(start))]
    assert second.context is not None
    assert second.context.trace_id != int(TRACE, 16)
    assert [len(span.links) for span in seen.named("start broken")] == [0, 1]


# -- the process ends --------------------------------------------------------------------------------------------------


@task(on_interrupt="restart")
async def restarts(ctx: TaskContext) -> int:
    if ctx.attempt == 1:
        await asyncio.get_running_loop().create_future()
    return ctx.attempt


async def test_a_task_is_told_once_and_whole_by_the_process_that_sees_its_end(seen: Seen) -> None:
    """A drain sends it back to the queue; the next process goes on with it."""
    store = TestedStore(Settings())
    coordinator, _ = build([restarts], store, tracer=seen.tracer(), grace_s=1)
    async with coordinator:
        started = await running(coordinator, "restarts")
    assert [span.name for span in seen.spans] == ["start restarts", "attempt"]
    assert seen.spans[1].status.description == "interrupted"

    await asyncio.sleep(10)
    coordinator, _ = build([restarts], store, tracer=seen.tracer())
    async with coordinator:
        record, _ = await ended(coordinator, started)

    assert record.result == 2
    whole, attempts = seen.one("task restarts"), seen.named("attempt")
    assert above(whole) == id_of(seen.one("start restarts"))
    assert [above(span) for span in attempts] == [id_of(whole)] * 2
    assert [span.attributes and span.attributes["streaming.task.attempt"] for span in attempts] == [1, 2]
    assert seconds(whole)[0] == 0
    assert told(whole) == ["resumed"]


async def test_after_a_crash_the_trace_goes_on_and_the_attempt_that_was_cut_is_told(seen: Seen) -> None:
    store = TestedStore(Settings())
    await store.commit(left_behind("restarts"))
    await asyncio.sleep(10)
    coordinator, _ = build([restarts], store, tracer=seen.tracer())
    async with coordinator:
        record, _ = await ended(coordinator, task_id(1))

    assert (record.result, record.traceparent) == (2, CALLER.traceparent)
    whole, attempts = seen.one("task restarts"), seen.named("attempt")
    assert [(seconds(span)[0], span.status.description) for span in attempts] == [(-10, "interrupted"), (10, None)]
    assert {above(span) for span in attempts} == {id_of(whole)}
    assert (above(whole), seconds(whole)[0]) == (int(ABOVE, 16), -10)
    assert told(whole) == ["resumed", "pending"]


async def test_a_cancel_that_a_handler_has_declined_is_over_with_its_attempt(seen: Seen) -> None:
    @task(on_interrupt="restart")
    async def declines(ctx: TaskContext) -> int:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            current = asyncio.current_task()
            assert current is not None
            if ctx.attempt == 1:
                current.uncancel()
                await asyncio.get_running_loop().create_future()
        return ctx.attempt

    store = TestedStore(Settings())
    coordinator, _ = build([declines], store, tracer=seen.tracer(), grace_s=1)
    async with coordinator:
        started = await running(coordinator, "declines")
        await coordinator.cancel_task(started, by="anna", reason="")
        await asyncio.sleep(30)
    assert seen.one("attempt").status.description == "interrupted"
    assert seen.named("task declines") == []


async def test_what_a_handler_that_was_left_behind_protects_is_told_to_nobody(seen: Seen) -> None:
    tracer = seen.tracer()
    tracer.section(task_id(1), "nobody", begun=True)
    tracer.gone(task_id(1))
    tracer.created(task_id(1), None)
    assert seen.spans == ()


async def test_a_crash_that_ends_a_task_is_told(seen: Seen) -> None:
    store = TestedStore(Settings())
    await store.commit(left_behind("forever"))
    coordinator, _ = build([forever], store, tracer=seen.tracer())
    async with coordinator:
        await rounds()

    whole = seen.one("task forever")
    assert (whole.status.description, above(whole)) == ("crash", int(ABOVE, 16))
    assert seen.one("attempt").status.description == "crash"


def left_behind(type: str) -> Commit:
    """What a process has stored that was killed ten seconds before the loop has begun."""
    time = rfc3339(EPOCH_S - 10)
    times = {"created_at": time, "updated_at": time, "started_at": time}
    return start(1, type=type, status=TaskStatus.RUNNING, traceparent=CALLER.traceparent, **times)


async def test_a_task_that_is_somebody_elses_now_is_told_by_nobody_here(seen: Seen) -> None:
    tracer = seen.tracer()
    coordinator, _ = build([forever], tracer=tracer)
    async with coordinator:
        started = await running(coordinator, "forever")
        coordinator._hub._lose(started)
        await rounds()
        await asyncio.sleep(30)

    assert [span.name for span in seen.spans] == ["start forever", "attempt"]
    assert seen.one("attempt").status.description == "lost"
    assert tracer._tasks == {}


async def test_where_ids_cannot_be_chosen_they_are_random(seen: Seen) -> None:
    coordinator, _ = build([instant], tracer=seen.tracer(choose=False))
    async with coordinator:
        record, _ = await run(coordinator, "instant")

    assert id_of(seen.one("task instant")) != span_id_of(record.id)
    assert above(seen.one("attempt")) == id_of(seen.one("task instant"))


def test_ids_of_spans_are_different_for_every_task_and_attempt() -> None:
    ids = {span_id_of(f"{task:032x}", attempt) for task in range(1, 50) for attempt in range(50)}
    assert len(ids) == 49 * 50
    assert all(0 < each < 2**64 for each in ids)
    assert span_id_of("01a1faf2e1e272c28c97af9bddbf8148") == 0x8C97AF9BDDBF8148


# -- somebody decides what is recorded ---------------------------------------------------------------------------------


async def test_what_is_not_sampled_goes_through_as_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    seen.provider.sampler = ALWAYS_OFF
    coordinator, _ = build([instant], tracer=seen.tracer())
    async with coordinator:
        started, _ = await coordinator.start("instant", {}, trace=CALLER)
        await ended(coordinator, started.id)

    assert seen.spans == ()
    assert started.traceparent is not None
    assert started.traceparent.startswith(f"00-{TRACE}-")
    assert started.traceparent.endswith("-00")


class Failing(Sampler):
    """Somebody's own, with a mistake."""

    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a mistake")

    def get_description(self) -> str:
        return "failing"


async def test_tracing_that_fails_fails_no_task_and_says_so_once() -> None:
    provider = TracerProvider(Failing())
    coordinator, _ = build([instant, forever], tracer=TaskSpans(provider, lambda: 0.0))
    with capture_logs() as lines:
        async with coordinator:
            for _ in range(3):
                started, _ = await coordinator.start("instant", {}, trace=CALLER)
                record, _ = await ended(coordinator, started.id)
                assert (record.status, record.traceparent) == (TaskStatus.COMPLETED, CALLER.traceparent)

    assert len([line for line in lines if line["event"].startswith("a trace is not recorded")]) == 1


async def test_without_a_provider_a_trace_goes_through() -> None:
    coordinator, _ = build([instant], tracer=TaskSpans(trace.NoOpTracerProvider(), lambda: 0.0))
    async with coordinator:
        started, _ = await coordinator.start("instant", {}, trace=CALLER)
        alone, _ = await run(coordinator, "instant")

    assert (started.traceparent, alone.traceparent) == (CALLER.traceparent, None)


# -- log lines, workers ------------------------------------------------------------------------------------------------


async def test_lines_about_a_task_name_its_attempt_and_those_of_its_code_the_span_they_are_in(seen: Seen) -> None:
    tracer, gate = seen.tracer(), Gate()
    lines: list[Any] = []

    @task
    async def writes(ctx: TaskContext) -> None:
        lines.append(tracer.line_ids(ctx.task_id))
        with trace.get_tracer("mine", tracer_provider=seen.provider).start_as_current_span("mine"):
            lines.append(tracer.line_ids(ctx.task_id))
            lines.append(tracer.line_ids("f" * 32))
            lines.append(tracer.line_ids(other))

    coordinator, _ = build([writes, gate.handler], tracer=tracer)
    async with coordinator:
        other = await running(coordinator, "gate")
        record, _ = await run(coordinator, "writes")
        gate.opened.set()

    named = [line.get("span_id") for line in lines]
    mine = f"{id_of(seen.one('mine')):016x}"
    assert named == [f"{span_id_of(record.id, 1):016x}", mine, None, f"{span_id_of(other, 1):016x}"]
    assert record.traceparent is not None
    assert lines[0]["trace_id"] == lines[1]["trace_id"] == record.traceparent[3:35]
    assert tracer.line_ids(None) == tracer.line_ids(record.id) == {}


async def test_a_worker_process_gets_the_attempt(seen: Seen) -> None:
    tracer = seen.tracer()
    record = record_of(7, TaskStatus.RUNNING)
    alone = tracer.in_worker(record)
    tracer.resumed(tracer.starting(record, None))
    with alone():
        assert structlog.contextvars.get_contextvars() == {"task_id": record.id}
        assert not trace.get_current_span().get_span_context().is_valid
    with tracer.in_worker(record)():
        found = trace.get_current_span().get_span_context()
        assert structlog.contextvars.get_contextvars() == {"task_id": record.id}
        assert (found.span_id, found.is_remote) == (span_id_of(record.id), True)
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_worker_sends_what_it_has_recorded_at_once_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, go_on = threading.Semaphore(0), threading.Event()

    def flush() -> None:
        flushed.release()
        go_on.wait(10)

    monkeypatch.setattr(trace, "get_tracer_provider", lambda: SimpleNamespace(force_flush=flush))
    monkeypatch.setattr("streaming.observe.contexts._sending", None)
    for _ in range(3):
        with worker_scope("7", CALLER):
            found = trace_context_of(trace.get_current_span())
            assert found == CALLER
    assert flushed.acquire(timeout=10)
    assert not flushed.acquire(timeout=0.01)  # the others do not gather behind the first
    go_on.set()
    sending = contexts._sending
    assert sending is not None
    assert sending.daemon
    sending.join(10)
