"""A server whose store is away at the start: it listens, tries again, and can be stopped meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from streaming import server as module
from streaming.config import Settings
from streaming.errors import StoreUnavailable, StoreUnreachable, StreamingError
from streaming.server import Server
from streaming.store.memory import MemoryStore
from tests.host import SOON_S, Host, hosting

AWAY = "the store cannot be reached, and is tried again"
COMPLETE = {"type": "lifespan.startup.complete"}


class Away(MemoryStore):
    """A store that fails to open as often as told."""

    failures: ClassVar[list[BaseException]] = []
    opened = 0

    async def open(self) -> None:
        Away.opened += 1
        if Away.failures:
            raise Away.failures.pop(0)
        await super().open()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(module, "open_store", Away)
    monkeypatch.setattr(module, "AWAY_FIRST_S", 0.01)
    monkeypatch.setattr(module, "AWAY_MAX_S", 0.02)
    monkeypatch.setattr(module, "configure", lambda _settings: None)
    monkeypatch.setattr(Away, "failures", [])
    monkeypatch.setattr(Away, "opened", 0)
    with hosting(Server(Settings(store_url="memory://", grace_s=1)), monkeypatch) as host:
        yield host


def away(times: int) -> None:
    Away.failures = [StoreUnreachable("Nobody is there.") for _ in range(times)]


async def ready(host: Host) -> int:
    return (await host.ask("GET", "/readyz"))[0]


async def until_ready(host: Host) -> None:
    async with asyncio.timeout(SOON_S):
        while await ready(host) != 200:  # noqa: ASYNC110  # a server does not tell when it changes
            await asyncio.sleep(0)


async def test_it_listens_at_once_and_is_ready_once_the_store_is_there(host: Host) -> None:
    away(5)
    with capture_logs() as logs:
        await host.start()
        assert host.said == [COMPLETE]
        assert (await host.ask("GET", "/healthz"))[0] == 200
        assert await ready(host) == 503
        await until_ready(host)
        await host.stop()

    assert host.said == [COMPLETE, {"type": "lifespan.shutdown.complete"}]
    tries = [entry for entry in logs if entry["event"] == AWAY]
    assert [(entry["reason"], entry["pause_s"]) for entry in tries] == [
        ("Nobody is there.", pause_s) for pause_s in (0.01, 0.02, 0.02, 0.02, 0.02)
    ]


async def test_the_server_that_runs_it_may_stop_it_meanwhile(host: Host) -> None:
    away(1_000_000)
    await host.start()
    await host.stop()
    assert host.said == [COMPLETE, {"type": "lifespan.shutdown.complete"}]
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nobody tries any more"


async def test_so_may_a_signal(host: Host) -> None:
    away(1_000_000)
    await host.start()
    os.kill(os.getpid(), signal.SIGTERM)
    await host.until(lambda: host.uvicorn.should_exit)
    await host.stop()
    assert host.said == [COMPLETE, {"type": "lifespan.shutdown.complete"}]
    assert host.server.failure is None


@pytest.mark.parametrize("problem", [StoreUnavailable("It is in use."), ZeroDivisionError("a bug")])
async def test_a_store_that_comes_and_cannot_be_used_stops_the_server_and_says_why(
    problem: Exception, host: Host
) -> None:
    away(2)
    Away.failures.append(problem)
    with capture_logs() as logs:
        await host.start()
        await host.until(lambda: host.uvicorn.should_exit)
        assert await ready(host) == 503
        await host.stop()

    assert isinstance(host.server.failure, StreamingError)
    (said,) = [entry for entry in logs if entry["event"] == "the server could not start"]
    assert said["reason"] == str(problem)
    assert (said["exc_info"] is problem) is isinstance(problem, ZeroDivisionError)


async def test_what_waiting_does_not_cure_is_refused_at_once(host: Host) -> None:
    Away.failures = [StoreUnavailable("It is in use.")]
    await host.start()

    assert host.said == [{"type": "lifespan.startup.failed", "message": ""}]


async def unready(host: Host) -> None:
    await host.until(lambda: host.said)
    assert host.said == [COMPLETE]
    assert (await host.ask("GET", "/healthz"))[0] == 200
    assert await ready(host) == 503


async def test_a_store_that_takes_long_to_answer_is_waited_for_with_open_doors(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks whether the process is alive would kill it otherwise."""
    monkeypatch.setattr(module, "LISTEN_AFTER_S", 0.01)
    answers = asyncio.Event()
    opened = MemoryStore.open

    async def slow(store: MemoryStore) -> None:
        await answers.wait()
        await opened(store)

    monkeypatch.setattr(Away, "open", slow)
    await host.start()
    await unready(host)
    answers.set()
    await until_ready(host)
    await host.stop()
    assert host.said == [COMPLETE, {"type": "lifespan.shutdown.complete"}]


async def test_so_is_one_that_takes_no_first_commit_and_a_signal_ends_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LISTEN_AFTER_S", 0.01)

    async def refuse(_store: MemoryStore, _commit: Any) -> Any:
        raise StoreUnavailable("Its disk is full.")

    monkeypatch.setattr(MemoryStore, "commit", refuse)
    await host.start()
    await unready(host)
    os.kill(os.getpid(), signal.SIGTERM)
    await host.until(lambda: host.uvicorn.should_exit)
    await host.stop()
    assert host.said == [COMPLETE, {"type": "lifespan.shutdown.complete"}]
    assert host.server.failure is None


async def test_a_store_that_goes_away_while_tasks_are_taken_up_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = MemoryStore.unfinished
    lost: list[Any] = [StoreUnreachable("It has gone again.")]

    async def once(store: MemoryStore) -> Any:
        if lost:
            raise lost.pop()
        return await unfinished(store)

    monkeypatch.setattr(MemoryStore, "unfinished", once)
    await host.start()
    await until_ready(host)
    await host.stop()
    assert Away.opened == 2
