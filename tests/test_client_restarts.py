"""The client and the real server, which is killed while many watch: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from streaming.client import Client, Patience
from streaming.errors import TaskCancelled, TaskFailed, TaskNotFound, TaskTerminal
from streaming.events import Event
from streaming.records import CancelOutcome, TaskStatus
from tests.real_server import RealServer

pytestmark = pytest.mark.process

#: The server asks for 2 s between two tries; tests have no time for that.
IMPATIENT = Patience(sleep=lambda seconds: asyncio.sleep(seconds / 20))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One for all tests: each leaves it running."""
    server = RealServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.end(signal.SIGKILL)


async def restart(server: RealServer) -> None:
    await asyncio.to_thread(server.end, signal.SIGKILL)
    await asyncio.to_thread(server.start)


async def seen_step(client: Client, task_id: str, attempt: int, number: int) -> None:
    """Wait until an attempt of the task has come to a step."""
    step = {"attempt": attempt, "number": number}
    async with aclosing(client.watch(task_id)) as events:
        async for event in events:
            if event.type == "step" and event.data == step:
                return
    raise AssertionError(f"the log ended before {step}")


async def log_of(client: Client, task_id: str) -> list[Event]:
    async with aclosing(client.watch(task_id)) as events:
        return [event async for event in events]


async def test_readers_see_one_log_across_kills_whatever_moment_they_come(server: RealServer) -> None:
    """Every event that any reader saw is in the log afterwards: same seq, same bytes."""
    async with Client(server.url, patience=IMPATIENT) as client:
        task = await client.start("patient", {"count": 150})
        readers = [asyncio.create_task(log_of(client, task.id)) for _ in range(5)]
        for attempt in (1, 2, 3):
            await seen_step(client, task.id, attempt, random.randrange(5, 100))
            await restart(server)
        seen = await asyncio.gather(*readers)
        log = await log_of(client, task.id)

    assert all(events == log for events in seen)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert log[-1].type == "completed"
    assert {event.data["attempt"] for event in log if event.type == "step"} == {1, 2, 3, 4}


async def test_a_task_that_does_not_restart_is_reported_to_its_readers(server: RealServer) -> None:
    async with Client(server.url, patience=IMPATIENT) as client:
        task = await client.start("countdown", {"count": 100_000, "interval": 0.01})
        async with aclosing(client.watch(task.id)) as events:
            seen = [await anext(events) for _ in range(20)]
            await restart(server)
            seen += [event async for event in events]

        assert seen == await log_of(client, task.id)
        assert seen[-1].type == "interrupted"
        assert (await client.get(task.id)).status is TaskStatus.INTERRUPTED


async def test_a_graceful_restart_ends_streams_and_the_client_comes_back(server: RealServer) -> None:
    async with Client(server.url, patience=IMPATIENT) as client:
        task = await client.start("patient", {"count": 100})
        async with aclosing(client.watch(task.id)) as events:
            seen = [await anext(events) for _ in range(20)]
            assert await asyncio.to_thread(server.end) == 0
            await asyncio.to_thread(server.start)
            seen += [event async for event in events]

        assert seen == await log_of(client, task.id)

    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type in ("completed", "interrupted")


async def test_everything_else_that_a_client_can_ask_for(server: RealServer) -> None:
    async with Client(server.url, patience=IMPATIENT) as client:
        done = await client.run("countdown", {"count": 2, "interval": 0}, tags=["mine"], timeout_s=30)
        assert (done.result, done.tags, done.timeout_s) == ({"count": 2}, ("mine",), 30.0)
        with pytest.raises(TaskFailed, match="so it is"):
            await client.run("broken")
        with pytest.raises(TaskTerminal, match="completed"):
            await client.cancel(done.id)

        task = await client.start("countdown", {"count": 100_000}, idempotency_key="one", tags=["mine"])
        again = await client.start("countdown", {"count": 100_000}, idempotency_key="one", tags=["mine"])
        assert again.id == task.id
        cancelled = await client.cancel(task.id, reason="enough", wait_s=10)
        assert cancelled.cancel is not None
        assert (cancelled.status, cancelled.cancel.outcome) == (TaskStatus.CANCELLED, CancelOutcome.STOPPED)

        assert [record.id async for record in client.list(tag="mine")] == [task.id, done.id]
        assert [record.id async for record in client.list(tag="mine", limit=1)] == [task.id]
        assert {each["name"] for each in await client.types()} >= {"countdown", "http_fetch", "checksum"}
        await client.delete(done.id)
        with pytest.raises(TaskNotFound):
            await client.get(done.id)


async def test_a_run_that_somebody_cancels_is_raised(server: RealServer) -> None:
    async with Client(server.url, patience=IMPATIENT) as client:
        running = asyncio.create_task(client.run("countdown", {"count": 100_000}, tags=["found"]))
        found: list[str] = []
        while not found:
            found = [record.id async for record in client.list(tag="found")]
        await client.cancel(found[0], reason="not now")
        with pytest.raises(TaskCancelled, match="not now"):
            await running
