"""Traces of a real server, in a collector that is there, is not there, or never answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.collector import Arrived, Collector, collecting
from tests.process.server import Server, running

pytestmark = pytest.mark.process

TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{ABOVE}-01"

#: As ``streaming serve``, where the extra is not installed.
WITHOUT_SDK = (
    sys.executable,
    "-c",
    "import sys; sys.modules['opentelemetry.sdk.trace'] = None; from streaming.cli import main; main()",
    "serve",
    "--port",
    "0",
)


@pytest.fixture(autouse=True)
def exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send soon, and to nobody as long as nobody is named."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")


@asynccontextmanager
async def traced(
    folder: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, **more: object
) -> AsyncIterator[Server]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    settings: dict[str, Any] = {"tasks": "tests.process.traced_handlers", "otel": "on", **more}
    async with running(folder, **settings) as server:
        yield server


@asynccontextmanager
async def target() -> AsyncIterator[tuple[str, list[str]]]:
    """A web server, and the heads of the requests that it was sent."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname()[:2]), heads


async def curl(*words: str) -> Any:
    process = await asyncio.create_subprocess_exec("curl", "-sS", *words, stdout=PIPE)
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(stdout)


def one(collector: Collector, name: str) -> Arrived:
    (span,) = collector.named(name)
    return span


def attempt_of(collector: Collector, task: Arrived) -> Arrived:
    (span,) = (span for span in collector.named("attempt") if span.parent_id == task.span_id)
    return span


async def test_one_trace_goes_from_curl_through_tasks_and_processes_to_the_host_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        collecting() as collector,
        target() as (address, heads),
        traced(tmp_path, collector, monkeypatch, fetch_allow=address) as server,
    ):
        body = json.dumps({"type": "family", "params": {"url": f"http://{address}/"}})
        started = await curl(
            *("-H", f"traceparent: {CALLER}", "-H", "tracestate: a=1", "-H", "content-type: application/json"),
            *("-d", body, f"http://127.0.0.1:{server.port}/tasks"),
        )
        ended = await server.get(started["id"], wait_s=20)
        assert ended["status"] == "completed", ended
        names = ["family", "http_fetch", "threaded", "apart"]
        await collector.until(*[f"task {name}" for name in names], "mine", "in a thread", "in a process")
        await server.stop()

        tasks = {name: one(collector, f"task {name}") for name in names}
        starts = {name: one(collector, f"start {name}") for name in names}
        attempts = {name: attempt_of(collector, task) for name, task in tasks.items()}
        assert {span.trace_id for span in collector.spans} == {TRACE}
        assert starts["family"].parent_id == ABOVE
        assert [tasks[name].parent_id for name in names] == [starts[name].span_id for name in names]
        assert one(collector, "mine").parent_id == attempts["family"].span_id
        assert {starts[name].parent_id for name in names[1:]} == {one(collector, "mine").span_id}
        assert one(collector, "in a thread").parent_id == attempts["threaded"].span_id
        assert one(collector, "start countdown").parent_id == one(collector, "in a thread").span_id
        assert one(collector, "in a process").parent_id == attempts["apart"].span_id
        assert ended["result"]["results"][2] == one(collector, "in a process").span_id
        assert f"\r\ntraceparent: 00-{TRACE}-{attempts['http_fetch'].span_id}-01\r\n" in heads[0]
        assert "\r\ntracestate: a=1\r\n" in heads[0]
        assert {span.service for span in collector.spans} == {"streaming"}
        assert started["traceparent"] == f"00-{TRACE}-{starts['family'].span_id}-01"

        (mine,), (apart,) = server.said("in a span of mine"), server.said("in a process")
        assert (mine["trace_id"], mine["span_id"]) == (TRACE, one(collector, "mine").span_id)
        assert (apart["trace_id"], apart["span_id"]) == (TRACE, one(collector, "in a process").span_id)
        assert "trace_id" not in server.said("draining")[0]


async def test_after_kill_9_the_trace_goes_on_and_nothing_in_it_is_an_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collecting() as collector:
        async with traced(tmp_path, collector, monkeypatch) as server:
            answer = await server.http.post("/tasks", json={"type": "survivor"}, headers={"traceparent": CALLER})
            task_id = answer.json()["id"]
            await collector.until("start survivor", "survivor 1")
            await server.kill()
        async with traced(tmp_path, collector, monkeypatch) as server:
            record = await server.get(task_id, wait_s=20)
            assert (record["result"], record["traceparent"]) == (2, answer.json()["traceparent"])
            await collector.until("task survivor", "attempt", "attempt", "survivor 2")
            await server.stop()

        whole, attempts = one(collector, "task survivor"), collector.named("attempt")
        assert {span.trace_id for span in collector.spans} == {TRACE}
        assert whole.span_id == task_id[16:]
        assert [span.status for span in attempts] == ["interrupted", ""]
        assert {span.parent_id for span in attempts} == {whole.span_id}
        assert one(collector, "survivor 1").parent_id == attempts[0].span_id
        known = {span.span_id for span in collector.spans} | {ABOVE}
        assert {span.parent_id for span in collector.spans} <= known


async def test_what_is_recorded_last_is_sent_before_the_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        async with traced(tmp_path, collector, monkeypatch, tasks="tests.process.handlers", grace_s=5) as server:
            await server.running("tidy")
            assert collector.spans == []
            await server.stop()

        assert one(collector, "task tidy").status == "shutdown"


@pytest.mark.parametrize("there", [False, True], ids=["a dead collector", "one that never answers"])
async def test_a_collector_that_fails_stalls_neither_the_server_nor_its_end(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collecting(answers=False) as collector:
        if not there:
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                collector.url = "http://{}:{}".format(*nobody.getsockname())
        async with traced(tmp_path, collector, monkeypatch, tasks="tests.process.handlers", grace_s=4) as server:
            for _ in range(20):
                task_id = await server.start("burst", n=5)
                assert (await server.get(task_id, wait_s=20))["status"] == "completed"
            if there:
                await server.until(lambda: collector.asked)
            began = time.monotonic()
            await server.stop()
            took_s = time.monotonic() - began

        assert took_s < 4
        assert server.said("traces could not be sent before the end")
        assert len(server.lines) < 60


async def test_a_drain_that_takes_its_whole_grace_is_held_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        collecting(answers=False) as collector,
        traced(tmp_path, collector, monkeypatch, tasks="tests.process.handlers", grace_s=2) as server,
    ):
        await server.running("deaf")
        await server.until(lambda: collector.asked)
        began = time.monotonic()
        await server.stop()
        assert time.monotonic() - began < 2.5


async def test_without_the_sdk_a_server_that_is_to_trace_does_not_start(tmp_path: Path) -> None:
    async with running(tmp_path, WITHOUT_SDK, ready=False, otel="on") as server:
        assert await server.exited() == 2
        assert "pip install 'streaming[otel]'" in "\n".join(server.lines)
    async with running(tmp_path, WITHOUT_SDK) as server:  # nobody needs it who does not want it
        await server.stop()


async def test_an_exporter_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    async with running(tmp_path, ready=False, otel="on") as server:
        assert await server.exited() == 2
        assert "OTEL_TRACES_EXPORTER is one of otlp, console, none" in "\n".join(server.lines)


async def test_without_the_setting_not_even_the_library_is_loaded(tmp_path: Path) -> None:
    code = "import sys, streaming.server; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, cwd=Path.cwd())
    stdout, _ = await process.communicate()
    assert (process.returncode, stdout) == (0, b"[]\n")
