"""Somebody who watches a task, leaves and comes back, and remembers every byte.

Owns:   `Reader`: its cursor, what it has seen, and what of that must not be.
Uses:   testing.instance (where it reads), testing.store (what was committed at that moment), rules.invariants.
Never:  forgives: an event that comes twice, too early, or out of line is a problem.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streaming.engine.subscription import Subscription
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.rules.evidence import ReaderEvidence
from streaming.rules.invariants import check_reader
from streaming.rules.sse import frame
from streaming.testing.instance import Instance

if TYPE_CHECKING:
    from streaming.testing.world import World


#: Seconds until it comes again, where the store could not be read.
RETRY_S = 1.0


class Reader:
    """A reader of one task's log, in one instance after the other.

    Args:
        world: where it lives.
        name: for what it reports, and for its choices.

    Attributes:
        seen: the bytes of each event, by seq.
        ended: whether it has come to the end of the log.
        task_id: whose log; empty before `follow`.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.seen: dict[int, bytes] = {}
        self.ended = False
        self.task_id = ""
        self._world = world
        self._chance = world.stream(name)
        self._problems: list[str] = []
        self._early: list[int] = []
        self._gaps: list[tuple[int, int]] = []

    async def follow(self, instance: Instance, task_id: str) -> None:
        """Read to the end of the log, and leave now and then in between.

        Raises:
            Killed: the instance was killed; call it again with the next one.
        """
        self.task_id = task_id
        while not self.ended:
            await self._world.sometime(self._chance)
            try:
                subscription = await instance.ask(instance.coordinator.watch(task_id, after=max(self.seen, default=0)))
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
                continue
            if subscription.finished:
                self.ended = True
                return
            batches = self._chance.draw((1 << 30, 1, 2))
            while batches and await self._read(instance, subscription):
                batches -= 1
            subscription.close()
            if batches and not self.ended:
                return  # the instance has drained

    async def _read(self, instance: Instance, subscription: Subscription) -> bool:
        """Take one batch; False at the end of the subscription."""
        batch = await instance.ask(subscription.next())
        if batch is None:
            self.ended = subscription.finished
            return False
        if b"".join(map(frame, batch.events)) != batch.sse:
            self._problems.append(f"{self.name}: the bytes of a batch are not those of its events")
        for event in batch.events:
            self._see(event)
        if self._chance.happens(0.3):
            await self._world.sometime(self._chance)
        return True

    def _see(self, event: Event) -> None:
        stored = self._world.disk.events.get((event.task_id, event.seq))
        if event.type == "gap" and stored is None:
            self._gaps.append((event.data["from"], event.data["to"]))
            return
        if stored is None:
            self._early.append(event.seq)
        if event.seq in self.seen:
            self._problems.append(f"{self.name} got event {event.seq} twice")
        self.seen[event.seq] = frame(event)

    def problems(self) -> list[str]:
        """What must not be of what it has seen, once all is over."""
        if not self.task_id:
            return []
        evidence = ReaderEvidence(
            task_id=self.task_id,
            seen=[*self.seen.items()],
            log=[(event.seq, frame(event)) for event in self._world.disk.log(self.task_id)],
            gaps=self._gaps,
            early=self._early,
            to_the_end=self.ended,
        )
        return [*self._problems, *(f"{self.name}: {violation}" for violation in check_reader(evidence))]
