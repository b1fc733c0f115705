"""Where spans come from and go to: the SDK of OpenTelemetry, or the provider of a program.

Rules of this file:

- A program that has set up a provider of its own is left with it.
- Nobody waits for a collector: spans are sent by a thread of the SDK, and what cannot be sent is dropped. At the end of
  the process they have a limited time.

Owns:   the choice of a provider, its exporter, the ids of spans, the last flush.
Uses:   observe.logs (what a worker process logs).
Never:  reads an ``OTEL_...`` variable that the SDK reads by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace

from streaming.config import Settings
from streaming.errors import FieldError, InvalidSettings
from streaming.observe.contexts import current_ids
from streaming.observe.logs import configure
from streaming.observe.spans import SpanIds

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

#: What the exporter is called in ``OTEL_TRACES_EXPORTER``, which the SDK leaves to others to read.
EXPORTERS = ("otlp", "console", "none")

#: The only protocol of the exporter that comes with the extra.
PROTOCOL = "http/protobuf"

_log = structlog.get_logger(__name__)

#: The provider that was set up here, for as long as the process lives: OpenTelemetry takes one, and none after it.
_ours: tuple[TracerProvider, SpanIds] | None = None


class Provider:
    """What makes spans in this process.

    Args:
        tracers: of OpenTelemetry.
        ids: gives them their ids; None if that is done by somebody else.

    Attributes:
        tracers: as given.
        ids: as given.
    """

    def __init__(self, tracers: trace.TracerProvider, ids: SpanIds | None) -> None:
        self.tracers = tracers
        self.ids = ids

    def prepare_worker(self, settings: Settings) -> Callable[[], None]:
        """What a worker process does before its first handler; it can be pickled."""
        return functools.partial(_prepare_worker, settings, own=self.ids is not None)

    async def flush(self, within_s: float) -> None:
        """Send what was recorded, as far as that goes in so many seconds."""
        flush = getattr(self.tracers, "force_flush", None)  # a provider of somebody else need not have it
        if flush is None:
            return
        sent = asyncio.Event()
        sending = functools.partial(_flush, flush, within_s, asyncio.get_running_loop(), sent.set)
        # It cannot be stopped, and must not hold up the process: no thread of a pool, which is waited for.
        threading.Thread(target=sending, name="streaming-traces", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                await sent.wait()
        except TimeoutError:
            _log.warning("traces could not be sent before the end", within_s=round(within_s, 3))


def open_provider() -> Provider:
    """The provider of the program, or one that is set up now.

    Raises:
        InvalidSettings: the SDK is not there, or is to do what it cannot.
    """
    global _ours  # OpenTelemetry has one provider for the process
    found = trace.get_tracer_provider()
    if not isinstance(found, trace.ProxyTracerProvider):
        return Provider(found, _ours[1] if _ours is not None and found is _ours[0] else None)
    _ours = made, ids = _made()
    trace.set_tracer_provider(made)
    return Provider(made, ids)


def _prepare_worker(settings: Settings, *, own: bool) -> None:
    """What a worker process does before its first handler: its lines and its spans are as those of the server.

    Args:
        settings: of the server.
        own: the server has set up its provider itself. That of a program is for the program's modules to set up.
    """
    configure(settings, current_ids)
    if own:
        open_provider()


def _made() -> tuple[TracerProvider, SpanIds]:
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError as error:
        raise _refusal("the SDK of OpenTelemetry, which is not installed: pip install 'streaming[otel]'") from error

    class Ids(RandomIdGenerator):
        """Random ids, but where one is chosen."""

        def __init__(self) -> None:
            self._next = threading.local()

        @contextmanager
        def choose(self, span_id: int) -> Iterator[None]:
            self._next.span_id = span_id
            try:
                yield
            finally:
                self._next.span_id = None

        def generate_span_id(self) -> int:
            return getattr(self._next, "span_id", None) or super().generate_span_id()

    ids, resource = Ids(), Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours = {SERVICE_NAME: "streaming", SERVICE_VERSION: importlib.metadata.version("streaming")}
        resource = resource.merge(Resource(ours))
    # At the end of the process it would wait for its collector; `Provider.flush` has done so, for a limited time.
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    if (exporter := _exporter()) is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider, ids


def _exporter() -> SpanExporter | None:
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name not in EXPORTERS:
        raise _refusal(f"an exporter that is there: OTEL_TRACES_EXPORTER is one of {', '.join(EXPORTERS)}")
    if name == "none":
        return None
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    general = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
    if (os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or general) != PROTOCOL:
        raise _refusal(f"a protocol that is there: OTEL_EXPORTER_OTLP_PROTOCOL is {PROTOCOL}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise _refusal(
            "the exporter of OpenTelemetry, which is not installed: pip install 'streaming[otel]'"
        ) from error
    return OTLPSpanExporter()


def _refusal(needs: str) -> InvalidSettings:
    message = f"STREAMING_OTEL=on needs {needs}"
    return InvalidSettings(message, errors=[FieldError("STREAMING_OTEL", message)])


def _flush(
    flush: Callable[[int], object], within_s: float, loop: asyncio.AbstractEventLoop, sent: Callable[[], None]
) -> None:
    """In a thread of its own: the SDK's flush does not keep its time."""
    try:
        flush(round(within_s * 1000))
    except Exception:
        _log.exception("traces could not be sent")
    with contextlib.suppress(RuntimeError):  # it took too long: the loop is closed
        loop.call_soon_threadsafe(sent)
