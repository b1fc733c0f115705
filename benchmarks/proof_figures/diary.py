"""The race diary: what it costs an emit.

Two runs with and without a diary differ by less than two runs with the same one. So both are measured in the same run,
one after the other, in CPU time of this process: what it takes to emit, with everything that follows up to the commit
in a store in memory, the diary included; and what it takes to note again the very facts that this has brought.

Owns:   the share of an emit that goes to the diary.
Uses:   the engine alone: a server and its clients would only make the share smaller.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator

import structlog

from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.diary import Diary, Fact
from streaming.events import Event
from streaming.store.memory import MemoryStore

#: Events of a pair.
EVENTS = 5_000

#: A ring in which nothing is forgotten, to see what is noted.
ALL_FACTS = 1_000_000


@task
async def emits(ctx: TaskContext, events: int, pause: bool) -> None:
    """Emit; with a pause so that what was emitted is stored before the next event."""
    for number in range(events):
        await ctx.emit("tick", {"n": number})
        if pause:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _coordinator(facts_max: int) -> AsyncIterator[TaskCoordinator]:
    settings = Settings(store_url="memory://", diary_facts_max=facts_max)
    numbers = itertools.count(1)
    store = MemoryStore(settings)
    await store.open()
    async with TaskCoordinator(
        Registry([emits]),
        store,
        settings,
        wall=time.time,
        new_id=lambda: f"{next(numbers):032x}",
        chance=random.random,
    ) as coordinator:
        yield coordinator


async def _emit(coordinator: TaskCoordinator, tasks: int) -> float:
    """CPU seconds of one event, from its emit to its commit."""
    begin_s = time.process_time()
    params = {"events": EVENTS // tasks, "pause": True}
    started = [(await coordinator.start("emits", params))[0].id for _ in range(tasks)]
    for task_id in started:
        await coordinator.wait(task_id, 60)
    return (time.process_time() - begin_s) / EVENTS


def _note(diary: Diary, facts: list[Fact]) -> float:
    """CPU seconds that it takes to note these facts, for each of the events."""
    events = [Event(task_id, seq, str(said), str(at), "") for at, kind, task_id, seq, said in facts if kind == "event"]
    commits = [number for _, kind, _, number, _ in facts if kind == "commit"]
    others = [each[1:] for each in facts if each[1] not in ("event", "commit")]
    note, tell, stored = diary.note, diary.tell, diary.stored
    begin_s = time.process_time()
    for event in events:
        note((event.time, "event", event.task_id, event.seq, event.type))
    for number in commits:
        stored(number, 0)
    for kind, task_id, number, said in others:
        tell(kind, task_id, number, *said)
    return (time.process_time() - begin_s) / EVENTS


async def measure(scale: Scale, *, tasks: int) -> Values:
    """Pairs of emits and notes, one after the other, so that a slow moment of the machine is slow for both."""
    with structlog.testing.capture_logs():
        return await _measure(scale.pairs, tasks)


async def _measure(pairs: int, tasks: int) -> Values:
    async with _coordinator(ALL_FACTS) as coordinator:
        await _emit(coordinator, tasks)
        facts = list(coordinator.diary._facts)
    if sum(fact[1] == "event" for fact in facts) < EVENTS:
        raise Flaw("an event is missing in the diary")
    shares: list[float] = []
    emit_s: list[float] = []
    note_s: list[float] = []
    async with _coordinator(Settings(store_url="memory://").diary_facts_max) as coordinator:
        diary = Diary(coordinator.diary.facts_max, time.time)
        for _ in range(pairs):
            emit_s.append(await _emit(coordinator, tasks))
            note_s.append(_note(diary, facts))
            shares.append(note_s[-1] / emit_s[-1])
    return {
        "share": 100 * statistics.median(shares),
        "emit_us": 1e6 * statistics.median(emit_s),
        "note_ns": 1e9 * statistics.median(note_s),
        "facts": len(facts) / EVENTS,
    }


FIGURES = [
    Figure(
        f"diary-{name}",
        f"The race diary: its share of an emit, {title}, in a store in memory",
        (
            Metric("share", "of the CPU time of an event, from its emit to its commit", "%", Goal("<", 1.0)),
            Metric("emit_us", "CPU time of such an event", "us"),
            Metric("note_ns", "CPU time of its facts", "ns"),
            Metric("facts", "facts of an event, commits included", "facts"),
        ),
        functools.partial(measure, tasks=tasks),
    )
    for name, title, tasks in (
        ("alone", "where one task emits and each event has a commit of its own", 1),
        ("together", "where 20 tasks emit together", 20),
    )
]
