"""Lives that end in the middle of a commit, and go on with what is stored.

Owns:   `History`: one store, several processes that die one after the other, and readers that outlive them.
Never:  kills a real process: that is done by the process tests.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import patch

from structlog.testing import capture_logs

from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.errors import StoreUnavailable, TaskTerminal
from streaming.records import CancelOutcome
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import frame
from tests.explorer import ExploringLoop
from tests.kit import EPOCH_S, TestedStore
from tests.stumbling import OrderedLog

TASKS = 3
READERS = 2
DEATHS_MAX = 3

PAUSES_S = (0.0, 0.0, 0.001, 0.2, 1.0)
SETTINGS = Settings(cancel_grace_s=2, grace_s=4, max_running=2)


@task
async def reported(ctx: TaskContext, pauses: list[float]) -> str:
    """A crash ends it."""
    return await walk(ctx, pauses)


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
            Registry([reported, restarted]),
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
        type = self._chance.choice(("reported", "restarted"))
        pauses = [self._chance.choice(PAUSES_S) for _ in range(self._chance.randrange(6))]
        record, _ = await coordinator.start(type, {"pauses": pauses})
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
            "it ran once, or as often as its type says": starts <= (2 if record.type == "restarted" else 1),
            "each run has its attempt": kinds.count("running") <= record.attempt,
            "a wish to cancel was honoured or overtaken": "cancel_requested" not in kinds
            or record.status in {"cancelled", "completed"},
        }
        self.problems += [name for name, holds in must.items() if not holds]


def simulate_crashes(seed: int) -> History:
    """Play the lives of one store, and say what was seen."""
    history = History(seed)
    with (
        capture_logs(),
        patch("streaming.engine.hub.Log", OrderedLog),
        asyncio.Runner(loop_factory=lambda: ExploringLoop(seed)) as runner,
    ):
        runner.run(history.play())
    return history
