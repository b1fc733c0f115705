"""kill -9 at random moments under load: what any client has seen is there afterwards, with the same id and bytes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.server import FORKED, Server, running
from tests.process.stream import Stream

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

ROUNDS = 10
ROUNDS_ON_POSTGRES = 6

#: A kill comes at any moment up to so many seconds after the load: while one of the ends is missing, or fewer events
#: were seen, there are more rounds, at most so many times as many, each as much longer again, for a busy machine.
LOAD_S = 0.4
PATIENCE = 12
SEEN_MIN = 1000
ENDS = {"completed", "cancelled", "interrupted"}

#: In every so many rounds the server is killed while it starts, and recovers what the last one has left; in the others,
#: under load. Twenty rounds of readers that come back are in test_kill_rounds.py.
EARLY = 5

#: How a client learns that the server was killed: that is what we are here for.
LOST = (httpx.TransportError, ConnectionError)

TERMINAL = {"completed", "failed", "cancelled", "timed_out", "interrupted"}


@dataclass
class Reader:
    """Somebody who watches on across crashes, and remembers every event that was shown."""

    path: str
    seen: dict[int, bytes] = field(default_factory=dict)
    stream: Stream | None = None

    @property
    def last(self) -> int:
        return max(self.seen, default=0)

    async def go_on(self, server: Server) -> None:
        """Resume behind the last event."""
        self.stream = await server.open(self.path, after=self.last)
        assert self.stream.status in (200, 204)

    async def stop(self) -> None:
        """Take what came until the connection was lost, or the log has ended."""
        if self.stream is not None:
            await self.stream.read()
            new = self.stream.blocks
            assert not new or min(new) == self.last + 1, "no gap, and nothing twice"
            self.seen |= new
            self.stream = None


@dataclass
class World:
    """All that clients know: the tasks that were acknowledged, what readers saw, and which ends were told."""

    chance: random.Random
    readers: list[Reader] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    feed: Reader = field(default_factory=lambda: Reader("/events"))

    # -- load -----------------------------------------------------------------------------------------------------

    async def load(self, server: Server) -> None:
        """Start tasks, watch them, cancel some, ask for others; until the server is gone."""
        types = ["burst"] * 4 + ["sleeper"] * 2
        if "again" not in self.types.values():
            types += ["again"] * 2
        await asyncio.gather(*(self._work(server, type) for type in types), self._look(server))

    async def _work(self, server: Server, type: str) -> None:
        with contextlib.suppress(*LOST):
            await self._start(server, type)

    async def _start(self, server: Server, type: str) -> None:
        params = {"n": self.chance.choice([1, 5, 500, 3000]), "pad_bytes": self.chance.choice([0, 90, 2000])}
        task_id = await server.start(type, **params if type == "burst" else {})
        self.types[task_id] = type
        for _ in range(2):
            reader = Reader(f"/tasks/{task_id}/events")
            self.readers.append(reader)
            await reader.go_on(server)
        if type == "sleeper" and self.chance.random() < 0.5:
            answer = await server.http.post(f"/tasks/{task_id}/cancel")
            assert answer.status_code in (200, 202)
            self.cancelled.add(task_id)

    async def _look(self, server: Server) -> None:
        with contextlib.suppress(*LOST):
            while True:
                listed = await server.http.get("/tasks", params={"limit": 20})
                for task in listed.json()["tasks"]:
                    if task["status"] in TERMINAL:
                        assert self.ended.setdefault(task["id"], task) == task

    # -- what must hold afterwards --------------------------------------------------------------------------------

    async def check(self, server: Server, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            task = await server.get(task_id)
            log = await whole_log(server, task)
            blocks, had_run = log.blocks, False
            for reader in self.readers:
                if reader.path == f"/tasks/{task_id}/events":
                    assert all(blocks[seq] == block for seq, block in reader.seen.items()), "seen, and un-happened"
                    had_run |= any(b"\nevent: running\n" in block for block in reader.seen.values())
            self._check_status(task, log, had_run)
            self._check_log(task, log)

    async def check_feed(self, server: Server) -> None:
        feed, last = await server.open("/events"), self.feed.seen[self.feed.last]
        await feed.until(lambda: last in feed.body)
        feed.leave()
        blocks = feed.blocks
        assert next(iter(blocks)) == 1
        assert {position: blocks[position] for position in self.feed.seen} == self.feed.seen, "seen, and un-happened"
        assert list(self.feed.seen) == list(range(1, self.feed.last + 1)), "and all of it was shown"

    def _check_status(self, task: dict[str, Any], log: Stream, had_run: bool) -> None:
        type = self.types[task["id"]]
        if task["id"] in self.ended:
            assert task == self.ended[task["id"]], "what has ended does not change, and never starts again"
        elif type == "again":
            assert task["status"] in ("pending", "running")
            attempts = [event["data"]["attempt"] for event in log.events if event["type"] == "running"]
            assert attempts == list(range(1, len(attempts) + 1))
            assert task["attempt"] - len(attempts) in (0, 1)
        elif task["status"] == "interrupted":
            assert task["error"]["code"] == "crash"
            assert task["id"] not in self.cancelled, "a cancel that was acknowledged is honoured"
        elif task["status"] in TERMINAL:
            assert task["status"] == ("completed" if type == "burst" else "cancelled")
        else:
            assert not had_run, "nothing is called running that died with the last server"

    def _check_log(self, task: dict[str, Any], log: Stream) -> None:
        types = log.types[: task["last_seq"]]  # it may have gone on since
        ends = [type for type in types if type in TERMINAL]
        numbers = [event["data"]["n"] for event in log.events if event["type"] == "n"]
        assert next(iter(log.blocks)) == 1
        if task["status"] in TERMINAL:
            assert (ends, types[-1], task["last_seq"]) == ([task["status"]], task["status"], len(types))
            assert numbers == list(range(1, len(numbers) + 1))
            assert self.logs.setdefault(task["id"], bytes(log.body)) == log.body
        else:
            assert ends == []


async def whole_log(server: Server, task: dict[str, Any]) -> Stream:
    """The log of a task, as far as it was when the task was looked at."""
    log = await server.stream(task["id"])
    if task["status"] in TERMINAL:
        await log.read()
        assert log.ended
    else:
        await log.until(lambda: f"id: {task['last_seq']}\n".encode() in log.body and log.body.endswith(b"\n\n"))
        log.leave()
    return log


def ends_of(world: World) -> set[str]:
    """The ways in which tasks have ended, as far as it is known."""
    return {task["status"] for task in world.ended.values()} | {
        type for log in world.logs.values() for type in end(log)
    }


@pytest.mark.parametrize(("database", "rounds"), [("sqlite", ROUNDS), ("postgres", ROUNDS_ON_POSTGRES)])
async def test_nothing_that_any_client_saw_un_happens_and_nothing_is_told_twice(
    database: str, rounds: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = {"store_url": request.getfixturevalue("postgres_url")} if database == "postgres" else {}
    world = World(random.Random(9))
    for round in range(PATIENCE * rounds):
        if round >= rounds and has_seen_enough(world):
            break
        before = set(world.types)
        async with running(tmp_path, FORKED, ready=round % EARLY != EARLY - 1, **where) as server:
            if not server.port:
                await asyncio.sleep(world.chance.uniform(0, 0.15))
                continue
            unfinished = [task_id for task_id in before if task_id not in world.logs]
            await world.check(server, [*unfinished, *world.chance.sample(sorted(world.logs), min(3, len(world.logs)))])
            for reader in [*filter(wants_more, world.readers), world.feed]:
                await reader.go_on(server)
            load = asyncio.create_task(world.load(server))
            await asyncio.sleep(world.chance.uniform(0.02, LOAD_S * max(1, round - rounds + 2)))
            await server.kill()
            await load
        for reader in [*world.readers, world.feed]:
            await reader.stop()

    async with running(tmp_path, FORKED, grace_s=1, **where) as server:
        await world.check(server, world.types)
        await world.check_feed(server)
        await server.check_sound()
        await server.stop()
    assert has_seen_enough(world)


def has_seen_enough(world: World) -> bool:
    """Whether it was killed in the middle of all of that, and there is something to compare."""
    of_tasks, of_all = sum(len(reader.seen) for reader in world.readers), len(world.feed.seen)
    return ends_of(world) == ENDS and min(of_tasks, of_all) > SEEN_MIN


def end(log: bytes) -> set[str]:
    """How a log ends."""
    return {log.rpartition(b"\nevent: ")[2].partition(b"\n")[0].decode()}


def wants_more(reader: Reader) -> bool:
    """Whether a reader has not seen the end of its log yet."""
    return not end(b"\n" + reader.seen.get(reader.last, b"")) & TERMINAL


@pytest.mark.parametrize("way", ["streaming serve", "uvicorn --loop asyncio", "uvicorn --loop uvloop"])
async def test_a_handler_whose_child_ends_the_event_loop_is_a_crash_that_says_so(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, way) as server:
        tidy = await server.running("tidy")
        quits = await server.start("quits")
        assert await server.exited() == 1, "also where the handler wanted to end the process with 0"

    assert [line["level"] for line in server.entries if line["event"].startswith("the server cannot go on")] == [
        "critical"
    ]
    async with running(tmp_path, FORKED) as server:
        for task_id in (tidy, quits):
            task = await server.get(task_id)
            assert (task["status"], task["error"]["code"]) == ("interrupted", "crash")
        await server.check_sound()
        await server.stop()
