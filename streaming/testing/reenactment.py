"""Live again what a race diary tells: the same starts, readers, cancels, deadlines and events, at the same times.

The diary of a server says in which order things happened before something went wrong, and not which of them ran into
each other: the steps between two facts are not in it. So a diary becomes a scenario, in which everything happens at its
time again, with handlers that do what the recorded ones did; and the kit explores the orders of steps around it.

Rules of this file:

- What somebody did from outside is done again at its time: starts, readers, cancels, a shutdown.
- What a handler did is done by a stand-in: it emits at the recorded times, and ends in the recorded way. One that was
  stopped works on until it is stopped, and takes as long for that as the recorded one.
- What follows from that is not played: commits, stops, ends and what an audit finds come as they come.

Owns:   `reenact`, and `Reenactment`, which is a scenario.
Uses:   testing.diary (what is to happen, and when), testing.world (where it is lived).
Never:  knows what the tasks were about: a diary has no payloads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from streaming.engine.context import TaskContext
from streaming.engine.registry import task
from streaming.engine.subscription import Subscription
from streaming.errors import HandlerError, InvalidTaskType, StreamingError
from streaming.events import Event
from streaming.records import TaskStatus
from streaming.rules.evidence import ReaderEvidence
from streaming.rules.invariants import check_reader
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import frame
from streaming.testing.diary import FAR_S, Diary, Fact, Run, read_diary
from streaming.testing.instance import Instance
from streaming.testing.settings import check_instance_settings, settings_of
from streaming.testing.world import World, current_world

#: What happened last has so many seconds to be over, before everything is brought to an end.
LAST_S = 1.0

# -- the stand-ins ----------------------------------------------------------------------------------------------------


def _stand_in(type: str) -> Callable[..., Any]:
    """A handler of this type: a function of its own, since that is what its type is kept at."""

    @task(type)
    async def stand_in(ctx: TaskContext, life: str) -> str:
        return await _do_as_recorded(ctx, life)

    return stand_in


async def _do_as_recorded(ctx: TaskContext, life: str) -> str:
    """Do what the recorded handler did, at its times."""
    runs = current_world().props["lives"][life].runs
    run = runs[min(ctx.attempt, len(runs)) - 1] if runs else Run(0.0)
    try:
        for at, type in run.emits:
            await _until(at)
            await ctx.emit(type)
        if run.stopped is not None or not run.end:
            await asyncio.sleep(FAR_S)
        await _until(run.ended)
    except asyncio.CancelledError:
        if run.stopped is not None and run.ended > run.stopped:
            await asyncio.sleep(run.ended - run.stopped)
        raise
    if run.end in (TaskStatus.FAILED, TaskStatus.RETRYING):
        raise HandlerError("recorded", "The recorded handler failed.")
    return "as recorded"


async def _until(at: float) -> None:
    world = current_world()
    await asyncio.sleep(max(0.0, world.props["begin"] + at - world.loop.time()))


# -- the acts ---------------------------------------------------------------------------------------------------------


class _Stage:
    """One performance.

    Args:
        world: where.
        instance: the server.
        diary: what is to happen.
    """

    def __init__(self, world: World, instance: Instance, diary: Diary) -> None:
        self._world = world
        self._instance = instance
        self._diary = diary
        self._ids: dict[str, asyncio.Future[str | None]] = {
            task_id: world.loop.create_future() for task_id in diary.lives
        }
        self._leave: dict[str | None, list[asyncio.Event]] = {}
        self._acting: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []

    async def play(self) -> None:
        """Let everything happen at its time, up to the last fact of the diary."""
        for at, fact in self._diary.acts:
            await _until(at)
            act = _ACTS[fact["fact"]](self, fact)
            if act is not None:
                acts = self._reading if fact["fact"] == "subscribe" else self._acting
                acts.append(asyncio.create_task(act, name=f"act-{fact['fact']}"))
        await _until(self._diary.ended + LAST_S)
        for each in self._acting:
            await each

    async def close(self) -> None:
        """End what the diary does not see to its end: tasks, and then readers."""
        for record in self._world.disk.records():
            if record.status not in TERMINAL:
                with contextlib.suppress(StreamingError):
                    await self._instance.coordinator.cancel_task(record.id, wait_s=FAR_S)
        for leave in [leave for waiting in self._leave.values() for leave in waiting]:
            leave.set()
        for each in self._reading:
            await each

    def start(self, fact: Fact) -> Coroutine[Any, Any, None]:
        return self._start(fact["task_id"], fact["type"])

    async def _start(self, task_id: str, type: str) -> None:
        life, told = self._diary.lives[task_id], self._ids[task_id]
        try:
            record, _ = await self._instance.coordinator.start(type, {"life": task_id}, **life.options)
        except StreamingError:
            told.set_result(None)
        else:
            told.set_result(record.id)

    def cancel(self, fact: Fact) -> Coroutine[Any, Any, None]:
        return self._cancel(fact["task_id"], fact["by"])

    async def _cancel(self, task_id: str, by: str) -> None:
        new_id = await self._ids[task_id]
        if new_id is not None:
            with contextlib.suppress(StreamingError):
                receipt = await self._instance.coordinator.cancel_task(new_id, by=by)
                self._world.receipts.append((new_id, receipt))

    def subscribe(self, fact: Fact) -> Coroutine[Any, Any, None]:
        leave = asyncio.Event()
        self._leave.setdefault(fact["task_id"], []).append(leave)
        return self._watch(fact["task_id"], fact["cursor"], leave)

    async def _watch(self, task_id: str | None, cursor: int, leave: asyncio.Event) -> None:
        """Read until the recorded reader has left, or to the end; what it sees must be what is stored."""
        coordinator = self._instance.coordinator
        new_id = None if task_id is None else await self._ids[task_id]
        with contextlib.suppress(StreamingError):
            if new_id is not None:
                after = min(cursor, (await coordinator.get(new_id)).last_seq)
                await self._read(new_id, after, await coordinator.watch(new_id, after=after), leave)
            elif task_id is None:
                await self._read("", 0, await coordinator.follow(), leave)

    async def _read(self, task_id: str, after: int, subscription: Subscription, leave: asyncio.Event) -> None:
        leaving = asyncio.create_task(_close_when(leave, subscription))
        seen: list[Event] = []
        early: list[int] = []
        while (batch := await subscription.next()) is not None:
            seen += batch.events
            early += [each.seq for each in batch.events if (each.task_id, each.seq) not in self._world.disk.events]
        leaving.cancel()
        if not task_id:
            return
        evidence = ReaderEvidence(
            task_id=task_id,
            seen=[(event.seq, frame(event)) for event in seen],
            log=[(event.seq, frame(event)) for event in self._world.disk.log(task_id)],
            after=after,
            early=early,
            to_the_end=subscription.finished,
        )
        for violation in check_reader(evidence):
            self._world.must(False, str(violation))

    def unsubscribe(self, fact: Fact) -> None:
        """The reader leaves that has come first."""
        if waiting := self._leave.get(fact["task_id"]):
            waiting.pop(0).set()

    def drain(self, fact: Fact) -> Coroutine[Any, Any, None] | None:
        return self._shut_down() if fact["phase"] == "begin" else None

    async def _shut_down(self) -> None:
        await self._instance.coordinator.shutdown()


async def _close_when(leave: asyncio.Event, subscription: Subscription) -> None:
    await leave.wait()
    subscription.close()


_ACTS: Mapping[str, Callable[[_Stage, Fact], Coroutine[Any, Any, None] | None]] = {
    "start": _Stage.start,
    "cancel": _Stage.cancel,
    "subscribe": _Stage.subscribe,
    "unsubscribe": _Stage.unsubscribe,
    "drain": _Stage.drain,
}


class Reenactment:
    """A scenario in which happens again what a diary tells: call it with a world.

    Args:
        diary: what is to happen.
        settings: of the instance.

    Attributes:
        tasks: how many tasks are started again.
        left_out: how many facts are not played, since they are about tasks that are older than the diary. What those
            tasks held when it began (places, keys, readers) is not there.

    Raises:
        ValueError: a task has no possible type.
    """

    def __init__(self, diary: Diary, settings: Mapping[str, Any]) -> None:
        self.tasks = len(diary.lives)
        self.left_out = diary.left_out
        self._diary = diary
        # No start is to be refused since its deadline is far away.
        self._settings: dict[str, Any] = {"grace_s": 5.0, **settings, "timeout_max_s": 2 * FAR_S}
        try:
            self._handlers = [_stand_in(type) for type in sorted({life.start["type"] for life in diary.lives.values()})]
        except InvalidTaskType as error:
            raise ValueError(f"this is no diary: {error}") from error

    async def __call__(self, world: World) -> None:
        """Play it."""
        world.props.update(lives=self._diary.lives, begin=world.loop.time())
        async with world.instance(self._handlers, **self._settings) as instance:
            stage = _Stage(world, instance, self._diary)
            await stage.play()
            await stage.close()


def reenact(document: str | Mapping[str, Any] | Sequence[Fact], **settings: Any) -> Reenactment:
    """Make a scenario of a diary, for `explore` and for tests that are ``simulated``.

    Args:
        document: see `read_diary`.
        settings: of the instance, by name, as in `Settings`; best those of the server that wrote the diary. Only
            ``timeout_max_s`` is set by itself: no start is to be refused.

    Raises:
        ValueError: it is no diary, or a value of a setting is wrong.
        TypeError: there is no such setting.
    """
    check_instance_settings(settings)
    settings_of(**settings)
    return Reenactment(read_diary(document), settings)
