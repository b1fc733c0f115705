"""The switch: whether traces are recorded, and all that a server needs for that.

As long as nobody wants it, OpenTelemetry is not even loaded: what stands there instead does nothing.

Owns:   what of it there is, on and off.
Uses:   observe.provider, observe.spans and observe.streams (where it is on).
Never:  imports OpenTelemetry by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streaming.config import Settings
from streaming.engine.tracer import UNTRACED, Tracer
from streaming.observe.logs import configure

if TYPE_CHECKING:
    from streaming.observe.streams import StreamSpans


def _as_the_server(settings: Settings) -> Callable[[], object]:
    return functools.partial(configure, settings)


@dataclass(frozen=True, slots=True)
class Tracing:
    """What records the traces of one server.

    Attributes:
        tracer: for the coordinator.
        streams: for those who send streams; None if nobody records.
        prepare_worker: makes what a worker process does before its first handler; it can be pickled.
        flush: sends what was recorded, as far as that goes in a number of seconds; None if there is nothing to send.
    """

    tracer: Tracer = UNTRACED
    streams: StreamSpans | None = None
    prepare_worker: Callable[[Settings], Callable[[], object]] = _as_the_server
    flush: Callable[[float], Awaitable[None]] | None = None


def open_tracing(settings: Settings, wall: Callable[[], float]) -> Tracing:
    """Record traces from now on, if that is wanted; then log lines name the trace that they belong to.

    Args:
        settings: ``otel``.
        wall: seconds since 1970.

    Raises:
        InvalidSettings: the SDK is not there, or is to do what it cannot.
    """
    if not settings.otel:
        return Tracing()
    from streaming.observe.provider import open_provider
    from streaming.observe.spans import TaskSpans
    from streaming.observe.streams import StreamSpans

    provider = open_provider()
    spans = TaskSpans(provider.tracers, wall, provider.ids)
    configure(settings, spans.line_ids)
    return Tracing(spans, StreamSpans(provider.tracers, wall), provider.prepare_worker, provider.flush)
