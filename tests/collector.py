"""A collector of traces as small as it can be: it takes what the exporter of OpenTelemetry sends over HTTP.

Owns:   `Collector`: the spans that have arrived, and who has sent them.
Never:  answers, where it was told not to.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SOON_S = 20.0


@dataclass(frozen=True)
class Arrived:
    """A span, as it was sent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    status: str
    attributes: dict[str, Any]
    events: Sequence[str]
    service: str


class Collector:
    """A server for ``OTEL_EXPORTER_OTLP_ENDPOINT``.

    Attributes:
        answers: whether it answers.
        asked: how many requests have come, answered or not.
        spans: what has arrived.
        url: where it is.
    """

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.asked = 0
        self.spans: list[Arrived] = []
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    def named(self, name: str) -> list[Arrived]:
        return [span for span in self.spans if span.name == name]

    async def until(self, *names: str) -> None:
        """Wait until spans of these names have come."""
        async with asyncio.timeout(SOON_S):
            while missing := [name for name in names if len(self.named(name)) < names.count(name)]:
                await asyncio.sleep(0.01)
                assert missing

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.asked += 1
                if not self.answers:
                    continue
                assert head.startswith("post /v1/traces ")
                self._take(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in group.resource.attributes}["service.name"]
            for scope in group.scope_spans:
                self.spans.extend(_arrived(span, service) for span in scope.spans)


def _arrived(span: Any, service: str) -> Arrived:
    return Arrived(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.message,
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
        [event.name for event in span.events],
        service,
    )


@asynccontextmanager
async def collecting(*, answers: bool = True) -> AsyncIterator[Collector]:
    """Run a collector."""
    collector = Collector(answers=answers)
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    collector.url = f"http://{host}:{port}"
    try:
        yield collector
    finally:
        collector.close()
        server.close()
