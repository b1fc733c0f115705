"""Many who start the same thing at once: idempotency keys, keys of tasks, full queues, work that is done elsewhere.

Owns:   `starts`, a scenario for `streaming.testing.explore`.
Never:  stops the server before all has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from streaming import TaskContext, task
from streaming.engine.tables import size_of_table
from streaming.errors import (
    KeyBusy,
    StatusConflict,
    StoreUnavailable,
    TaskTerminal,
    TooManyTasks,
)
from streaming.events import Event, seconds_of
from streaming.records import Record, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.reporting import Report, ReportedEvent
from streaming.rules.schedule import IfRunning
from streaming.tasks.external import external
from streaming.testing.choices import Stream
from streaming.testing.faults import CALM, Faults
from streaming.testing.world import World, current_world
from tests.leftovers import leftovers

STARTERS = 4
PAUSES_S = (0.0, 0.0, 0.001, 0.3, 1.0)

STUMBLING = Faults(store_delay=0.4, store_refuses=0.15, store_forgets_to_answer=0.15)

#: Seconds of silence until a worker is stale, and until its task fails.
STALE_S, FAIL_S = 2.0, 5.0

#: So many events does a worker report at once; with those of the status they are one transaction.
REPORTED = 2

#: Seconds by which a slow store may be late.
LATE_S = 1.0

REFUSALS = (KeyBusy, TooManyTasks, StoreUnavailable)


@task
async def work(ctx: TaskContext, pauses: list[float], key: str | None, once: str | None) -> str:
    """Sleep; of one key one at a time."""
    playing: Starts = current_world().props["starts"]
    with playing.at_work(key):
        for pause_s in pauses:
            await asyncio.sleep(pause_s)
    return "done"


class Starts:
    """One run."""

    def __init__(self, world: World) -> None:
        chance = world.stream("starts")
        self._world = world
        world.faults = chance.draw((CALM, STUMBLING))
        self._max_pending = chance.draw((100, 1, 2))
        self._max_running = chance.draw((100, 1, 2))
        self._max_external = chance.draw((100, 1))
        self._commit_max, self._backlog_max = chance.draw((1000, 1, 3)), chance.draw((512, 1))
        self._employs, self._is_visited = chance.happens(0.5), chance.happens(0.3)
        self._busy: dict[str, int] = {}
        self._handlers = 0
        self._told: dict[str, str] = {}
        self._created: set[str] = set()
        self._left_at = float("inf")
        self._failures = 0

    async def run(self) -> None:
        """Play it."""
        async with self._world.instance(
            [work, external],
            max_pending=self._max_pending,
            max_running=self._max_running,
            max_external=self._max_external,
            external_stale_s=STALE_S,
            external_fail_s=FAIL_S,
            commit_events_max=self._commit_max,
            backlog_events_max=self._backlog_max,
        ) as instance:
            self._coordinator = instance.coordinator
            async with asyncio.TaskGroup() as group:
                for number in range(STARTERS):
                    group.create_task(self._starter(number))
                if self._employs:
                    group.create_task(self._employer())
                if self._is_visited:
                    group.create_task(self._visited())
            await self._rest()
            self._failures = instance.store.failures
            instance.store.steady = True
        self._check()
        left = leftovers(instance.coordinator)
        self._must(not left, f"something is left: {left}")

    async def _rest(self) -> None:
        """Wait until all have ended."""
        for _ in range(60):
            live = [record.id for record in self._world.disk.records() if record.status not in TERMINAL]
            if not live:
                return
            with contextlib.suppress(StoreUnavailable):
                await self._coordinator.wait(live[0], 20)
            await asyncio.sleep(0.1)
        self._must(False, "some tasks never end")

    # -- the work -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self, key: str | None) -> Any:
        """A handler works, under a key or not."""
        self._handlers += 1
        self._must(self._handlers <= self._max_running, "more work at once than may")
        if key is not None:
            self._busy[key] = self._busy.get(key, 0) + 1
            self._must(self._busy[key] == 1, "of one key two work at the same time")
        try:
            yield
        finally:
            self._handlers -= 1
            if key is not None:
                self._busy[key] -= 1

    # -- those who start ----------------------------------------------------------------------------------------------

    async def _starter(self, number: int) -> None:
        """Repeat a request until it is answered, as a client does; or ask for something else."""
        chance = self._world.stream(f"starter-{number}")
        await self._world.sometime(chance, PAUSES_S)
        for _ in range(1 + chance.pick(3)):
            once = chance.draw(("once", "once", None, "twice"))
            key = None if once else chance.draw(("k", "k", None))
            wanted = {"pauses": [chance.draw(PAUSES_S) for _ in range(chance.pick(3))], "key": key, "once": once}
            for _ in range(1 + chance.pick(3)):
                with contextlib.suppress(*REFUSALS):
                    await self._start(chance, wanted)
                    break
                await self._world.sometime(chance, PAUSES_S)

    async def _start(self, chance: Stream, wanted: dict[str, Any]) -> None:
        policy = chance.draw(list(IfRunning))
        before = self._live(wanted["key"])
        record, created = await self._coordinator.start(
            "work", wanted, idempotency_key=wanted["once"], key=wanted["key"], if_running=policy
        )
        self._must((record.id, 1) in self._world.disk.events, "a start that was acknowledged is not stored")
        waiting = size_of_table(self._coordinator.tables()["waiting"])
        self._must(waiting <= self._max_pending, "more tasks wait than may")
        if wanted["once"] is not None:
            told = self._told.setdefault(wanted["once"], record.id)
            self._must(told == record.id, "one request was answered with two tasks")
            self._must(not created or record.id not in self._created, "one task was new twice")
            self._created.update([record.id] if created else [])
        if wanted["key"] is not None and policy is IfRunning.REPLACE:
            for task_id in before - {record.id}:
                stored = next(each for each in self._world.disk.records() if each.id == task_id)
                over = stored.status in TERMINAL or stored.cancel is not None
                self._must(over, "a task was started in the place of others, which go on")

    def _live(self, key: str | None) -> set[str]:
        """Tasks of a key that had begun to be live before, and have not ended."""
        records = self._world.disk.records() if key is not None else []
        known = set(self._coordinator._tasks)
        return {record.id for record in records if record.key == key and record.status not in TERMINAL} & known

    # -- those who watch ----------------------------------------------------------------------------------------------

    async def _visited(self) -> None:
        """A task that is cancelled once nobody watches it, and somebody who leaves and comes back in time, or not."""
        chance = self._world.stream("visitor")
        params = {"pauses": [8.0], "key": None, "once": None}
        with contextlib.suppress(*REFUSALS):
            record, _ = await self._coordinator.start("work", params, cancel_unwatched_s=2.0)
            for _ in range(1 + chance.pick(3)):
                with contextlib.suppress(StoreUnavailable):
                    reader = await self._coordinator.watch(record.id)
                    await asyncio.sleep(chance.draw((0.3, 2.5)))
                    stays = self._status(record.id)
                    self._must(
                        stays is not TaskStatus.CANCELLED or self._left_for(2.0), "it was cancelled, and watched"
                    )
                    reader.close()
                    self._left_at = asyncio.get_running_loop().time()
                away_s = chance.draw((0.5, 1.0, 4.0))
                await asyncio.sleep(away_s)
                if away_s >= 4.0:
                    cancelled = self._has_wish(record.id) or self._status(record.id) in TERMINAL
                    self._must(cancelled, "nobody watches it, and it goes on")
                    return

    def _left_for(self, seconds: float) -> bool:
        return asyncio.get_running_loop().time() - self._left_at >= seconds

    def _status(self, task_id: str) -> TaskStatus:
        return next(record.status for record in self._world.disk.records() if record.id == task_id)

    def _has_wish(self, task_id: str) -> bool:
        return any(
            id == task_id and each.type == "cancel_requested" for (id, _), each in self._world.disk.events.items()
        )

    # -- work that is done elsewhere ----------------------------------------------------------------------------------

    async def _employer(self) -> None:
        chance = self._world.stream("employer")
        async with asyncio.TaskGroup() as group:
            for number in range(1 + chance.pick(2)):
                await self._world.sometime(chance, PAUSES_S)
                with contextlib.suppress(*REFUSALS):
                    record, _ = await self._coordinator.start("external", {}, queue_timeout_s=3.0)
                    there = size_of_table(self._coordinator.tables()["external"])
                    self._must(there <= self._max_external, "there are more external tasks than may be")
                    group.create_task(self._worker(record.id, number))
                    if chance.happens(0.3):
                        group.create_task(self._cancel(record.id))

    async def _cancel(self, task_id: str) -> None:
        await self._world.sometime(self._world.stream("canceller"), PAUSES_S)
        with contextlib.suppress(TaskTerminal, StoreUnavailable):
            await self._coordinator.cancel_task(task_id)

    async def _worker(self, task_id: str, number: int) -> None:
        """Report, and stop to; a word in time keeps the task alive, a silence ends it."""
        chance = self._world.stream(f"worker-{number}")
        reports = chance.pick(4)
        ends = chance.happens(0.5)
        for place in range(reports):
            await self._world.sometime(chance, (0.0, 0.3, 1.5))
            if not await self._report(task_id, place + 1, TaskStatus.RUNNING):
                return
            if chance.happens(0.3):  # the answer was lost
                await self._report(task_id, place + 1, TaskStatus.RUNNING)
        if ends:
            last = reports + 1
            words = [(last, TaskStatus.RUNNING), (last + 1, TaskStatus.COMPLETED), (last + 2, TaskStatus.RUNNING)]
            hasty = words if chance.happens(0.5) else words[1:2]  # several of its threads have something to say
            await asyncio.gather(*(self._report(task_id, place, status) for place, status in hasty))

    async def _report(self, task_id: str, place: int, status: TaskStatus) -> bool:
        """Say something until it is taken; False if the task is over."""
        events = [ReportedEvent("step", {"report": place}, REPORTED * place + n - 1) for n in range(REPORTED)]
        while True:
            try:
                record = await self._coordinator.report(task_id, Report(events=events, status=status))
            except StoreUnavailable:
                await asyncio.sleep(0.2)
                continue
            except (TaskTerminal, StatusConflict):
                return False
            if record.cancel is not None and status is TaskStatus.RUNNING:
                with contextlib.suppress(TaskTerminal, StoreUnavailable):
                    await self._coordinator.report(task_id, Report(status=TaskStatus.CANCELLED))
                return False
            return True

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _must(self, holds: object, words: str) -> None:
        self._world.must(holds, words)

    def _check(self) -> None:
        records = self._world.disk.records()
        for once in ("once", "twice"):
            made = [record for record in records if record.params.get("once") == once]
            self._must(len(made) <= 1, "one request has started two tasks")
        self._check_reports()
        for record in records:
            if record.type == "external" and not self._failures:  # a report may have waited for the store
                self._check_silence(record, self._world.disk.log(record.id))

    def _check_reports(self) -> None:
        """What was reported together was stored together, and once."""
        for commit in (args[0] for name, args, _ in self._world.disk._written if name == "commit"):
            found: dict[tuple[str, int], int] = {}
            for event in commit.events:
                if event.type == "step":
                    name = (event.task_id, event.data["report"])
                    found[name] = found.get(name, 0) + 1
            self._must(all(count == REPORTED for count in found.values()), "a report was torn")
        for record in self._world.disk.records():
            steps = [event.data["report"] for event in self._world.disk.log(record.id) if event.type == "step"]
            self._must(len(steps) == REPORTED * len(set(steps)), "a report was taken twice")

    def _check_silence(self, record: Record, events: list[Event]) -> None:
        """A worker is called stale, and given up, at its time and not before."""
        heard_at = None
        for event in events:
            at = seconds_of(event.time)
            if event.type == "stale" and heard_at is not None:
                self._must(at - heard_at >= STALE_S - 0.01, "a worker that was heard of was called stale")
            if event.type in {"running", "step"}:
                heard_at = at
        lost = record.error is not None and record.error.code == "heartbeat_lost"
        if lost and heard_at is not None:
            silent_s = seconds_of(events[-1].time) - heard_at
            self._must(silent_s >= FAIL_S - 0.01, "a worker that was heard of was given up")
            self._must(silent_s <= FAIL_S + LATE_S, "a silent worker was given up late")


async def starts(world: World) -> None:
    """Play it."""
    world.props["starts"] = playing = Starts(world)
    await playing.run()
