"""One random life of a task: readers come and go, somebody cancels, the time runs out, the store stumbles.

Everything that is random comes from one seed, so that a run can be repeated.

Owns:   `simulate`: build a coordinator on an `ExploringLoop`, let its actors loose, and check what must hold.
Never:  decides beforehand who wins: it checks that all tell the same story about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from streaming import TaskContext, TaskCoordinator, task
from streaming.config import Settings
from streaming.errors import StoreUnavailable, TaskTerminal
from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt, Record, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import frame
from tests.explorer import ExploringLoop
from tests.kit import TestedStore, build
from tests.leftovers import leftovers
from tests.stage import gone
from tests.stumbling import StumblingStore

READERS = 4
PAUSES_S = (0.0, 0.0, 0.0, 0.001, 0.3, 1.0)
CHARACTERS = ("plain", "plain", "raises", "cleans up", "fails in cleanup", "deaf", "saves", "back")


@dataclass
class Story:
    """What was seen in one run.

    Attributes:
        trace: the order in which the tasks of the run had their steps.
        status: how the task ended.
        receipts: what each cancel got.
        logs: what each reader saw, its bytes by seq.
        early: events that a reader saw before their commit.
        problems: what must not be.
    """

    trace: str = ""
    status: str = ""
    receipts: list[CancelReceipt] = field(default_factory=list)
    logs: list[dict[int, bytes]] = field(default_factory=list)
    early: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Life:
    """One run: the actors, and what they saw.

    Args:
        seed: what happens, and when.
    """

    def __init__(self, seed: int) -> None:
        self.story = Story()
        self._chance = random.Random(f"life {seed}")
        self._settings: dict[str, Any] = {
            "cancel_grace_s": 2,
            "grace_s": self._chance.choice((4, 20)),
            "window_events_max": self._chance.choice((1, 4, 1024)),
            "backlog_events_max": self._chance.choice((1, 3, 512)),
            "commit_events_max": self._chance.choice((1, 2, 1000)),
        }
        self._store = StumblingStore(
            Settings(**self._settings), random.Random(f"store {seed}"), self._chance.choice((0, 0, 1, 3))
        )
        self._ended_with_handler = True
        self._task_id = ""

    async def run(self) -> None:
        """Play it."""
        coordinator, _ = build([self._handler()], self._store, **self._settings)
        async with coordinator:
            try:
                started, _ = await coordinator.start("work", {}, timeout_s=self._chance.choice((0.2, 1.5, 100, 100)))
            except StoreUnavailable:
                self._check_refused(await self._stored())
                return
            self._task_id = started.id
            await asyncio.gather(*self._actors(coordinator))
            if self._chance.random() < 0.7:
                await coordinator.wait(started.id, 1000)
        await gone(self._task_id)
        record = await self._stored()
        assert record is not None
        self._check(record, coordinator)

    async def _stored(self) -> Record | None:
        return await TestedStore.record(self._store, self._task_id or f"{1:032x}")

    def _actors(self, coordinator: TaskCoordinator) -> list[Any]:
        cancels = self._chance.choice((0, 1, 1, 2))
        return [
            *(self._reader(coordinator) for _ in range(READERS)),
            *(self._canceller(coordinator, number) for number in range(cancels)),
            *([self._mover(coordinator)] if self._chance.random() < 0.2 else []),
            *([self._shutdown(coordinator)] if self._chance.random() < 0.2 else []),
        ]

    # -- actors -------------------------------------------------------------------------------------------------------

    def _handler(self) -> Callable[..., Any]:
        chance = self._chance
        emits, pauses = chance.randrange(8), [chance.choice(PAUSES_S) for _ in range(8)]
        character = chance.choice(
            ("plain", "plain", "raises", "cleans up", "fails in cleanup", "deaf", "saves", "back")
        )

        @task("work")
        async def work(ctx: TaskContext) -> str:
            try:
                return await self._work(ctx, character, emits, pauses)
            finally:
                self._ended_with_handler = not any(event.type in TERMINAL for event in self._store.committed.values())

        return work

    async def _work(self, ctx: TaskContext, character: str, emits: int, pauses: list[float]) -> str:
        try:
            for number in range(emits):
                await ctx.emit("tick", {"n": number})
                if character == "saves":
                    async with ctx.protected("save", at_most_s=1):
                        await asyncio.sleep(pauses[number])
                else:
                    await asyncio.sleep(pauses[number])
            if character == "raises":
                raise ValueError("no luck")
        except asyncio.CancelledError as cancelled:
            self._check_cause(cancelled)
            await self._cleanup(ctx, character, pauses)
        return character

    async def _cleanup(self, ctx: TaskContext, character: str, pauses: list[float]) -> None:
        if character == "cleans up":
            await ctx.emit("cleanup")
            await asyncio.sleep(pauses[0])
            await ctx.emit("cleanup")
        if character == "fails in cleanup":
            raise ValueError("it cannot be undone")
        if character == "back":
            current = asyncio.current_task()
            assert current is not None
            current.uncancel()
        if character in {"deaf", "back"}:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
            return
        raise asyncio.CancelledError

    async def _reader(self, coordinator: TaskCoordinator) -> None:
        """Read the log, leave now and then, come back to the same place, until the end."""
        seen: dict[int, bytes] = {}
        self.story.logs.append(seen)
        cursor = 0
        while True:
            await self._sometime()
            subscription = await coordinator.watch(self._task_id, after=cursor)
            if subscription.finished:
                return
            stays = self._chance.choice((1, 2, 1000))
            while stays and (batch := await subscription.next()) is not None:
                stays -= 1
                self._see(seen, batch.events, batch.sse)
                cursor = batch.last
                if self._chance.random() < 0.3:
                    await self._sometime()
            subscription.close()
            if stays:
                return

    def _see(self, seen: dict[int, bytes], events: tuple[Event, ...], sse: bytes) -> None:
        if b"".join(map(frame, events)) != sse:
            self.story.problems.append("the bytes are not those of the events")
        for event in events:
            if self._store.committed.get((event.task_id, event.seq)) != event:
                self.story.early.append(event)
            if event.seq != max(seen, default=0) + 1:
                self.story.problems.append(f"a reader got {event.seq} after {max(seen, default=0)}")
            seen[event.seq] = frame(event)

    async def _canceller(self, coordinator: TaskCoordinator, number: int) -> None:
        await self._sometime()
        wait_s = self._chance.choice((0, 0, 0.5, 100))
        while True:
            try:
                receipt = await coordinator.cancel_task(
                    self._task_id, by=f"canceller {number}", reason="enough", wait_s=wait_s
                )
            except TaskTerminal as terminal:
                if terminal.status == TaskStatus.CANCELLED:
                    self.story.problems.append("a cancelled task was called terminal otherwise")
                return
            except StoreUnavailable:
                await asyncio.sleep(1)
            else:
                self.story.receipts.append(receipt)
                return

    async def _mover(self, coordinator: TaskCoordinator) -> None:
        await self._sometime()
        with contextlib.suppress(TaskTerminal, StoreUnavailable):
            await coordinator.extend(self._task_id, {Limit.RUN: self._chance.choice((0.1, 1, 50))})

    async def _shutdown(self, coordinator: TaskCoordinator) -> None:
        await self._sometime()
        self._store.steady = True  # a grace must be enough to store and to read what is left
        await coordinator.shutdown()

    async def _sometime(self) -> None:
        await asyncio.sleep(self._chance.choice((*PAUSES_S, 2.0)))
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _check_cause(self, cancelled: asyncio.CancelledError) -> None:
        """When the handler is cancelled by somebody, that is stored, unless the store is away."""
        asked = any(event.type == "cancel_requested" for event in self._store.committed.values())
        if "streaming: cancel" in cancelled.args and not asked and not self._store.stumbled:
            self.story.problems.append("the handler was cancelled before the cause was stored")

    def _check_refused(self, record: Record | None) -> None:
        self.story.status = "refused"
        if record is not None:
            self.story.problems.append("a start that was refused is stored")

    def _check(self, record: Record, coordinator: TaskCoordinator) -> None:
        story = self.story
        story.status = record.status.value
        events = [event for _, event in sorted(self._store.committed.items())]
        kinds = [event.type for event in events]
        ends = [kind for kind in kinds if kind in TERMINAL]
        must = {
            "seq has no holes": [event.seq for event in events] == list(range(1, len(events) + 1)),
            "one terminal event, and last": ends == [record.status] and kinds[-1:] == ends,
            "the record knows its last event": record.last_seq == len(events),
            "the end is the end of the handler": self._ended_with_handler or record.status is TaskStatus.INTERRUPTED,
            "nothing was seen before its commit": not story.early,
            "all readers saw the same": all(self._whole(log, events) for log in story.logs),
            "nothing is left": leftovers(coordinator).keys() <= {"stuck"},
            "one wish to cancel": kinds.count("cancel_requested") == (record.cancel is not None),
            "every receipt is about that wish": all(_same_wish(each, record.cancel) for each in story.receipts),
            "the receipt fits the end": record.cancel is None or _fits(record.cancel, record),
        }
        story.problems += [name for name, holds in must.items() if not holds]

    def _whole(self, log: dict[int, bytes], events: list[Event]) -> bool:
        return list(log.items()) == [(event.seq, frame(event)) for event in events]


def _same_wish(receipt: CancelReceipt, final: CancelReceipt | None) -> bool:
    return final is not None and (receipt.requested_at, receipt.by) == (final.requested_at, final.by)


def _fits(receipt: CancelReceipt, record: Record) -> bool:
    if record.status is TaskStatus.CANCELLED:
        return receipt.outcome is CancelOutcome.STOPPED and None not in (receipt.delivered_at, receipt.stopped_at)
    if receipt.outcome is CancelOutcome.IGNORED:
        return receipt.where is not None and (receipt.declined or record.status is TaskStatus.INTERRUPTED)
    return receipt.outcome is CancelOutcome.COMPLETED


def simulate(seed: int) -> Story:
    """Play one life, and say what was seen."""
    loop = ExploringLoop(seed)

    async def play() -> Story:
        life = Life(seed)
        await life.run()
        return life.story

    with (
        capture_logs(),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        story = runner.run(play())
    story.trace = loop.trace
    return story
