"""What somebody else has is known for a time, and never longer."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from streaming.access.remembered import Remembered
from streaming.errors import StoreUnavailable
from tests.access.clock import Clock


class Source:
    """Has a number, which is another one each time; may be away, and may be slow."""

    def __init__(self) -> None:
        self.reads = 0
        self.problem: Exception | None = None
        self.slow: asyncio.Event | None = None

    async def __call__(self) -> int:
        self.reads += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.problem is not None:
            raise self.problem
        return self.reads


def remembered(source: Source, clock: Clock, **more: float) -> Remembered[int]:
    times = {"fresh_s": 5, "stale_s": 300, "wait_s": 60, "pause_s": 1, **more}
    return Remembered("numbers", source, ticks=clock, **times)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_is_read_when_it_is_needed_and_again_when_it_is_old() -> None:
    source, clock = Source(), Clock()
    known = remembered(source, clock)

    assert [known.value, known.was_read] == [None, False]

    await known.renew()
    assert [known.value, known.was_read] == [1, True]
    clock.move(4.9)
    await known.renew()
    assert known.value == 1
    clock.move(0.1)
    await known.renew()
    assert known.value == 2


async def test_many_who_ask_at_once_share_one_read() -> None:
    source = Source()
    source.slow = asyncio.Event()
    known = remembered(source, Clock())
    waiting = [asyncio.create_task(known.renew()) for _ in range(20)]
    await turns()
    source.slow.set()
    await asyncio.gather(*waiting)

    assert source.reads == 1


async def test_while_it_cannot_be_read_it_stays_as_it_was_for_its_time() -> None:
    source, clock = Source(), Clock()
    known = remembered(source, clock)
    await known.renew()
    source.problem = StoreUnavailable("away")
    clock.move(299.9)
    await known.renew()

    assert known.value == 1
    clock.move(0.1)
    assert [known.value, known.was_read] == [None, True]


async def test_nobody_waits_for_a_read_after_one_has_failed() -> None:
    source, clock = Source(), Clock()
    source.problem = StoreUnavailable("away")
    known = remembered(source, clock)
    await known.renew()
    source.problem, source.slow = None, asyncio.Event()
    clock.move(1)
    await asyncio.wait_for(known.renew(), 10)  # waits for nothing, though the source does not answer

    await turns()
    assert (source.reads, known.value) == (2, None)
    source.slow.set()
    await turns()
    assert known.value == 2


async def test_after_a_read_that_has_failed_there_is_a_pause() -> None:
    source, clock = Source(), Clock()
    source.problem = StoreUnavailable("away")
    known = remembered(source, clock)
    await known.renew()
    clock.move(0.9)
    await known.renew()
    await turns()
    assert source.reads == 1
    clock.move(0.1)
    await known.renew()
    await turns()
    assert source.reads == 2


async def test_out_of_turn_it_is_read_at_once_and_then_after_a_pause() -> None:
    source, clock = Source(), Clock()
    known = remembered(source, clock)
    await known.renew()
    await known.look_again()
    assert source.reads == 2
    for _ in range(10):
        await known.look_again()
    clock.move(0.9)
    await known.look_again()
    assert source.reads == 2
    clock.move(0.1)
    await known.look_again()
    assert source.reads == 3


async def test_who_looks_again_joins_a_read_that_is_under_way() -> None:
    source, clock = Source(), Clock()
    known = remembered(source, clock)
    await known.look_again()
    source.slow = asyncio.Event()
    reading = asyncio.create_task(known.refresh())
    await turns()
    looking = asyncio.create_task(known.look_again())
    await turns()
    assert not looking.done()
    source.slow.set()
    await asyncio.gather(reading, looking)
    assert (source.reads, known.value) == (2, 2)


async def test_refreshing_reads_whatever_the_age() -> None:
    source = Source()
    known = remembered(source, Clock())
    await known.renew()
    await known.refresh()

    assert known.value == 2


async def test_a_read_without_an_end_is_ended() -> None:
    source = Source()
    source.slow = asyncio.Event()
    known = remembered(source, Clock(), wait_s=0.01)
    with structlog.testing.capture_logs() as lines:
        await known.renew()

    assert known.value is None
    assert [line["reason"] for line in lines] == ["TimeoutError"]


async def test_its_age_counts_from_the_beginning_of_the_read() -> None:
    source, clock = Source(), Clock()
    source.slow = asyncio.Event()
    known = remembered(source, clock)
    reading = asyncio.create_task(known.renew())
    await turns()
    clock.move(5)
    source.slow.set()
    await reading
    source.slow = None
    await known.renew()

    assert known.value == 2


@pytest.mark.parametrize(("problem", "trace"), [(StoreUnavailable("away"), False), (RuntimeError("bug"), True)])
async def test_that_it_is_away_and_back_is_said_once(problem: Exception, trace: bool) -> None:
    source, clock = Source(), Clock()
    known = remembered(source, clock)
    with structlog.testing.capture_logs() as lines:
        source.problem = problem
        for _ in range(3):
            await known.refresh()
        source.problem = None
        for _ in range(3):
            await known.refresh()

    assert [(line["log_level"], line["what"]) for line in lines] == [("warning", "numbers"), ("info", "numbers")]
    assert (lines[0]["reason"], lines[0]["exc_info"] is not None) == (str(problem), trace)


async def test_what_is_stale_sooner_than_old_is_known_until_it_is_old() -> None:
    known = remembered(Source(), clock := Clock(), fresh_s=10, stale_s=1)
    await known.renew()
    clock.move(9)

    assert known.value == 1


async def test_closing_ends_a_read() -> None:
    source = Source()
    source.slow = asyncio.Event()
    known = remembered(source, Clock())
    reading = asyncio.create_task(known.renew())
    await turns()
    await known.close()
    await reading

    assert known.value is None
