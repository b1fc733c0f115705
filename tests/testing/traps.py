"""What the tests of asyncio's traps share.

Owns:   `Trap`, and how it is shown that it is found where this Python has it; what comes out clean.
Never:  knows a trap.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from streaming.testing.exploration import explore
from streaming.testing.loop import Deadlock
from streaming.testing.world import World

Scenario = Callable[[World], Coroutine[Any, Any, None]]

SCHEDULES = 400


class Trap(NamedTuple):
    """A trap, in which versions of Python it is, and whether the order of asyncio shows it."""

    program: Scenario
    before: tuple[int, int] = (99, 0)
    since: tuple[int, int] = (3, 0)
    ordinary: bool = False

    @property
    def here(self) -> bool:
        return self.since <= sys.version_info[:2] < self.before


def name_of(trap: Trap) -> str:
    """As which it is told."""
    return trap.program.__name__


def check_found(trap: Trap) -> None:
    """The kit finds it where it is, and nothing where it is not."""
    found = explore(trap.program, schedules=SCHEDULES).failure

    assert (found is not None) is trap.here, str(found)
    if found is not None:
        assert isinstance(found.error, AssertionError | Deadlock)
        assert found.replayable
        assert (found.schedule == 1) is trap.ordinary
        assert len(found.shrunk) <= 4


def check_clean(scenario: Scenario, schedules: int = 150) -> None:
    """No schedule fails."""
    found = explore(scenario, schedules=schedules)
    assert found.failure is None, str(found.failure)


async def cancelled_sometime(world: World, worker: Coroutine[Any, Any, None]) -> None:
    """Cancel a worker about the time when what it waits for comes; it has far more to do, so it must end by that."""
    task = asyncio.create_task(worker)
    await cancel_at_1(world, task)
    assert task.cancelled(), "the cancel got lost"


async def cancel_at_1(world: World, task: asyncio.Task[None]) -> None:
    """Cancel somebody one second from now, or some steps later, and wait for its end."""
    await asyncio.sleep(1)
    for _ in range(world.stream("cancel").pick(4)):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
