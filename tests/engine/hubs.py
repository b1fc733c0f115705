"""A hub on virtual time, and logs in it, for those parts of the engine that need no handler.

Owns:   `Desk`: a hub with its store, new logs, events and ends.
Never:  runs a handler (``tests.kit.build``).
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from streaming.config import Settings
from streaming.engine.hub import Hub
from streaming.engine.journal import Commit
from streaming.engine.log import Log
from streaming.engine.subscription import Subscription
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Record, TaskError, TaskStatus
from streaming.store.memory import MemoryStore
from tests.kit import EPOCH_S, TestedStore


class Desk:
    """A hub and its store.

    Attributes:
        problems: what was said of each creation.
    """

    def __init__(self, store: TestedStore | None = None, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.store = store or TestedStore(self.settings)
        loop = asyncio.get_running_loop()
        self.hub = Hub(self.store, self.settings, lambda: EPOCH_S + loop.time())
        self.problems: dict[str, StoreUnavailable | None] = {}

    async def __aenter__(self) -> Desk:
        await self.hub.open(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.close(asyncio.get_running_loop().time() + 60)

    def create(self, task_id: str = "a", type: str = "work", tags: tuple[str, ...] = ()) -> Log:
        """Ask for a new task; `problems` says what became of it."""
        now = self.hub.now()
        record = Record(task_id, type, TaskStatus.PENDING, {}, 60.0, now, now, tags=tags)
        return self.hub.create(record, {}, None, lambda problem: self.problems.__setitem__(task_id, problem))

    async def log(self, task_id: str = "a", type: str = "work", tags: tuple[str, ...] = ()) -> Log:
        """A running task."""
        log = self.create(task_id, type, tags)
        await self.hub.committed()
        now = self.hub.now()
        self.hub.append_with(log, "running", {}, now, status=TaskStatus.RUNNING, started_at=now)
        await self.hub.committed()
        return log

    async def emit(self, log: Log, count: int = 1, payload: str = "{}") -> None:
        """Events of the task, stored."""
        for _ in range(count):
            self.hub.append(log, "tick", payload)
        await self.hub.committed()

    async def end(self, log: Log) -> None:
        """The terminal event, stored."""
        self.end_soon(log)
        await self.hub.committed()

    def end_soon(self, log: Log) -> None:
        """The terminal event."""
        now = self.hub.now()
        self.hub.append_with(log, "completed", {}, now, status=TaskStatus.COMPLETED, finished_at=now)

    async def end_elsewhere(self, task_id: str = "a", *, delete: bool = False) -> None:
        """Somebody else ends, or removes, the task in the store; the hub does not know."""
        await end_elsewhere(self.store, task_id, delete=delete)


async def end_elsewhere(store: MemoryStore, task_id: str, *, delete: bool = False) -> None:
    """Somebody else ends, or removes, a task in the store, behind our back."""
    record = await store.record(task_id)
    assert record is not None
    event = Event(task_id, record.last_seq + 1, "failed", record.updated_at, "{}")
    failed = dataclasses.replace(record, status=TaskStatus.FAILED, error=TaskError("elsewhere", "By somebody else."))
    await MemoryStore.commit(store, Commit([event], updated=[failed]))
    if delete:
        assert await store.delete(task_id)


async def seqs(subscription: Subscription, count: int) -> list[int]:
    """The seqs of the next ``count`` events."""
    found: list[int] = []
    while len(found) < count:
        batch = await subscription.next()
        assert batch is not None, f"it ended after {found}"
        found.extend(event.seq for event in batch.events)
    return found


async def to_end(subscription: Subscription) -> list[int]:
    """The seqs of all events up to the end."""
    found: list[int] = []
    while (batch := await subscription.next()) is not None:
        found.extend(event.seq for event in batch.events)
    return found
