"""The site of deploy/nginx in a real nginx, in front of a real server: nothing is held up, lost or told outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nginx import NoNginx, site
from tests.process.server import FORKED, Server, running
from tests.process.stream import open_stream

pytestmark = pytest.mark.process


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[tuple[Server, int, Path]]:
    """A server, the port of the nginx in front of it, and the folder with the log files of that."""
    async with running(folder, FORKED, **settings) as server:
        try:
            with site(server.port) as (port, logs):
                yield server, port, logs
        except NoNginx as reason:
            pytest.skip(str(reason))


async def ask(port: int, path: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://localhost:{port}", trust_env=False, timeout=20) as http:
        return await http.get(path, **request)


async def test_each_event_comes_by_itself(tmp_path: Path) -> None:
    """Nothing follows an event before it has arrived: a proxy that waits for more would wait for ever."""
    async with served(tmp_path) as (server, port, _):
        task_id = await server.start("sleeper")
        through = await open_stream(port, f"/tasks/{task_id}/events")
        await through.until(lambda: b"event: running\n" in through.body)
        for number in range(5):
            before = len(through.blocks)
            answer = await server.http.post(f"/tasks/{task_id}/input", json={"data": number})
            assert answer.status_code == 202
            await through.until(lambda before=before: len(through.blocks) > before)  # type: ignore[misc]  # bound
        await server.http.post(f"/tasks/{task_id}/cancel")
        await through.read()

        assert through.ended
        assert through.types == ["pending", "running", *["input"] * 5, "cancel_requested", "cancelled"]
        await server.stop()


async def test_a_reader_resumes_through_it_after_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, port, _):
        task_id = await server.start("again", n=200, pause_s=0.01)
        first = await open_stream(port, f"/tasks/{task_id}/events")
        await first.until(lambda: len(first.blocks) > 20)
        await server.kill()
        await first.read()
        assert not first.ended, "a broken stream must not look like a whole one"
        assert (await ask(port, "/healthz")).status_code == 502

        last = max(first.blocks)
        async with running(tmp_path, FORKED, port=server.port) as again:
            second = await open_stream(port, f"/tasks/{task_id}/events", after=last)
            await second.read()
            assert second.ended
            assert second.types[-1] == "completed"
            whole = await again.stream(task_id)
            await whole.read()
            assert {**first.blocks, **second.blocks} == whole.blocks
            assert list({**first.blocks, **second.blocks}) == list(range(1, len(whole.blocks) + 1))
            await again.stop()


async def test_a_drain_ends_streams_cleanly_and_readiness_goes_first(tmp_path: Path) -> None:
    async with served(tmp_path, grace_s=4, cancel_grace_s=1) as (server, port, _):
        assert (await ask(port, "/readyz")).status_code == 200
        task_id = await server.running("tidy", takes_s=0.2)
        log = await open_stream(port, f"/tasks/{task_id}/events")
        feed = await open_stream(port, "/events")
        beats = await open_stream(port, "/beats?count=100&interval_s=10")
        await log.until(lambda: b"event: running\n" in log.body)

        stopping = asyncio.create_task(server.stop())
        refused = await ask(port, "/readyz")
        while refused.status_code == 200:  # the signal is on its way
            refused = await ask(port, "/readyz")
        await asyncio.gather(log.read(), feed.read(), beats.read())
        await stopping

        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert refused.headers["retry-after"]
        assert log.types[-1] == "interrupted"
        assert (log.ended, feed.ended, beats.ended) == (True, True, True)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "//metrics", "/x/../metrics", "/metrics?a=b"])
async def test_metrics_are_not_there_for_the_outside(path: str, tmp_path: Path) -> None:
    async with served(tmp_path) as (server, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()

        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"Server: nginx" in answer
        await server.stop()


async def test_what_is_refused_is_refused_in_the_words_of_the_server(tmp_path: Path) -> None:
    async with served(tmp_path, body_bytes_max=100_000) as (server, port, _):
        async with httpx.AsyncClient(base_url=f"http://localhost:{port}", trust_env=False, timeout=20) as http:
            answer = await http.post("/tasks", content=b" " * 2_000_000, headers={"content-type": "application/json"})
        assert (answer.status_code, json.loads(answer.text)["code"]) == (413, "body_too_large")
        assert (await ask(port, "/nothing")).json()["code"] == "not_found"
        await server.stop()


async def test_no_log_file_has_a_query(tmp_path: Path) -> None:
    """The token of a stream stands in it; nginx quotes it where the server cannot be reached, too."""
    async with served(tmp_path) as (server, port, logs):
        await ask(port, "/tasks/" + "0" * 32 + "/events?stream_token=s3cret-one")
        await server.stop()
        assert (await ask(port, "/events?stream_token=s3cret-two")).status_code == 502

        written = "".join(path.read_text() for path in logs.glob("*.log"))
        assert '"GET /events HTTP/1.1" 502 ' in written
        assert "s3cret" not in written


async def test_what_a_client_says_of_its_address_is_replaced(tmp_path: Path) -> None:
    """The rate is that of the address that nginx has seen, whatever the client has put into the header."""
    settings = {"trusted_proxies": "127.0.0.1", "rate_limit_address": "3/hour"}
    async with served(tmp_path, **settings) as (server, port, _):
        statuses = [
            (await ask(port, "/types", headers={"x-forwarded-for": f"192.0.2.{number}"})).status_code
            for number in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        await server.stop()
