"""Streams, as spans of OpenTelemetry: one for each response that is a stream, from its head to its end.

Owns:   name, attributes and times of such a span.
Uses:   the API of OpenTelemetry only.
Never:  sees an event: it is told how many there were.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from streaming.observe.contexts import context_above
from streaming.observe.spans import fail
from streaming.rules.trace_context import TraceContext

#: How a stream ends that its reader did not want to end so.
FAILED = "failed"

_log = structlog.get_logger(__name__)


class StreamSpan:
    """The span of one stream; it counts."""

    __slots__ = ("_bytes", "_events", "_now", "_span")

    def __init__(self, span: Span, now: Callable[[], int]) -> None:
        self._span = span
        self._now = now
        self._events = self._bytes = 0

    def sent(self, events: int, size: int) -> None:
        """So many events were sent, and so many bytes of them."""
        self._events += events
        self._bytes += size

    def end(self, why: str) -> None:
        """The stream is over.

        Args:
            why: a word, see ``docs/tracing.md``.
        """
        try:
            self._span.set_attribute("streaming.stream.events", self._events)
            self._span.set_attribute("streaming.stream.bytes", self._bytes)
            self._span.set_attribute("streaming.stream.end", why)
            if why == FAILED:
                fail(self._span, why)
            self._span.end(self._now())
        except Exception:  # of a processor that is somebody's own: the reader has nothing to do with it
            _log.exception("the span of a stream could not be ended")


class StreamSpans:
    """Makes the spans of streams.

    Args:
        tracers: of OpenTelemetry.
        wall: seconds since 1970.
    """

    def __init__(self, tracers: trace.TracerProvider, wall: Callable[[], float]) -> None:
        self._tracer = tracers.get_tracer("streaming")
        self._wall = wall

    def begin(self, method: str, path: str, above: TraceContext | None, task_id: str | None) -> StreamSpan | None:
        """The head of a stream is sent.

        Args:
            method: of the request.
            path: of the request, without its query: there may be a token in it.
            above: the trace that the request belongs to.
            task_id: whose events they are, if they are one task's.

        Returns:
            None if it cannot be recorded.
        """
        attributes = {"http.request.method": method, "url.path": path}
        if task_id is not None:
            attributes["streaming.task.id"] = task_id
        try:
            span = self._tracer.start_span(
                "stream", context_above(above), SpanKind.SERVER, attributes, start_time=self._now()
            )
        except Exception:  # of a sampler that is somebody's own: the reader has nothing to do with it
            _log.exception("a stream could not be recorded")
            return None
        return StreamSpan(span, self._now)

    def _now(self) -> int:
        return round(self._wall() * 1_000_000) * 1000
