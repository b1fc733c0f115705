"""Some logs that are written and read at the same time, over a store that stumbles: the hub alone, so it is quick.

Owns:   `logs`, a scenario for `streaming.testing.exploration`.
Never:  runs a handler, or knows why anything is written.
"""

from __future__ import annotations

import asyncio
import dataclasses

from streaming.engine.journal import Commit
from streaming.engine.log import Log
from streaming.engine.subscription import Subscription
from streaming.engine.transitions import end
from streaming.errors import TaskEnded
from streaming.events import Event, encode_payload
from streaming.records import Change, Progress, TaskError, TaskStatus
from streaming.rules.lifecycle import Transition
from streaming.rules.log import Batch, Reading
from streaming.rules.outcome import Outcome
from streaming.testing.choices import Stream
from streaming.testing.faults import CALM, Faults
from streaming.testing.world import World
from tests.worlds.press import Press

READERS = 2
PAUSES_S = (0.0, 0.0, 0.001, 0.3, 1.0)
WORDS = ("tick", "tick", "burst", "progress", "group", "amend", "wait")

STUMBLING = Faults(store_delay=0.4, store_refuses=0.1, store_forgets_to_answer=0.1)
SLOW = Faults(store_delay=0.6)

#: So many events are written together.
GROUP = 3


class Logs:
    """One run."""

    def __init__(self, world: World) -> None:
        chance = world.stream("logs")
        self._world = world
        self._chance = chance
        world.faults = chance.draw((CALM, SLOW, STUMBLING))
        self._backlog_max = chance.draw((512, 1, 3))
        self._press = Press(
            world,
            window_events_max=chance.draw((1024, 1, 4)),
            backlog_events_max=self._backlog_max,
            commit_events_max=chance.draw((1000, 2, 4)),
        )
        self._task_ids = ["a", "b"][: 1 + chance.pick(2)]
        self._listeners: list[Listener] = []

    async def run(self) -> None:
        """Play it."""
        async with self._press:
            closing = self._close_early() if self._chance.happens(0.2) else _nothing()
            async with asyncio.TaskGroup() as group:
                for task_id in self._task_ids:
                    group.create_task(self._life(task_id))
                group.create_task(closing)
        self._press.check_gone()
        self._check_groups()
        for listener in self._listeners:
            listener.check(self._world)

    async def _life(self, task_id: str) -> None:
        """The main writer of a task, and all that its log attracts."""
        chance = self._world.stream(f"writer-{task_id}")
        log = await self._press.create(task_id)
        if log is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(log, chance))
            for _ in range(READERS):
                group.create_task(self._press.show(self._world.reader(), task_id))
            if chance.happens(0.5):
                group.create_task(self._interrupt(log))
            if chance.happens(0.3):
                group.create_task(self._listen(log))
            if chance.happens(0.2):
                group.create_task(self._end_elsewhere(log))

    # -- those who write ----------------------------------------------------------------------------------------------

    async def _write(self, log: Log, chance: Stream) -> None:
        for _ in range(chance.pick(6)):
            await self._world.sometime(chance, PAUSES_S)
            if not await self._say(log, chance.draw(WORDS)):
                return
            self._press.audit()
        if not (log.window.ended or log.dropped):
            end(self._press.hub, log, Outcome(Transition.RETURN, None, "done"))
        if chance.happens(0.3):
            self._press.hub.drop(log)  # what it has written is stored all the same
        else:
            self._press.hub.when_committed(lambda: self._press.hub.drop(log))

    async def _say(self, log: Log, word: str) -> bool:
        hub = self._press.hub
        try:
            if word in {"tick", "progress", "burst"}:
                await self._room(log)
            if word == "tick":
                self._tick(log)
            elif word == "burst":
                for _ in range(40):
                    hub.append(log, "tick", "{}")
            elif word == "progress":
                hub.append_with(log, "progress", {"percent": 1}, hub.now(), progress=Progress(1.0, None))
            elif word == "group":
                with hub.together(GROUP):
                    for _ in range(GROUP):
                        hub.append(log, "tick", encode_payload({"group": log.window.committed}))
            elif word == "amend":
                log.check_open()
                hub.amend(log)
            else:
                await self._press.committed(log)
        except TaskEnded:
            self._world.must(log.lost, "a log that has not ended takes no more")
            return False
        return True

    async def _room(self, log: Log) -> None:
        await self._press.hub.room(log)
        self._world.must(not self._press.hub.full(log), "there is said to be room, and is none")

    def _tick(self, log: Log) -> None:
        full = log.backlog_events >= self._backlog_max and not (log.lost or self._press.hub.closed)
        self._world.must(not full, "more waits for its commit than may")
        self._press.hub.append(log, "tick", "{}")

    async def _interrupt(self, log: Log) -> None:
        """Somebody else writes into the same log, as who sends an input does."""
        chance = self._world.stream(f"guest-{log.record.id}")
        for _ in range(1 + chance.pick(3)):
            await self._world.sometime(chance, PAUSES_S)
            await self._room(log)
            if log.window.ended or log.dropped:
                return
            self._tick(log)
            await self._press.committed(log)

    async def _end_elsewhere(self, log: Log) -> None:
        """Somebody else ends the task in the store, behind our back."""
        await self._world.sometime(self._world.stream("elsewhere"), PAUSES_S)
        disk = self._world.disk
        record = next(record for record in disk.records() if record.id == log.record.id)
        if record.status is not TaskStatus.RUNNING:
            return
        now, seq = self._press.hub.now(), record.last_seq + 1
        error = TaskError("elsewhere", "By somebody else.")
        failed = dataclasses.replace(record, status=TaskStatus.FAILED, error=error, finished_at=now)
        change = Change(record.id, seq, TaskStatus.FAILED, now, "somebody")
        disk.call("commit", Commit([Event(record.id, seq, "failed", now, "{}")], updated=[failed], changes=[change]))

    # -- those who watch, and the end ---------------------------------------------------------------------------------

    async def _listen(self, log: Log) -> None:
        """A reader without a task, which takes nothing for a while now and then, as a slow connection does."""
        chance = self._world.stream(f"listener-{log.record.id}")
        listener = Listener(self._world, await self._press.watch(log.record.id), hands=chance.happens(0.7))
        self._listeners.append(listener)
        for _ in range(1 + chance.pick(3)):
            await self._world.sometime(chance, PAUSES_S)
            listener.paused = True
            await self._world.sometime(chance, PAUSES_S)
            listener.paused = False
            self._world.loop.call_soon(listener.take)

    async def _close_early(self) -> None:
        chance = self._world.stream("closer")
        await self._world.sometime(chance, (0.0, 0.001, 0.02, 0.3))
        within_s = chance.draw((10.0, 0.0, 0.02))
        await self._press.close(within_s)

    def _check_groups(self) -> None:
        """What was written together was stored together."""
        for log in self._press.logs.values():
            for seqs in _groups(self._world, log.record.id):
                self._world.must(len(seqs) % GROUP == 0, "what belongs together was torn")


class Listener:
    """A reader that is called when there is news.

    Args:
        world: where it lives.
        reader: what it reads.
        hands: it takes also what is put into its hand.

    Attributes:
        paused: it takes nothing.
    """

    def __init__(self, world: World, reader: Subscription, *, hands: bool) -> None:
        self.paused = False
        self._world = world
        self._reader = reader
        self._seen = reader.cursor
        self._ended = False
        reader.on_news = self.take
        reader.push = self._push if hands else None
        world.loop.call_soon(self.take)

    def take(self) -> None:
        """Take what is there."""
        self._world.must(asyncio.current_task() is None, "a reader without a task is called in one of somebody else")
        while not (self.paused or self._ended):
            found = self._reader.poll()
            if isinstance(found, Batch):
                self._note(found)
            elif found is Reading.WAIT:
                return
            else:
                self._ended = True

    def _push(self, batch: Batch) -> bool:
        self._world.must(not self._ended, "a listener gets something behind the end")
        if not self.paused:
            self._note(batch)
        return not self.paused

    def _note(self, batch: Batch) -> None:
        seqs = [event.seq for event in batch.events]
        whole = list(range(self._seen + 1, batch.last + 1))
        self._world.must(seqs == whole, f"a listener gets {seqs} behind {self._seen}")
        self._seen = batch.last

    def check(self, world: World) -> None:
        """Once everything is over."""
        world.must(self._ended, "a listener is not told of the end")


def _groups(world: World, task_id: str) -> list[list[int]]:
    """Seqs of the events that were written in groups, for each commit."""
    commits = [args[0] for name, args, _ in world.disk._written if name == "commit"]
    return [
        [event.seq for event in commit.events if event.task_id == task_id and "group" in event.payload]
        for commit in commits
    ]


async def _nothing() -> None:
    pass


async def logs(world: World) -> None:
    """Play it."""
    await Logs(world).run()
