"""One random life of many tasks that depend on each other: keys, priorities, attempts, children, inputs, deadlines.

Owns:   `crowd`, a scenario for `streaming.testing.exploration`.
Never:  decides beforehand who comes first: it checks the rules that hold whoever does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streaming import TaskContext, TaskCoordinator, task
from streaming.engine.options import StartOptions
from streaming.errors import (
    Draining,
    KeyBusy,
    StoreUnavailable,
    TaskActive,
    TaskNotFound,
    TaskTerminal,
    TaskUnsuccessful,
    TimeOver,
    TooManyInputs,
    TooManyTasks,
)
from streaming.events import Event, seconds_of
from streaming.records import Priority, Record, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import LIVE, TERMINAL
from streaming.rules.schedule import IfRunning
from streaming.testing.world import World, current_world
from tests.leftovers import leftovers
from tests.worlds.life import STUMBLING

STARTERS = 8
STEERERS = 5
CHILDREN_MAX = 3

#: So long may a store that stumbles take to store the end of a parent.
LATE_S = 3.0
PRINCIPALS = ("anna", "anna", "bert")
KEYS = ("a", "a", "b", None, None)
PAUSES_S = (0.0, 0.0, 0.001, 0.3, 1.0, 4.0)
KINDS = ("plain", "plain", "fails once", "fails", "parent", "parent", "parent", "listens", "saves", "slow to stop")

#: What whoever asks for something may be told.
REFUSALS = (
    KeyBusy,
    TooManyTasks,
    StoreUnavailable,
    Draining,
    TaskTerminal,
    TaskNotFound,
    TaskActive,
    TooManyInputs,
    TimeOver,
)


class Crowd:
    """One run: its tasks, those who start and steer them, and what they saw."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.stream("crowd")
        choice = self._chance.draw
        self._settings: dict[str, Any] = {
            "cancel_grace_s": 2,
            "grace_s": choice((4, 30)),
            "max_running": choice((1, 2, 3, 100)),
            "max_pending": choice((2, 100)),
            "ageing_s": choice((1, 60)),
            "type_limits": choice(({}, {"work": 1}, {"work": 2})),
            "commit_events_max": choice((1, 3, 1000)),
            "backlog_events_max": choice((2, 512)),
            "inputs_max": choice((2, 100)),
        }
        self._whose = world.stream("principals")
        self._settings["principal_running_max"] = self._whose.draw((None, None, 1, 2))
        self._settings["principal_pending_max"] = self._whose.draw((None, None, 1, 3))
        if self._chance.happens(0.5):
            world.faults = STUMBLING
        self._ids: dict[str, str] = {}
        self._holds: dict[str, str] = {}
        self._at_work: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._drained = False

    async def run(self) -> None:
        """Play it."""
        async with self._world.instance([work], **self._settings) as instance:
            self._store, coordinator = instance.store, instance.coordinator
            await asyncio.gather(
                *(self._starter(coordinator) for _ in range(STARTERS)),
                *(self._steerer(coordinator) for _ in range(STEERERS)),
                *([self._shutdown(coordinator)] if self._chance.happens(0.2) else []),
                *([self._auditor(coordinator)] if self._world.stream("auditor").happens(0.3) else []),
            )
            if not self._drained:
                await self._wait_for_all(coordinator)
            self._drained = True
            self._store.steady = True
        left = leftovers(coordinator)
        self._must(left.keys() <= {"stuck"}, f"something is left: {left}")
        for record in self._store_records():
            self._check(record)
        self._check_keys()
        self._check_families()

    def _store_records(self) -> list[Record]:
        return self._world.disk.records()

    async def _wait_for_all(self, coordinator: TaskCoordinator) -> None:
        for _ in range(200):
            live = [record.id for record in self._store_records() if record.status not in TERMINAL]
            if not live:
                return
            with contextlib.suppress(StoreUnavailable):
                await coordinator.wait(live[0], 100)
            await asyncio.sleep(1)
        self._must(False, "some tasks never end")

    # -- the work -----------------------------------------------------------------------------------------------------

    async def work(
        self, ctx: TaskContext, who: str, kind: str, key: str | None, pauses: list[float], depth: int
    ) -> str:
        self._begin(ctx, who, key)
        try:
            await self._work(ctx, who, kind, pauses, depth)
        except asyncio.CancelledError:
            self._rest(ctx)
            if kind == "slow to stop":
                await asyncio.sleep(1)
            raise
        finally:
            self._rest(ctx)
            if key is not None and self._holds.get(key) == ctx.task_id:
                del self._holds[key]
        return kind

    def _begin(self, ctx: TaskContext, who: str, key: str | None) -> None:
        self._active(ctx, who)
        if key is not None:
            self._keys[ctx.task_id] = key
            other = self._holds.setdefault(key, ctx.task_id)
            self._must(other == ctx.task_id, "of one key one task works at a time")

    def _active(self, ctx: TaskContext, who: str) -> None:
        self._at_work[ctx.task_id] = who
        limit = min(self._settings["max_running"], self._settings["type_limits"].get("work", 100))
        self._must(self._drained or len(self._at_work) <= limit, "no more work at once than may")
        own, limit = list(self._at_work.values()).count(who), self._settings["principal_running_max"] or 100
        self._must(self._drained or own <= limit, "no more of one principal work at once than may")

    def _rest(self, ctx: TaskContext) -> None:
        self._at_work.pop(ctx.task_id, None)

    async def _work(self, ctx: TaskContext, who: str, kind: str, pauses: list[float], depth: int) -> None:
        for pause_s in pauses:
            await ctx.emit("tick", {"attempt": ctx.attempt})
            if kind == "saves":
                async with ctx.protected("save", at_most_s=2):
                    await asyncio.sleep(pause_s)
            else:
                await asyncio.sleep(pause_s)
        if kind == "listens":
            await self._listen(ctx)
        if kind == "parent" and depth:
            await self._raise_children(ctx, who, depth)
        if kind == "fails" or (kind == "fails once" and ctx.attempt == 1):
            raise ValueError("no luck")

    async def _listen(self, ctx: TaskContext) -> None:
        """Each attempt reads what the log says, from the first input."""
        found: list[int] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                async for each in ctx.inputs():
                    found.append(each.seq)
        logged = [seq for (id, seq), event in sorted(self._world.disk.events.items()) if _is_input(event, id, ctx)]
        self._must(found == logged[: len(found)], "inputs come in their order, from the first")

    async def _raise_children(self, ctx: TaskContext, who: str, depth: int) -> None:
        wanted = 1 + self._chance.pick(CHILDREN_MAX)
        children = []
        for _ in range(wanted):
            params, options = self._wish(who, depth - 1)
            with contextlib.suppress(*REFUSALS):
                children.append(await ctx.start("work", params, **options))
        for child in children if self._chance.happens(0.8) else []:
            async with self._resting(ctx, who):
                with contextlib.suppress(TaskUnsuccessful):
                    await child.result()

    @asynccontextmanager
    async def _resting(self, ctx: TaskContext, who: str) -> AsyncIterator[None]:
        self._rest(ctx)
        yield
        self._active(ctx, who)

    # -- actors -------------------------------------------------------------------------------------------------------

    def _wish(self, who: str, depth: int = 2) -> tuple[dict[str, Any], StartOptions]:
        choice = self._chance.draw
        key = choice(KEYS)
        pauses = [choice(PAUSES_S) for _ in range(self._chance.pick(4))]
        options: StartOptions = {
            "priority": choice(list(Priority)),
            "key": key,
            "if_running": choice(list(IfRunning)),
            "timeout_s": choice((1, 50, 50, 50)),
            "total_timeout_s": choice((None, None, None, 10, 100)),
            "queue_timeout_s": choice((None, None, None, 3, 30)),
            "heartbeat_timeout_s": choice((None, None, 2)),
            "cancel_unwatched_s": choice((None, 2)),
            "retry": {"retries": choice((0, 1, 3)), "backoff_s": choice((0.01, 2.0))},
        }
        own_key = None if key is None else f"{key} of {who}"
        return {"who": who, "kind": choice(KINDS), "key": own_key, "pauses": pauses, "depth": depth}, options

    async def _starter(self, coordinator: TaskCoordinator) -> None:
        for _ in range(1 + self._chance.pick(4)):
            if self._chance.happens(0.5):
                await self._sometime()
            params, options = self._wish(who := self._whose.draw(PRINCIPALS))
            options["created_by"] = who
            once = self._chance.draw((None, None, "once"))
            # A body that is always the same, as who repeats a request sends it.
            with contextlib.suppress(*REFUSALS):
                record, _ = await coordinator.start("work", params, idempotency_key=once, **options)
                self._ids[record.id] = who
                self._must((record.id, 1) in self._world.disk.events, "a start that was acknowledged is stored")

    async def _steerer(self, coordinator: TaskCoordinator) -> None:
        for _ in range(1 + self._chance.pick(5)):
            await self._sometime()
            if not self._ids:
                continue
            task_id = self._chance.draw(list(self._ids))
            with contextlib.suppress(*REFUSALS):
                await self._steer(coordinator, task_id)

    async def _steer(self, coordinator: TaskCoordinator, task_id: str) -> None:
        what = self._chance.draw(("cancel", "extend", "input", "input", "watch", "retry", "delete"))
        if what == "cancel":
            await coordinator.cancel_task(task_id, by="somebody", wait_s=self._chance.draw((0, 5)))
        elif what == "extend":
            await coordinator.extend(task_id, {self._chance.draw(list(Limit)): self._chance.draw((0.1, 1, 40))})
        elif what == "input":
            event = await coordinator.send_input(task_id, self._chance.fraction())
            self._must(self._world.disk.events.get((task_id, event.seq)) == event, "an input is stored")
        elif what == "watch":
            reader = await coordinator.watch(task_id)
            await self._sometime()
            reader.close()
        elif what == "retry":
            record, _ = await coordinator.retry(task_id, by=self._ids[task_id])
            self._ids[record.id] = record.created_by
        else:
            await coordinator.delete(task_id)
            self._ids.pop(task_id, None)

    async def _auditor(self, coordinator: TaskCoordinator) -> None:
        """Whatever goes on, an audit finds nothing."""
        chance = self._world.stream("auditor")
        for _ in range(1 + chance.pick(3)):
            await self._world.sometime(chance)
            with contextlib.suppress(*REFUSALS):
                audited = await coordinator.audit(repair=chance.happens(0.5))
                for violation in audited.violations:
                    self._must(False, f"an audit says: {violation}")
                self._must(not audited.repaired, "an audit repairs what is well")

    async def _shutdown(self, coordinator: TaskCoordinator) -> None:
        await self._sometime()
        await self._sometime()
        self._store.steady = True
        self._drained = True
        await coordinator.shutdown()

    async def _sometime(self) -> None:
        await asyncio.sleep(self._chance.draw((*PAUSES_S, 2.0)))
        for _ in range(self._chance.pick(3)):
            await asyncio.sleep(0)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _must(self, holds: bool, name: str) -> None:
        self._world.must(holds, name)

    def _check(self, record: Record) -> None:
        events = self._world.disk.log(record.id)
        kinds = [event.type for event in events]
        kept = self._drained and record.status in LIVE - {TaskStatus.RUNNING} and record.parent is None
        must = {
            "every task ends": record.status in TERMINAL or kept,
            "no word of an attempt in another": all(_fits(event, events) for event in events if event.type == "tick"),
            "a wish to cancel is honoured or overtaken": record.cancel is None or record.status in TERMINAL,
        }
        for name, holds in must.items():
            self._must(holds, f"{name}: {record.id[-2:]} {kinds}")

    def _check_keys(self) -> None:
        """Of one key one task ends before the next one begins, with all its attempts."""
        spans: dict[str, tuple[int, int]] = {}
        for place, ((task_id, _), event) in enumerate(self._world.disk.events.items()):
            if event.type == "running" or task_id in spans:
                spans[task_id] = (spans.get(task_id, (place, 0))[0], place)
        for key in set(self._keys.values()):
            ordered = sorted(span for task_id, span in spans.items() if self._keys.get(task_id) == key)
            apart = all(later[0] > earlier[1] for earlier, later in itertools.pairwise(ordered))
            self._must(apart, "of one key one task ends before the next begins")

    def _check_families(self) -> None:
        """No task goes on without its parent, unless it has heard of it and takes its time."""
        ends = {id: event for (id, _), event in self._world.disk.events.items() if event.type in TERMINAL}
        heard = {id for (id, _), event in self._world.disk.events.items() if event.type == "cancel_requested"}
        for record in self._store_records():
            if record.parent in ends and record.id in ends and record.id not in heard:
                late_s = seconds_of(ends[record.id].time) - seconds_of(ends[record.parent].time)
                self._must(late_s <= LATE_S, "a task of a handler does not go on without it")


def _is_input(event: Event, task_id: str, ctx: TaskContext) -> bool:
    return task_id == ctx.task_id and event.type == "input"


def _fits(tick: Event, events: list[Event]) -> bool:
    """Whether the last attempt that had begun before is the one that speaks."""
    begun = [event.data["attempt"] for event in events if event.type == "running" and event.seq < tick.seq]
    return begun[-1:] == [tick.data["attempt"]]


@task("work")
async def work(ctx: TaskContext, who: str, kind: str, key: str | None, pauses: list[float], depth: int) -> str:
    playing: Crowd = current_world().props["crowd"]
    return await playing.work(ctx, who, kind, key, pauses, depth)


async def crowd(world: World) -> None:
    """Play it."""
    world.props["crowd"] = playing = Crowd(world)
    await playing.run()
