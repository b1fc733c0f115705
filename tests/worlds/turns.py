"""A few tasks that take turns: places lent to children, keys that outlast a pause, inputs, and cancels in between.

Owns:   `turns`, a scenario for `streaming.testing.exploration`: `tests.worlds.crowd` made small, and so many times as
        quick.
Never:  stops the server before all has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from streaming import TaskContext, task
from streaming.errors import StoreUnavailable, TaskEnded, TaskTerminal, TaskUnsuccessful, TooManyInputs
from streaming.events import seconds_of
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.choices import Stream
from streaming.testing.faults import CALM, Faults
from streaming.testing.world import World, current_world
from tests.leftovers import leftovers

TASKS = 3
PAUSES_S = (0.0, 0.0, 0.001, 0.3, 1.0)
KINDS = ("plain", "parent", "fails once", "listens")

#: Seconds that a handler listens for inputs, and by which a slow store may be late.
LISTENS_S = 2.0
LATE_S = 1.0

SLOW = Faults(store_delay=0.4)


@task(retries=1, backoff_s=2.0)
async def work(ctx: TaskContext, kind: str, pauses: list[float]) -> str:
    """Work as it is in its kind."""
    playing: Turns = current_world().props["turns"]
    return await playing.work(ctx, kind, pauses)


class Turns:
    """One run."""

    def __init__(self, world: World) -> None:
        chance = world.stream("turns")
        self._world = world
        world.faults = chance.draw((CALM, SLOW))
        self._max_running = chance.draw((100, 1, 2))
        self._at_work: set[str] = set()
        self._ids: list[str] = []
        self._listened: dict[str, list[int]] = {}
        self._heard_until: dict[str, float] = {}

    async def run(self) -> None:
        """Play it."""
        async with self._world.instance([work], max_running=self._max_running, cancel_grace_s=2.0) as instance:
            self._coordinator = instance.coordinator
            async with asyncio.TaskGroup() as group:
                for number in range(TASKS):
                    group.create_task(self._life(number))
            for record in self._world.disk.records():
                ended = await instance.coordinator.wait(record.id, 60)
                self._must(ended.status in TERMINAL, "a task never ends")
            await asyncio.sleep(LATE_S)
            left = leftovers(instance.coordinator)
            self._must(not left, f"something is left: {left}")
        self._check_keys()
        self._check_families()
        self._check_inputs()

    async def _life(self, number: int) -> None:
        """Start a task; send something into one of them, and cancel one, maybe."""
        chance = self._world.stream(f"task-{number}")
        await self._world.sometime(chance, PAUSES_S)
        params = {"kind": chance.draw(KINDS), "pauses": [chance.draw(PAUSES_S) for _ in range(chance.pick(3))]}
        record, _ = await self._coordinator.start("work", params, key=chance.draw((None, "a")))
        self._ids.append(record.id)
        for _ in range(chance.pick(3)):
            await self._world.sometime(chance, PAUSES_S)
            await self._steer(chance, chance.draw(self._ids))

    async def _steer(self, chance: Stream, task_id: str) -> None:
        with contextlib.suppress(TaskTerminal, TooManyInputs, StoreUnavailable):
            if chance.draw(("input", "input", "cancel")) == "cancel":
                await self._coordinator.cancel_task(task_id)
            else:
                await self._coordinator.send_input(task_id, "hello")

    # -- the work -----------------------------------------------------------------------------------------------------

    async def work(self, ctx: TaskContext, kind: str, pauses: list[float]) -> str:
        self._begin(ctx)
        try:
            for pause_s in pauses:
                await asyncio.sleep(pause_s)
            if kind == "fails once" and ctx.attempt == 1:
                raise ValueError("no luck")
            if kind == "parent":
                await self._raise_child(ctx, pauses)
            if kind == "listens":
                await self._listen(ctx)
        finally:
            self._at_work.discard(ctx.task_id)
        return kind

    def _begin(self, ctx: TaskContext) -> None:
        self._at_work.add(ctx.task_id)
        self._must(len(self._at_work) <= self._max_running, "more work at once than may")

    async def _raise_child(self, ctx: TaskContext, pauses: list[float]) -> None:
        """Wait for a child, or for none: it lives no longer than this."""
        chance = self._world.stream("parents")
        with contextlib.suppress(TaskEnded):
            kind = chance.draw(("plain", "fails once", "listens"))
            child = await ctx.start("work", {"kind": kind, "pauses": [*pauses, 1.0]})
            if chance.happens(0.2):
                self._at_work.discard(ctx.task_id)
                left = asyncio.create_task(child.result())  # in its place another one runs, although it ends now
                left.add_done_callback(lambda done: done.cancelled() or done.exception())
                await asyncio.sleep(0)
            elif chance.happens(0.7):
                self._at_work.discard(ctx.task_id)
                with contextlib.suppress(TaskUnsuccessful):
                    await child.result()
                self._begin(ctx)

    async def _listen(self, ctx: TaskContext) -> None:
        """Read inputs for a while, from the first."""
        found: list[int] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTENS_S):
                async for each in ctx.inputs():
                    found.append(each.seq)
        self._listened[ctx.task_id] = found
        self._heard_until[ctx.task_id] = asyncio.get_running_loop().time() - LATE_S

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _must(self, holds: object, words: str) -> None:
        self._world.must(holds, words)

    def _check_inputs(self) -> None:
        """Who listens hears all, in their order."""
        begun = seconds_of(self._world.instances[0].coordinator.now()) - asyncio.get_running_loop().time()
        for task_id, found in self._listened.items():
            sent = [event for event in self._world.disk.log(task_id) if event.type == "input"]
            self._must(
                found == [event.seq for event in sent][: len(found)], "inputs come in their order, from the first"
            )
            in_time = [each for each in sent if seconds_of(each.time) - begun <= self._heard_until[task_id]]
            self._must(len(found) >= len(in_time), "an input was not heard")

    def _check_keys(self) -> None:
        """Of one key one task ends before the next one begins, with all its attempts."""
        places = list(self._world.disk.events.values())
        spans = []
        for record in self._world.disk.records():
            own = [place for place, event in enumerate(places) if event.task_id == record.id]
            begun = [place for place in own if places[place].type == "running"]
            if record.key is not None and begun:
                spans.append((begun[0], own[-1]))
        apart = all(later[0] > earlier[1] for earlier, later in itertools.pairwise(sorted(spans)))
        self._must(apart, "of one key one task ends before the next begins")

    def _check_families(self) -> None:
        """No task goes on without its parent."""
        ends = {id: event for (id, _), event in self._world.disk.events.items() if event.type in TERMINAL}
        for record in self._world.disk.records():
            if record.parent is not None and {record.id, record.parent} <= ends.keys():
                late_s = seconds_of(ends[record.id].time) - seconds_of(ends[record.parent].time)
                self._must(late_s <= LATE_S, "a task of a handler goes on without it")


async def turns(world: World) -> None:
    """Play it."""
    world.props["turns"] = playing = Turns(world)
    await playing.run()
