"""What the scenarios are played with: a few handlers of known character, and the way to get them going.

Owns:   `Gate` and the handlers forever, tidy, deaf, instant and broken; `running`, `run` and `run_and_cancel`.
Never:  waits for the real clock.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streaming import HandlerError, Record, TaskContext, TaskCoordinator, task
from streaming.events import Event
from tests.kit import events_of

#: Rounds of the loop that are more than any chain of callbacks between a commit and the step of a handler.
ROUNDS = 10


class Gate:
    """A handler that waits at a gate, and tells when it is there and when it is cancelled."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()
        self.cancelled_at: list[float] = []

        @task("gate")
        async def gate(ctx: TaskContext) -> str:
            self.reached.set()
            try:
                await self.opened.wait()
            except asyncio.CancelledError:
                self.cancelled_at.append(now())
                raise
            return "through the gate"

        self.handler = gate


@task
async def forever() -> None:
    """Wait until it is cancelled."""
    await asyncio.get_running_loop().create_future()


@task
async def tidy(ctx: TaskContext, takes_s: float = 3.0) -> None:
    """Wait until it is cancelled, and tell how the cleanup goes."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await ctx.emit("cleanup", {"step": 1})
        await asyncio.sleep(takes_s)
        await ctx.emit("cleanup", {"step": 2})


@task
async def deaf(for_s: float = 1000.0) -> str:
    """Swallow every cancellation for a while."""
    until = now() + for_s
    while now() < until:
        try:
            await asyncio.sleep(until - now())
        except asyncio.CancelledError:
            continue
    return "what cancel?"


@task
async def ticks(ctx: TaskContext, n: int = 3, pause_s: float = 1.0) -> dict[str, int]:
    """Emit a tick, and pause, ``n`` times."""
    for number in range(1, n + 1):
        await ctx.emit("tick", {"n": number})
        await asyncio.sleep(pause_s)
    return {"ticks": n}


@task
async def instant() -> str:
    """Return at once."""
    return "at once"


@task
async def broken() -> None:
    """Raise at once."""
    raise HandlerError("broken", "It is broken.")


def now() -> float:
    """The time on the loop's clock."""
    return asyncio.get_running_loop().time()


async def rounds() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


async def running(coordinator: TaskCoordinator, type: str, **params: Any) -> str:
    """Start a task, and return its id once its handler has had its first step."""
    started, _ = await coordinator.start(type, params)
    reader = await coordinator.watch(started.id, after=started.last_seq)
    assert await reader.next() is not None, "it is running"
    reader.close()
    await rounds()
    return started.id


async def ended(coordinator: TaskCoordinator, task_id: str) -> tuple[Record, list[Event]]:
    """Wait for the end of a task, and return its record and its log."""
    events = await events_of(coordinator, task_id)
    return await coordinator.get(task_id), events


async def run(
    coordinator: TaskCoordinator, type: str, *, timeout_s: float | None = None, **params: Any
) -> tuple[Record, list[Event]]:
    """Start a task; see `ended`."""
    started, _ = await coordinator.start(type, params, timeout_s=timeout_s)
    return await ended(coordinator, started.id)


async def run_and_cancel(
    coordinator: TaskCoordinator, type: str, *, by: str = "anonymous", reason: str = "", **params: Any
) -> tuple[Record, list[Event]]:
    """Start a task, and cancel it once its handler is at work; see `ended`."""
    task_id = await running(coordinator, type, **params)
    await coordinator.cancel_task(task_id, by=by, reason=reason)
    return await ended(coordinator, task_id)


async def gone(task_id: str) -> None:
    """Wait until a handler that was left behind has ended."""
    left = [each for each in asyncio.all_tasks() if each.get_name() == f"streaming-handler-{task_id}"]
    if left:
        await asyncio.wait(left)
