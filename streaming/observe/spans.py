"""What becomes of tasks, as spans of OpenTelemetry.

Each start is a span, each task is one from its creation to its end, each attempt is one under its task. All the rest
are events of these: the SDK keeps a bounded number of them for each span, whatever a handler does.

Rules of this file:

- Where the ids of spans can be chosen, those of a task and of its attempts are made of the task's id. So whichever
  process sees the end of one tells of it whole, and what was told before under it has its place, also over a crash.
- Times are those of the events: a trace and a log say the same.
- Nothing that somebody has written is told, but for the type of a task, and the reason of a protected section.
- What fails here fails nobody: it is written to the log, once.

Owns:   names, kinds, attributes and times of the spans of tasks.
Uses:   observe.contexts (what they are below); the API of OpenTelemetry only: whether there is an SDK is for
        ``observe.provider``.
Never:  decides what is recorded (samplers do) or where it goes (exporters do).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from streaming.engine.tracer import UNTRACED, WorkerScope
from streaming.errors import StoreUnavailable
from streaming.events import Event, seconds_of
from streaming.observe.contexts import (
    RUNS,
    below,
    context_above,
    current_ids,
    ids_of,
    inside,
    span_context_of,
    trace_context_of,
    worker_scope,
)
from streaming.observe.redaction import blot
from streaming.records import CancelOutcome, Record, TaskStatus, changed
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.trace_context import TraceContext, kept_trace_context

#: Characters of a text of somebody else's, at most.
TEXT_MAX = 200

#: Terminal, and no mistake of anybody.
_GOOD = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED})

#: Why an attempt has ended, where the record has no error for it.
_UNSAID = MappingProxyType({TaskStatus.PENDING: "interrupted"})

#: The types of events that tell of a change of the status.
_STATUSES: Mapping[str, TaskStatus] = MappingProxyType({status.value: status for status in TaskStatus})

_log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class SpanIds(Protocol):
    """Who gives spans their ids."""

    def choose(self, span_id: int) -> AbstractContextManager[object]:
        """The next span that is made in this thread has this id."""


class _Task:
    """The spans of a task that goes on."""

    __slots__ = ("attempt", "number", "receipt", "span")

    def __init__(self, span: Span, record: Record) -> None:
        self.span = span
        self.attempt: Span | None = None
        self.number = record.attempt
        self.receipt = record.cancel


def _harmless(method: Callable[Concatenate[TaskSpans, P], T]) -> Callable[Concatenate[TaskSpans, P], T]:
    """Do as if nobody looked on, if it fails: a sampler or a processor may be somebody's own."""
    instead: Callable[P, T] = getattr(UNTRACED, method.__name__)

    @functools.wraps(method)
    def guarded(self: TaskSpans, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except Exception:
            self.tell_failure()
            return instead(*args, **kwargs)

    return guarded


class TaskSpans:
    """A `Tracer` that makes spans.

    Args:
        provider: makes them.
        wall: seconds since 1970.
        ids: lets the ids of spans be chosen; None if they cannot.
    """

    def __init__(self, provider: trace.TracerProvider, wall: Callable[[], float], ids: SpanIds | None = None) -> None:
        self._tracer = provider.get_tracer("streaming")
        self._wall = wall
        self._ids = ids
        self._starts: dict[str, tuple[Span, Sequence[Link], Record]] = {}
        self._tasks: dict[str, _Task] = {}
        self._failed = False

    # -- a start -------------------------------------------------------------------------------------------------------

    @_harmless
    def starting(self, record: Record, repeats: TraceContext | None) -> Record:
        """See `Tracer.starting`: the span of the start is above that of the task, whoever is going to run it."""
        links = [] if repeats is None else [Link(span_context_of(repeats))]
        span = self._tracer.start_span(
            f"start {record.type}",
            context_above(kept_trace_context(record.traceparent, record.tracestate)),
            SpanKind.PRODUCER,
            _attributes(record),
            links,
            _ns(record.created_at),
        )
        kept = trace_context_of(span)
        if kept is not None:
            record = changed(record, traceparent=kept.traceparent, tracestate=kept.tracestate or None)
        self._starts[record.id] = span, links, record
        return record

    @_harmless
    def created(self, task_id: str, problem: StoreUnavailable | None) -> None:
        """See `Tracer.created`."""
        if (start := self._starts.pop(task_id, None)) is None:
            return
        if problem is not None:
            fail(start[0], problem.code)
        start[0].end(self._now())

    @_harmless
    def resumed(self, record: Record) -> None:
        """See `Tracer.resumed`: it begins when the task was created, as nobody has told of it yet."""
        self._tasks[record.id] = task = self._begun(record, ())
        task.span.add_event("resumed", timestamp=self._now())
        if record.status is TaskStatus.RUNNING and record.started_at is not None:
            self._begin_attempt(task, record.id, record.started_at)

    def _begun(self, record: Record, links: Sequence[Link]) -> _Task:
        kept = kept_trace_context(record.traceparent, record.tracestate)
        above = contexts.Context() if kept is None else below(span_context_of(kept))
        with self._chosen(record.id):
            span = self._tracer.start_span(
                f"task {record.type}", above, SpanKind.CONSUMER, _attributes(record), links, _ns(record.created_at)
            )
        return _Task(span, record)

    # -- what is stored ------------------------------------------------------------------------------------------------

    @_harmless
    def committed(self, events: Iterable[Event], records: Iterable[Record]) -> None:
        """See `Tracer.committed`."""
        known = {record.id: record for record in records}
        for task_id in known.keys() & self._starts.keys():
            _, links, record = self._starts[task_id]
            self._tasks[task_id] = self._begun(record, links)
        for record in known.values():
            if (task := self._tasks.get(record.id)) is not None and task.receipt != record.cancel:
                _tell_cancel(task, record)
        for event in events:
            if (status := _STATUSES.get(event.type)) is not None and (task := self._tasks.get(event.task_id)):
                self._step(task, event, status, known.get(event.task_id))

    def _step(self, task: _Task, event: Event, status: TaskStatus, record: Record | None) -> None:
        """A task has another status now."""
        code = (
            record.error.code if record is not None and record.error is not None else _UNSAID.get(status, status.value)
        )
        if status is TaskStatus.RUNNING:
            self._begin_attempt(task, event.task_id, event.time)
            return
        if task.attempt is not None:
            _end(task.attempt, event.time, None if status in _GOOD else code)
            task.attempt, task.number = None, task.number + 1
        if status in TERMINAL:
            task.span.set_attribute("streaming.task.status", status.value)
            task.span.set_attribute("streaming.task.attempts", task.number - 1)
            _end(task.span, event.time, None if status in _GOOD else code)
            del self._tasks[event.task_id]
            return
        told = {} if record is None or record.retry_at is None else {"streaming.retry_at": record.retry_at}
        task.span.add_event(status.value, told, _ns(event.time))

    def _begin_attempt(self, task: _Task, task_id: str, time: str) -> None:
        attributes: dict[str, str | int] = {"streaming.task.id": task_id, "streaming.task.attempt": task.number}
        with self._chosen(task_id, task.number):
            task.attempt = self._tracer.start_span(
                "attempt", trace.set_span_in_context(task.span), SpanKind.INTERNAL, attributes, start_time=_ns(time)
            )

    @_harmless
    def section(self, task_id: str, reason: str, *, begun: bool) -> None:
        """See `Tracer.section`."""
        task = self._tasks.get(task_id)
        if task is not None and task.attempt is not None:
            name = f"protected section {'begins' if begun else 'ends'}"
            told = {"streaming.section.reason": blot(reason[: 10 * TEXT_MAX])[:TEXT_MAX]}
            task.attempt.add_event(name, told, self._now())

    @_harmless
    def gone(self, task_id: str) -> None:
        """See `Tracer.gone`: whoever goes on with it tells of it."""
        task = self._tasks.pop(task_id, None)
        if task is not None and task.attempt is not None:
            fail(task.attempt, "lost")
            task.attempt.end(self._now())

    # -- what a handler is called in -----------------------------------------------------------------------------------

    @_harmless
    def around(self, task_id: str) -> AbstractContextManager[object]:
        """See `Tracer.around`: whatever traces the handler, or a library that it calls, finds the attempt above it."""
        span = self._span_of(task_id)
        return UNTRACED.around(task_id) if span is None else inside(task_id, trace.set_span_in_context(span))

    @_harmless
    def in_worker(self, record: Record) -> WorkerScope:
        """See `Tracer.in_worker`."""
        span = self._span_of(record.id)
        kept = None if span is None else trace_context_of(span)
        return UNTRACED.in_worker(record) if kept is None else functools.partial(worker_scope, record.id, kept)

    @_harmless
    def headers(self, record: Record) -> dict[str, str]:
        """See `Tracer.headers`."""
        kept = trace_context_of(trace.get_current_span())
        return UNTRACED.headers(record) if kept is None else kept.headers

    # -- log lines -----------------------------------------------------------------------------------------------------

    def line_ids(self, task_id: str | None) -> dict[str, str]:
        """What a log line has of the trace that it belongs to.

        Args:
            task_id: of the task that it is about.
        """
        if task_id is not None and task_id != RUNS.get():
            return ids_of(self._span_of(task_id))
        return current_ids()

    def _span_of(self, task_id: str) -> Span | None:
        task = self._tasks.get(task_id)
        return None if task is None else task.attempt or task.span

    def _chosen(self, task_id: str, number: int = 0) -> AbstractContextManager[object]:
        return UNTRACED.around(task_id) if self._ids is None else self._ids.choose(span_id_of(task_id, number))

    def _now(self) -> int:
        return round(self._wall() * 1_000_000) * 1000

    def tell_failure(self) -> None:
        """Say that tracing fails: the first time, as it may do so for every task."""
        if not self._failed:
            self._failed = True
            _log.exception("a trace is not recorded as it should be; more of these are not told")


def span_id_of(task_id: str, attempt: int = 0) -> int:
    """The id of the span of a task, or of one of its attempts.

    The end of a task's id is a random number, and different for each task.
    """
    return int(task_id[-16:], 16) ^ attempt << 40


def _attributes(record: Record) -> dict[str, str]:
    return {"streaming.task.id": record.id, "streaming.task.type": record.type}


def _ns(time: str) -> int:
    return round(seconds_of(time) * 1_000_000) * 1000


def fail(span: Span, code: str) -> None:
    """Whatever a span stands for has failed."""
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))


def _end(span: Span, time: str, code: str | None) -> None:
    """End a span; with a code, as a failure."""
    if code is not None:
        fail(span, code)
    span.end(_ns(time))


def _tell_cancel(task: _Task, record: Record) -> None:
    """What is new in the receipt of a cancel; by whom and why is for those who see the task."""
    before, task.receipt = task.receipt, record.cancel
    now = record.cancel
    if now is None:
        return
    if before is None:
        task.span.add_event("cancel requested", timestamp=_ns(now.requested_at))
    if now.delivered_at is not None and (before is None or before.delivered_at is None):
        task.span.add_event("cancel delivered", timestamp=_ns(now.delivered_at))
    if now.outcome is CancelOutcome.IGNORED and (before is None or before.where != now.where):
        task.span.add_event("cancel ignored", {"code.location": now.where or ""}, _ns(record.updated_at))
    if now.stopped_at is not None:
        task.span.add_event("stopped", timestamp=_ns(now.stopped_at))
