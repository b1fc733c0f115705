"""A page of the store is read once for those who wait for it together, and kept for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streaming.engine.log import Log
from streaming.engine.pages import Pages
from streaming.engine.subscription import PAGE_FIRST, Subscription
from streaming.errors import StoreUnavailable
from streaming.rules.log import Batch, LogWindow
from tests.engine.hubs import Desk, end_elsewhere, to_end

pytestmark = pytest.mark.clock("virtual")


class Shelf:
    """Pages over a store that is read when the test says so.

    Attributes:
        asked: (task, cursor) of each page that was begun.
        given_up: the same of each that was cancelled.
        problem: what reading raises.
    """

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = Pages(desk.store, desk.hub.now, desk.hub.observed.deliveries)
        self.asked: list[tuple[str, int]] = []
        self.given_up: list[tuple[str, int]] = []
        self.problem: Exception | None = None
        self.open = asyncio.Event()
        self._read = desk.store.events_after
        monkeypatch.setattr(desk.store, "events_after", self._reading)

    async def _reading(self, task_id: str, seq: int, **bounds: int) -> Any:
        self.asked.append((task_id, seq))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.given_up.append((task_id, seq))
            raise
        if self.problem is not None:
            raise self.problem
        return await self._read(task_id, seq, **bounds)

    @property
    def empty(self) -> bool:
        """Whether nothing is noted of any page."""
        return not self.pages._readings and not self.pages._wanted


@asynccontextmanager
async def shelf_of(monkeypatch: pytest.MonkeyPatch, *task_ids: str) -> AsyncIterator[tuple[Shelf, list[LogWindow]]]:
    """Pages of some logs of six events each."""
    async with Desk() as desk:
        logs = [await desk.log(task_id) for task_id in task_ids]
        for log in logs:
            await desk.emit(log, 4)
        yield Shelf(desk, monkeypatch), [log.window for log in logs]


def seqs_of(batch: Batch) -> list[int]:
    return [event.seq for event in batch.events]


async def test_those_who_wait_for_a_page_get_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        readings = [shelf.pages.read(window, 2, 3) for _ in range(3)]
        shelf.open.set()
        batches = [await reading for reading in readings]

        assert shelf.asked == [("a", 2)]
        assert seqs_of(batches[0]) == [3, 4, 5]
        assert batches[0] is batches[1] is batches[2]
        assert shelf.empty


async def test_who_comes_later_has_it_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted meanwhile is not shown."""
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        shelf.open.set()
        first = await shelf.pages.read(window, 0, 9)
        await end_elsewhere(shelf.pages._journal, "a", delete=True)  # type: ignore[arg-type]  # a memory store
        second = await shelf.pages.read(window, 0, 9)

        assert seqs_of(first) == [1, 2, 3, 4, 5, 6]
        assert [event.type for event in second.events] == ["gap"]
        assert len(shelf.asked) == 2


async def test_pages_of_other_tasks_and_other_places_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelf_of(monkeypatch, "a", "b") as (shelf, (window, other)):
        readings = [shelf.pages.read(*place, 9) for place in ((window, 0), (window, 4), (other, 0), (other, 4))]
        shelf.open.set()
        batches = await asyncio.gather(*readings)
        await asyncio.sleep(0)

        assert shelf.asked == [("a", 0), ("a", 4), ("b", 0), ("b", 4)]
        assert [(batch.events[0].task_id, batch.events[0].seq) for batch in batches] == [
            ("a", 1),
            ("a", 5),
            ("b", 1),
            ("b", 5),
        ]
        assert shelf.empty


async def test_a_page_is_read_on_for_the_one_who_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        leaves, stays = shelf.pages.read(window, 0, 9), shelf.pages.read(window, 0, 9)
        await asyncio.sleep(1)
        shelf.pages.leave(leaves)
        shelf.open.set()

        assert seqs_of(await stays) == [1, 2, 3, 4, 5, 6]
        assert (shelf.asked, shelf.given_up) == ([("a", 0)], [])


@pytest.mark.parametrize("begun", [False, True])
async def test_a_page_that_nobody_waits_for_is_given_up(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        readings = [shelf.pages.read(window, 0, 9) for _ in range(2)]
        if begun:
            await asyncio.sleep(1)
        for reading in readings:
            shelf.pages.leave(reading)
        await asyncio.wait(readings)

        assert readings[0].cancelled()
        assert shelf.given_up == ([("a", 0)] if begun else [])
        assert shelf.empty


async def test_who_asks_in_the_step_in_which_a_page_is_given_up_gets_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        readings = [shelf.pages.read(window, 0, 9) for _ in range(2)]
        await asyncio.sleep(1)
        for reading in readings:
            shelf.pages.leave(reading)
        third = shelf.pages.read(window, 0, 9)
        await asyncio.sleep(1)
        fourth = shelf.pages.read(window, 0, 9)
        shelf.open.set()

        assert third is fourth is not readings[0]
        assert seqs_of(await third) == [1, 2, 3, 4, 5, 6]
        assert len(shelf.asked) == 2
        assert shelf.empty


async def test_to_leave_a_page_that_was_read_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        shelf.open.set()
        first = shelf.pages.read(window, 0, 9)
        await first
        second = shelf.pages.read(window, 0, 9)
        shelf.pages.leave(first)

        assert seqs_of(await second) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("problem", [StoreUnavailable("The disk is away."), ZeroDivisionError()])
async def test_a_page_that_fails_fails_for_all_and_is_read_again_for_the_next(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelf_of(monkeypatch, "a") as (shelf, (window,)):
        shelf.problem = problem
        shelf.open.set()
        readings = [shelf.pages.read(window, 0, 9) for _ in range(2)]
        await asyncio.wait(readings)
        shelf.problem = None
        again = await shelf.pages.read(window, 0, 9)

        assert {reading.exception() for reading in readings} == {problem}
        assert seqs_of(again) == [1, 2, 3, 4, 5, 6]
        assert shelf.empty


async def test_a_reader_is_not_taken_beyond_the_mark_of_its_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that somebody else has ended is read here by those who knew it before, and by those who look it up now."""
    async with shelf_of(monkeypatch, "a") as (shelf, (before,)):
        now = LogWindow("a", last_seq=7, ended=True)
        await end_elsewhere(shelf.pages._journal, "a")  # type: ignore[arg-type]  # a memory store
        longer, shorter, shortest = (shelf.pages.read(window, 2, 9) for window in (now, before, before))
        shelf.pages.leave(shortest)
        shelf.open.set()

        assert seqs_of(await longer) == [3, 4, 5, 6, 7]
        assert seqs_of(await shorter) == [3, 4, 5, 6]
        await asyncio.sleep(0)
        assert shelf.empty


# -- through readers ---------------------------------------------------------------------------------------------------


def count_reads(desk: Desk, monkeypatch: pytest.MonkeyPatch, wait_s: float) -> list[int]:
    """The cursor of each page that the store is asked for from now on; it takes its time."""
    asked: list[int] = []
    read = desk.store.events_after

    async def counted(task_id: str, seq: int, **bounds: int) -> Any:
        asked.append(seq)
        await asyncio.sleep(wait_s)
        return await read(task_id, seq, **bounds)

    monkeypatch.setattr(desk.store, "events_after", counted)
    return asked


async def test_a_crowd_that_reads_a_stored_log_costs_the_store_one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 4000)
        await desk.end(log)
        asked = count_reads(desk, monkeypatch, 0.001)
        alone = await to_end(desk.hub.read(log, 0))
        for_one = len(asked)
        crowd = await asyncio.gather(*(to_end(desk.hub.read(log, 0)) for _ in range(100)))

        assert alone == list(range(1, 4004))
        assert all(seen == alone for seen in crowd)
        assert for_one <= 4003 // PAGE_FIRST
        assert len(asked) - for_one <= for_one + 2


async def test_a_crowd_of_which_some_leave_at_each_page_reads_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(reader: Subscription, batches: int) -> list[int]:
        seen: list[int] = []
        while batches and (batch := await reader.next()) is not None:
            seen += seqs_of(batch)
            batches -= 1
        reader.close()
        return seen

    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 2000)
        await desk.end(log)
        asked = count_reads(desk, monkeypatch, 0.001)
        crowd = await asyncio.gather(*(read(desk.hub.read(log, 0), batches) for batches in range(1, 50)))

        whole = list(range(1, 2004))
        assert all(seen == whole[: len(seen)] for seen in crowd)
        assert crowd[-1] == whole
        assert len(asked) == len(set(asked))
        assert not desk.hub.pages._readings
        assert not log.readers


async def test_the_last_of_several_readers_that_leaves_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 10)
        asked = count_reads(desk, monkeypatch, 60)
        readers = [desk.hub.read(log, 0) for _ in range(2)]
        waiting = [asyncio.create_task(reader.next()) for reader in readers]
        await asyncio.sleep(1)
        readers[0].close()
        assert await waiting[0] is None
        (reading,) = desk.hub.pages._wanted
        assert not reading.cancelling()
        readers[1].close()
        assert await waiting[1] is None

        assert asked == [0]
        assert reading.cancelling()
        assert not desk.hub.pages._wanted


async def test_a_reader_of_a_task_that_is_lost_ends_although_others_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 10)
        reader = desk.hub.read(log, 3)
        await desk.end_elsewhere()
        desk.hub.abandon(log)
        other = desk.hub.read(Log(log.record, LogWindow("a", last_seq=13, ended=True)), 3)
        count_reads(desk, monkeypatch, 1)
        found = await asyncio.gather(to_end(other), to_end(reader))

        assert list(found) == [list(range(4, 14)), list(range(4, 13))]
