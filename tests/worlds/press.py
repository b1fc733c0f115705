"""A hub on the disk of a simulated world, without a coordinator: what writes and reads logs, and nothing that decides.

Owns:   `Press`: its hub, its logs, and what must hold of them at every moment.
Never:  decides who writes or reads what: that is for the scenarios.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar, cast

from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.log import Log
from streaming.engine.subscription import Subscription
from streaming.engine.tables import size_of_table
from streaming.engine.transitions import begin
from streaming.errors import StoreUnavailable
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import LogEvidence
from streaming.rules.invariants import check_log
from streaming.testing.clock import SimulatedClock
from streaming.testing.instance import Instance
from streaming.testing.reader import Reader
from streaming.testing.store import SimulatedStore
from streaming.testing.world import World, settings_of

T = TypeVar("T")

#: More steps than this, and a run goes on for ever: a hub alone needs some hundred.


class Press:
    """A hub, and what stands for an instance where a `Reader` reads.

    Args:
        world: where it lives; its faults are those of the store.
        settings: limits, by name, as in `Settings`.

    Attributes:
        coordinator: itself: a reader asks nothing else of one than `watch`.
        hub: the real one.
        store: its way to the disk.
        logs: all that were created and stored.
        closed: whether `close` has begun.
    """

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        self.coordinator = self
        self.settings = settings_of(**settings)
        self.store = SimulatedStore(world.disk, world.faults, world.stream("store"), lambda: None)
        self.hub = Hub(
            cast(Journal, self.store), self.settings, SimulatedClock(world.loop.time, world.stream("wall"), 0.0)
        )
        self.logs: dict[str, Log] = {}
        self.closed = False

    async def __aenter__(self) -> Self:
        await self.hub.open(asyncio.get_running_loop())
        self.store.up = True
        return self

    async def __aexit__(self, *raised: object) -> None:
        if not self.closed:
            await self.close(60.0)

    # -- writing ----------------------------------------------------------------------------------------------------

    async def create(self, task_id: str, type: str = "work", tags: tuple[str, ...] = ()) -> Log | None:
        """A task that runs; None if the store has refused it."""
        stored: asyncio.Future[StoreUnavailable | None] = asyncio.get_running_loop().create_future()
        now = self.hub.now()
        record = Record(task_id, type, TaskStatus.PENDING, {}, 60.0, now, now, tags=tags)
        log = self.hub.create(record, {}, None, stored.set_result)
        refused = await stored
        on_disk = (task_id, 1) in self.world.disk.events
        if refused is not None:
            self.world.must(not on_disk or self.closed, "a task that was refused is stored")
            return None
        self.world.must(on_disk, "a task that was acknowledged is not stored")
        self.logs[task_id] = log
        begin(self.hub, log)
        return log

    async def committed(self, log: Log) -> None:
        """Wait until all is stored that was written so far, and look whether it is."""
        seq = log.window.last
        try:
            await self.hub.committed()
        except StoreUnavailable:
            self.world.must(self.closed, "it is not stored, and the server goes on")
            return
        if not log.lost:
            stored = (log.record.id, seq) in self.world.disk.events
            self.world.must(stored, "what was said to be stored is not")
            self.world.must(log.window.committed >= seq or self.closed, "what was said to be stored cannot be seen")

    # -- reading ----------------------------------------------------------------------------------------------------

    async def watch(self, task_id: str, *, after: int = 0) -> Subscription:
        """Read the log of a task."""
        return self.hub.read(self.logs[task_id], after)

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Nobody kills it: what is asked is done here."""
        return await request

    async def show(self, reader: Reader, task_id: str) -> None:
        """Let somebody read a log to its end, and look whether that was all there is to see."""
        log = self.logs[task_id]
        await reader.follow(cast(Instance, self), task_id)
        if log.lost:
            reader.ended = False  # what follows in the store was written by somebody else
        elif not (self.store.failures and self.closed):
            seen = max(reader.seen, default=0)
            self.world.must(seen == log.window.committed, "a stream has ended before what could be seen")

    # -- what must hold -----------------------------------------------------------------------------------------------

    def audit(self) -> None:
        """Look at every log, and at what is counted."""
        must = self.world.must
        for log in self.hub.logs.values():
            for violation in check_log(_evidence(log, self.world.disk.events)):
                must(False, str(violation))
        for tally in [] if self.hub.closed else self.hub.tallies():
            must(tally.says == tally.counted, f"{tally.name} are {tally.counted}, it says {tally.says}")

    async def close(self, within_s: float) -> int:
        """Store what is left, and look whether anything is held back; how many events were lost."""
        self.closed = True
        lost = await self.hub.close(asyncio.get_running_loop().time() + within_s)
        written = {(log.record.id, event.seq) for log in self.logs.values() for event in log.waiting if not log.lost}
        missing = len(written - self.world.disk.events.keys())
        self.world.must(missing <= lost, "events were lost, and nobody has said so")
        left = {name: size for name, table in self.hub.tables().items() if (size := size_of_table(table))}
        for name in ("feed readers", "handlers that wait for room"):
            left.pop(name, None)  # they hear of it in their next step
        self.world.must(not left, f"something is left: {left}")
        return lost

    def check_gone(self) -> None:
        """Look whether all that has come has left as well."""
        listed = [*self.hub.feed_readers, *(reader for log in self.logs.values() for reader in log.readers)]
        left = [reader for reader in listed if reader._closed]
        self.world.must(not left, "a reader has left, and is still on the list")
        self.world.must(not self.hub.tables()["handlers that wait for room"], "somebody waits for room for ever")


def _evidence(log: Log, stored: dict[tuple[str, int], Any]) -> LogEvidence:
    window = log.window
    seq = window.committed
    while seq and (window.task_id, seq) not in stored:
        seq -= 1
    return LogEvidence(
        task_id=window.task_id,
        first=window.first,
        committed=window.committed,
        last=window.last,
        kept=len(window.kept),
        waiting=log.backlog_events,
        stored_seq=seq,
        cursors=[reader.cursor for reader in log.readers],
    )
