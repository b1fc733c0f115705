"""The feed of some tasks that are written, lost and deleted while others follow it, each with a filter of its own.

Owns:   `feed`, a scenario for `streaming.testing.exploration`; `Follower`, who must have seen all that it wants, each
        event once, in the order of the commits.
Never:  runs a handler.
"""

from __future__ import annotations

import asyncio

from streaming.engine.log import Log
from streaming.engine.transitions import end
from streaming.events import Event
from streaming.records import Record
from streaming.rules.feed import FeedFilter, FeedItem
from streaming.rules.lifecycle import TERMINAL, Transition
from streaming.rules.outcome import Outcome
from streaming.rules.sse import feed_frame
from streaming.testing.choices import Stream
from streaming.testing.faults import CALM, Faults
from streaming.testing.world import World
from tests.worlds.press import Press

FOLLOWERS = 3
TASKS = (("a", "work", ("red",)), ("b", "play", ("red", "blue")), ("c", "work", ()))
PAUSES_S = (0.0, 0.0, 0.001, 0.3)
FILTERS = (
    FeedFilter(),
    FeedFilter(types=frozenset({"tick", "completed"})),
    FeedFilter(task_types=frozenset({"work"})),
    FeedFilter(tag="red"),
)

STUMBLING = Faults(store_delay=0.5, store_refuses=0.1, store_forgets_to_answer=0.1)


class Follower:
    """Somebody who follows the feed, leaves and comes back, and remembers what was seen."""

    def __init__(self, feed: Feed, number: int) -> None:
        self._feed = feed
        self._chance = feed.world.stream(f"follower-{number}")
        self._wanted = self._chance.draw(FILTERS)
        self._name = f"follower {number}"
        self._began = self._cursor = 0
        self._seen: list[Event] = []

    async def follow(self) -> None:
        """Follow it until it ends."""
        hub, world = self._feed.press.hub, self._feed.world
        await world.sometime(self._chance, PAUSES_S)
        if self._chance.happens(0.3):
            self._began = self._cursor = hub.feed.last
        while True:
            await world.sometime(self._chance, PAUSES_S)
            reader = hub.follow(self._cursor, self._wanted)
            batches = self._chance.draw((1 << 30, 1, 2))
            while batches and (batch := await reader.next()) is not None:
                self._take(batch.events, batch.sse)
                batches -= 1
            self._cursor = reader.cursor
            reader.close()
            if batches:
                return

    def _take(self, events: tuple[Event, ...], sse: bytes) -> None:
        must, disk = self._feed.world.must, self._feed.world.disk.events
        must(all(disk.get((event.task_id, event.seq)) == event for event in events), "it was seen before it was stored")
        self._feed.learn()
        framed = b"".join(feed_frame(event, self._feed.positions.get(event, 0)) for event in events)
        must(framed == sse, "a frame has another position than its event")
        self._seen += events

    def check(self) -> None:
        """It must have seen all that is still there, and what is gone in its place."""
        feed = self._feed
        whole = [item for item in feed.items() if item.position > self._began and self._wanted.wants(item)]
        seen = dict.fromkeys(self._seen)
        feed.world.must(len(seen) == len(self._seen), f"{self._name} got an event twice")
        there = [item.event for item in whole if item.event in seen or item.event.task_id not in feed.gone]
        complete = not feed.press.store.failures
        expected = there if complete else there[: len(self._seen)]
        feed.world.must(self._seen == expected, f"{self._name} has not seen the feed as it was stored")


class Feed:
    """One run.

    Attributes:
        world: as given.
        press: what is written.
        gone: the tasks that were deleted: of their events a follower has seen some, or none.
        positions: of the events that were stored, as the disk has given them.
    """

    def __init__(self, world: World) -> None:
        chance = world.stream("feed")
        self.world = world
        world.faults = chance.draw((CALM, STUMBLING))
        self.press = Press(
            world, window_events_max=chance.draw((1024, 1, 3)), commit_events_max=chance.draw((1000, 1, 3))
        )
        self.gone: set[str] = set()
        self.positions: dict[Event, int] = {}
        self._records: dict[str, Record] = {}
        self._place = 0
        self._deletes = chance.happens(0.5)

    async def run(self) -> None:
        """Play it."""
        followers = [Follower(self, number) for number in range(1, FOLLOWERS + 1)]
        async with asyncio.TaskGroup() as group, self.press:
            for follower in followers:
                group.create_task(follower.follow())
            async with asyncio.TaskGroup() as lives:
                for task_id, type, tags in TASKS:
                    lives.create_task(self._life(task_id, type, tags))
            self.learn()
        self.press.check_gone()
        for follower in followers:
            follower.check()

    async def _life(self, task_id: str, type: str, tags: tuple[str, ...]) -> None:
        chance = self.world.stream(f"writer-{task_id}")
        hub = self.press.hub
        await self.world.sometime(chance, PAUSES_S)
        log = await self.press.create(task_id, type, tags)
        if log is None:
            return
        for _ in range(chance.pick(5)):
            await self._write(log, chance)
        if not (log.lost or log.dropped):
            end(hub, log, Outcome(Transition.RETURN, None, "done"))
        hub.when_committed(lambda: hub.drop(log))
        await self.press.committed(log)
        self.learn()
        if self._deletes and chance.happens(0.5):
            await self.world.sometime(chance, PAUSES_S)
            await self._delete(task_id)

    async def _write(self, log: Log, chance: Stream) -> None:
        for _ in range(chance.draw((1, 2, 40))):
            self.press.hub.append(log, "tick", "{}")
        await self.world.sometime(chance, PAUSES_S)
        if chance.happens(0.3):
            await self.press.committed(log)

    async def _delete(self, task_id: str) -> None:
        """Forget a task that has ended, with all its events."""
        record = next(record for record in self.world.disk.records() if record.id == task_id)
        self.world.must(record.status in TERMINAL, "its end is stored")
        self.gone.add(task_id)
        self.world.disk.call("delete", task_id)

    def learn(self) -> None:
        """Ask the disk for the positions that it has given since."""
        for record in self.world.disk.records():
            self._records[record.id] = record
        disk = self.world.disk
        last = disk.call("last_position")
        for item in disk.call("feed_after", self._place, last_position=last, limit=1 << 30):
            self.positions[item.event] = item.position
        self._place = last

    def items(self) -> list[FeedItem]:
        """All that was ever stored, in the order of the commits."""
        records = self._records
        return [
            FeedItem(position, event, (of := records[event.task_id]).type, of.tags, of.created_by, of.tenant)
            for event, position in sorted(self.positions.items(), key=lambda entry: entry[1])
        ]


async def feed(world: World) -> None:
    """Play it."""
    await Feed(world).run()
