"""One server process in a simulated world: it runs a coordinator, and can be killed at any step.

Owns:   `Instance`, `Killed`.
Uses:   engine.coordinator (the real one), testing.loop (which lets nothing of a killed process run any more),
        rules.invariants (that nothing is left after a drain).
Never:  lets a killed instance clean up: that is what makes it a crash.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from streaming.config import Settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.journal import Journal
from streaming.engine.registry import Registry
from streaming.engine.tables import BUSY_AT_REST, size_of_table
from streaming.rules.evidence import InstanceEvidence
from streaming.rules.invariants import check_instance
from streaming.testing.loop import PROCESS
from streaming.testing.store import SimulatedStore

if TYPE_CHECKING:
    from streaming.testing.world import World

T = TypeVar("T")


class Killed(ConnectionError):
    """The instance was killed before it could answer."""


class Instance:
    """A process with a coordinator; ``async with`` starts it, and drains it in the end.

    What runs inside of it is its own; whoever asks from outside, and is to live on when it is killed, uses `ask`.

    Args:
        world: where it lives.
        number: of the process, from 1.
        registry: the task types.
        store: its way to the disk.
        settings: its limits.
        wall: its clock.
        mortal: whether it can be killed; what is asked of it then runs in a task of its own.

    Attributes:
        coordinator: what it runs, once it is up.
        store: as given.
        alive: whether it is up: started, not stopped, not killed.
    """

    coordinator: TaskCoordinator

    def __init__(
        self,
        world: World,
        number: int,
        registry: Registry,
        store: SimulatedStore,
        settings: Settings,
        wall: Callable[[], float],
        *,
        mortal: bool,
    ) -> None:
        self.store = store
        self.alive = False
        self.number = number
        self._world = world
        self._registry = registry
        self._settings = settings
        self._wall = wall
        self._mortal = mortal
        self._loop = world.loop
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, number)
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._leave: asyncio.Future[None] = self._loop.create_future()
        self._death: asyncio.Future[None] = self._loop.create_future()
        self._process: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it; that may end in its death.

        Raises:
            Killed: it was killed while it started.
            StreamingError: it could not start.
        """
        self._process = self._create(self._live(), f"process-{self.number}")
        await asyncio.wait({self._process, self._up, self._death}, return_when=asyncio.FIRST_COMPLETED)
        if self._death.done():
            raise Killed("The instance was killed while it started.")
        if self._process.done():
            self._process.result()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop()

    async def _live(self) -> None:
        self.coordinator = TaskCoordinator(
            self._registry,
            cast(Journal, self.store),
            self._settings,
            wall=self._wall,
            new_id=self._world.new_id,
            chance=self._world.stream("pauses").fraction,
        )
        async with self.coordinator:
            self.alive = self.store.up = True
            self._up.set_result(None)
            await self._leave
            self.alive = False

    async def stop(self) -> None:
        """Drain it, if it is up, and wait for that; what it still holds then is a problem of the world."""
        if self._process is None or self._death.done():
            return
        if not self._leave.done():
            self._leave.set_result(None)
        await asyncio.wait({self._process, self._death}, return_when=asyncio.FIRST_COMPLETED)
        if self._process.done():
            self._process.result()
            self._check_empty()

    def _check_empty(self) -> None:
        """At rest nothing is left in any table; the task of a handler that does not listen has ended, too."""
        held = self.coordinator.tables().items()
        tables = {name: size_of_table(table) for name, table in held if name not in BUSY_AT_REST}
        self._world.problems += map(str, check_instance(InstanceEvidence(tables=tables, resting=True)))

    def kill(self, *, silent: bool = False) -> None:
        """Like ``kill -9``: from now on nothing of it runs, and nothing reaches the disk.

        One that has ended, or was killed before, has nothing left to lose: that changes nothing.

        Args:
            silent: its machine has lost its power: whoever is connected is not told, and whoever connects meets nobody
                who could refuse it. Otherwise its kernel closes what was open.

        Raises:
            ValueError: it was not made to be killed.
        """
        if not self._mortal:
            raise ValueError("this instance cannot be killed: make it with mortal=True, or with faults that crash")
        if self._death.done() or (self._process is not None and self._process.done()):
            return
        self.alive = False
        if self._process is None:
            self.store.dead = True  # it was never there, and takes nothing with it
        else:
            self.store.cut_off()
        self._loop.kill(self.number, silent=silent)
        self._death.set_result(None)

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Run something inside of the instance, and wait for its answer.

        Args:
            request: what is asked, as ``instance.coordinator.start("work", {})``.

        Returns:
            What it returns.

        Raises:
            Killed: the instance was killed before that.
            BaseException: what the request raises.
        """
        if not self._mortal:
            return await request
        if self._death.done():
            request.close()
            raise Killed("The instance was killed.")
        asked = self._create(request, "request")
        ends: list[asyncio.Future[Any]] = [asked, self._death]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if not asked.done():
            raise Killed("The instance was killed before it could answer.")
        return asked.result()

    def _create(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        return self._loop.create_task(coroutine, name=name, context=self._context.copy())
