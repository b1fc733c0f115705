"""One loop for replay and live: whatever the order of writing, reading and failing, a reader misses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.engine import fanout
from streaming.engine.subscription import PAGE_MAX, RETRY_S, Subscription
from streaming.errors import BadCursor, StoreUnavailable
from streaming.rules.feed import FeedFilter
from streaming.rules.log import Batch, Reading
from tests.engine.hubs import Desk, seqs, to_end
from tests.virtual import VirtualLoop

pytestmark = pytest.mark.clock("virtual")

ALL = FeedFilter()


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches is read from the store."""
    monkeypatch.setattr(fanout, "UNWATCHED_EVENTS", 0)


def now() -> float:
    return asyncio.get_running_loop().time()


# -- a log -------------------------------------------------------------------------------------------------------------


async def test_a_late_reader_gets_the_whole_history_first_and_then_what_comes() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 5)
        reader = desk.hub.read(log, 0)
        assert await seqs(reader, 7) == list(range(1, 8))

        reading = asyncio.create_task(seqs(reader, 2))
        await asyncio.sleep(1)
        await desk.emit(log, 2)

        assert await reading == [8, 9]


async def test_a_reader_goes_on_behind_its_cursor() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 5)

        assert await seqs(desk.hub.read(log, 4), 3) == [5, 6, 7]


async def test_a_long_history_is_read_page_by_page() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 2 * PAGE_MAX + 10)
        reader = desk.hub.read(log, 0)
        await desk.end(log)

        assert await to_end(reader) == list(range(1, 2 * PAGE_MAX + 14))


async def test_the_end_comes_after_the_terminal_event_and_stays() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 0)
        found = [reader.finished]
        await desk.end(log)
        found.append(reader.finished)
        assert await to_end(reader) == [1, 2, 3]
        found.append(reader.finished)

        assert found == [False, False, True]
        assert await reader.next() is None
        assert not log.readers


async def test_a_reader_at_the_end_is_finished_before_it_asks() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.end(log)
        reader = desk.hub.read(log, 3)

        assert reader.finished
        assert await reader.next() is None


async def test_what_retention_has_removed_is_one_gap_with_the_exact_range() -> None:
    async with Desk(memory_events_max=5) as desk:
        log = await desk.log()
        await desk.emit(log, 18)
        reader = desk.hub.read(log, 3)
        batch = await reader.next()
        assert batch is not None
        await desk.end(log)
        rest = await to_end(reader)

    gap = batch.events[0]
    assert (gap.type, gap.seq) == ("gap", 15)
    assert gap.data == {"from": 4, "to": 15, "reason": "retention"}
    assert [event.seq for event in batch.events[1:]] + rest == [16, 17, 18, 19, 20, 21]


async def test_a_reader_of_a_log_that_is_deleted_under_it_is_told_and_ends() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 5)
        reader = desk.hub.read(log, 3)
        await desk.end(log)
        await desk.store.delete("a")

        batch = await reader.next()

        assert batch is not None
        assert batch.events[0].data == {"from": 4, "to": 8, "reason": "deleted"}
        assert await reader.next() is None


async def test_a_slow_reader_catches_up_from_the_store() -> None:
    async with Desk(window_events_max=4) as desk:
        log = await desk.log()
        slow, fast = desk.hub.read(log, 0), desk.hub.read(log, 2)
        for _ in range(10):
            await desk.emit(log, 3)
            await seqs(fast, 3)
        await desk.end(log)

        assert await to_end(slow) == list(range(1, 34))
        assert await to_end(fast) == [33]


async def test_all_readers_get_the_same_bytes_however_they_read() -> None:
    async with Desk(window_events_max=4) as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 0)
        live = b""
        for _ in range(10):
            await desk.emit(log, 3, '{"text":"ä"}')
            batch = await reader.next()
            assert batch is not None
            live += batch.sse
        stored = b""
        late = desk.hub.read(log, 0)
        while len(stored) < len(live):
            batch = await late.next()
            assert batch is not None
            stored += batch.sse

        assert stored == live


# -- waiting -----------------------------------------------------------------------------------------------------------


async def test_a_reader_that_waits_is_woken_by_the_commit_and_not_by_the_emit() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reading = asyncio.create_task(seqs(desk.hub.read(log, 2), 1))
        desk.store.hold()
        desk.hub.append(log, "tick", "{}")
        await asyncio.sleep(60)
        assert not reading.done()

        desk.store.release()

        assert await reading == [3]


async def test_who_has_no_task_is_called_in_none_when_there_is_news() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 2)
        found: list[tuple[Any, Any]] = []
        reader.on_news = lambda: found.append((asyncio.current_task(), reader.poll()))
        assert reader.poll() is Reading.WAIT

        await desk.emit(log)
        await asyncio.sleep(0)
        await desk.end(log)
        await asyncio.sleep(0)

        assert [task for task, _ in found] == [None, None]
        assert [[event.seq for event in batch.events] for _, batch in found] == [[3], [4]]
        assert (reader.poll(), reader.poll()) == (Reading.END, Reading.END)
        assert not log.readers


async def test_what_is_committed_between_two_passes_is_told_once() -> None:
    async with Desk(commit_events_max=2, window_events_max=50) as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 2)
        found: list[Any] = []
        reader.on_news = lambda: found.append(reader.poll())
        for _ in range(40):
            desk.hub.append(log, "tick", "{}")
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert [len(batch.events) for batch in found] == [40], "20 commits, and no page of the store"


async def test_a_reader_is_called_when_its_page_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        slow = Slow(monkeypatch, desk)
        reader = desk.hub.read(log, 0)
        found: list[Any] = []
        reader.on_news = lambda: found.append(reader.poll())
        for _ in range(3):
            assert reader.poll() is Reading.WAIT
            await asyncio.sleep(1)
        slow.go.set()
        await asyncio.sleep(1)

        assert [[event.seq for event in batch.events] for batch in found] == [[1, 2]]
        assert slow.begun == 1


@pytest.mark.parametrize("waiting_first", [True, False])
async def test_a_reader_that_leaves_is_at_its_end_at_once(waiting_first: bool) -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 2)
        reading = asyncio.create_task(reader.next())
        if waiting_first:
            await asyncio.sleep(1)

        reader.close()
        reader.close()

        assert await reading is None
        assert not log.readers


async def test_a_reader_whose_task_is_cancelled_may_ask_again() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 2)
        reading = asyncio.create_task(reader.next())
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.wait({reading})
        await desk.emit(log)

        assert await seqs(reader, 1) == [3]


@pytest.mark.parametrize("reader_first", [True, False])
async def test_the_commit_and_the_leaving_of_a_reader_in_one_step_harm_nobody(reader_first: bool) -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader, other = desk.hub.read(log, 2), desk.hub.read(log, 2)
        desk.hub.append(log, "tick", "{}")
        if reader_first:
            reader.close()
            await desk.hub.committed()
        else:
            await desk.hub.committed()
            reader.close()

        assert await reader.next() is None
        assert await seqs(other, 1) == [3]


# -- a store that cannot be read ---------------------------------------------------------------------------------------


class Unreadable:
    """Lets reading fail for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, desk: Desk, times: float) -> None:
        self.left = times
        for name in ("events_after", "feed_after"):
            monkeypatch.setattr(desk.store, name, self.wrap(getattr(desk.store, name)))

    def wrap(self, read: Any) -> Any:
        async def reading(*args: Any, **kwargs: Any) -> Any:
            if self.left > 0:
                self.left -= 1
                raise StoreUnavailable("The store cannot be read.")
            return await read(*args, **kwargs)

        return reading


async def test_a_reader_waits_for_a_store_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        Unreadable(monkeypatch, desk, 3)

        assert await seqs(desk.hub.read(log, 0), 2) == [1, 2]
        assert now() == pytest.approx(3 * RETRY_S)


async def test_a_reader_that_waits_for_the_store_can_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        Unreadable(monkeypatch, desk, float("inf"))
        reader = desk.hub.read(log, 0)
        reading = asyncio.create_task(reader.next())
        await asyncio.sleep(0.1)
        reader.close()
        assert await reading is None
        assert now() < RETRY_S
        assert reader._rest is None


async def test_a_reader_that_rests_is_not_hurried_by_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy log would have the store asked again with every commit."""
    async with Desk() as desk:
        log = await desk.log()
        unreadable = Unreadable(monkeypatch, desk, float("inf"))
        reader = desk.hub.read(log, 0)
        reading = asyncio.create_task(seqs(reader, 12))
        await asyncio.sleep(0.01)
        for _ in range(10):
            await desk.emit(log)
            await asyncio.sleep(0.01)
        unreadable.left = 0
        assert await reading == list(range(1, 13))
        assert now() == pytest.approx(0.0 + RETRY_S, abs=0.02)


class Slow:
    """Lets reading take as long as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, desk: Desk, name: str = "events_after") -> None:
        self.go = asyncio.Event()
        self.begun = self.given_up = 0
        self.problem: Exception | None = None
        read = getattr(desk.store, name)

        async def reading(*args: Any, **kwargs: Any) -> Any:
            self.begun += 1
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
            if self.problem is not None:
                raise self.problem
            return await read(*args, **kwargs)

        monkeypatch.setattr(desk.store, name, reading)


async def test_what_nobody_waits_for_any_more_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        slow = Slow(monkeypatch, desk)
        reader = desk.hub.read(log, 0)
        reading = asyncio.create_task(reader.next())
        await asyncio.sleep(1)
        reader.close()
        assert await reading is None
        await asyncio.sleep(1)
        assert (slow.begun, slow.given_up) == (1, 1)


async def test_what_a_follower_does_not_wait_for_any_more_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        await desk.log()
        slow = Slow(monkeypatch, desk, "feed_after")
        follower = desk.hub.follow(0, ALL)
        reading = asyncio.create_task(follower.next())
        await asyncio.sleep(1)
        follower.close()
        assert await reading is None
        await asyncio.sleep(1)
        assert (slow.begun, slow.given_up) == (1, 1)


async def test_a_reader_whose_page_was_read_in_the_step_in_which_it_leaves_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Desk() as desk:
        log = await desk.log()
        slow = Slow(monkeypatch, desk)
        reader = desk.hub.read(log, 0)
        assert reader.poll() is Reading.WAIT
        await asyncio.sleep(1)
        reader.on_news = reader.close
        slow.go.set()
        await asyncio.sleep(1)
        assert reader.poll() is Reading.END
        assert not log.readers
        assert not desk.hub.pages._wanted


async def test_a_mistake_in_reading_reaches_the_reader_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        slow = Slow(monkeypatch, desk)
        slow.problem = ZeroDivisionError()
        reader = desk.hub.read(log, 0)
        assert reader.poll() is Reading.WAIT
        slow.go.set()
        with pytest.raises(ZeroDivisionError):
            await reader.next()


async def test_a_reader_that_waits_for_the_store_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        Unreadable(monkeypatch, desk, float("inf"))
        reading = asyncio.create_task(to_end(desk.hub.read(log, 0)))
        following = asyncio.create_task(to_end(desk.hub.follow(0, ALL)))
        await asyncio.sleep(0.1)

        await desk.hub.close(now())

        assert await reading == []
        assert await following == []
        assert now() < RETRY_S


async def test_a_reader_whose_store_is_back_when_the_server_ends_gets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        Unreadable(monkeypatch, desk, 2)
        reading = asyncio.create_task(to_end(desk.hub.read(log, 0)))
        following = asyncio.create_task(to_end(desk.hub.follow(0, ALL)))
        await asyncio.sleep(0.1)

        await desk.hub.close(now())

        assert await reading == [1, 2]
        assert await following == [1, 2]


async def test_a_bug_in_the_store_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()

        async def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a bug")

        monkeypatch.setattr(desk.store, "events_after", broken)

        with pytest.raises(RuntimeError):
            await desk.hub.read(log, 0).next()


# -- the feed ----------------------------------------------------------------------------------------------------------


async def test_a_follower_gets_history_and_then_what_comes() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 3)
        follower = desk.hub.follow(0, ALL)
        assert await seqs(follower, 5) == [1, 2, 3, 4, 5]

        reading = asyncio.create_task(seqs(follower, 1))
        await asyncio.sleep(1)
        await desk.emit(log)

        assert await reading == [6]


async def test_a_follower_gets_only_what_it_wants_and_its_cursor_moves_over_the_rest() -> None:
    async with Desk() as desk:
        log = await desk.log()
        follower = desk.hub.follow(0, FeedFilter(types=frozenset({"tick"})))
        reading = asyncio.create_task(seqs(follower, 2))
        await desk.emit(log, 2)
        assert await reading == [3, 4]

        await desk.end(log)
        assert follower.poll() is Reading.WAIT
        assert follower.cursor == 5


async def test_a_follower_passes_over_a_long_history_that_it_does_not_want() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 2 * PAGE_MAX)
        follower = desk.hub.follow(0, FeedFilter(types=frozenset({"completed"})))
        await desk.end(log)

        assert await seqs(follower, 1) == [2 * PAGE_MAX + 3]


async def test_a_follower_whose_history_was_deleted_goes_on_with_what_is_left() -> None:
    async with Desk() as desk:
        gone, log = await desk.log("a"), await desk.log("b")
        await desk.end(gone)
        await desk.store.delete("a")
        follower = desk.hub.follow(0, ALL)
        assert await seqs(follower, 2) == [1, 2]  # of b

        reading = asyncio.create_task(seqs(follower, 1))
        await asyncio.sleep(1)
        await desk.emit(log)

        assert await reading == [3]


async def test_a_follower_of_a_feed_that_was_deleted_as_a_whole_waits_for_what_comes() -> None:
    async with Desk() as desk:
        await desk.end(await desk.log("a"))
        await desk.store.delete("a")
        follower = desk.hub.follow(0, ALL)
        reading = asyncio.create_task(follower.next())
        await asyncio.sleep(1)
        assert follower.cursor == 3

        desk.create("b")
        batch = await reading

        assert batch is not None
        assert batch.last == 4


async def test_a_follower_is_never_finished() -> None:
    async with Desk() as desk:
        log = await desk.log()
        follower = desk.hub.follow(0, ALL)
        await desk.end(log)
        await seqs(follower, 3)

        assert not follower.finished


# -- any order ---------------------------------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.integers(1, 12)),
        st.tuples(st.just("large"), st.integers(1, 2)),
        st.tuples(st.just("amend"), st.just(0)),
        st.tuples(st.just("fail"), st.just(0)),
        st.tuples(st.just("lost answer"), st.just(0)),
        st.tuples(st.just("join"), st.integers(0, 100)),
        st.tuples(st.just("read"), st.integers(0, 5)),
        st.tuples(st.just("rejoin"), st.integers(0, 5)),
        st.tuples(st.just("sleep"), st.integers(0, 2)),
    ),
    max_size=30,
)


class Readers:
    """Readers that come, read a little, leave and come back, each with what it has seen."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.readers: list[tuple[int, list[int], Subscription]] = []

    def join(self, log: Any, part: int) -> None:
        cursor = log.window.committed * part // 100
        self.readers.append((cursor, [], self.desk.hub.read(log, cursor)))

    async def read(self, index: int) -> None:
        if not self.readers:
            return
        _, seen, reader = self.readers[index % len(self.readers)]
        batch = reader.poll()
        if isinstance(batch, Batch):
            seen.extend(event.seq for event in batch.events)

    def rejoin(self, log: Any, index: int) -> None:
        if not self.readers:
            return
        start, seen, reader = self.readers[index % len(self.readers)]
        reader.close()
        self.readers[index % len(self.readers)] = (start, seen, self.desk.hub.read(log, reader.cursor))


async def play(script: list[tuple[str, int]], window_events_max: int) -> None:
    async with Desk(window_events_max=window_events_max, commit_events_max=5) as desk:
        log = await desk.log()
        readers = Readers(desk)
        follower = desk.hub.follow(0, ALL)
        for what, number in script:
            if what in ("emit", "large"):
                for _ in range(number):
                    desk.hub.append(log, "tick", '"' + "x" * (40_000 if what == "large" else 2) + '"')
            elif what == "amend":
                desk.hub.amend(log, attempt=2)
            elif what == "fail":
                desk.store.fail()
            elif what == "lost answer":
                desk.store.fail("after")
            elif what == "join":
                readers.join(log, number)
            elif what == "read":
                await readers.read(number)
            elif what == "rejoin":
                readers.rejoin(log, number)
            else:
                await asyncio.sleep(number)
        await desk.end(log)
        total = log.window.committed
        for start, seen, reader in readers.readers:
            assert seen + await to_end(reader) == list(range(start + 1, total + 1))
        assert await seqs(follower, total) == list(range(1, total + 1))
        assert not log.readers


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(1, 20))
def test_no_reader_misses_or_repeats_anything_whatever_the_order(script: list[tuple[str, int]], window: int) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play(script, window))


@pytest.mark.parametrize("cursor", [-1, 3])
async def test_a_cursor_that_is_no_position_is_refused_at_once(cursor: int) -> None:
    async with Desk() as desk:
        log = await desk.log()

        with pytest.raises(BadCursor):
            desk.hub.read(log, cursor)
