"""Live again what a race diary tells: the same starts, readers, cancels, deadlines and events, at the same times.

The diary of a server says in which order things happened before something went wrong, and not which of them ran into
each other: the steps between two facts are not in it. So a diary becomes a scenario, in which everything happens at its
time again, with handlers that do what the recorded ones did; and the kit explores the orders of steps around it.

Rules of this file:

- What somebody did from outside is done again at its time: starts, readers, cancels, a shutdown.
- What a handler did is done by a stand-in: it emits at the recorded times, and ends in the recorded way. One that was
  stopped works on until it is stopped, and takes as long for that as the recorded one.
- A deadline that has passed is set so that it passes again. All others are far away.
- A task of which the diary does not have the start is left out: it is older than the diary.

Owns:   `reenact`; what of a diary a scenario needs.
Uses:   engine.diary (what a fact is), testing.world (where it is lived).
Never:  knows what the tasks were about: a diary has no payloads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streaming.engine.context import TaskContext
from streaming.engine.options import StartOptions
from streaming.engine.registry import task
from streaming.engine.subscription import Subscription
from streaming.errors import HandlerError, StreamingError
from streaming.events import BUILT_IN_TYPES, Event
from streaming.records import Priority, TaskStatus
from streaming.rules.evidence import ReaderEvidence
from streaming.rules.invariants import check_reader
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.sse import frame
from streaming.testing.instance import Instance
from streaming.testing.world import World, current_world

#: Deadlines that have not passed in the diary, and those who wait for the end: so many seconds.
FAR_S = 86_400.0

#: What lies between two facts at least: those of one moment keep their order.
TICK_S = 1e-7

#: How long after a recorded deadline its time may be set, so that it is never 0.
LEAST_S = 0.001

Fact = Mapping[str, Any]


@dataclass(slots=True)
class Run:
    """One attempt of a task.

    Attributes:
        begun: when.
        emits: when it emitted, and what.
        end: the status that it ended with; empty if the diary does not tell.
        ended: when.
        stopped: when it was stopped first; None if it was not.
    """

    begun: float
    emits: list[tuple[float, str]] = field(default_factory=list)
    end: str = ""
    ended: float = 0.0
    stopped: float | None = None


@dataclass(slots=True)
class Life:
    """What the diary tells of one task.

    Attributes:
        id: in the diary.
        start: its first fact.
        runs: its attempts.
        limits: how long each deadline was that has passed, by its name.
    """

    id: str
    start: Fact
    runs: list[Run] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)

    @property
    def options(self) -> StartOptions:
        """How it is to be started again."""
        retries = max(0, len(self.runs) - 1)
        options: StartOptions = {
            "key": self.start["key"] or None,
            "priority": Priority(self.start["priority"]),
            "retry": {"retries": retries, "backoff_s": LEAST_S},
            "timeout_s": self.limits.get("timeout_s", FAR_S),
            "queue_timeout_s": self.limits.get("queue_timeout_s"),
            "heartbeat_timeout_s": self.limits.get("heartbeat_timeout_s"),
            "total_timeout_s": self.limits.get("total_timeout_s"),
        }
        return options


@dataclass(frozen=True, slots=True)
class Diary:
    """A diary, read.

    Attributes:
        acts: what happened from outside, in order: when, and the fact.
        lives: the tasks, by their id in the diary.
        left_out: how many facts are about tasks that are older than the diary.
    """

    acts: Sequence[tuple[float, Fact]]
    lives: Mapping[str, Life]
    left_out: int


def read_diary(document: str | Mapping[str, Any] | Sequence[Fact]) -> Diary:
    """Read a diary.

    Args:
        document: the answer of ``GET /audit/diary``, or the facts of a line in the log; as JSON text, or decoded.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    try:
        value = json.loads(document) if isinstance(document, str) else document
        facts = value["facts"] if isinstance(value, Mapping) else value
        begin = float(facts[0]["at"]) if facts else 0.0
        lives: dict[str, Life] = {}
        acts: list[tuple[float, Fact]] = []
        left_out = 0
        for place, fact in enumerate(facts):
            at = float(fact["at"]) - begin + place * TICK_S
            if not _note(lives, at, fact):
                left_out += 1
            elif fact["fact"] in _ACTS:
                acts.append((at, fact))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no diary: {error!r}") from error
    return Diary(acts, lives, left_out)


def _note(lives: dict[str, Life], at: float, fact: Fact) -> bool:
    """Note what a fact says of its task; no if that is older than the diary."""
    task_id = fact["task_id"]
    if task_id is None:
        return True
    if fact["fact"] == "start":
        lives[task_id] = Life(task_id, {**fact, "at": at})
    life = lives.get(task_id)
    if life is None:
        return False
    if fact["fact"] == "event":
        _note_event(life, at, fact["type"])
    elif fact["fact"] == "stop" and life.runs and life.runs[-1].stopped is None:
        life.runs[-1].stopped = at
    elif fact["fact"] == "timeout":
        life.limits[fact["limit"]] = max(LEAST_S, at - _counted_from(life, fact["limit"]))
    return True


def _note_event(life: Life, at: float, type: str) -> None:
    if type == TaskStatus.RUNNING:
        life.runs.append(Run(at))
    elif life.runs and type in (*TERMINAL, TaskStatus.RETRYING, TaskStatus.PENDING):
        life.runs[-1].end, life.runs[-1].ended = type, at
    elif life.runs and type not in BUILT_IN_TYPES:
        life.runs[-1].emits.append((at, type))


def _counted_from(life: Life, limit: str) -> float:
    """When a limit began to be counted that has passed."""
    if limit in ("queue_timeout_s", "total_timeout_s") or not life.runs:
        return float(life.start["at"])
    run = life.runs[-1]
    return run.emits[-1][0] if limit == "heartbeat_timeout_s" and run.emits else run.begun


# -- the stand-ins ----------------------------------------------------------------------------------------------------


async def _stand_in(ctx: TaskContext, life: str) -> str:
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
        """Let everything happen at its time."""
        for at, fact in self._diary.acts:
            await _until(at)
            act = _ACTS[fact["fact"]](self, fact)
            if act is not None:
                acts = self._reading if fact["fact"] == "subscribe" else self._acting
                acts.append(asyncio.create_task(act, name=f"act-{fact['fact']}"))
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


def reenact(
    document: str | Mapping[str, Any] | Sequence[Fact], **settings: Any
) -> Callable[[World], Coroutine[Any, Any, None]]:
    """Make a scenario of a diary, for `explore` and for tests that are ``simulated``.

    Args:
        document: see `read_diary`.
        settings: of the instance, by name, as in `Settings`; best those of the server that wrote the diary.

    Raises:
        ValueError: it is no diary.
    """
    diary = read_diary(document)
    types = sorted({life.start["type"] for life in diary.lives.values()})
    handlers = [task(type)(_stand_in) for type in types]

    async def scenario(world: World) -> None:
        world.props.update(lives=diary.lives, begin=world.loop.time())
        async with world.instance(handlers, **{"timeout_max_s": 2 * FAR_S, "grace_s": 5.0, **settings}) as instance:
            stage = _Stage(world, instance, diary)
            await stage.play()
            await stage.close()

    return scenario
