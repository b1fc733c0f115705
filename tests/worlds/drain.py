"""A server that is told to stop at any moment: tasks run, wait, or do not listen, and the store may be away.

Owns:   `drain`, a scenario for `streaming.testing.exploration`: what a grace, a cancel and a drain promise, in seconds.
Never:  kills the process: that is done by `tests.worlds.crashes`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from streaming import TaskContext, task
from streaming.engine.log import Log
from streaming.errors import Draining, StoreUnavailable, TaskTerminal, TaskUnsuccessful
from streaming.events import seconds_of
from streaming.records import Record, TaskStatus
from streaming.rules.drain import plan_drain
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.choices import Stream
from streaming.testing.faults import Faults
from streaming.testing.reader import Reader
from streaming.testing.world import World, current_world
from tests.leftovers import leftovers

TASKS = 4
PAUSES_S = (0.0, 0.0, 0.001, 0.3, 1.0)
CHARACTERS = ("plain", "plain", "tidy", "saves", "overruns", "deaf once", "deaf", "fails", "parent")
CLEANUP_S = 0.5
CANCEL_GRACE_S = 2.0

#: A store that answers takes some steps or hundredths of a second for a commit; a promise may be late by a few of them.
LATE_S = 0.7

GRACES_S = (20.0, 4.0, 1.0, 0.0)

#: What is left is read in so many seconds, retries of a reader included.
READS_S = 10.0

#: It is away from some moment on, for good or for a while: `SimulatedStore.steady` turns that off and on.
AWAY = Faults(store_refuses=1.0, failures_max=1 << 30)
SLOW = Faults(store_delay=0.4)
CALM = Faults()

_NEVER = float("inf")


@dataclass(slots=True)
class Work:
    """What a handler has lived through, in seconds on the clock of the loop.

    Attributes:
        character: how it behaves.
        due_at: when it ends if nobody stops it; None if it does not.
        heard_at: when it was cancelled first.
        over_at: when it ended.
        cleaned: whether it has cleaned up.
    """

    character: str
    due_at: float | None
    heard_at: float | None = None
    over_at: float | None = None
    cleaned: bool = False

    def hear(self) -> None:
        """It is cancelled."""
        if self.heard_at is None:
            self.heard_at = _now()

    @property
    def reached_at(self) -> float:
        """When it was cancelled, or had ended."""
        times = [at for at in (self.heard_at, self.over_at) if at is not None]
        return min(times, default=_NEVER)


@task
async def work(ctx: TaskContext, character: str, pauses: list[float]) -> str:
    """End as it is in its character."""
    playing: Drained = current_world().props["drain"]
    return await playing.work(ctx, character, pauses)


@task("again", on_interrupt="restart")
async def again(ctx: TaskContext, character: str, pauses: list[float]) -> str:
    """The same; the next process would begin anew."""
    playing: Drained = current_world().props["drain"]
    return await playing.work(ctx, character, pauses)


class Drained:
    """One run."""

    def __init__(self, world: World) -> None:
        chance = world.stream("drain")
        self._world = world
        self._chance = chance
        self._store = chance.draw(("calm", "slow", "away", "away for a while"))
        world.faults = {"calm": CALM, "slow": SLOW}.get(self._store, AWAY)
        # One that forgets everything with its process is in the same memory: it does not go away.
        self._durable = not chance.happens(0.3) or self._store.startswith("away")
        self._grace_s = chance.draw(GRACES_S)
        self._works: dict[str, Work] = {}
        self._logs: dict[str, Log] = {}
        self._cancelled: list[tuple[Work, float]] = []
        self._begun_at: float | None = None
        self._end_at = _NEVER
        self._plan = plan_drain(self._grace_s, CANCEL_GRACE_S)
        self._shortened = self._refused = False
        self._lost = 0
        self._streams: list[tuple[Reader, str]] = []
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._let_go = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Play it."""
        settings: dict[str, Any] = {"max_running": self._chance.draw((100, 1, 2)), "grace_s": self._grace_s}
        settings["backlog_events_max"] = self._chance.draw((512, 1))
        instance = self._world.instance([work, again], cancel_grace_s=CANCEL_GRACE_S, store_wait_s=2.0, **settings)
        self._instance = instance
        instance.store.steady = True
        instance.store.durable = self._durable
        async with instance:
            await asyncio.gather(
                *(self._life(number) for number in range(1 + self._chance.pick(TASKS))),
                self._stop(),
                *([self._leave()] if self._store.startswith("away") else []),
            )
        self._let_go.set_result(None)
        handlers = [each for each in asyncio.all_tasks() if each.get_name().startswith("streaming-handler-")]
        if handlers:
            await asyncio.wait(handlers)
        for mine, begun in self._cancelled:
            self._must(mine.reached_at <= begun + LATE_S, "a cancel has reached its handler late")
        stored = {record.id: record.last_seq for record in self._world.disk.records()}
        missing = sum(log.window.last - stored[id] for id, log in self._logs.items() if not log.lost)
        # Who asks for something after the last commit is told that it was not stored: what was written then is lost.
        self._must(missing <= self._lost or self._refused, "events were lost, and nobody has said so")
        live = {record.id for record in self._world.disk.records() if record.status not in TERMINAL}
        for reader, task_id in [] if self._lost or self._store.startswith("away") else self._streams:
            self._must(reader.ended or task_id in live, "a stream has ended without its last event")
        hasty = self._refused or self._shortened or self._grace_s < 4.0 or self._store.startswith("away")
        self._must(hasty or not self._lost, "events were lost, and the store was there")
        left = leftovers(instance.coordinator)
        self._must(
            left.keys() <= {"stuck", *(["backlog bytes"] if self._refused else [])}, f"something is left: {left}"
        )

    # -- the work -----------------------------------------------------------------------------------------------------

    async def work(self, ctx: TaskContext, character: str, pauses: list[float]) -> str:
        due_at = _now() + sum(pauses) if character in {"plain", "tidy", "saves"} else None
        mine = self._works[ctx.task_id] = Work(character, due_at)
        try:
            await self._play(ctx, mine, pauses)
        except asyncio.CancelledError:
            mine.hear()
            if character == "tidy":
                await asyncio.sleep(CLEANUP_S)
                mine.cleaned = True
            raise
        finally:
            mine.over_at = _now()
        return character

    async def _play(self, ctx: TaskContext, mine: Work, pauses: list[float]) -> None:
        for number, pause_s in enumerate(pauses):
            await ctx.emit("tick", {"n": number})
            if mine.character == "saves":
                async with ctx.protected("save", at_most_s=2.0):
                    await asyncio.sleep(pause_s)
            else:
                await asyncio.sleep(pause_s)
        if mine.character == "fails":
            raise ValueError("no luck")
        if mine.character == "parent":
            with contextlib.suppress(TaskUnsuccessful, StoreUnavailable, Draining):
                await (await ctx.start("work", {"character": "tidy", "pauses": [1000.0]})).result()
        if mine.character == "overruns":
            async with ctx.protected("save", at_most_s=1.0):
                await asyncio.sleep(1000)
        if mine.character == "deaf once":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            mine.hear()
            await asyncio.sleep(1000)
        while mine.character == "deaf" and not self._let_go.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._let_go)
            mine.hear()

    # -- actors -------------------------------------------------------------------------------------------------------

    async def _life(self, number: int) -> None:
        """Start a task, watch it, and maybe cancel it."""
        chance = self._world.stream(f"task-{number}")
        await self._world.sometime(chance, PAUSES_S)
        wanted = {
            "character": chance.draw(CHARACTERS),
            "pauses": [chance.draw(PAUSES_S) for _ in range(chance.pick(5))],
        }
        begun = self._instance.coordinator.draining
        try:
            record, _ = await self._instance.coordinator.start(
                chance.draw(("work", "work", "again")), wanted, retry={"retries": chance.draw((0, 1)), "backoff_s": 3.0}
            )
        except (Draining, StoreUnavailable):
            return
        self._must(not begun, "a task was started after the shutdown had begun")
        if (live := self._instance.coordinator._tasks.get(record.id)) is not None:
            self._logs[record.id] = live.log
        reader = self._world.reader()
        cancels = [self._cancel(chance, record.id)] if chance.happens(0.4) else []
        await asyncio.gather(self._watch(reader, record.id), *cancels)
        self._streams.append((reader, record.id))

    async def _watch(self, reader: Reader, task_id: str) -> None:
        """Read what there is to read, until some seconds after the end of the server."""
        reading = asyncio.create_task(reader.follow(self._instance, task_id))
        await asyncio.wait({reading, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({reading}, timeout=READS_S)
        if not reading.done():
            reading.cancel()
            await asyncio.wait({reading})

    async def _cancel(self, chance: Stream, task_id: str) -> None:
        await self._world.sometime(chance, PAUSES_S)
        coordinator, begun = self._instance.coordinator, _now()
        mine = self._works.get(task_id)
        runs = mine is not None and mine.over_at is None
        try:
            receipt = await coordinator.cancel_task(task_id)
        except TaskTerminal as terminal:
            self._must(terminal.status in TERMINAL, "a task that goes on was called terminal")
        except Draining:
            pass
        except StoreUnavailable:
            self._refused = True
        else:
            self._world.receipts.append((task_id, receipt))
            protected = mine is not None and mine.character in {"saves", "overruns"}
            away = self._store.startswith("away")
            self._must(away or protected or _now() <= begun + LATE_S, "a cancel was answered late")
        if runs and mine is not None and mine.character not in {"saves", "overruns"}:
            self._cancelled.append((mine, begun))

    async def _leave(self) -> None:
        """The store goes away, and maybe it comes back."""
        chance = self._world.stream("leaving")
        await self._world.sometime(chance, PAUSES_S)
        self._instance.store.steady = self._stopped.done()  # who reads what is left is to come to an end
        if self._store == "away for a while":
            await asyncio.sleep(chance.draw((0.2, 1.5, 5.0)))
            self._instance.store.steady = True

    async def _stop(self) -> None:
        chance = self._world.stream("stopper")
        await self._world.sometime(chance, (0.0, 0.001, 0.3, 1.0, 3.5))
        self._begun_at = _now()
        self._end_at = self._begun_at + self._grace_s
        again = [self._hurry(chance)] if chance.happens(0.3) else []
        await asyncio.gather(self._shut_down(), *again)
        self._instance.store.steady = True
        self._stopped.set_result(None)

    async def _shut_down(self) -> None:
        self._lost = await self._instance.coordinator.shutdown()
        self._check(self._lost)

    async def _hurry(self, chance: Stream) -> None:
        """A second signal."""
        await self._world.sometime(chance, PAUSES_S)
        grace_s = chance.draw((0.5, 0.0, 3.0))
        self._end_at = min(self._end_at, _now() + grace_s)
        self._shortened = True
        await self._instance.coordinator.shutdown(grace_s)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _must(self, holds: object, words: str) -> None:
        self._world.must(holds, words)

    def _check(self, lost: int) -> None:
        """The drain is over just now."""
        self._must(_now() <= self._end_at + LATE_S, "the shutdown took longer than its grace")
        works = self._works.values()
        if "deaf" not in {each.character for each in works} and self._store in {"calm", "slow"}:
            last = max([self._begun_at or 0.0, *(_NEVER if each.over_at is None else each.over_at for each in works)])
            self._must(_now() <= last + LATE_S, "the shutdown has waited for nobody")
        stored = {record.id: record for record in self._world.disk.records()}
        for record in stored.values() if self._store in {"calm", "slow"} and not lost else ():
            self._check_record(record)

    def _check_record(self, record: Record) -> None:
        status, mine = record.status, self._works.get(record.id)
        kept = self._durable and record.parent is None and status in {TaskStatus.PENDING, TaskStatus.RETRYING}
        self._must(status in TERMINAL or kept, "after a shutdown a task is neither at its end nor kept")
        if mine is None:
            return
        over = mine.over_at is not None or mine.character.startswith("deaf")
        self._must(over or self._grace_s < 4 or self._shortened, "a handler that listens is still there")
        if mine.due_at is not None and not self._shortened and record.cancel is None and record.parent is None:
            in_time = mine.due_at <= (self._begun_at or 0.0) + self._plan.finish_s - LATE_S
            self._must(not in_time or status is TaskStatus.COMPLETED, "a handler was not given its grace")
        if mine.character == "tidy" and mine.heard_at is not None and not self._shortened:
            enough = self._plan.stop_s > CLEANUP_S + 0.1 and self._plan.finish_s > LATE_S
            self._must(mine.cleaned or not enough, "a handler was not given the time to clean up")
        if record.cancel is not None:
            self._check_stop(record, mine)

    def _check_stop(self, record: Record, mine: Work) -> None:
        """How long it took from the cancel to the end."""
        receipt = record.cancel
        if receipt is None or receipt.delivered_at is None or record.finished_at is None:
            return
        most_s = {"tidy": CLEANUP_S, "deaf once": CANCEL_GRACE_S, "deaf": 1000.0}.get(mine.character, 0.0)
        took_s = seconds_of(record.finished_at) - seconds_of(receipt.delivered_at)
        self._must(took_s <= most_s + LATE_S, "a handler that was cancelled ended late")
        held_s = seconds_of(receipt.delivered_at) - seconds_of(receipt.requested_at)
        held_max_s = {"saves": 2.0, "overruns": 1.0}.get(mine.character, 0.0)
        self._must(held_s <= held_max_s + LATE_S, "a cancel was held back for too long")


def _now() -> float:
    return asyncio.get_running_loop().time()


async def drain(world: World) -> None:
    """Play it."""
    world.props["drain"] = playing = Drained(world)
    await playing.run()
