"""Several channels as one: each of them whole and in its order, none of them starved, and one place for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.engine import fanout
from streaming.engine.subscription import PAGE_FIRST, RETRY_S, Subscription
from streaming.engine.watch import Watch
from streaming.errors import StoreUnavailable
from streaming.rules.feed import FeedFilter
from streaming.rules.log import BATCH_BYTES_MAX, Batch, Reading
from streaming.rules.vector import Vector, parse_vector
from tests.engine.hubs import Desk
from tests.rules.test_sse import Reader
from tests.virtual import VirtualLoop

pytestmark = pytest.mark.clock("virtual")

A, B, C = "a" * 32, "b" * 32, "c" * 32


class Ear:
    """Reads a watch as a stream does, and takes its blocks apart.

    Attributes:
        told: how often it was told that there is news.
        seen: (type of the block, type and seq of the event, or the task) of all blocks but the first.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.told = 0
        self.seen: list[tuple[str, str]] = []
        self.places: list[str] = []
        self.writes: list[int] = []
        self.over = False
        watch.on_news = self._hear

    def _hear(self) -> None:
        self.told += 1
        self.read()

    def read(self, writes: int = 2**31) -> None:
        while writes > 0 and not self.over:
            found = self.watch.poll()
            if found is Reading.WAIT:
                return
            if isinstance(found, Batch):
                self._take(found.sse)
            else:
                self.over = True
            writes -= 1

    def _take(self, sse: bytes) -> None:
        self.writes.append(len(sse))
        reader = Reader()
        reader.read(sse)
        for place, word, data in reader.dispatched:
            self.places.append(place)
            fields = json.loads(data)
            if word != "cursor":
                what = fields["task_id"][0] if "seq" not in fields else f"{fields['task_id'][0]}{fields['seq']}"
                self.seen.append((word, what))

    def of(self, word: str, task: str = "") -> list[str]:
        return [what for kind, what in self.seen if kind == word and what.startswith(task)]


def watching(desk: Desk, logs: Mapping[str, int], feed: int | None = None, wanted: FeedFilter | None = None) -> Ear:
    """A reader of logs that are live."""
    channels = {task_id: desk.hub.read(desk.hub.logs[task_id], after) for task_id, after in logs.items()}
    return Ear(Watch(None if feed is None else desk.hub.follow(feed, wanted or FeedFilter()), channels))


async def test_the_first_block_is_the_place_where_it_begins() -> None:
    async with Desk() as desk:
        await desk.log(B)
        await desk.log(A)
        ear = watching(desk, {B: 1, A: 2}, feed=4)
        ear.read(1)
        assert ear.places == [f"f=4;l={A}:2;l={B}:1"]
        assert ear.seen == []
        ear.watch.close()


async def test_each_channel_comes_whole_and_in_its_order_old_and_new() -> None:
    async with Desk() as desk:
        first, second = await desk.log(A), await desk.log(B)
        await desk.emit(first, 3)
        ear = watching(desk, {A: 1, B: 0}, feed=0)
        ear.read()
        await desk.emit(second, 2)
        await desk.emit(first, 1)
        await asyncio.sleep(1)
        assert ear.of("log", "a") == ["a2", "a3", "a4", "a5", "a6"]
        assert ear.of("log", "b") == ["b1", "b2", "b3", "b4"]
        assert ear.of("feed") == ["a1", "a2", "b1", "b2", "a3", "a4", "a5", "b3", "b4", "a6"]
        assert ear.places[-1] == f"f=10;l={A}:6;l={B}:4"
        ear.watch.close()


async def test_all_that_has_news_at_once_is_told_once() -> None:
    async with Desk() as desk:
        logs = [await desk.log(A), await desk.log(B), await desk.log(C)]
        ear = watching(desk, {A: 2, B: 2, C: 2}, feed=6)
        ear.read()
        with desk.hub.together(3):
            for log in logs:
                desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
        await asyncio.sleep(1)
        assert ear.told == 1
        assert len(ear.writes) == 2  # the place, and everything
        assert ear.of("log") == ["a3", "b3", "c3"]
        ear.watch.close()


async def test_what_is_not_wanted_of_the_feed_moves_its_place() -> None:
    async with Desk() as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2}, feed=2, wanted=FeedFilter(types=frozenset({"other"})))
        ear.read()
        await desk.emit(log, 3)
        await asyncio.sleep(1)
        assert ear.of("feed") == []
        assert ear.places[-1] == f"f=2;l={A}:5"  # the log had its turn first
        await desk.emit(log, 1)
        await asyncio.sleep(1)
        assert ear.places[-1] == f"f=5;l={A}:6"
        ear.watch.close()


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_an_end_is_told_behind_the_terminal_event_and_the_others_go_on() -> None:
    async with Desk() as desk:
        first, second = await desk.log(A), await desk.log(B)
        ear = watching(desk, {A: 2, B: 2})
        ear.read()
        await desk.end(first)
        await asyncio.sleep(1)
        assert ear.seen == [("log", "a3"), ("end", "a")]
        assert ear.places[-1] == f"l={A}:3;l={B}:2"
        over = [(ear.over, ear.watch.finished)]
        await desk.end(second)
        await asyncio.sleep(1)
        assert ear.seen[2:] == [("log", "b3"), ("end", "b")]
        assert [*over, (ear.over, ear.watch.finished)] == [(False, False), (True, True)]
        assert not first.readers
        assert not second.readers


async def test_the_end_of_a_log_that_ended_before_is_told_as_well() -> None:
    async with Desk() as desk:
        log, other = await desk.log(A), await desk.log(B)
        reader = desk.hub.read(log, 2)
        await desk.end(log)
        reader.close()
        ear = Ear(Watch(None, {A: desk.hub.read(log, 3), B: desk.hub.read(other, 2)}))
        assert not ear.watch.finished
        ear.read()
        assert ear.seen == [("end", "a")]
        ear.watch.close()

        done = Watch(None, {A: desk.hub.read(log, 3)})
        assert done.finished
        done.close()


async def test_a_watch_with_the_feed_goes_on_behind_its_last_log() -> None:
    async with Desk() as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2}, feed=2)
        ear.read()
        await desk.end(log)
        await asyncio.sleep(1)
        assert ("end", "a") in ear.seen
        assert not ear.over
        await desk.log(B)
        await asyncio.sleep(1)
        assert ear.of("feed") == ["a3", "b1", "b2"]
        ear.watch.close()


async def test_a_log_that_goes_on_elsewhere_is_lost_and_the_others_go_on() -> None:
    async with Desk() as desk:
        log, other = await desk.log(A), await desk.log(B)
        ear = watching(desk, {A: 2, B: 2})
        ear.read()
        desk.hub.abandon(log)
        await asyncio.sleep(1)
        await desk.emit(other)
        await asyncio.sleep(1)
        assert ear.seen == [("lost", "a"), ("log", "b3")]
        ear.watch.close()


async def test_a_drain_ends_it_behind_the_last_event_and_says_nothing_of_logs_that_go_on() -> None:
    async with Desk() as desk:
        log, other = await desk.log(A), await desk.log(B)
        ear = watching(desk, {A: 2, B: 2}, feed=4)
        ear.read()
        desk.hub.append(log, "tick", "{}")
        desk.end_soon(other)
    await asyncio.sleep(1)
    assert ear.of("log") == ["a3", "b3"]
    assert ear.of("feed") == ["a3", "b3"]
    assert ear.of("end") == ["b"]
    assert ear.of("lost") == []
    assert ear.over


async def test_to_close_leaves_every_channel_and_tells_nobody() -> None:
    async with Desk() as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2}, feed=2)
        ear.read()
        desk.hub.append(log, "tick", "{}")
        ear.watch.close()
        ear.watch.close()
        await asyncio.sleep(1)
        assert ear.seen == []
        assert not log.readers
        assert not desk.hub.feed_readers
        assert ear.watch.poll() is Reading.END


async def test_news_that_is_on_its_way_is_not_told_behind_the_end() -> None:
    async with Desk() as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2})
        ear.read()
        reader = next(iter(log.readers))
        reader.wake()  # it has noted news, and tells it in the next step
        ear.watch.close()
        await asyncio.sleep(1)
        assert ear.told == 0


async def test_nobody_needs_to_listen() -> None:
    async with Desk() as desk:
        log = await desk.log(A)
        watch = Watch(None, {A: desk.hub.read(log, 2)})
        assert isinstance(watch.poll(), Batch)
        await desk.emit(log)
        await asyncio.sleep(1)
        found = watch.poll()
        assert isinstance(found, Batch)
        assert b'"seq":3' in found.sse
        watch.close()


async def test_a_feed_has_no_end_and_is_never_lost() -> None:
    async with Desk() as desk:
        feed = desk.hub.follow(0, FeedFilter())
        assert (feed.finished, feed.lost) == (False, False)
        feed.close()


# -- much at once ------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches is read from the store."""
    monkeypatch.setattr(fanout, "UNWATCHED_EVENTS", 0)


@pytest.mark.usefixtures("nothing_kept")
async def test_a_long_history_holds_up_nobody_and_is_whole() -> None:
    """Twenty thousand events of one log, two of another: these do not wait for those."""
    async with Desk() as desk:
        long, short = await desk.log(A), await desk.log(B)
        await desk.emit(long, 5000, '{"text":"%s"}' % ("x" * 100))
        ear = watching(desk, {A: 0, B: 0})
        ear.read()
        await asyncio.sleep(0.01)
        await desk.emit(short)
        ear.read()
        async with asyncio.timeout(60):
            while len(ear.of("log", "a")) < 5002:  # noqa: ASYNC110  # the store is asked page by page
                await asyncio.sleep(0.01)
        assert ear.of("log", "a") == [f"a{seq}" for seq in range(1, 5003)]
        assert ear.of("log", "b") == ["b1", "b2", "b3"]
        between = [what for kind, what in ear.seen if kind == "log"]
        assert between.index("b2") < 5000
        assert max(ear.writes) < 2 * BATCH_BYTES_MAX + 1000
        ear.watch.close()


@pytest.mark.usefixtures("nothing_kept")
async def test_one_turn_is_no_larger_than_a_write_and_the_others_come_between() -> None:
    """The vector makes events larger than they are in a stream of their own: what does not fit is given back."""
    async with Desk() as desk:
        logs = [await desk.log(each * 32) for each in "abc"]
        for log in logs:
            await desk.emit(log, 2 * PAGE_FIRST, '"%s"' % ("x" * 3000))
        ear = watching(desk, {A: 0, B: 0, C: 0}, feed=0)
        ear.read()
        await asyncio.sleep(5)
        for each in "abc":
            assert ear.of("log", each) == [f"{each}{seq}" for seq in range(1, 2 * PAGE_FIRST + 3)]
        assert len(ear.of("feed")) == 3 * (2 * PAGE_FIRST + 2)
        assert max(ear.writes) < 2 * BATCH_BYTES_MAX + 8000
        turns = "".join(what[0] for kind, what in ear.seen if kind == "log")
        assert all(each * 40 not in turns for each in "abc")
        ear.watch.close()


async def test_what_is_in_memory_starves_nobody_either() -> None:
    async with Desk() as desk:
        logs = [await desk.log(each * 32) for each in "abc"]
        ear = watching(desk, {A: 2, B: 2, C: 2}, feed=6)
        ear.read(1)
        ear.watch.on_news = None  # its connection is full meanwhile
        for log in logs:
            await desk.emit(log, 100, '"%s"' % ("x" * 3000))
        ear.read()
        turns = "".join(what[0] if kind == "log" else "f" for kind, what in ear.seen)
        assert all(turns.count(each) == 100 for each in "abc")
        assert set(turns[:100]) == set("abcf")  # one write of each holds about twenty
        ear.watch.close()


async def test_a_channel_that_is_over_has_no_news() -> None:
    """A pass may tell a reader that has left in its beginning."""
    async with Desk() as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2}, feed=2)
        ear.read()
        reader = next(iter(log.readers))
        await desk.end(log)
        await asyncio.sleep(1)
        told, seen = ear.told, list(ear.seen)
        reader.wake()
        await asyncio.sleep(1)
        assert (ear.told, ear.seen, ear.watch.poll()) == (told, seen, Reading.WAIT)
        ear.watch.close()


async def test_a_slow_reader_costs_cursors_only() -> None:
    """It reads one write of many; what is behind it is nowhere but in the window or the store."""
    async with Desk(window_events_max=64) as desk:
        log = await desk.log(A)
        ear = watching(desk, {A: 2}, feed=2)
        ear.read(1)
        ear.watch.on_news = None  # it is not heard any more: its connection is full
        for _ in range(10):
            await desk.emit(log, 100)
        assert len(log.window.kept) <= 64
        ear.watch.on_news = ear._hear
        ear.read()
        await asyncio.sleep(5)
        assert ear.of("log") == ear.of("feed") == [f"a{seq}" for seq in range(3, 1003)]
        ear.watch.close()


async def test_a_store_that_is_away_holds_up_only_what_needs_it() -> None:
    async with Desk(window_events_max=4) as desk:
        old, new = await desk.log(A), await desk.log(B)
        await desk.emit(old, 50)

        class Broken:
            left = 2

        original = desk.store.events_after

        async def events_after(*args: object, **more: object) -> object:
            if Broken.left:
                Broken.left -= 1
                raise StoreUnavailable("away")
            return await original(*args, **more)  # type: ignore[arg-type]  # as it was called

        desk.store.events_after = events_after  # type: ignore[method-assign,assignment]  # a fault
        ear = watching(desk, {A: 0, B: 2})
        ear.read()
        await desk.emit(new)
        await asyncio.sleep(RETRY_S / 2)
        assert ear.seen == [("log", "b3")]
        await asyncio.sleep(3 * RETRY_S)
        assert ear.of("log", "a") == [f"a{seq}" for seq in range(1, 53)]
        ear.watch.close()


# -- resumed anywhere --------------------------------------------------------------------------------------------------


async def history(desk: Desk) -> None:
    """Three logs, two of them ended, written through each other."""
    logs = [await desk.log(each) for each in (A, B, C)]
    for number in range(12):
        await desk.emit(logs[number % 3], 1 + number % 2)
    await desk.end(logs[0])
    await desk.end(logs[1])


def blocks(ear: Ear) -> list[tuple[str, tuple[str, str]]]:
    """What was seen, with the place behind each."""
    return list(zip(ear.places[1:], ear.seen, strict=True))


def resumed(desk: Desk, logs: Mapping[str, Subscription], place: Vector) -> Ear:
    return Ear(Watch(desk.hub.follow(place.feed or 0, FeedFilter()), logs))


async def test_from_every_place_exactly_the_rest_follows() -> None:
    """Whatever was seen before it broke off: nothing is missing, nothing comes twice."""
    async with Desk() as desk:
        await history(desk)
        live = {task_id: desk.hub.logs[task_id] for task_id in (A, B, C)}

        def opened(place: Vector) -> Ear:
            return resumed(desk, {each: desk.hub.read(live[each], place.logs.get(each, 0)) for each in live}, place)

        whole = opened(Vector(0))
        whole.read()
        await asyncio.sleep(3)
        everything = blocks(whole)
        assert len(whole.of("feed")) == len(whole.of("log")) == 26
        whole.watch.close()
        for number, (place, _) in enumerate(everything):
            ear = opened(parse_vector(place, logs_max=3))
            ear.read()
            await asyncio.sleep(3)
            seen = [what for _, what in everything[: number + 1] if what[0] != "end"]
            rest = [what for what in ear.seen if what[0] != "end"]
            for channel in ("feed", "log"):
                for task in "abc":
                    whole_of = whole.of(channel, task)
                    got = [what for kind, what in seen + rest if kind == channel and what.startswith(task)]
                    assert got == whole_of
            assert ear.of("end") == ["a", "b"]
            ear.watch.close()


@given(order=st.lists(st.sampled_from([A, B, C, "break", "read", "end"]), max_size=25))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_and_whenever_it_breaks_off_each_channel_is_whole(order: Sequence[str]) -> None:
    async def run() -> None:
        async with Desk(window_events_max=3) as desk:
            logs = {each: await desk.log(each) for each in (A, B, C)}
            place, seen, ended = Vector(0, {}), [], False

            def opened() -> Ear:
                readers = {each: desk.hub.read(log, place.logs.get(each, 0)) for each, log in logs.items()}
                return resumed(desk, readers, place)

            ear = opened()
            for step in [*order, "read", "break"]:
                if step in logs and not (ended and step == A):
                    await desk.emit(logs[step])
                elif step == "end" and not ended:
                    ended = True
                    desk.end_soon(logs[A])  # not waited for: it may come in the middle of anything
                elif step == "read":
                    ear.read()
                    await asyncio.sleep(2)
                elif step == "break":
                    ear.watch.close()
                    seen += [what for what in ear.seen if what[0] in ("feed", "log")]
                    if ear.places:
                        place = parse_vector(ear.places[-1], logs_max=3)
                    ear = opened()
            ear.watch.close()
            for each, log in logs.items():
                expected = [f"{each[0]}{seq}" for seq in range(1, log.window.committed + 1)]
                assert [what for kind, what in seen if kind == "log" and what[0] == each[0]] == expected
            assert len([1 for kind, _ in seen if kind == "feed"]) == desk.hub.feed.last

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
