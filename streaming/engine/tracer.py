"""Who records what becomes of tasks, as spans of traces; nobody, unless somebody is plugged in.

Rules of this file:

- Nothing is asked for each event: a start, an attempt, a protected section, and once for each commit.
- A tracer does not wait, and does not fail: no task suffers because somebody looks on.

Owns:   what a tracer is told and asked.
Never:  knows how spans are made, or where they go (``observe.tracing``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import structlog

from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Record
from streaming.rules.trace_context import TraceContext, kept_trace_context

#: Makes what a handler is called in, in a process of its own; it can be pickled.
WorkerScope = Callable[[], AbstractContextManager[object]]


class Tracer(Protocol):
    """Somebody who records traces."""

    def starting(self, record: Record, repeats: TraceContext | None) -> Record:
        """A task is about to be stored: the record with its place in its trace.

        Args:
            record: with its id and its times.
            repeats: the trace of the task that it repeats.
        """

    def created(self, task_id: str, problem: StoreUnavailable | None) -> None:
        """It is stored, or could not be."""

    def resumed(self, record: Record) -> None:
        """A task that an earlier process has left goes on here, or is ended here."""

    def committed(self, events: Iterable[Event], records: Iterable[Record]) -> None:
        """A commit is stored; nobody has seen it yet.

        Args:
            events: of all tasks, in their order.
            records: that it has made or changed, as they are now.
        """

    def section(self, task_id: str, reason: str, *, begun: bool) -> None:
        """A handler has begun a protected section, or left it."""

    def gone(self, task_id: str) -> None:
        """A task is not live here any more; it may go on elsewhere."""

    def around(self, task_id: str) -> AbstractContextManager[object]:
        """What the handler of an attempt is called in."""

    def in_worker(self, record: Record) -> WorkerScope:
        """The same, in a process of its own."""

    def headers(self, record: Record) -> dict[str, str]:
        """What a request carries that is made now by the handler of a task."""


class Untraced:
    """Nobody: a trace goes through from hand to hand, and nothing is recorded."""

    def starting(self, record: Record, repeats: TraceContext | None) -> Record:
        """Leave it as it is."""
        return record

    def created(self, task_id: str, problem: StoreUnavailable | None) -> None:
        """Nothing."""

    def resumed(self, record: Record) -> None:
        """Nothing."""

    def committed(self, events: Iterable[Event], records: Iterable[Record]) -> None:
        """Nothing."""

    def section(self, task_id: str, reason: str, *, begun: bool) -> None:
        """Nothing."""

    def gone(self, task_id: str) -> None:
        """Nothing."""

    def around(self, task_id: str) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def in_worker(self, record: Record) -> WorkerScope:
        """Only its log lines name the task."""
        return functools.partial(structlog.contextvars.bound_contextvars, task_id=record.id)

    def headers(self, record: Record) -> dict[str, str]:
        """Those that its start has come with."""
        kept = kept_trace_context(record.traceparent, record.tracestate)
        return {} if kept is None else kept.headers


UNTRACED = Untraced()
