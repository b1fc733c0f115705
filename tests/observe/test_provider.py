"""Which provider makes spans, where they go, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from streaming.config import Settings
from streaming.errors import InvalidSettings
from streaming.observe import provider as module
from streaming.observe.logs import configure
from streaming.observe.provider import Provider, open_provider
from streaming.server import Server
from tests.host import hosting, logging_as_it_was


class Global:
    """OpenTelemetry's one provider for the process, for one test."""

    def __init__(self) -> None:
        self.provider: trace.TracerProvider = trace.ProxyTracerProvider()

    def set(self, provider: trace.TracerProvider) -> None:
        assert isinstance(self.provider, trace.ProxyTracerProvider), "it can be set once"
        self.provider = provider


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> Global:
    found = Global()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found.provider)
    monkeypatch.setattr(trace, "set_tracer_provider", found.set)
    monkeypatch.setattr(module, "_ours", None)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    return found


def test_a_provider_is_set_up_once_for_the_process(everywhere: Global) -> None:
    first, second = open_provider(), open_provider()

    assert isinstance(everywhere.provider, TracerProvider)
    assert first.tracers is second.tracers is everywhere.provider
    assert first.ids is second.ids is not None
    assert everywhere.provider._atexit_handler is None  # it would wait for a collector


def test_that_of_the_program_is_left_as_it_is(everywhere: Global) -> None:
    theirs = TracerProvider()
    everywhere.set(theirs)
    found = open_provider()

    assert (found.tracers, found.ids) == (theirs, None)


def test_without_a_name_the_service_is_streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    made, _ = module._made()
    assert made.resource.attributes["service.name"] == "streaming"
    assert made.resource.attributes["service.version"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    made, _ = module._made()
    assert made.resource.attributes["service.name"] == "mine"


def test_ids_are_random_but_where_one_is_chosen() -> None:
    made, ids = module._made()
    tracer = made.get_tracer("x")

    def span_id() -> int:
        return tracer.start_span("x").get_span_context().span_id

    with ids.choose(7):
        assert span_id() == 7
        elsewhere: list[int] = []
        other = threading.Thread(target=lambda: elsewhere.append(span_id()))
        other.start()
        other.join()
    assert elsewhere != [7]
    assert len({span_id(), span_id(), *elsewhere}) == 3


# -- exporters ---------------------------------------------------------------------------------------------------------


def test_the_exporter_is_as_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._exporter() is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    console = module._exporter()
    assert isinstance(console, ConsoleSpanExporter)
    assert console.out is sys.stderr  # what commands print is somebody's input
    for name in ("", "otlp"):
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", name)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        exporter = module._exporter()
        assert isinstance(exporter, OTLPSpanExporter)
        assert exporter._endpoint == "http://collector:4318/v1/traces"
        exporter.shutdown()  # type: ignore[no-untyped-call]  # as it is there


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER is one of otlp, console, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf"),
    ],
)
def test_one_that_is_not_there_is_refused(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=said) as refused:
        open_provider()
    assert [error.field for error in refused.value.errors] == ["STREAMING_OTEL"]


@pytest.mark.parametrize(
    "missing", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"]
)
def test_what_is_not_installed_is_named_with_the_next_step(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InvalidSettings, match=r"not installed: pip install 'streaming\[otel\]'"):
        open_provider()


def test_a_program_with_a_provider_needs_no_sdk_of_ours(everywhere: Global, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere.set(trace.NoOpTracerProvider())
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert open_provider().ids is None


# -- the last flush ----------------------------------------------------------------------------------------------------


class Slow(trace.NoOpTracerProvider):
    """Its flush takes as long as a test says."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked_ms: list[int] = []
        self.go_on = threading.Event()
        self._error = error

    def force_flush(self, timeout_ms: int) -> None:
        self.asked_ms.append(timeout_ms)
        self.go_on.wait(30)
        if self._error is not None:
            raise self._error


async def test_a_flush_that_hangs_is_left_behind() -> None:
    provider = Slow()
    found = Provider(provider, None)
    with capture_logs() as lines:
        began = time.monotonic()
        await found.flush(0.05)
        took_s = time.monotonic() - began
    assert took_s < 5
    assert provider.asked_ms == [50]
    assert [line["event"] for line in lines] == ["traces could not be sent before the end"]
    (thread,) = (each for each in threading.enumerate() if each.name == "streaming-traces")
    assert thread.daemon
    provider.go_on.set()
    await asyncio.to_thread(thread.join, 10)


async def test_a_flush_that_fails_says_so() -> None:
    provider = Slow(OSError("no network"))
    provider.go_on.set()
    with capture_logs() as lines:
        await Provider(provider, None).flush(10)
    assert [line["event"] for line in lines] == ["traces could not be sent"]


async def test_a_flush_that_ends_after_the_loop_troubles_nobody() -> None:
    provider = Slow()
    loop = asyncio.new_event_loop()
    loop.close()
    provider.go_on.set()
    module._flush(provider.force_flush, 1.0, loop, lambda: None)


async def test_a_provider_that_cannot_flush_is_not_asked() -> None:
    await Provider(trace.NoOpTracerProvider(), None).flush(10)


# -- plugged together --------------------------------------------------------------------------------------------------


@contextmanager
def recorded(everywhere: Global) -> Iterator[InMemorySpanExporter]:
    """A program with a provider of its own."""
    exporter, theirs = InMemorySpanExporter(), TracerProvider()
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    everywhere.set(theirs)
    yield exporter
    theirs.shutdown()


async def test_a_server_in_a_program_traces_with_its_provider(
    everywhere: Global, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(store_url="memory://", grace_s=2.0, otel=True)
    with recorded(everywhere) as exporter, hosting(Server(settings), monkeypatch) as host:
        await host.start()
        started, _ = await host.coordinator.start("countdown", {"count": 0})
        await host.coordinator.wait(started.id, 10)
        await host.stop()
    assert {span.name for span in exporter.get_finished_spans()} == {"start countdown", "task countdown", "attempt"}


@pytest.mark.parametrize("own", [False, True])
def test_a_worker_has_a_provider_if_the_server_has_one_of_its_own(own: bool, everywhere: Global) -> None:
    settings = Settings(otel=True)
    found = open_provider() if own else Provider(trace.NoOpTracerProvider(), None)
    everywhere.provider = trace.ProxyTracerProvider()
    module._ours = None
    with logging_as_it_was():
        pickle.loads(pickle.dumps(found.prepare_worker(settings)))()  # noqa: S301  # it is ours
    assert isinstance(everywhere.provider, TracerProvider) is own


def test_log_lines_have_what_is_found_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def line_ids(task_id: str | None) -> dict[str, str]:
        asked.append(task_id)
        return {"trace_id": "1" * 32, "span_id": "2" * 16}

    with logging_as_it_was():
        configure(Settings(log_format="json"), line_ids)
        structlog.get_logger("a").warning("ours", task_id="7")
        with structlog.contextvars.bound_contextvars(task_id="8"):
            logging.getLogger("b").warning("theirs")
        structlog.get_logger("a").warning("odd", task_id=9)
        configure(Settings(log_format="json"))
        structlog.get_logger("a").warning("untraced")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert asked == ["7", "8", None]
    assert [line.get("trace_id") for line in lines] == ["1" * 32] * 3 + [None]
    assert lines[0]["span_id"] == "2" * 16
