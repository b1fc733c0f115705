"""Clients who remember: what each of them was told, byte for byte, and whether all of it was true in the end.

They live through whatever is done to their server: they connect again with the last id, and ask again with the same
key.

Owns:   readers with habits, on real sockets; requests that are repeated until they are answered; the judgement.
Uses:   rules.invariants (what must hold), the store of the server, once that has ended.
Never:  forgives a byte; knows what the server has lived through.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import httpx

from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt
from streaming.rules.evidence import ReaderEvidence, TaskEvidence
from streaming.rules.filters import EVERYTHING
from streaming.rules.invariants import check_reader, check_task
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import feed_frame, frame
from streaming.store import open_store
from tests.process.stream import SOON_S, Stream, open_stream

#: How a client learns that its server, or the way to it, is gone.
LOST = (httpx.TransportError, OSError, TimeoutError)

#: Seconds for which a client asks again: longer than any server of these tests is away, though the machine be busy.
PATIENCE_S = 120.0

#: Pause before a client tries again.
AGAIN_S = 0.03

#: What a server says that cannot just now.
NOT_NOW = (429, 503)

PAGE = 1000

#: Logs that are read again at the same time.
AT_ONCE = 50

#: Stands among the ids of tasks.
FEED = "the feed"


@dataclass(frozen=True)
class Habit:
    """How somebody reads.

    Attributes:
        bytes_max: leaves after so many bytes, at any of up to so many.
        reset: breaks off when leaving, rather than closing.
        pause_s: after each piece, with the smallest of buffers.
    """

    bytes_max: int = 0
    reset: bool = False
    pause_s: float = 0


STEADY = Habit()
LEAVING = Habit(bytes_max=3000)
CRASHING = Habit(bytes_max=3000, reset=True)
SLOW = Habit(pause_s=0.01)
HABITS = (STEADY, LEAVING, CRASHING, SLOW)


@dataclass
class Watcher:
    """Somebody who reads one log, or the feed, across all connections that it takes.

    Attributes:
        path: of the stream.
        seen: id and bytes of every event, in the order in which they came.
        finished: the server has said that nothing will follow.
        connections: how many it took.
    """

    path: str
    port: Callable[[], int]
    habit: Habit
    chance: random.Random
    seen: list[tuple[int, bytes]] = field(default_factory=list)
    finished: bool = False
    connections: int = 0
    stream: Stream | None = None

    @property
    def last(self) -> int:
        """The cursor."""
        return self.seen[-1][0] if self.seen else 0

    @property
    def has(self) -> int:
        """The last event that it has, with what it has not taken apart yet."""
        return max(self.last, max(self.stream.blocks, default=0) if self.stream is not None else 0)

    async def read(self) -> None:
        """Until the end of the log."""
        while not self.finished:
            await self.visit()

    async def visit(self) -> None:
        """One connection, to its end."""
        try:
            stream = await open_stream(self.port(), self.path, self.last, self.habit.pause_s)
        except LOST:
            await asyncio.sleep(AGAIN_S)
            return
        self.connections += 1
        self.stream = stream
        try:
            await self._read(stream)
        finally:
            stream.leave(reset=self.habit.reset)
            self.stream = None
            if stream.status == 200:
                self.seen += stream.blocks.items()

    async def _read(self, stream: Stream) -> None:
        if stream.status == 204:
            self.finished = True
        elif stream.status in NOT_NOW:
            await asyncio.sleep(AGAIN_S)
        else:
            assert stream.status == 200, f"{stream.status} for {self.path}: {bytes(stream.body)!r}"
            enough = self.chance.randrange(1, self.habit.bytes_max) if self.habit.bytes_max else 0
            while not stream.over and not (enough and len(stream.body) >= enough):
                await stream.changed.wait()


@dataclass
class Judgement:
    """What was found, and of how much.

    Attributes:
        violations: what did not hold.
        statuses: how many tasks have which status.
        events: how many were stored.
        seen: how many events readers have got, together.
        readers: how many there were.
        connections: how many they took.
        receipts: how many cancels were acknowledged.
    """

    violations: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    events: int = 0
    seen: int = 0
    readers: int = 0
    connections: int = 0
    receipts: int = 0


class Witness:
    """Clients of one server, which may come and go, always on the same port.

    Args:
        port: where to ask.
        chance: decides what is random about its readers.
    """

    def __init__(self, port: int, chance: random.Random | None = None) -> None:
        self.port = port
        self.chance = chance or random.Random(0)
        self.types: dict[str, str] = {}
        self.receipts: dict[str, list[CancelReceipt]] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self.watchers: dict[str, list[Watcher]] = {}
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=SOON_S,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self._reading: set[asyncio.Task[None]] = set()
        self._keys = itertools.count(1)

    # -- what it asks for ----------------------------------------------------------------------------------------------

    async def start(self, type: str, /, options: Mapping[str, Any] | None = None, **params: Any) -> str:
        """Start a task, however often it has to be asked for."""
        key = {"Idempotency-Key": f"start-{next(self._keys)}"}
        body = {"type": type, "params": params, **(options or {})}
        answer = await self._ask("POST", "/tasks", json=body, headers=key)
        assert answer.status_code in (200, 201), answer.text
        task_id = str(answer.json()["id"])
        self.types[task_id] = type
        return task_id

    async def cancel(self, task_id: str) -> bool:
        """Ask for the end of a task; whether it was granted, and not too late."""
        answer = await self._ask("POST", f"/tasks/{task_id}/cancel", json={"reason": "enough"})
        if answer.status_code == 409:
            return False
        assert answer.status_code in (200, 202), answer.text
        self.receipts.setdefault(task_id, []).append(_receipt(answer.json()["cancel"]))
        return True

    async def look(self) -> None:
        """Read a list, and remember who has ended: that must not change any more."""
        answer = await self._ask("GET", "/tasks", params={"limit": 20})
        for task in answer.json()["tasks"]:
            if task["status"] in TERMINAL:
                known = self.ended.setdefault(task["id"], task)
                assert known == task, "what has ended does not change"

    async def until_ended(self, task_id: str) -> dict[str, Any]:
        """The task, once it is terminal."""
        async with asyncio.timeout(SOON_S):
            while True:
                answer = await self._ask("GET", f"/tasks/{task_id}", params={"wait_s": 5})
                if answer.json()["status"] in TERMINAL:
                    return dict(answer.json())

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self.http.request(method, path, **request)
                except LOST:
                    await asyncio.sleep(AGAIN_S)
                    continue
                if answer.status_code not in NOT_NOW:
                    return answer
                await asyncio.sleep(AGAIN_S)

    # -- what it watches -----------------------------------------------------------------------------------------------

    def watch(self, task_id: str, *habits: Habit, port: int | None = None) -> list[Watcher]:
        """Readers of a task's log, one for each habit; they read on by themselves."""
        return [self._watch(task_id, f"/tasks/{task_id}/events", habit, port) for habit in habits or (STEADY,)]

    def watch_feed(self, habit: Habit = STEADY) -> Watcher:
        """A reader of everything."""
        return self._watch(FEED, "/events", habit)

    def _watch(self, name: str, path: str, habit: Habit, port: int | None = None) -> Watcher:
        watcher = Watcher(path, lambda: port or self.port, habit, random.Random(self.chance.random()))
        self.watchers.setdefault(name, []).append(watcher)
        self._reading.add(asyncio.create_task(watcher.read()))
        return watcher

    @property
    def waiting(self) -> list[Watcher]:
        """Readers of tasks who have not seen the end."""
        named = (each for name, watchers in self.watchers.items() if name != FEED for each in watchers)
        return [watcher for watcher in named if not watcher.finished]

    async def until_read(self, within_s: float = SOON_S) -> None:
        """Wait until every reader of a task has seen its end."""
        try:
            async with asyncio.timeout(within_s):
                while self.waiting:
                    self._check_readers()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            first = self.waiting[0]
            raise AssertionError(f"{len(self.waiting)} readers wait, {first.path} at {first.has}") from None

    async def read_again(self) -> None:
        """A fresh reader for every task: all of it comes from the store."""
        task_ids = list(self.types)
        for first in range(0, len(task_ids), AT_ONCE):
            for task_id in task_ids[first : first + AT_ONCE]:
                self.watch(task_id)
            await self.until_read()

    async def leave(self) -> None:
        """Everybody goes."""
        self._check_readers()
        for task in self._reading:
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading)
        await self.http.aclose()

    def _check_readers(self) -> None:
        """A reader that has failed has found something."""
        for task in [task for task in self._reading if task.done()]:
            self._reading.discard(task)
            task.result()

    # -- what it says in the end ---------------------------------------------------------------------------------------

    async def judge(self, store_url: str, *, all_ended: bool = True) -> Judgement:
        """Compare all that was told with what the store says; the server has ended.

        Args:
            store_url: of the server.
            all_ended: whether no task may be left that goes on.
        """
        found = Judgement()
        async with opened(store_url) as store:
            for task_id in self.types:
                await self._judge_task(store, task_id, found, all_ended=all_ended)
            await self._judge_feed(store, found)
            ((_, count),) = await store.count(EVERYTHING)
            if count != len(self.types):
                found.violations.append(f"{len(self.types)} starts were acknowledged, and there are {count} tasks")
        return found

    async def _judge_task(self, store: Journal, task_id: str, found: Judgement, *, all_ended: bool) -> None:
        record = await store.record(task_id)
        if record is None:
            found.violations.append(f"the start of {task_id} was acknowledged, and there is no such task")
            return
        events = await _log(store, task_id, record.last_seq)
        receipts = self.receipts.get(task_id, [])
        told = TaskEvidence(record=record, events=events, changes=await store.changes(task_id), receipts=receipts)
        found.violations += map(str, check_task(told))
        if all_ended and record.status not in TERMINAL:
            found.violations.append(f"{task_id} is {record.status}")
        if (ended := self.ended.get(task_id)) is not None and ended["status"] != record.status:
            found.violations.append(f"{task_id} was {ended['status']}, and is {record.status}")
        if numbers(events) != list(range(1, len(numbers(events)) + 1)):
            found.violations.append(f"{task_id} has lost or repeated what its handler said")
        found.statuses[record.status] += 1
        found.events += len(events)
        found.receipts += len(receipts)
        log = [(event.seq, frame(event)) for event in events]
        for watcher in self.watchers.get(task_id, []):
            self._judge_reader(watcher, task_id, log, found)

    async def _judge_feed(self, store: Journal, found: Judgement) -> None:
        watchers = self.watchers.get(FEED, [])
        last = await store.last_position() if watchers else 0
        log: list[tuple[int, bytes]] = []
        while log[-1:] == [] or log[-1][0] < last:
            after = log[-1][0] if log else 0
            page = await store.feed_after(after, last_position=last, limit=PAGE)
            if not page:
                break
            log += [(item.position, feed_frame(item.event, item.position)) for item in page]
        for watcher in watchers:
            self._judge_reader(watcher, FEED, log, found)

    def _judge_reader(self, watcher: Watcher, name: str, log: list[tuple[int, bytes]], found: Judgement) -> None:
        told = ReaderEvidence(task_id=name, seen=watcher.seen, log=log, to_the_end=watcher.finished)
        found.violations += map(str, check_reader(told))
        found.readers += 1
        found.connections += watcher.connections
        found.seen += len(watcher.seen)


@asynccontextmanager
async def witnessed(port: int, chance: random.Random | None = None) -> AsyncIterator[Witness]:
    """Clients who leave in the end."""
    witness = Witness(port, chance)
    try:
        yield witness
    finally:
        await witness.leave()


@asynccontextmanager
async def opened(store_url: str) -> AsyncIterator[Journal]:
    """The store that a server has left."""
    store = open_store(Settings(store_url=store_url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def numbers(events: list[Event]) -> list[int]:
    """What a handler that counts has said, in the last of its attempts."""
    said: list[int] = []
    for event in events:
        if event.type == "running":
            said = []
        elif event.type == "n":
            said.append(event.data["n"])
    return said


async def _log(store: Journal, task_id: str, last_seq: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < last_seq:
        page = await store.events_after(task_id, events[-1].seq if events else 0, last_seq=last_seq, limit=PAGE)
        if not page:
            break
        events += page
    return events


def _receipt(body: Mapping[str, Any]) -> CancelReceipt:
    known = {each.name: body[each.name] for each in fields(CancelReceipt) if each.name in body}
    return CancelReceipt(**{**known, "outcome": CancelOutcome(body["outcome"])})
