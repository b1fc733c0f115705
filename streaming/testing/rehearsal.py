"""One run of a handler, to which at most one thing happens.

The handler runs in the real coordinator, on a memory store; everything that a server does when it stops a task happens
here as well, but at exactly the step of the handler that was chosen.

Owns:   `Rehearsal`: the run, the moment of the stop, and what is seen of it.
Uses:   testing.kin (whose steps count), testing.conduct (what the handler makes of it), testing.leaks (what it leaves).
Never:  decides which runs there are: `testing.sweeping` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

from streaming.engine.calls import Call
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.runner import Runner
from streaming.events import Event
from streaming.rules.lifecycle import TERMINAL, Cause
from streaming.store.memory import MemoryStore
from streaming.testing.choices import Choices, Trace
from streaming.testing.conduct import Conduct
from streaming.testing.ear import Ear
from streaming.testing.kin import Kin
from streaming.testing.leaks import Leaks
from streaming.testing.loop import Deadlock, Endless, SimulatedTask, run
from streaming.testing.open_loop import OpenLoop
from streaming.testing.order import Fifo, order_of
from streaming.testing.origins import Origins, as_its_own
from streaming.testing.place import Place, place_of
from streaming.testing.points import Point
from streaming.testing.stops import deliver_again, stop
from streaming.testing.subject import Plan, Seen, Subject
from streaming.testing.verdict import NEVER_ENDS, Fault, Kind, Sighting

#: So many steps of a handler are seen; one that makes more is stopped, maybe it goes on for ever.
POINTS_SEEN_MAX = 1_000

#: More steps of everybody than this, in a whole run and after a stop, and the handler spins.
STEPS_MAX, STEPS_AFTER_MAX = 100_000, 10_000

#: Turns that the loop has for whatever is just ending.
SETTLE_TURNS = 50

#: Loop seconds for which one listens whether what was left behind still speaks.
LISTEN_S = 10.0

#: Real seconds that a thread or a process has to end, and after which it is looked again.
ENDING_S, LOOK_S = 0.5, 0.01

#: So often it is looked again whether a file is open that nobody has closed.
LOOKS = 4

#: So often a handler is cancelled again before it is given up.
DELIVERIES_MAX = 3

#: Turns for which a task is kept from going on after the handler was cancelled, so that the cancel reaches it first.
HELD_TURNS = 5

EPOCH_S = 1_000_000_000.0
_CAUSES = {Fault.TIMEOUT: Cause.TIMEOUT, Fault.SHUTDOWN: Cause.SHUTDOWN}


def rehearse(subject: Subject, plan: Plan) -> Seen:
    """Run a handler once.

    Args:
        subject: the handler.
        plan: what happens to it.
    """
    origins = Origins()
    with warnings.catch_warnings(record=True) as warned, origins.watching():
        warnings.simplefilter("always", ResourceWarning)
        rehearsal = Rehearsal(subject, plan, origins)
        rehearsal.run()
        seen, leaks = rehearsal.seen, rehearsal.leaks
        del rehearsal  # what it still holds is the garbage that is looked for
        gc.collect()
        seen.sightings |= dict.fromkeys(leaks.collected(warned))
        seen.left_open = len(leaks.open_now())
    if seen.cut_off:
        seen.sightings.clear()  # it was stopped; what it makes of that is seen in the runs whose fault that is
    return seen


class Rehearsal:
    """One run.

    Args:
        subject: the handler.
        plan: what happens to it.
        origins: hears who opens what.

    Attributes:
        seen: what it has shown.
        leaks: what it was compared with.
    """

    def __init__(self, subject: Subject, plan: Plan, origins: Origins) -> None:
        self.seen = Seen()
        self._subject = subject
        self._plan = plan
        seed = subject.seed
        choices = Choices(0, Fifo(), Trace()) if seed is None else Choices(seed, order_of("mixed", seed, 100))
        self._loop = OpenLoop(choices, patience_s=subject.patience_s)
        self._loop.steps_max = STEPS_MAX
        self._loop.on_step = self._stepped
        self._kin = Kin(self._loop, self._born)
        self._loop.on_hang = self._hung
        self.leaks = Leaks(origins)
        self._coordinator: TaskCoordinator
        self._runner: Runner
        self._id = f"{1:032x}"
        self._steps = 0
        self._last: SimulatedTask | None = None
        self._hung_at = ""
        self._struck = False
        self._deliveries = 0
        self._conduct: Conduct | None = None
        self._ended_at: float | None = None

    def run(self) -> None:
        """Run the handler to its end, and look at what it leaves."""
        try:
            run(self._loop, self._main())
        except (Deadlock, Endless) as hang:
            words = "it spins" if isinstance(hang, Endless) else "it waits for what never comes"
            self._see(Sighting(Kind.HANG, self._hung_at, words))
            self.seen.status = self.seen.status or NEVER_ENDS

    def _hung(self) -> None:
        """It hangs, and everybody still stands where it did: note where."""
        root = self._kin.root
        standing = [task for task in (self._last, root, *self._kin.alive()) if task is not None and not task.done()]
        if not self._hung_at:
            nobody = "before its first line" if root is None else "behind its last line"
            self._hung_at = self._where(standing[0]) if standing else nobody

    def _where(self, task: asyncio.Task[Any]) -> str:
        """The line on which a task of the handler stands; in whichever thread, if that is where the handler runs."""
        return self._runner.where() if task is self._kin.root else self._kin.where(task)

    def _see(self, *sightings: Sighting) -> None:
        self.seen.sightings |= dict.fromkeys(sightings)

    # -- the run ----------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        settings, numbers = self._subject.settings, itertools.count(1)
        store = MemoryStore(settings)
        await store.open()
        self._coordinator = TaskCoordinator(
            self._subject.registry,
            store,
            settings,
            wall=lambda: EPOCH_S + self._loop.time(),
            new_id=lambda: f"{next(numbers):032x}",
            chance=lambda: 0.5,
        )
        async with self._coordinator as coordinator:
            with as_its_own():  # its parameters may have validators
                await coordinator.start(self._subject.type, self._subject.params, timeout_s=self._subject.timeout_s)
            await self._follow()
            await self._look_after()
        await self._wait_for_what_ends()
        self._see(*self.leaks.working(), *self._still_open())
        await self._clear_up()
        for complaint in self._loop.complaints:
            self._see(*_destroyed(complaint, self._kin))

    async def _follow(self) -> None:
        subscription = await self._coordinator.watch(self._id)
        while (batch := await subscription.next()) is not None:
            for event in batch.events:
                self._hear(event)
        record = await self._coordinator.get(self._id)
        self.seen.status, self.seen.error = record.status.value, record.error

    def _hear(self, event: Event) -> None:
        if event.type == "cancel_ignored" and event.data["deliveries"] >= DELIVERIES_MAX:
            self._runner.abandon()  # it has been told often enough
        if event.type in TERMINAL:
            self._ended_at = self._loop.time()
            if self._conduct is not None:
                self._see(*self._conduct.judged(self._ended_at, self._subject.settings.cancel_grace_s))
                self.seen.cleanup = self._conduct.cleanup

    async def _look_after(self) -> None:
        """The task has ended; whoever is still there was left behind."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
        left = self._kin.alive()
        self._see(*(Sighting(Kind.LEAKED_TASK, self._kin.where(task)) for task in left))
        if left:
            patience_s, self._loop.patience_s = self._loop.patience_s, 0  # nothing real is waited for
            await asyncio.sleep(LISTEN_S)
            self._loop.patience_s = patience_s

    async def _wait_for_what_ends(self) -> None:
        looks = 0  # counted, not timed: on a busy machine the others get their turn in each of them
        while any(self.leaks.working()) and looks * LOOK_S < ENDING_S:
            looks += 1
            began_s = self._loop.waited_s
            await asyncio.sleep(LOOK_S)
            if self._loop.waited_s == began_s:  # a process runs of which the loop does not know: time has jumped
                self._loop.wait_really(LOOK_S)

    def _still_open(self) -> list[Sighting]:
        """What is open, and stays open for a few looks: a thread may be about to close it."""
        still = set(self.leaks.files())
        for _ in range(LOOKS if still else 0):
            self._loop.wait_really(LOOK_S)
            still &= set(self.leaks.files())
        return sorted(still, key=str)

    async def _clear_up(self) -> None:
        """End what was left behind, so that the next run begins without it."""
        self.leaks.kill()
        root = self._kin.root
        for _ in range(2):
            left = [task for task in [*self._kin.alive(), root] if task is not None and not task.done()]
            for task in left:
                task.cancel()
            for _ in range(SETTLE_TURNS if left else 0):
                await asyncio.sleep(0)
        for task in [*self._kin.alive(), *([] if root is None or root.done() else [root])]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # typeshed hides it
            with contextlib.suppress(Exception):
                getattr(task.get_coro(), "close", _nothing)()

    # -- the stop ---------------------------------------------------------------------------------------------------

    def _born(self, root: SimulatedTask, call: Call) -> None:
        """The handler is about to make its first step."""
        runner = self._coordinator._tasks[self._id]
        assert isinstance(runner, Runner)  # noqa: S101  # nothing runs outside
        self._runner = runner
        context = call._context
        context._teller = Ear(context._teller, self._told, self._late)
        if self._plan.fault is Fault.CANCEL_BEFORE_FIRST_STEP:
            self._loop.held.add(root)
            self._loop.call_soon(self._strike, root)

    def _told(self, place: Place) -> None:
        if self._conduct is not None:
            self._conduct.told(place)

    def _late(self, place: Place) -> None:
        self._see(Sighting(Kind.EVENT_AFTER_END, place.words))

    def _stepped(self, task: SimulatedTask) -> None:
        """Some task has made a step."""
        root = self._kin.root
        if root is None or self._ended_at is not None:
            return
        mine = task in self._kin
        if mine:
            self._last = task
            if self._subject.watched:
                self.leaks.look("its last step" if task.done() else self._where(task))
        if self._conduct is not None:
            self._stepped_after(task, self._conduct, mine=mine)
        elif self._struck:
            self._notice_delivery()
        elif mine and not (task is root and root.done()):
            self._steps += 1
            self._at_point(task)

    def _at_point(self, task: SimulatedTask) -> None:
        plan = self._plan
        if plan.fault is Fault.NOTHING:
            self._note_point(task)
        elif self._steps == plan.point:
            if plan.fault is Fault.CANCEL_AT_WAKEUP:
                self._strike_at_wakeup(task)
            elif plan.fault is Fault.CANCEL_WITH_CHILD_FAILURE:
                self._loop.call_soon(self._strike)  # behind what its end has set off
            else:
                self._strike()

    def _note_point(self, task: SimulatedTask) -> None:
        if self._steps > POINTS_SEEN_MAX:
            self._struck = self.seen.cut_off = True
            self._runner.stop(Cause.SHUTDOWN)
            return
        waiting: Any = task._fut_waiter  # type: ignore[attr-defined]  # typeshed hides it
        waits = waiting is not None and not waiting.done()
        ends = task.done() and task is not self._kin.root
        self.seen.points.append(Point(self._steps, place_of(task), waits, ends))

    def _strike_at_wakeup(self, task: SimulatedTask) -> None:
        waiting: Any = task._fut_waiter  # type: ignore[attr-defined]  # typeshed hides it
        if waiting is None or waiting.done():
            self._strike()
            return
        self._loop.held.add(task)
        waiting.add_done_callback(lambda _: self._strike(task))

    def _strike(self, held: SimulatedTask | None = None) -> None:
        """Stop the handler now, unless it has ended, or something else has stopped it."""
        root = self._kin.root
        self._struck = True
        self._loop.steps_max = self._loop.steps + STEPS_AFTER_MAX
        if root is not None and not root.done() and not self._runner.stopping:
            self._loop.let_threads_begin()
            stop(self._runner, _CAUSES.get(self._plan.fault, Cause.CANCEL))
            self._notice_delivery()
        self._release(held, HELD_TURNS)

    def _release(self, held: SimulatedTask | None, turns: int) -> None:
        """Let a task go on, a few turns after the handler if it is another one."""
        if held is not None and held is not self._kin.root and turns:
            self._loop.call_soon(self._release, held, turns - 1)
        elif held is not None:
            self._loop.held.discard(held)

    def _notice_delivery(self) -> None:
        wish, root = self._runner._stop, self._kin.root
        if wish is None or wish.delivered_at is None or root is None or self._conduct is not None:
            return
        self._deliveries = wish.deliveries
        if root.done() or self._plan.fault is Fault.NOTHING:
            return
        self._conduct = Conduct(
            root,
            self._kin.alive(),
            self._loop.time(),
            in_thread=self._runner.task_type.run_in == "thread",
            may_decline=wish.cause is Cause.CANCEL,
        )
        self.seen.stood = place_of(root)

    def _stepped_after(self, task: SimulatedTask, conduct: Conduct, *, mine: bool) -> None:
        runner, root = self._runner, self._kin.root
        wish = runner._stop
        if wish is not None and wish.deliveries > self._deliveries:
            self._deliveries = wish.deliveries
            conduct.insisted(runner.where())
        if mine:
            conduct.step(task)
        if mine and task is root and not task.done() and len(conduct.cleanup) == self._plan.second and wish is not None:
            deliver_again(runner, wish, task)
            self._deliveries = wish.deliveries


def _destroyed(complaint: dict[str, Any], kin: Kin) -> Iterator[Sighting]:
    """Tasks that nobody has held on to: the garbage collector has ended them."""
    task = complaint.get("task")
    if "destroyed but it is pending" in str(complaint.get("message")) and task is not None and task in kin:
        yield Sighting(Kind.LEAKED_TASK, kin.where(task), "nobody but the garbage collector has ended it")


def _nothing() -> None:
    """A task without a coroutine has nothing to close."""
