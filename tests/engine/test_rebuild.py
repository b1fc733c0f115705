"""A process that dies at any of its commits, on a real file: what the next one finds there is whole."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.journal import Commit, Committed, Journal, RecordQuery
from streaming.errors import StoreUnavailable
from streaming.records import Record, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.store import open_store
from tests.kit import EPOCH_S
from tests.leftovers import leftovers

#: More commits than the play has; it dies at each of them.
COMMITS_MAX = 60


@task(retries=2, backoff_s=0.02)
async def repeated(ctx: TaskContext) -> int:
    """Its first two attempts fail."""
    await ctx.emit("tick", {"attempt": ctx.attempt})
    if ctx.attempt <= 2:
        raise ValueError("no luck")
    return ctx.attempt


@task(on_interrupt="restart", attempts_max=2)
async def parent(ctx: TaskContext) -> int:
    """It waits for one of its tasks, and leaves the other one behind."""
    child = await ctx.start("repeated")
    await ctx.start("repeated", key="k")
    return int(await child.result())


class Mortal:
    """A store of a process that dies at one of its commits, before or after it is stored."""

    durable = True

    def __init__(self, store: Journal, commits: int, *, stores_last: bool) -> None:
        self.dead = asyncio.Event()
        self._store = store
        self._left = commits
        self._stores_last = stores_last

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead.is_set():
                raise StoreUnavailable("This process is dead.")
            return await getattr(self._store, name)(*args, **kwargs)

        return call

    async def commit(self, commit: Commit) -> Committed:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._stores_last):
            self.dead.set()
            raise StoreUnavailable("This process is dead.")
        done = await self._store.commit(commit)
        if self._left == 0:
            self.dead.set()
            raise StoreUnavailable("This process is dead.")
        return done


def coordinator_of(store: Any, settings: Settings, ids: Any) -> TaskCoordinator:
    return TaskCoordinator(
        Registry([repeated, parent]),
        cast(Journal, store),
        settings,
        wall=lambda: EPOCH_S + asyncio.get_running_loop().time() % 1e6,
        new_id=lambda: f"{next(ids):032x}",
        chance=lambda: 0.5,
    )


async def play(coordinator: TaskCoordinator, acknowledged: list[Record]) -> None:
    async with coordinator:
        for type, key in (("repeated", "k"), ("parent", None), ("repeated", "k")):
            acknowledged.append((await coordinator.start(type, {}, key=key))[0])
        for record in list(acknowledged):
            await coordinator.wait(record.id, 30)


async def die(mortal: Mortal, coordinator: TaskCoordinator, acknowledged: list[Record]) -> bool:
    """Run until the process dies; False if it lives to the end of the play."""
    playing = asyncio.create_task(play(coordinator, acknowledged))
    dying = asyncio.create_task(mortal.dead.wait())
    await asyncio.wait({playing, dying}, return_when=asyncio.FIRST_COMPLETED)
    died = mortal.dead.is_set()
    playing.cancel()
    dying.cancel()
    await asyncio.wait({playing, dying})
    for each in (playing, dying):
        each.cancelled() or each.exception()  # whatever a dying process says
    return died


async def check(store: Journal, coordinator: TaskCoordinator, acknowledged: list[Record]) -> Counter[str]:
    found: Counter[str] = Counter()
    records = (await store.records(RecordQuery(limit=200))).records
    assert {record.id for record in acknowledged} <= {record.id for record in records}
    for record in records:
        events = await store.events_after(record.id, 0, last_seq=1000, limit=1000)
        kinds = [event.type for event in events]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [kind for kind in kinds if kind in TERMINAL] == [record.status] == kinds[-1:], (record.status, kinds)
        told = [(event.seq, event.type) for event in events if event.type in set(TaskStatus)]
        assert told == [(change.seq, change.status) for change in await store.changes(record.id)]
        assert kinds.count("running") <= {"repeated": 3, "parent": 2}[record.type]
        assert record.parent is None or record.status is not TaskStatus.PENDING
        assert record.status is not TaskStatus.FAILED or "cancel_requested" in kinds, "else it is tried again"
        found[record.status.value] += 1
    assert leftovers(coordinator) == {}
    return found


@pytest.mark.parametrize("stores_last", [False, True])
async def test_a_process_dies_at_each_commit_and_the_next_one_goes_on(tmp_path: Path, stores_last: bool) -> None:
    found: Counter[str] = Counter()
    deaths = 0
    for commits in range(1, COMMITS_MAX):
        settings = Settings(store_url=f"sqlite:///{tmp_path}/{commits}.db", grace_s=0, cancel_grace_s=0.01)
        ids = itertools.count(1)
        acknowledged: list[Record] = []
        store = open_store(settings)
        await store.open()
        mortal = Mortal(store, commits, stores_last=stores_last)
        died = await die(mortal, coordinator_of(mortal, settings, ids), acknowledged)
        await store.close()
        if not died:
            break
        deaths += 1
        store = open_store(settings)
        await store.open()
        again = coordinator_of(store, settings, ids)
        async with again:
            for record in await store.unfinished():
                await again.wait(record.id, 30)
            for number in range(1, next(ids)):
                with_children = await store.record(f"{number:032x}")
                if with_children is not None:
                    await again.wait(with_children.id, 30)
        found += await check(store, again, acknowledged)
        await store.close()
    assert 10 < deaths < COMMITS_MAX - 1, "it has died at each commit of the play"
    assert found.keys() >= {"completed", "cancelled", "interrupted"}
