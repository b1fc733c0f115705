"""A store on a bad day.

Owns:   `StumblingStore`.
Never:  forgets what it has stored.
"""

from __future__ import annotations

import asyncio
import random

from streaming.config import Settings
from streaming.engine.journal import Commit, Committed
from streaming.errors import StoreUnavailable
from streaming.events import Event
from tests.kit import TestedStore


class StumblingStore(TestedStore):
    """A store that takes its time, and fails now and then, before or after it has stored.

    Attributes:
        committed: the events that it has.
        stumbled: whether it has failed.
        steady: it fails no more.
    """

    def __init__(self, settings: Settings, chance: random.Random, failures: int) -> None:
        super().__init__(settings)
        self.committed: dict[tuple[str, int], Event] = {}
        self.stumbled = False
        self.steady = False
        self._chance = chance
        self._failures = failures

    async def commit(self, commit: Commit) -> Committed:
        await self._pause()
        when = self._stumble()
        if when == "before":
            raise StoreUnavailable("The disk is full.")
        done = await super().commit(commit)
        for event in commit.events:
            self.committed[event.task_id, event.seq] = event
        await self._pause()
        if when == "after":
            raise StoreUnavailable("The answer was lost.")
        return done

    async def outcome(self, commit: Commit) -> Committed | None:
        await self._pause()
        if self._stumble():
            raise StoreUnavailable("The disk cannot be read.")
        return await super().outcome(commit)

    async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        await self._pause()
        if self._stumble():
            raise StoreUnavailable("The disk cannot be read.")
        return await super().events_after(task_id, seq, last_seq=last_seq, limit=limit)

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)
        if self._chance.random() < 0.2:
            await asyncio.sleep(self._chance.choice((0.001, 0.05)))

    def _stumble(self) -> str | None:
        if self._failures and not self.steady and self._chance.random() < 0.2:
            self._failures -= 1
            self.stumbled = True
            return self._chance.choice(("before", "after"))
        return None
