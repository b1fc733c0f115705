"""Lives that end in the middle of a commit, and go on with what is stored.

Owns:   `History`: one store, several processes that die one after the other, and readers that outlive them.
Never:  kills a real process: that is done by the process tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any, cast

from structlog.testing import capture_logs

from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.errors import Draining, StoreUnavailable, TaskTerminal, TaskUnsuccessful
from streaming.records import CancelOutcome, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import frame
from tests.explorer import ExploringLoop
from tests.kit import EPOCH_S, TestedStore

TASKS = 3
READERS = 2
DEATHS_MAX = 3

PAUSES_S = (0.0, 0.0, 0.001, 0.2, 1.0)
SETTINGS = Settings(cancel_grace_s=2, grace_s=4, max_running=2)


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


#: How often a handler begins at most: attempts after failures, and one more where a crash is followed by a restart.
RUNS_MAX = {"reported": 1, "restarted": 2, "repeated": 3, "parent": 2}


class Mortal:
    """A store as one process sees it: from the death of the process on nothing of it reaches the disk.

    Args:
        disk: what outlives the process.
        chance: decides whether the last commit is still stored.
        commits: the process dies at this one.
        die: called at the death.
    """

    durable = True

    def __init__(self, disk: TestedStore, chance: random.Random, commits: float, die: Callable[[], object]) -> None:
        self.dead = False
        self._disk = disk
        self._chance = chance
        self._commits = commits
        self._die = die

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            for _ in range(self._chance.randrange(3)):
                await asyncio.sleep(0)
            if name == "commit":
                self._commits -= 1
            if self.dead or (self._commits <= 0 and self._chance.random() < 0.5):
                self._kill()
            answer = await getattr(self._disk, name)(*args, **kwargs)
            if self._commits <= 0:
                self._kill()
            return answer

        return call

    def _kill(self) -> None:
        if not self.dead:
            self.dead = True
            self._die()
        raise StoreUnavailable("This process is dead.")


class History:
    """All lives of one store, and what was promised in them.

    Args:
        seed: what happens, and when.
    """

    def __init__(self, seed: int) -> None:
        self.deaths = 0
        self.problems: list[str] = []
        self.statuses: list[str] = []
        self._chance = random.Random(f"crash {seed}")
        self._disk = TestedStore(SETTINGS)
        self._ids = (f"{number:032x}" for number in itertools.count(1))
        self._seen: dict[str, list[dict[int, bytes]]] = {}
        self._stopped: set[str] = set()

    async def play(self) -> None:
        """Die some times, then live to the end."""
        for _ in range(self._chance.randrange(1, DEATHS_MAX + 1)):
            await self._live(self._chance.randrange(1, 15))
        await self._live(float("inf"))
        for task_id in self._seen:
            await self._check(task_id)
        await self._check_children()
        await self._check_keys()

    async def _live(self, commits: float) -> None:
        process = asyncio.ensure_future(asyncio.sleep(0))
        mortal = Mortal(self._disk, self._chance, commits, lambda: process.cancel())
        process = asyncio.create_task(self._process(mortal))
        await asyncio.wait({process})
        if mortal.dead:
            self.deaths += 1
            process.cancelled() or process.exception()  # whatever a dying process says
        else:
            await process

    async def _process(self, mortal: Mortal) -> None:
        loop = asyncio.get_running_loop()
        coordinator = TaskCoordinator(
            Registry([reported, restarted, repeated, parent]),
            cast(Journal, mortal),
            SETTINGS,
            wall=lambda: EPOCH_S + loop.time(),
            new_id=lambda: next(self._ids),
            chance=lambda: 0.5,
        )
        async with coordinator:
            await asyncio.gather(*(self._start(coordinator) for _ in range(TASKS - len(self._seen))))
            await asyncio.gather(
                *(self._read(coordinator, task_id, seen) for task_id in self._seen for seen in self._seen[task_id]),
                *(self._cancel(coordinator, task_id) for task_id in self._seen if self._chance.random() < 0.3),
            )

    async def _start(self, coordinator: TaskCoordinator) -> None:
        type = self._chance.choice(("reported", "restarted", "repeated", "parent"))
        pauses = [self._chance.choice(PAUSES_S) for _ in range(self._chance.randrange(6))]
        record, _ = await coordinator.start(type, {"pauses": pauses}, key=self._chance.choice(("a", "b", None)))
        self._seen[record.id] = [{} for _ in range(READERS)]

    async def _read(self, coordinator: TaskCoordinator, task_id: str, seen: dict[int, bytes]) -> None:
        """Go on behind what was seen in an earlier life."""
        subscription = await coordinator.watch(task_id, after=max(seen, default=0))
        while (batch := await subscription.next()) is not None:
            for event in batch.events:
                if event.seq in seen:
                    self.problems.append("an event came twice")
                seen[event.seq] = frame(event)

    async def _cancel(self, coordinator: TaskCoordinator, task_id: str) -> None:
        await asyncio.sleep(self._chance.choice(PAUSES_S))
        try:
            receipt = await coordinator.cancel_task(task_id, wait_s=self._chance.choice((0, 10)))
        except TaskTerminal:
            return
        if receipt.outcome is CancelOutcome.STOPPED:
            self._stopped.add(task_id)

    async def _check(self, task_id: str) -> None:
        record = await self._disk.record(task_id)
        events = await self._disk.events_after(task_id, 0, last_seq=10_000, limit=10_000)
        if record is None:
            self.problems.append("a task that was acknowledged is gone")
            return
        self.statuses.append(record.status.value)
        kinds = [event.type for event in events]
        ends = [kind for kind in kinds if kind in TERMINAL]
        starts = kinds.count("running")
        must = {
            "seq has no holes": [event.seq for event in events] == list(range(1, len(events) + 1)),
            "one terminal event, and last": ends == [record.status] and kinds[-1:] == ends,
            "what was seen is still there, and no more was seen": all(
                list(seen.items()) == [(event.seq, frame(event)) for event in events] for seen in self._seen[task_id]
            ),
            "what was said to be cancelled is cancelled": task_id not in self._stopped or record.status == "cancelled",
            "it ran as often as its type says": starts <= RUNS_MAX[record.type],
            "each run has its attempt": kinds.count("running") <= record.attempt,
            "a failure is followed by no more attempts than it may be": kinds.count("retrying") <= 2,
            "each status has its entry": [(event.seq, event.type) for event in events if event.type in set(TaskStatus)]
            == [(change.seq, change.status) for change in await self._disk.changes(task_id)],
            "a wish to cancel was honoured or overtaken": "cancel_requested" not in kinds
            or record.status in {"cancelled", "completed", "failed"},
        }
        self.problems += [name for name, holds in must.items() if not holds]

    async def _check_children(self) -> None:
        """None of them has outlived its process, or is left."""
        for each in list(self._disk._tasks.values()):
            if each.record.parent is None:
                continue
            kinds = [event.type for event in await self._disk.events_after(each.record.id, 0, last_seq=99, limit=99)]
            if each.record.status not in TERMINAL or kinds.count("running") > RUNS_MAX["repeated"]:
                self.problems.append("a task that a handler has started goes on without it")

    async def _check_keys(self) -> None:
        """Of one key one task ends before the next one begins, whatever comes between."""
        lives: dict[str, list[tuple[int, int]]] = {}
        feed = await self._disk.feed_after(0, last_position=100_000, limit=100_000)
        for each in list(self._disk._tasks.values()):
            positions = [item.position for item in feed if item.event.task_id == each.record.id]
            begun = [i.position for i in feed if (i.event.task_id, i.event.type) == (each.record.id, "running")]
            if each.record.key is not None and begun:
                lives.setdefault(each.record.key, []).append((begun[0], positions[-1]))
        for spans in lives.values():
            ordered = sorted(spans)
            if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered)):
                self.problems.append("two tasks of one key were between their begin and their end")


def simulate_crashes(seed: int) -> History:
    """Play the lives of one store, and say what was seen."""
    history = History(seed)
    with (
        capture_logs(),
        asyncio.Runner(loop_factory=lambda: ExploringLoop(seed)) as runner,
    ):
        runner.run(history.play())
    return history
