"""The engine asks a store only for what the contract promises: every commit of whole lives is looked at."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.engine.journal import Commit, Committed, Journal
from streaming.errors import StoreUnavailable, TaskNotFound, TaskTerminal, TooManyTasks
from streaming.records import Record, TaskStatus
from streaming.rules.lifecycle import TERMINAL, TRANSITIONS
from streaming.store.memory import MemoryStore
from streaming.store.sql import SqlStore
from tests.kit import TestedStore, build

pytestmark = pytest.mark.clock("virtual")


class CheckingStore(TestedStore):
    """Writes down what the contract does not allow; it cannot raise, as any error of a store is only tried again."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.wrong: list[str] = []
        self.records_seen: dict[str, list[Record]] = defaultdict(list)
        self.last_seq: dict[str, int] = defaultdict(int)
        self.writing = False

    async def commit(self, commit: Commit) -> Committed:
        if self.writing:
            self.wrong.append("two writers")
        self.wrong.extend(self.check(commit))
        self.writing = True
        before = len(self.commits)
        try:
            await asyncio.sleep(0.001)
            return await super().commit(commit)
        finally:
            self.writing = False
            for stored in self.commits[before:]:  # also when the answer is lost
                self.note(stored)

    def note(self, commit: Commit) -> None:
        for event in commit.events:
            self.last_seq[event.task_id] = event.seq
        for record in (*commit.created, *commit.updated):
            self.records_seen[record.id].append(record)

    def check(self, commit: Commit) -> Iterator[str]:
        created = [record.id for record in commit.created]
        updated = [record.id for record in commit.updated]
        if len(created) > len(set(created)) or len(updated) > len(set(updated)) or set(created) & set(updated):
            yield f"a record twice in one commit: {created} {updated}"
        if not {key.task_id for key in commit.keys} <= set(created):
            yield "a key of a task that is not new"
        if not set(created) <= {event.task_id for event in commit.events if event.seq == 1}:
            yield "a new record without its first event"
        last = dict(self.last_seq)
        for event in commit.events:
            if event.seq != last.get(event.task_id, 0) + 1:
                yield f"{event} does not follow {last.get(event.task_id, 0)}"
            last[event.task_id] = event.seq
        for record in commit.updated:
            has_end = any(event.task_id == record.id and event.type in TERMINAL for event in commit.events)
            if (record.status in TERMINAL) != has_end:
                yield f"terminal event and final status of {record.id} are not in one transaction"


@task
async def work(ctx: TaskContext, seed: int) -> int:
    chance = random.Random(seed)
    for n in range(chance.randint(0, 20)):
        await ctx.emit("tick", {"n": n})
        if chance.random() < 0.3:
            await ctx.progress(n)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random())
        if chance.random() < 0.02:
            raise ValueError(seed)
    return seed


async def life(coordinator: Any, chance: random.Random, store: CheckingStore) -> None:
    if chance.random() < 0.2:
        store.fail(chance.choice(["before", "after"]))
    key = chance.choice([None, "a", "b"])
    seed = chance.randrange(2) if key else chance.randrange(10**6)
    try:
        record, _ = await coordinator.start(
            "work", {"seed": seed}, idempotency_key=key, timeout_s=chance.choice([None, 0.5, 5])
        )
        await asyncio.sleep(chance.random() * 3)
        if chance.random() < 0.3:
            await coordinator.cancel_task(record.id, wait_s=chance.choice([0.0, 1.0]))
        await coordinator.wait(record.id, 100)
    except (StoreUnavailable, TaskTerminal, TaskNotFound, TooManyTasks):
        pass  # each an honest answer


@pytest.mark.parametrize("seed", range(12))
async def test_whole_lives_ask_the_store_only_for_what_it_promises(seed: int) -> None:
    chance = random.Random(seed)
    store = CheckingStore()
    coordinator, _ = build([work], store, max_running=5, commit_events_max=chance.choice([1, 3, 1000]))
    async with coordinator:
        await asyncio.gather(*(life(coordinator, chance, store) for _ in range(40)))

    assert store.wrong == []
    assert not store.failures
    for records in store.records_seen.values():
        statuses = [record.status for record in records]
        assert statuses[0] is TaskStatus.PENDING
        for before, after in pairwise(statuses):
            reachable = {target for (source, _), target in TRANSITIONS.items() if source is before}
            assert after is before or after in reachable
            assert before not in TERMINAL
    for record in await store.unfinished():
        assert record.status is TaskStatus.PENDING, "nothing is left running"


def test_each_store_has_every_verb_of_the_protocol() -> None:
    verbs = {name for name in vars(Journal) if not name.startswith("_")}

    for store in (MemoryStore, SqlStore):
        assert verbs <= set(dir(store))
