"""Lives that end in the middle of a commit, and go on with what is stored.

Owns:   `crashes`, a scenario: one disk, several instances that die one after the other, and readers that outlive them.
Never:  kills a real process: that is done by the process tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Coroutine, Iterable
from typing import Any

from streaming import TaskContext, task
from streaming.errors import Draining, StoreUnavailable, TaskTerminal, TaskUnsuccessful
from streaming.records import CancelOutcome, Record
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.faults import Faults
from streaming.testing.instance import Instance, Killed
from streaming.testing.reader import Reader
from streaming.testing.world import World

TASKS = 3
READERS = 2

PAUSES_S = (0.0, 0.0, 0.001, 0.2, 1.0)
SETTINGS = {"cancel_grace_s": 2.0, "grace_s": 4.0, "max_running": 2}

#: About one commit in twenty is the last one of its process.
DEADLY = Faults(store_delay=0.3, crash=0.05, crashes_max=3)

#: The same with clocks that are wrong, each in its own way, and set now and then.
CONFUSED = dataclasses.replace(DEADLY, clock=0.02, skew_s=3600.0)


@task
async def reported(ctx: TaskContext, pauses: list[float]) -> str:
    """A crash ends it."""
    return await walk(ctx, pauses)


@task(retries=2, backoff_s=1)
async def repeated(ctx: TaskContext, pauses: list[float]) -> str:
    """Its first two attempts fail."""
    await walk(ctx, pauses[:2])
    if ctx.attempt <= 2:
        raise ValueError("no luck")
    return "arrived"


@task(on_interrupt="restart", attempts_max=2)
async def parent(ctx: TaskContext, pauses: list[float]) -> str:
    """Its own tasks end with the process: after a crash it starts others."""
    with contextlib.suppress(TaskUnsuccessful, StoreUnavailable, Draining):
        child = await ctx.start("repeated", {"pauses": pauses})
        await ctx.emit("child", {"id": child.id})
        await child.result()
    return await walk(ctx, pauses[:1])


@task(on_interrupt="restart", attempts_max=2)
async def restarted(ctx: TaskContext, pauses: list[float]) -> str:
    """After its first crash it begins again."""
    return await walk(ctx, pauses)


async def walk(ctx: TaskContext, pauses: list[float]) -> str:
    """Emit a tick before each pause."""
    for number, pause_s in enumerate(pauses):
        await ctx.emit("tick", {"attempt": ctx.attempt, "n": number})
        await asyncio.sleep(pause_s)
    return "arrived"


HANDLERS = (reported, repeated, parent, restarted)

#: How often a handler begins at most: attempts after failures, and one more where a crash is followed by a restart.
RUNS_MAX = {"reported": 1, "restarted": 2, "repeated": 3, "parent": 2}


#: How the attempt of a parent ends that a crash has ended.
AGAIN = frozenset({"interrupted", "pending"})


class History:
    """All lives of one disk, and what was promised in them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.stream("history")
        self._readers: dict[str, list[Reader]] = {}
        self._stopped: set[str] = set()

    async def play(self) -> None:
        """Die some times, then live to the end."""
        world = self._world
        world.faults = self._chance.draw((DEADLY, CONFUSED))
        for _ in range(DEADLY.crashes_max):
            if not await self._live():
                break
        else:
            world.faults = Faults(store_delay=0.3)
            await self._live()
        for task_id in self._readers:
            self._check(task_id)
        self._check_children()
        self._check_keys()

    async def _live(self) -> bool:
        """Whether the process was killed."""
        instance = self._world.instance(HANDLERS, mortal=True, **SETTINGS)
        try:
            async with instance:
                await _all(self._start(instance) for _ in range(TASKS - len(self._readers)))
                follow = [
                    each.follow(instance, task_id) for task_id, readers in self._readers.items() for each in readers
                ]
                cancels = [self._cancel(instance, task_id) for task_id in self._readers if self._chance.happens(0.3)]
                await _all([*follow, *cancels])
        except Killed:
            return True
        return instance.store.dead  # it may have been killed in its drain

    async def _start(self, instance: Instance) -> None:
        type = self._chance.draw(("reported", "restarted", "repeated", "parent"))
        pauses = [self._chance.draw(PAUSES_S) for _ in range(self._chance.pick(6))]
        key = self._chance.draw((None, "a", "b"))
        record, _ = await instance.ask(instance.coordinator.start(type, {"pauses": pauses}, key=key))
        self._readers[record.id] = [self._world.reader() for _ in range(READERS)]

    async def _cancel(self, instance: Instance, task_id: str) -> None:
        await asyncio.sleep(self._chance.draw(PAUSES_S))
        wait_s = self._chance.draw((0, 10))
        try:
            receipt = await instance.ask(instance.coordinator.cancel_task(task_id, wait_s=wait_s))
        except TaskTerminal:
            return
        if receipt.outcome is CancelOutcome.STOPPED:
            self._stopped.add(task_id)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _check(self, task_id: str) -> None:
        world = self._world
        record = next((record for record in world.disk.records() if record.id == task_id), None)
        if record is None:
            world.must(False, "a task that was acknowledged is gone")
            return
        kinds = [event.type for event in world.disk.log(task_id)]
        world.must(record.status in TERMINAL, "a task has not ended")
        world.must(
            task_id not in self._stopped or record.status == "cancelled", "what was said to be cancelled is cancelled"
        )
        world.must(kinds.count("running") <= RUNS_MAX[record.type], "it ran more often than its type says")
        world.must(
            "cancel_requested" not in kinds or record.status in {"cancelled", "completed", "failed"},
            "a wish to cancel was neither honoured nor overtaken",
        )

    def _check_children(self) -> None:
        """None of them has outlived its process, or is left."""
        for record in self._world.disk.records():
            if record.parent is not None:
                kinds = [event.type for event in self._world.disk.log(record.id)]
                gone_on = record.status not in TERMINAL or kinds.count("running") > RUNS_MAX["repeated"]
                gone_on = gone_on or self._begins_without(record)
                self._world.must(not gone_on, "a task that a handler has started goes on without it")

    def _begins_without(self, child: Record) -> bool:
        """Whether a child has begun although its parent was interrupted, or has begun anew."""
        events = list(self._world.disk.events.values())
        born = next(place for place, event in enumerate(events) if event.task_id == child.id)
        behind = events[born:]
        over = [n for n, each in enumerate(behind) if each.task_id == child.parent and each.type in AGAIN]
        begun = [n for n, each in enumerate(behind) if each.task_id == child.id and each.type == "running"]
        return bool(over and begun) and begun[-1] > over[0]

    def _check_keys(self) -> None:
        """Of one key one task ends before the next one begins, whatever comes between."""
        places = list(self._world.disk.events.values())
        lives: dict[str, list[tuple[int, int]]] = {}
        for record in self._world.disk.records():
            own = [place for place, event in enumerate(places) if event.task_id == record.id]
            begun = [place for place in own if places[place].type == "running"]
            if record.key is not None and begun:
                lives.setdefault(record.key, []).append((begun[0], own[-1]))
        for spans in lives.values():
            apart = all(later[0] > earlier[1] for earlier, later in itertools.pairwise(sorted(spans)))
            self._world.must(apart, "two tasks of one key were between their begin and their end")


async def _all(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all, also where the first has failed: who reads on in the next process has stopped in this one."""
    ended = await asyncio.gather(*parts, return_exceptions=True)
    for raised in ended:
        if raised is not None:
            raise raised


async def crashes(world: World) -> None:
    """Play it."""
    await History(world).play()
