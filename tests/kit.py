"""What the tests of the engine are made of.

Owns:   a coordinator on virtual time, a journal that can be held, broken and inspected, and a reader that collects.
Never:  waits for the real clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from streaming import Registry, TaskCoordinator
from streaming.config import Settings
from streaming.engine.journal import Commit, Committed, Journal
from streaming.engine.subscription import Subscription
from streaming.engine.tracer import UNTRACED, Tracer
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.store.memory import MemoryStore

#: Wall-clock time at the loop's time 0: 2001-09-09T01:46:40Z.
EPOCH_S = 1_000_000_000.0


class TestedStore(MemoryStore):
    """A memory store that says it is durable, and fails or waits on command.

    Attributes:
        commits: everything that was stored, in order.
        failures: what the next commits raise, one each; ``after`` stores first, then raises.
    """

    __test__ = False

    def __init__(self, settings: Settings, *, durable: bool = True) -> None:
        super().__init__(settings)
        self._opened = True  # nothing to wait for in memory
        self.commits: list[Commit] = []
        self.failures: list[tuple[str, Exception]] = []
        self.away = False
        self.entered = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self.durable = durable

    def hold(self) -> None:
        """Let commits wait until `release`; `entered` is set once one does."""
        self._open.clear()
        self.entered.clear()

    def release(self) -> None:
        """Let commits through again."""
        self._open.set()

    def fail(self, when: str = "before", error: Exception | None = None) -> None:
        """Let the next commit fail ``before`` or ``after`` it took place."""
        self.failures.append((when, error or StoreUnavailable("The disk is full.")))

    async def commit(self, commit: Commit) -> Committed:
        self.entered.set()
        await self._open.wait()
        if self.away:
            raise StoreUnavailable("The store is away.")
        if self.failures:
            when, error = self.failures.pop(0)
            if when == "after":
                await super().commit(commit)
                self.commits.append(commit)
            raise error
        done = await super().commit(commit)
        self.commits.append(commit)
        return done


def build(
    handlers: Iterable[Callable[..., Any]],
    journal: Journal | None = None,
    prepare_worker: Callable[[], object] | None = None,
    tracer: Tracer = UNTRACED,
    **settings: Any,
) -> tuple[TaskCoordinator, Any]:
    """A coordinator on the running (virtual) loop, and its store; ids are 1, 2, 3 ... in hexadecimal."""
    configured = Settings(**settings)
    store = journal or TestedStore(configured)
    numbers = itertools.count(1)
    loop = asyncio.get_running_loop()
    coordinator = TaskCoordinator(
        Registry(handlers),
        store,
        configured,
        wall=lambda: EPOCH_S + loop.time(),
        new_id=lambda: f"{next(numbers):032x}",
        chance=lambda: 0.5,
        prepare_worker=prepare_worker,
        tracer=tracer,
    )
    return coordinator, store


async def collect(subscription: Subscription) -> list[Event]:
    """Read to the end."""
    events: list[Event] = []
    while (batch := await subscription.next()) is not None:
        events.extend(batch.events)
    return events


async def events_of(coordinator: TaskCoordinator, task_id: str, **where: Any) -> list[Event]:
    """Watch a task to its end."""
    return await collect(await coordinator.watch(task_id, **where))


def types(events: Iterable[Event]) -> list[str]:
    """The types of events, in order."""
    return [event.type for event in events]
