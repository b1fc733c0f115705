"""What waits and what wakes, alone: an alarm, a latch, and the room for more events; the smallest world of all.

Owns:   `wakes`, a scenario for `streaming.testing.exploration`.
Never:  knows what is waited for.
"""

from __future__ import annotations

import asyncio

from streaming.engine.alarm import Alarm, Latch
from streaming.testing.world import World

RINGERS = 2
PAUSES_S = (0.0, 0.0, 0.001, 0.3)

#: A waiter that was woken is back after this time at the latest: nothing in this world takes longer than a step.
LATE_S = 0.2


class Wakes:
    """One run.

    Attributes:
        told: how often somebody has rung.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._alarm = Alarm()
        self._latch = Latch()
        self._heard = self._over = 0
        self.told = 0

    async def run(self) -> None:
        """Play it."""
        world = self._world
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            for number in range(3):
                group.create_task(self._pass(number))
            group.create_task(self._set())
            async with asyncio.TaskGroup() as ringers:
                for number in range(RINGERS):
                    ringers.create_task(self._ring(number))
            await asyncio.sleep(LATE_S)
            world.must(self._heard == self.told, "somebody has rung, and was not heard")
            self._over = 1
            self._alarm.ring()

    async def _listen(self) -> None:
        """Hear of every change, although looking at one takes some steps, in which others come."""
        chance = self._world.stream("listener")
        while not self._over:
            await self._alarm.wait()
            self._heard = self.told
            for _ in range(chance.pick(4)):
                await asyncio.sleep(0)
            await self._look_at_the_clock(chance.draw((False, True)))

    async def _look_at_the_clock(self, looks: bool) -> None:
        """A wait with an end returns at that, or when somebody rings."""
        if not looks:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.01
        await self._alarm.wait(until)
        self._world.must(loop.time() <= until + LATE_S, "a wait has missed its end")
        self._heard = self.told

    async def _ring(self, number: int) -> None:
        chance = self._world.stream(f"ringer-{number}")
        for _ in range(1 + chance.pick(4)):
            await self._world.sometime(chance, PAUSES_S)
            self.told += 1
            self._alarm.ring()

    async def _set(self) -> None:
        chance = self._world.stream("setter")
        await self._world.sometime(chance, PAUSES_S)
        self._latch.set()
        if chance.happens(0.3):
            self._latch.set()

    async def _pass(self, number: int) -> None:
        """Go through the latch, before or after it is set, alone or not."""
        await self._world.sometime(self._world.stream(f"passer-{number}"), PAUSES_S)
        await self._latch.wait()
        self._world.must(self._latch.is_set(), "a latch let somebody pass that is not set")


async def wakes(world: World) -> None:
    """Play it."""
    await Wakes(world).run()
