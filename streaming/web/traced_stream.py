"""A stream that is recorded, as a span: how much was sent, and why it has ended.

Who records nothing sends a `Stream`, which knows nothing of this.

Owns:   when such a span ends, and what its end is called.
Uses:   observe.streams (the span).
Never:  changes what is sent.
"""

from __future__ import annotations

import structlog

from streaming.observe.streams import FAILED, StreamSpan, StreamSpans
from streaming.rules.log import Batch
from streaming.web.heartbeat import Heartbeat
from streaming.web.request import Request
from streaming.web.stream import Form, Source, Stream


def traced(spans: StreamSpans, request: Request, subscription: Source, form: Form, heartbeat: Heartbeat) -> Stream:
    """A stream whose head was sent, with a span if it can have one."""
    task_id = structlog.contextvars.get_contextvars().get("task_id")
    span = spans.begin(request.method, request.path[:200], request.trace, task_id)
    if span is None:
        return Stream(request, subscription, form, heartbeat)
    return TracedStream(span, request, subscription, form, heartbeat)


class TracedStream(Stream):
    """See `Stream`."""

    __slots__ = ("_span",)

    def __init__(
        self, span: StreamSpan, request: Request, subscription: Source, form: Form, heartbeat: Heartbeat
    ) -> None:
        self._span = span
        super().__init__(request, subscription, form, heartbeat)

    def push(self, batch: Batch) -> int:
        """See `Stream.push`."""
        taken = super().push(batch)
        if taken:
            self._count(batch)
        return taken

    def _send(self, batch: Batch) -> None:
        super()._send(batch)
        self._count(batch)

    def _count(self, batch: Batch) -> None:
        self._span.sent(len(batch.events), len(batch.as_bytes(self._form.write)))

    def drop(self) -> None:
        """See `Stream.drop`."""
        self._end("frozen" if self.sending else "cut")
        super().drop()

    def expire(self) -> None:
        """See `Stream.expire`."""
        self._end("credential_over")
        super().expire()

    def lose(self) -> None:
        """See `Stream.lose`."""
        self._end("left")
        super().lose()

    def fail(self) -> None:
        """See `Stream.fail`."""
        self._end(FAILED)
        super().fail()

    def _finish(self) -> None:
        self._end("end")
        super()._finish()

    def _end(self, why: str) -> None:
        """The first reason counts."""
        if not self._over:
            self._span.end(why)
