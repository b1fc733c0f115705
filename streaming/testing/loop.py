"""An event loop on which time is virtual, and a source of choices decides which ready task runs next.

What is permuted is what nobody may rely on: which of several ready tasks runs first, how long a ready task has to wait
for its turn, and whether a timer fires before it. Each task keeps its own order, and so do plain callbacks (of futures,
timers and connections) among themselves: that much asyncio promises.

Owns:   `SimulatedLoop`, `Stepping`; `Deadlock` and `Endless`, which end a run.
Uses:   testing.choices (what is decided), testing.numbered (tasks that are the same in every Python process),
        testing.outside (what is refused since it is real).
Never:  waits for the real clock, a file, a socket or a thread; `testing.open_loop` does.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
from asyncio.events import Handle
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from streaming.engine.stack import where
from streaming.testing.choices import Choices
from streaming.testing.garbage import COLLECT_STEPS, collected_at_the_end, take_apart
from streaming.testing.numbered import PROCESS as PROCESS
from streaming.testing.numbered import Generators, SimulatedFuture, numbered_task, process_of, task_of
from streaming.testing.numbered import SimulatedTask as SimulatedTask
from streaming.testing.outside import OutsideWorld, nothing_real

T = TypeVar("T")

#: How often a timer fires although somebody is ready, and how many seconds it may be away: a step takes no longer.
JUMP = 0.05
JUMP_MAX_S = 0.05

#: More steps than this, and a run goes on for ever.
STEPS_MAX = 1_000_000


class Deadlock(AssertionError):
    """Nothing is ready, and nothing ever will be; the text names each task that waits, and its line."""


class Endless(AssertionError):
    """A run does not come to an end: something spins."""


class Network(Protocol):
    """What a loop needs of a network; see `testing.network`."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> list[Any]:
        """Look up a name."""

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Listen."""

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Connect."""

    def crash(self, process: int, *, silent: bool = False) -> None:
        """Close what a killed process had open."""


class Stepping(asyncio.BaseEventLoop):
    """What runs one step after the other; the part of a simulated loop that does not care where events come from.

    Args:
        choices: decides.

    Attributes:
        choices: as given.
        steps: how many callbacks and steps of tasks have run.
        held: tasks that are not to run, although they are ready.
        on_step: called after each step of a task.
        complaints: what the loop's exception handler was told, unless it is about a killed process.
        world: what lives on it.
    """

    _ready: deque[Handle]
    _scheduled: list[Any]  # of TimerHandle, of which typeshed hides what is used here
    _clock_resolution: float
    _stopping: bool

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices
        self.steps = 0
        self.steps_max = STEPS_MAX
        self.held: set[asyncio.Task[Any]] = set()
        self.on_step: Callable[[SimulatedTask], None] | None = None
        self.complaints: list[dict[str, Any]] = []
        self.world: object = None
        self._dead: set[int] = set()
        self._asyncgens = Generators(self._dead)
        self._grave: list[object] = []
        self._over = False
        self._made: WeakValueDictionary[int, SimulatedTask] = WeakValueDictionary()
        self._now = 0.0
        self._round = 0
        self._numbers = itertools.count(1)
        self._schedule = choices.schedule
        self._order = choices.order
        self._jumps = choices.stream("clock")
        self.set_task_factory(_make_task)
        self.set_exception_handler(_complain)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        """A future that hashes by its number."""
        future = SimulatedFuture(loop=self)
        future.number = next(self._numbers)
        future.process = PROCESS.get()
        return future

    # -- one step ---------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """Run one callback, or one step of a task; asyncio calls this for ever.

        As in asyncio, timers that are due get in line once in a round: when all have run that were ready before.
        """
        if self._round <= 0:
            self._fire()
            self._round = len(self._ready)
        self._round -= 1
        handle = self._next()
        if handle is None:
            self._round = 0
            if not self._stopping:
                self._wait()
            return
        self.steps += 1
        if self.steps > self.steps_max:
            raise Endless(f"after {self.steps_max} steps there is no end:\n{self.blocked()}")
        if not self.steps % COLLECT_STEPS:
            gc.collect()
        task = None if self.on_step is None else task_of(handle)
        if not handle._cancelled:
            handle._run()
            if task is not None and self.on_step is not None:
                self.on_step(task)

    def _fire(self) -> None:
        """Put all timers in line that are due, as asyncio does it: the order of those of one moment depends on that."""
        scheduled, until = self._scheduled, self._now + self._clock_resolution
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        while scheduled and scheduled[0]._when <= until:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._now = max(self._now, timer._when)  # whoever looks at the clock is not to find it too early
                self._ready.append(timer)

    def _next(self) -> Handle | None:
        """Take what runs now out of the line; None if nothing may run."""
        ready = self._ready
        if self._dead:
            self._drop_dead()
        if not ready:
            return None
        if self._scheduled and self._may_jump() and self._jumps.happens(JUMP):
            self._now = self._scheduled[0]._when
            if self.choices.told:
                self._jumps.note(f"a timer fires at {self._now:g} s before {self._name(ready[0])} runs")
            self._fire()
        if len(ready) == 1 and not self.held:
            return ready.popleft()
        places, tasks = self._candidates()
        if not places:
            return None
        index = places[0]
        if len(places) > 1:
            chosen = self._schedule.next_of(self._order, tasks)
            index = places[chosen]
            if chosen and self.choices.told:
                self._schedule.note(f"{self._name(ready[index])} runs before {self._name(ready[places[0]])}")
        handle = ready[index]
        del ready[index]
        return handle

    def _candidates(self) -> tuple[list[int], list[int]]:
        """Where in the line those stand who may run now, and their numbers; a plain callback is number 0.

        Whoever stands behind a plain callback waits for it.
        """
        places, tasks = [], []
        for place, handle in enumerate(self._ready):
            owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # typeshed hides it
            if type(owner) is not SimulatedTask:
                places.append(place)
                tasks.append(0)
                break
            if owner not in self.held:
                places.append(place)
                tasks.append(owner.number)
        return places, tasks

    def _may_jump(self) -> bool:
        """Whether the next timer is so near that a step may last until then."""
        return bool(self._now < self._scheduled[0]._when <= self._now + JUMP_MAX_S)

    def _name(self, handle: Handle) -> str:
        task = task_of(handle)
        place = "" if task is None else where(task)
        own = f" ({place})" if ".py:" in place else ""  # one of the engine or a library has no line of its own
        return "a callback" if task is None else f"{task.get_name()}{own}"

    # -- a process is killed ----------------------------------------------------------------------------------------

    def kill(self, process: int) -> None:
        """Let nothing of a process run any more: no step, no callback, no cleanup."""
        self._dead.add(process)
        # What they hold is not to be finalized as long as others run.
        self._grave += [task for task in self.tasks() if process_of(task) == process]

    def _drop_dead(self) -> None:
        for handle in [each for each in self._ready if self._is_dead(each)]:
            self._ready.remove(handle)
            self._grave.append(handle)

    def _is_dead(self, handle: Handle) -> bool:
        return handle._context.get(PROCESS, 0) in self._dead  # type: ignore[attr-defined]  # typeshed hides it

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Cancel what is left, and wait for it; a killed process is not asked."""
        if self._over:
            return
        left = [task for task in self.tasks() if process_of(task) not in self._dead]
        for task in left:
            task.cancel()
        try:
            if left:
                self.run_until_complete(asyncio.wait(left))
            self.run_until_complete(self.shutdown_asyncgens())
            self.run_until_complete(self.shutdown_default_executor())
        except (Deadlock, Endless) as stuck:
            self.complaints.append({"message": f"what was left does not end when it is cancelled: {stuck}"})

    def _bury(self) -> None:
        """Take apart the frames of the dead, and of those that wait for ever; what their cleanup says is not the news.

        It may even make new tasks, which nobody runs.
        """
        new, buried = self.tasks(), set[asyncio.Task[Any]]()
        gc.collect(0)  # what those have left who have ended is the news
        self._over = True
        asyncio._set_running_loop(self)
        while new:
            buried.update(new)
            for task in new:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # typeshed hides it
                take_apart(task.get_coro())
            new = [task for task in self.tasks() if task not in buried]
        asyncio._set_running_loop(None)
        self._ready.clear()
        self._scheduled.clear()
        self._grave.clear()

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if not self._over and not self._asyncgens.is_dead(agen):
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]  # typeshed hides it

    # -- nothing is ready -------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Move the time on to the next timer.

        Raises:
            Deadlock: there is none.
        """
        waiting = len(self._ready)
        self._fire()  # which also takes out what was cancelled: the time does not move on for that
        if len(self._ready) > waiting:
            return
        if not self._scheduled:
            raise Deadlock(f"every task waits for ever:\n{self.blocked()}")
        self._now = max(self._now, self._scheduled[0]._when)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, in the order in which they were made."""
        return [task for task in list(self._made.values()) if not task.done()]

    def blocked(self) -> str:
        """Each task that has not ended, and the line on which it waits; then each whose failure nobody has seen."""
        waiting = [f"  {task.get_name()} at {where(task)}" for task in self.tasks()]
        unseen = [task for task in self._made.values() if task.done() and task._log_traceback]
        return "\n".join([*waiting, *(f"  {task.get_name()} has failed: {task.exception()!r}" for task in unseen)])


@nothing_real
class SimulatedLoop(Stepping):
    """A loop with nothing real behind it: a run takes as long as its steps, and is the same in every process.

    Attributes:
        network: who listens and who is connected; None without one.
    """

    network: Network | None = None

    def kill(self, process: int, *, silent: bool = False) -> None:
        """Let nothing of a process run any more; its connections end, and nobody is told if its machine is gone too."""
        super().kill(process)
        if self.network is not None:
            self.network.crash(process, silent=silent)

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> list[Any]:
        """Look up a name in the network."""
        return await self._networked("getaddrinfo").getaddrinfo(host, port, **hints)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Listen in the network."""
        return await self._networked("create_server").create_server(protocol_factory, host, port, **options)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Connect in the network."""
        return await self._networked("create_connection").create_connection(protocol_factory, host, port, **options)

    def _networked(self, name: str) -> Network:
        if self.network is None:
            raise OutsideWorld(f"{name} wants a network: world.network makes one, or SimulatedNetwork of a bare loop")
        return self.network

    def _write_to_self(self) -> None:
        """Nobody calls from another thread: there is none to be woken."""

    def _process_events(self, event_list: object) -> None:
        """There are no files, so nothing happens to them."""


def run(loop: Stepping, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop, and close the loop.

    Args:
        loop: a fresh one.
        main: what to run.

    Returns:
        What it returns.

    Raises:
        Deadlock: nothing can go on.
        Endless: it does not come to an end.
        BaseException: what it raises.
    """
    with collected_at_the_end():
        try:
            return loop.run_until_complete(main)
        except (Deadlock, Endless):
            loop._bury()
            raise
        finally:
            try:
                loop._end()
                loop._bury()
            finally:
                loop.close()


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    ours = cast(Stepping, loop)
    number = next(ours._numbers)
    task = ours._made[number] = numbered_task(loop, number, coroutine, options)
    return task


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the dead leave behind is nobody's fault."""
    ours = cast(Stepping, loop)
    if not ours._over and process_of(context.get("task") or context.get("future")) not in ours._dead:
        ours.complaints.append(context)
