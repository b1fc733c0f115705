"""A real server whose PostgreSQL is away, dies, stalls or belongs to somebody else."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from streaming.config import Settings
from streaming.store import open_database
from tests.postgres import PostgresServer
from tests.process.server import FORKED, SOON_S, Server, running
from tests.proxy import Proxy

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

AWAY = "the store cannot be reached, and is tried again"
SERVE = "streaming serve"


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy, postgres_url: str, postgres_server: PostgresServer) -> str:
    """The URL that leads through the proxy."""
    return postgres_url.replace(str(postgres_server.port), str(proxy.port))


@asynccontextmanager
async def serving(folder: Path, url: str, way: str = FORKED, **settings: Any) -> AsyncIterator[Server]:
    given = {"store_url": url, "store_wait_s": 1, "store_timeout_s": 5, "keepalive_s": 0.2, **settings}
    async with running(folder, way, **given) as server:
        yield server


async def status(server: Server, path: str) -> int:
    return (await server.http.get(path)).status_code


async def until_ready(server: Server) -> None:
    async with asyncio.timeout(SOON_S):
        while await status(server, "/readyz") != 200:
            pass


# -- at the start ------------------------------------------------------------------------------------------------------


async def test_without_its_database_a_server_listens_and_gets_ready_once_it_comes(
    tmp_path: Path, proxy: Proxy, through: str
) -> None:
    proxy.refuse()
    async with serving(tmp_path, through, SERVE) as server:
        health = await server.http.get("/healthz")
        assert (health.status_code, health.json()) == (200, {"status": "ok"})  # who may ask for more is in the store
        for method, path in (("GET", "/readyz"), ("POST", "/tasks"), ("GET", "/tasks"), ("GET", "/events")):
            answer = await server.http.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        await server.until(lambda: len(server.said(AWAY)) > 1)
        proxy.accept()
        await until_ready(server)
        task = await server.get(await server.start("burst", n=3), wait_s=10)
        assert task["status"] == "completed"
        assert (await server.http.get("/healthz")).json()["store"]["breaker"] == "closed"
        await server.check_sound()
        await server.stop()

        tries = server.said(AWAY)
        pauses = [entry["pause_s"] for entry in tries]
        assert pauses == sorted(pauses)
        assert pauses[:2] == [0.5, 1.0]
        assert {entry["reason"] for entry in tries} == {
            "The database 'test' cannot be used: nobody answers there, or the connection was lost."
        }


@pytest.mark.parametrize("way", [SERVE, "uvicorn --loop asyncio"])
async def test_sigterm_while_it_waits_ends_it_at_once(tmp_path: Path, proxy: Proxy, through: str, way: str) -> None:
    proxy.refuse()
    async with serving(tmp_path, through, way) as server:
        await server.until_said(AWAY)
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await server.exited() == 0
        assert time.monotonic() - begin < 3
        assert [entry for entry in server.entries if entry["level"] == "error"] == []


async def test_a_database_that_comes_and_cannot_be_used_ends_the_server(
    tmp_path: Path, proxy: Proxy, through: str, postgres_url: str
) -> None:
    with closing(open_database(Settings(store_url=postgres_url))) as made:
        made.open()
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
        other.execute("update streaming.alembic_version set version_num = '0001'")
    proxy.refuse()
    async with serving(tmp_path, through, SERVE) as server:
        await server.until_said(AWAY)
        proxy.accept()
        assert await server.exited() == 5
        assert "streaming db upgrade" in server.lines[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("postgres@", "nobody_here:secret@"), "it refuses this user or password"),
        (("/test", "/missing"), "there is no such database"),
    ],
)
async def test_what_waiting_does_not_cure_stops_the_start(
    change: tuple[str, str], said: str, tmp_path: Path, postgres_url: str
) -> None:
    async with running(tmp_path, SERVE, ready=False, store_url=postgres_url.replace(*change)) as server:
        assert await server.exited() == 5
        assert said in server.lines[-1]
        assert "secret" not in "\n".join(server.lines)


async def test_a_second_server_is_refused_and_told_who_is_there(tmp_path: Path, postgres_url: str) -> None:
    async with serving(tmp_path, postgres_url) as first:
        async with running(tmp_path, SERVE, ready=False, store_url=postgres_url, store_wait_s=0.2) as second:
            assert await second.exited() == 5
            assert f"in use by streaming, process {first.process.pid} on " in second.lines[-1]
        assert await status(first, "/readyz") == 200, "the first one does not mind"
        await first.stop()


# -- under load --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "kill"])
async def test_the_death_of_postgres_under_load_loses_nothing_and_breaks_no_stream(
    how: str, tmp_path: Path, postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with serving(tmp_path, postgres_url) as server:
        task_ids = [await server.start("burst", n=3000, pause_s=0.0005) for _ in range(3)]
        streams = [await server.stream(task_id) for task_id in task_ids for _ in range(2)]
        feed = await server.open("/events")
        for stream in streams:
            await stream.until(lambda stream=stream: len(stream.blocks) > 50)  # type: ignore[misc]  # it is bound now
        stop = postgres_server.kill if how == "kill" else postgres_server.stop
        await asyncio.to_thread(stop)

        await server.until_said("the store is away: tasks wait at their next event")
        assert await status(server, "/readyz") == 503
        assert await status(server, "/healthz") == 200
        refused = await server.http.post("/tasks", json={"type": "burst", "params": {"n": 1}})
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        seen = len(streams[0].body)
        await streams[0].until(lambda: streams[0].body[seen:].count(b": keepalive") > 2)

        await asyncio.to_thread(postgres_server.start)
        await until_ready(server)
        for stream in streams:
            await stream.read()
            assert stream.ended
            assert [event["data"]["n"] for event in stream.events if event["type"] == "n"] == list(range(1, 3001))
            assert stream.types[-1] == "completed"
        for first, second in zip(streams[::2], streams[1::2], strict=True):
            assert first.blocks == second.blocks
        await feed.until(lambda: len(feed.blocks) == sum(len(stream.blocks) for stream in streams[::2]))
        assert list(feed.blocks) == list(range(1, len(feed.blocks) + 1))
        feed.leave()
        await server.check_sound()
        await server.stop()


async def test_a_database_that_stalls_holds_tasks_up_and_no_stream(tmp_path: Path, proxy: Proxy, through: str) -> None:
    async with serving(tmp_path, through, backlog_events_max=10) as server:
        task_id = await server.start("burst", n=2000, pause_s=0.0005)
        stream = await server.stream(task_id)
        await stream.until(lambda: len(stream.blocks) > 50)
        proxy.stall()
        await asyncio.to_thread(proxy.wait_until_held)
        await stream.until(lambda: bytes(stream.body).endswith(b": keepalive\n" * 3))
        seen = len(stream.blocks)
        assert await status(server, "/healthz") == 200
        proxy.resume()
        await stream.read()

        assert seen < 2000, "the handler waited"
        assert [event["data"]["n"] for event in stream.events if event["type"] == "n"] == list(range(1, 2001))
        await server.check_sound()
        await server.stop()


async def test_a_connection_that_is_cut_again_and_again_stores_everything_once(
    tmp_path: Path, proxy: Proxy, through: str
) -> None:
    async with serving(tmp_path, through) as server:
        task_id = await server.start("burst", n=1500, pause_s=0.0005)
        stream = await server.stream(task_id)
        for number in range(1, 6):
            await stream.until(lambda number=number: len(stream.blocks) > number * 100)  # type: ignore[misc]  # mypy finds no type for a lambda with a bound default
            proxy.cut()
        await stream.read()

        assert [event["data"]["n"] for event in stream.events if event["type"] == "n"] == list(range(1, 1501))
        assert list(stream.blocks) == list(range(1, len(stream.blocks) + 1))
        await server.check_sound()
        await server.stop()


async def test_a_server_that_is_killed_is_followed_at_once(tmp_path: Path, postgres_url: str) -> None:
    """Its lock goes with it, and what it had stored is there."""
    async with serving(tmp_path, postgres_url) as server:
        task_id = await server.start("burst", pause_s=0.0005)
        stream = await server.stream(task_id)
        await stream.until(lambda: len(stream.blocks) > 200)
        await server.kill()
        await stream.read()
    async with serving(tmp_path, postgres_url) as server:
        task = await server.get(task_id)
        assert (task["status"], task["error"]["code"]) == ("interrupted", "crash")
        again = await server.stream(task_id)
        await again.read()
        assert {seq: again.blocks[seq] for seq in stream.blocks} == stream.blocks
        await server.check_sound()
        await server.stop()
