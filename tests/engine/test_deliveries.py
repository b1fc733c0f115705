"""What readers were given is counted: whoever hands it out, to each reader, and once."""

from __future__ import annotations

import dataclasses

import pytest

from streaming.engine.deliveries import Deliveries
from streaming.events import Event
from streaming.rules.feed import FeedFilter
from streaming.rules.log import Batch, gap_event
from tests.engine.hubs import Desk, seqs, to_end

pytestmark = pytest.mark.clock("virtual")

TIME = "2026-11-01T12:00:00.000000Z"


def test_gaps_are_counted_by_their_reason() -> None:
    deliveries = Deliveries()
    gaps = [gap_event("a", 1, 3, "retention", TIME), gap_event("a", 5, 5, "damaged", TIME)]
    deliveries.look_for_gaps([gaps[0], Event("a", 4, "tick", TIME, "{}"), gaps[1], gaps[1]])

    assert dict(deliveries.gaps) == {"retention": 1, "damaged": 2}


async def test_what_the_pass_hands_out_is_counted_for_each_reader_that_takes_it() -> None:
    async with Desk() as desk:
        log = await desk.log()
        taken: list[Batch] = []

        def take(batch: Batch) -> int:
            taken.append(batch)
            return len(batch.sse)

        for takes in (take, take, lambda batch: 0):
            reader = desk.hub.read(log, log.window.committed)
            reader.push = takes
        await desk.emit(log, 3)
        await desk.hub.committed()

        assert desk.hub.observed.deliveries.events == 6
        assert desk.hub.observed.deliveries.bytes == sum(len(batch.sse) for batch in taken) > 0


async def test_who_takes_it_otherwise_says_so() -> None:
    async with Desk() as desk:
        log = await desk.log()
        reader = desk.hub.read(log, 0)
        batch = reader.poll()
        assert isinstance(batch, Batch)
        reader.sent(len(batch.events), 77)

        assert (desk.hub.observed.deliveries.events, desk.hub.observed.deliveries.bytes) == (2, 77)


async def test_a_gap_that_a_reader_of_a_log_meets_is_counted() -> None:
    async with Desk(memory_events_max=3, window_events_max=1) as desk:
        log = await desk.log()
        await desk.emit(log, 8)
        await desk.end(log)
        reader = desk.hub.read(log, 0)
        await to_end(reader)

        assert dict(desk.hub.observed.deliveries.gaps) == {"retention": 1}


async def test_a_gap_that_a_reader_of_the_feed_meets_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 2)
        read = desk.store.feed_after

        async def damaged(*args: object, **kwargs: object) -> object:
            items = await read(*args, **kwargs)  # type: ignore[arg-type]  # it is passed on as it came
            gone = items[1].event
            return [
                dataclasses.replace(item, event=gap_event(gone.task_id, gone.seq, gone.seq, "damaged", TIME))
                if item.event is gone
                else item
                for item in items
            ]

        monkeypatch.setattr(desk.store, "feed_after", damaged)
        await seqs(desk.hub.follow(0, FeedFilter()), 4)

        assert dict(desk.hub.observed.deliveries.gaps) == {"damaged": 1}
