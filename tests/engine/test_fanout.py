"""One pass tells all readers, of all that was committed since the last one; and decides what is kept for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streaming.engine.fanout import PASSES_KEPT, UNWATCHED_BYTES, UNWATCHED_EVENTS, WINDOW_EVENTS_MIN
from streaming.engine.log import Log
from streaming.engine.subscription import Subscription
from streaming.rules.feed import FeedFilter
from streaming.rules.log import Batch, Reading
from tests.engine.hubs import Desk

pytestmark = pytest.mark.clock("virtual")

ALL = FeedFilter()


class Told:
    """A reader without a task, which notes what it finds whenever it is told.

    Attributes:
        found: seqs of a batch, or what else there was.
    """

    def __init__(self, reader: Subscription, also: Callable[[], object] = lambda: None) -> None:
        self.reader = reader
        self.found: list[Any] = []
        self._also = also
        reader.on_news = self._take

    def _take(self) -> None:
        found = self.reader.poll()
        self.found.append([event.seq for event in found.events] if isinstance(found, Batch) else found)
        self._also()


def kept(log: Log) -> list[int]:
    """The seqs of the events in memory."""
    return [event.seq for event, _ in log.window.kept]


def at_each_commit(desk: Desk, look: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What there is to be seen in the very step of each commit."""
    found: list[object] = []
    show = desk.hub._show

    def shown(log: Log, seq: int) -> None:
        show(log, seq)
        found.append(look())

    monkeypatch.setattr(desk.hub, "_show", shown)
    return found


async def test_the_pass_comes_behind_the_commit_and_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        told = Told(desk.hub.read(log, 2))
        meanwhile = at_each_commit(desk, lambda: list(told.found), monkeypatch)
        await desk.emit(log)

        assert (meanwhile, told.found) == ([[]], [[3]])


async def test_one_pass_tells_of_several_commits_in_several_logs() -> None:
    async with Desk(commit_events_max=1) as desk:
        logs = [await desk.log("a"), await desk.log("b")]
        told = [Told(desk.hub.read(log, 2)) for log in logs]
        for _ in range(3):
            for log in logs:
                desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert len(desk.store.commits) >= 6
        assert [each.found for each in told] == [[[3, 4, 5]], [[3, 4, 5]]]


async def test_there_is_a_pass_for_each_commit_that_comes_by_itself() -> None:
    async with Desk() as desk:
        log = await desk.log()
        told = Told(desk.hub.read(log, 2))
        for _ in range(3):
            await desk.emit(log)
            await asyncio.sleep(0)

        assert told.found == [[3], [4], [5]]


async def test_what_moves_in_a_pass_is_told_in_the_next_one() -> None:
    async with Desk() as desk:
        log = await desk.log()
        told = Told(desk.hub.read(log, 2), lambda: told.found[1:] or desk.hub.append(log, "tick", "{}"))
        await desk.emit(log)
        await asyncio.sleep(1)

        assert told.found == [[3], [4]]


async def test_a_reader_of_the_feed_is_told_once_however_often_it_is_named() -> None:
    async with Desk(commit_events_max=1) as desk:
        log = await desk.log()
        told = Told(desk.hub.follow(2, ALL))
        for _ in range(4):
            desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert told.found == [[3, 4, 5, 6]]


async def test_readers_that_are_named_are_told_whatever_their_log_does() -> None:
    async with Desk() as desk:
        log = await desk.log()
        told, other = Told(desk.hub.read(log, 2)), Told(desk.hub.read(log, 2))
        desk.hub._fan_out.tell([told.reader])
        desk.hub._fan_out.tell([])
        await asyncio.sleep(0)

        assert (told.found, other.found) == ([Reading.WAIT], [])


async def test_nobody_is_told_by_no_pass() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.hub._fan_out.tell([])
        await desk.emit(log)

        assert not desk.hub._fan_out._due


async def test_the_end_of_the_hub_is_told_to_all() -> None:
    async with Desk() as desk:
        log = await desk.log()
        told = [Told(desk.hub.read(log, 2)), Told(desk.hub.follow(2, ALL))]
    await asyncio.sleep(0)

    assert [each.found for each in told] == [[Reading.END], [Reading.END]]


# -- who comes and leaves meanwhile ------------------------------------------------------------------------------------


async def test_who_leaves_in_the_pass_is_not_in_the_next_one() -> None:
    async with Desk() as desk:
        log = await desk.log()
        leaves = Told(desk.hub.read(log, 2), lambda: leaves.reader.close() if len(leaves.found) == 1 else None)
        stays = Told(desk.hub.read(log, 2))
        for _ in range(2):
            await desk.emit(log)
            await asyncio.sleep(0)

        assert leaves.found[0] == [3]
        assert set(leaves.found[1:]) <= {Reading.END}
        assert stays.found == [[3], [4]]
        assert list(log.readers) == [stays.reader]


@pytest.mark.parametrize("follows", [False, True], ids=["of a log", "of the feed"])
async def test_a_reader_that_closes_another_one_in_the_pass_keeps_the_news_from_it(follows: bool) -> None:
    async with Desk() as desk:
        log = await desk.log()

        def reader() -> Subscription:
            return desk.hub.follow(2, ALL) if follows else desk.hub.read(log, 2)

        first = Told(reader(), lambda: second.reader.close())
        second, third = Told(reader()), Told(reader())
        await desk.emit(log)
        await asyncio.sleep(0)

        assert first.found == third.found == [[3]]
        assert set(second.found) == {Reading.END}


async def test_who_joins_in_the_pass_finds_all_by_itself_and_is_told_from_the_next_one_on() -> None:
    async with Desk() as desk:
        log = await desk.log()
        joined: dict[str, Told] = {}
        first = Told(desk.hub.read(log, 2), lambda: joined or joined.update(second=Told(desk.hub.read(log, 2))))
        await desk.emit(log)
        await asyncio.sleep(0)
        second = joined["second"]
        before = list(second.found)
        found = second.reader.poll()
        await desk.emit(log)
        await asyncio.sleep(0)

        assert before == []
        assert isinstance(found, Batch)
        assert [event.seq for event in found.events] == [3]
        assert (first.found, second.found) == ([[3], [4]], [[4]])


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_of_a_log_without_readers_next_to_nothing_is_kept_and_there_is_no_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Desk() as desk:
        log = await desk.log()
        due = at_each_commit(desk, lambda: desk.hub._fan_out._due, monkeypatch)
        await desk.emit(log, 20)
        few = kept(log)
        await desk.emit(log, 1, '"' + "x" * UNWATCHED_BYTES + '"')

        assert due == [False, False]
        assert few == list(range(23 - UNWATCHED_EVENTS, 23))
        assert kept(log) == []


async def test_a_log_is_trimmed_once_its_readers_were_told_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk(window_events_max=1, commit_events_max=2) as desk:
        log = await desk.log()
        told = Told(desk.hub.read(log, 2))
        meanwhile = at_each_commit(desk, lambda: kept(log)[-6:], monkeypatch)
        for _ in range(6):
            desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert meanwhile == [[3, 4, 5, 6, 7, 8]] * 3
        assert told.found == [[3, 4, 5, 6, 7, 8]]
        assert kept(log) == [8]


@pytest.mark.parametrize("watched", [True, False])
async def test_what_is_not_committed_is_never_trimmed(watched: bool) -> None:
    async with Desk(window_events_max=1) as desk:
        log = await desk.log()
        if watched:
            desk.hub.read(log, 2)
        await desk.emit(log, 3)
        desk.store.hold()
        for _ in range(4):
            desk.hub.append(log, "tick", "{}")
        await asyncio.sleep(1)
        desk.hub._fan_out.moved(log, log.window.committed)
        await asyncio.sleep(1)
        desk.store.release()

        assert kept(log) == [6, 7, 8, 9]


@pytest.mark.parametrize(("each", "number"), [(1, WINDOW_EVENTS_MIN), (20, 20 * PASSES_KEPT)])
async def test_so_much_is_kept_as_a_few_passes_bring(each: int, number: int) -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.hub.read(log, 2)
        for _ in range(100):
            await desk.emit(log, each)
            await asyncio.sleep(0)

        assert len(kept(log)) == number


async def test_a_pass_of_several_commits_counts_as_one() -> None:
    async with Desk(commit_events_max=10) as desk:
        log = await desk.log()
        desk.hub.read(log, 2)
        for number in (100, 10):
            await desk.emit(log, number)
            await asyncio.sleep(0)
            most = PASSES_KEPT * number
            assert len(kept(log)) == min(most, log.window.committed)


async def test_next_to_nothing_is_kept_once_the_last_reader_has_left_in_the_pass() -> None:
    async with Desk() as desk:
        log = await desk.log()
        leaves = Told(desk.hub.read(log, 2), lambda: leaves.reader.close() if len(leaves.found) == 1 else None)
        await desk.emit(log, 10)
        await asyncio.sleep(0)

        assert leaves.found[0] == list(range(3, 13))
        assert kept(log) == list(range(13 - UNWATCHED_EVENTS, 13))


# -- put into the hand -------------------------------------------------------------------------------------------------


class Handed(Told):
    """A reader that takes what is put into its hand, while it is open."""

    def __init__(self, reader: Subscription) -> None:
        super().__init__(reader)
        self.open = True
        self.handed: list[list[int]] = []
        reader.push = self._push

    def _push(self, batch: Batch) -> bool:
        if self.open:
            self.handed.append([event.seq for event in batch.events])
        return self.open


async def test_who_stands_where_the_news_begin_gets_them_put_into_the_hand_and_is_not_called() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 2))
        await desk.emit(log)
        await asyncio.sleep(0)
        await desk.emit(log, 2)
        await asyncio.sleep(0)

        assert (reader.handed, reader.found, reader.reader.cursor) == ([[3], [4, 5]], [], 5)


async def test_who_takes_nothing_is_called_and_finds_it_later() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 2))
        reader.open = False
        await desk.emit(log)
        await asyncio.sleep(0)

        assert (reader.handed, reader.found, reader.reader.cursor) == ([], [[3]], 3)


async def test_who_stands_elsewhere_is_called() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 1))
        await desk.emit(log)
        await asyncio.sleep(0)

        assert (reader.handed, reader.found) == ([], [[2, 3]])


async def test_who_gets_the_terminal_event_is_called_for_the_end() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 2))
        await desk.end(log)
        await asyncio.sleep(0)

        assert (reader.handed, reader.found) == ([[3]], [Reading.END])
        assert not log.readers


async def test_what_does_not_fit_into_one_write_is_fetched() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 2))
        for _ in range(3):
            desk.hub.append(log, "tick", '"' + "x" * 40_000 + '"')
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert (reader.handed, reader.found) == ([[3]], [[4]])


async def test_what_is_in_memory_no_more_is_put_into_no_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = Handed(desk.hub.read(log, 2))
        at_each_commit(desk, lambda: log.window.trim(events_max=0, bytes_max=0), monkeypatch)
        await desk.emit(log)
        await asyncio.sleep(1)

        assert (reader.handed, reader.found) == ([], [Reading.WAIT, [3]])
