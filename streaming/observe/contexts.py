"""From a trace as requests and records name it to OpenTelemetry, and back; what code runs in that belongs to one.

Owns:   the context of a handler, in this process and in a worker; the ids of a log line.
Uses:   the API of OpenTelemetry only.
Never:  makes a span.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext

from streaming.rules.trace_context import TraceContext, read_trace_context, write_traceparent

#: The task whose handler runs here.
RUNS: ContextVar[str | None] = ContextVar("streaming_traced_task", default=None)

#: In a worker process: sends what was recorded.
_sending: threading.Thread | None = None


def context_above(kept: TraceContext | None) -> contexts.Context:
    """What something belongs to that begins now: what runs just now, or else what its request says."""
    if trace.get_current_span().get_span_context().is_valid:
        return contexts.get_current()
    return contexts.Context() if kept is None else below(span_context_of(kept))


def below(above: SpanContext) -> contexts.Context:
    """What has only this above it."""
    return trace.set_span_in_context(trace.NonRecordingSpan(above), contexts.Context())


def span_context_of(kept: TraceContext) -> SpanContext:
    """What a request or a record says of a trace, for OpenTelemetry."""
    state = trace.TraceState.from_header([kept.tracestate] if kept.tracestate else [])
    flags = trace.TraceFlags(kept.flags)
    return SpanContext(
        int(kept.trace_id, 16), int(kept.span_id, 16), is_remote=True, trace_flags=flags, trace_state=state
    )


def trace_context_of(span: Span) -> TraceContext | None:
    """What is below a span; None if nobody traces."""
    found = span.get_span_context()
    if not found.is_valid:
        return None
    traceparent = write_traceparent(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags)
    return read_trace_context([traceparent], [found.trace_state.to_header()])


def current_ids(task_id: str | None = None) -> dict[str, str]:
    """What a log line has of the trace that its code runs in, whatever it is about."""
    return ids_of(trace.get_current_span())


def ids_of(span: Span | None) -> dict[str, str]:
    """What a log line has of a span."""
    kept = None if span is None else span.get_span_context()
    if kept is None or not kept.is_valid:
        return {}
    return {"trace_id": f"{kept.trace_id:032x}", "span_id": f"{kept.span_id:016x}"}


@contextmanager
def inside(task_id: str, context: contexts.Context) -> Iterator[None]:
    """What the handler of a task is called in."""
    token, runs = contexts.attach(context), RUNS.set(task_id)
    try:
        yield
    finally:
        RUNS.reset(runs)
        contexts.detach(token)


@contextmanager
def worker_scope(task_id: str, kept: TraceContext) -> Iterator[None]:
    """What a handler is called in, in a process of its own: see `Tracer.in_worker`.

    Args:
        task_id: of its task.
        kept: the trace, and the attempt as the span above.
    """
    with (
        structlog.contextvars.bound_contextvars(task_id=task_id),
        inside(task_id, below(span_context_of(kept))),
    ):
        try:
            yield
        finally:
            _send_soon()


def _send_soon() -> None:
    """Have what was recorded sent: this process may be killed at any time from now on."""
    global _sending  # the process calls one handler after the other
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None and (_sending is None or not _sending.is_alive()):
        _sending = threading.Thread(target=flush, name="streaming-traces", daemon=True)
        _sending.start()
