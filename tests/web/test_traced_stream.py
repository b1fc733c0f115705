"""A stream is one span, from its head to its end, which tells how much was sent and why it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from streaming.observe.streams import StreamSpans
from tests.web.live import Live, live
from tests.web.test_stream import flood, small_buffers

TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{ABOVE}-01"


class Recorded:
    """Spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.streams = StreamSpans(self.provider, time.time)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    async def one(self) -> ReadableSpan:
        async with asyncio.timeout(10):
            while not self.spans:  # noqa: ASYNC110  # an exporter does not tell when it is called
                await asyncio.sleep(0.005)
        (span,) = self.spans
        return span

    def watch(self, here: Live) -> None:
        here.app.heartbeat.spans = self.streams


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def said(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("streaming."): value for name, value in (span.attributes or {}).items()}


async def test_a_stream_that_ends_with_its_task_is_told_with_what_was_sent(recorded: Recorded) -> None:
    async with live() as here:
        recorded.watch(here)
        task_id = await here.counted(3)
        body = b""
        async with here.http.stream("GET", f"/tasks/{task_id}/events", headers={"traceparent": CALLER}) as answer:
            async for piece in answer.aiter_bytes():
                body += piece
        assert "traceparent" not in answer.headers
        span = await recorded.one()

    assert span.name == "stream"
    assert span.kind is SpanKind.SERVER
    assert span.context is not None
    assert span.parent is not None
    assert (span.context.trace_id, span.parent.span_id) == (int(TRACE, 16), int(ABOVE, 16))
    assert said(span) == {
        "http.request.method": "GET",
        "url.path": f"/tasks/{task_id}/events",
        "task.id": task_id,
        "stream.events": 6,
        "stream.bytes": len(body) - len(b"retry: 2000\n"),
        "stream.end": "end",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_events_are_counted_as_they_come(recorded: Recorded) -> None:
    async with live() as here:
        recorded.watch(here)
        async with here.sse("/tasks", "POST", json={"type": "count", "params": {"n": 4}}) as events:
            got = [event async for event in events]
        span = await recorded.one()

    assert (said(span)["stream.events"], said(span)["stream.end"]) == (len(got), "end")
    assert said(span)["task.id"] == got[0].json()["task_id"]
    assert span.parent is None


async def test_a_reader_that_leaves_is_told_as_that(recorded: Recorded) -> None:
    async with live() as here:
        recorded.watch(here)
        task_id = await here.start("sleeper")
        async with here.sse(f"/tasks/{task_id}/events") as events:
            await anext(events)
        span = await recorded.one()

    assert said(span)["stream.end"] == "left"


async def test_a_frozen_reader_and_one_that_is_in_the_way_are_told_apart(recorded: Recorded) -> None:
    async with live(send_timeout_s=0.4, keepalive_s=0.4) as here:
        recorded.watch(here)
        small_buffers(here)
        task_id = await here.start()
        with here.frozen(f"/tasks/{task_id}/events"):
            await here.until(lambda: here.readers == 1)
            await flood(here, task_id, 1000)
            assert said(await recorded.one())["stream.end"] == "frozen"
        recorded.exporter.clear()
        quiet = await here.start("sleeper")
        async with here.sse(f"/tasks/{quiet}/events") as events:
            await anext(events)
            here.app.heartbeat.abort_all()
            assert said(await recorded.one())["stream.end"] == "cut"


async def test_a_credential_that_is_over_and_a_mistake_of_ours_are_told(recorded: Recorded) -> None:
    async with live() as here:
        recorded.watch(here)
        task_id = await here.start("sleeper")
        for way, word in (("expire", "credential_over"), ("fail", "failed")):
            recorded.exporter.clear()
            async with here.sse(f"/tasks/{task_id}/events") as events:
                await anext(events)
                (stream,) = here.app.heartbeat._streams
                getattr(stream, way)()
                getattr(stream, way)()  # it is over: nothing more is told
                span = await recorded.one()
            assert said(span)["stream.end"] == word
            assert said(span).get("error.type") == ("failed" if way == "fail" else None)
            assert span.status.status_code is (StatusCode.ERROR if way == "fail" else StatusCode.UNSET)


async def test_the_feed_is_of_no_task(recorded: Recorded) -> None:
    async with live() as here:
        recorded.watch(here)
        async with here.sse("/events") as events:
            await here.counted(1)
            await anext(events)
        span = await recorded.one()

    assert said(span)["url.path"] == "/events"
    assert "task.id" not in said(span)


class Failing(Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a mistake")

    def get_description(self) -> str:
        return "failing"


class Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("a mistake")


@pytest.mark.parametrize("where", ["sampler", "processor"])
async def test_a_mistake_of_somebody_who_traces_is_no_readers(where: str) -> None:
    provider = TracerProvider(Failing() if where == "sampler" else None, shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    with capture_logs() as lines:
        async with live() as here:
            here.app.heartbeat.spans = StreamSpans(provider, time.time)
            task_id = await here.counted(3)
            async with here.sse(f"/tasks/{task_id}/events") as events:
                assert len([event async for event in events]) == 6
    words = {"sampler": "a stream could not be recorded", "processor": "the span of a stream could not be ended"}
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [words[where]]
