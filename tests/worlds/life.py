"""One random life of a task: readers come and go, somebody cancels, the time runs out, the store stumbles.

Owns:   `life`, a scenario for `streaming.testing.exploration`.
Never:  decides beforehand who wins: it checks that all tell the same story about it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from streaming import TaskContext, task
from streaming.errors import StoreUnavailable, TaskTerminal, TimeOver
from streaming.records import TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.faults import CALM, Faults
from streaming.testing.instance import Instance
from streaming.testing.world import World, current_world
from tests.leftovers import leftovers
from tests.stage import gone

READERS = 4
PAUSES_S = (0.0, 0.0, 0.0, 0.001, 0.3, 1.0)
CHARACTERS = ("plain", "plain", "raises", "cleans up", "fails in cleanup", "deaf", "saves", "back")

#: A store that takes its time, and fails now and then, before or after it has stored.
STUMBLING = Faults(store_delay=0.4, store_refuses=0.05, store_forgets_to_answer=0.05)

#: A clock on the wall that somebody sets, again and again.
CONFUSED = Faults(store_delay=0.4, clock=0.05, skew_s=3600.0)


@task
async def work(ctx: TaskContext, character: str, pauses: list[float]) -> str:
    world = current_world()
    try:
        return await _work(ctx, character, pauses)
    finally:
        record = world.disk.records()[0]
        world.must(
            record.status not in TERMINAL or record.status is TaskStatus.INTERRUPTED,
            "the task ended before its handler",
        )


async def _work(ctx: TaskContext, character: str, pauses: list[float]) -> str:
    try:
        for number, pause_s in enumerate(pauses):
            await ctx.emit("tick", {"n": number})
            if character == "saves":
                async with ctx.protected("save", at_most_s=1):
                    await asyncio.sleep(pause_s)
            else:
                await asyncio.sleep(pause_s)
        if character == "raises":
            raise ValueError("no luck")
    except asyncio.CancelledError as cancelled:
        _check_cause(current_world(), cancelled)
        await _clean_up(ctx, character)
    return character


def _check_cause(world: World, cancelled: asyncio.CancelledError) -> None:
    """When the handler is cancelled by somebody, that is stored, unless the store is away."""
    asked = any(event.type == "cancel_requested" for event in world.disk.events.values())
    world.must(
        asked or "streaming: cancel" not in cancelled.args or world.instances[-1].store.failures,
        "the handler was cancelled before the cause was stored",
    )


async def _clean_up(ctx: TaskContext, character: str) -> None:
    if character == "cleans up":
        await ctx.emit("cleanup")
        await asyncio.sleep(0.3)
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


async def life(world: World) -> None:
    """Play it."""
    chance = world.stream("life")
    settings: dict[str, Any] = {
        "cancel_grace_s": 2.0,
        "grace_s": chance.draw((20.0, 4.0)),
        "window_events_max": chance.draw((1024, 1, 4)),
        "backlog_events_max": chance.draw((512, 1, 3)),
        "commit_events_max": chance.draw((1000, 1, 2)),
    }
    world.faults = chance.draw((CALM, STUMBLING, STUMBLING, CONFUSED))
    params = {
        "character": chance.draw(CHARACTERS),
        "pauses": [chance.draw(PAUSES_S) for _ in range(chance.pick(8))],
    }
    async with world.instance([work], **settings) as instance:
        try:
            started, _ = await instance.coordinator.start(
                "work", params, timeout_s=chance.draw((100.0, 100.0, 0.2, 1.5))
            )
        except StoreUnavailable:
            world.must(not world.disk.records(), "a start that was refused is stored")
            return
        await asyncio.gather(*_actors(world, instance, started.id))
        if not chance.happens(0.3):
            with contextlib.suppress(StoreUnavailable):
                await instance.coordinator.wait(started.id, 1000)
    await gone(started.id)
    left = leftovers(instance.coordinator)
    world.must(left.keys() <= {"stuck"}, f"something is left: {left}")


def _actors(world: World, instance: Instance, task_id: str) -> list[Any]:
    chance = world.stream("actors")
    return [
        *(world.reader().follow(instance, task_id) for _ in range(READERS)),
        *(_cancel(world, instance, task_id, number) for number in range(chance.draw((0, 1, 1, 2)))),
        *([_move(world, instance, task_id)] if chance.happens(0.2) else []),
        *([_shut_down(world, instance)] if chance.happens(0.2) else []),
    ]


async def _cancel(world: World, instance: Instance, task_id: str, number: int) -> None:
    chance = world.stream(f"canceller-{number}")
    await world.sometime(chance)
    wait_s = chance.draw((0.0, 0.0, 0.5, 100.0))
    while True:
        try:
            receipt = await instance.coordinator.cancel_task(
                task_id, by=f"canceller {number}", reason="enough", wait_s=wait_s
            )
        except TaskTerminal as terminal:
            world.must(terminal.status != TaskStatus.CANCELLED, "a cancelled task was called terminal otherwise")
            return
        except StoreUnavailable:
            await asyncio.sleep(1)
        else:
            world.receipts.append((task_id, receipt))
            return


async def _move(world: World, instance: Instance, task_id: str) -> None:
    chance = world.stream("mover")
    await world.sometime(chance)
    with contextlib.suppress(TaskTerminal, TimeOver, StoreUnavailable):
        await instance.coordinator.extend(task_id, {Limit.RUN: chance.draw((50.0, 0.1, 1.0))})


async def _shut_down(world: World, instance: Instance) -> None:
    await world.sometime(world.stream("shutdown"))
    instance.store.steady = True  # a grace must be enough to store and to read what is left
    await instance.coordinator.shutdown()
