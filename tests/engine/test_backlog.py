"""What waits for its commit is counted, and those who write wait until it is less."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.backlog import UNAWAITED_BACKLOGS, Backlog, bytes_of_one_max
from streaming.engine.log import EVENT_BYTES, Log
from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import Tally
from streaming.rules.log import LogWindow
from tests.stage import rounds

pytestmark = pytest.mark.clock("virtual")

NOW = "2026-11-01T12:00:00.000000Z"


def log_of(task_id: str = "a") -> Log:
    return Log(Record(task_id, "work", TaskStatus.RUNNING, {}, 1.0, NOW, NOW), LogWindow(task_id))


def write(backlog: Backlog, log: Log, payload: str = "1234") -> Event:
    event = Event(log.window.task_id, log.window.last + 1, "tick", NOW, payload)
    log.window.append(event)
    backlog.add(log, event)
    return event


def test_what_is_written_is_counted_until_it_is_stored() -> None:
    backlog, one, other = Backlog(Settings()), log_of("a"), log_of("b")
    first, _ = write(backlog, one), write(backlog, other, "12345678")

    assert (one.backlog_events, one.backlog_bytes, one.bytes) == (1, 4 + EVENT_BYTES, 4)
    assert backlog.bytes == 12 + 2 * EVENT_BYTES
    backlog.take(one, first)
    assert (one.backlog_events, one.backlog_bytes, one.bytes) == (0, 0, 4)
    backlog.drop(other)
    assert (other.backlog_events, backlog.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "full"),
    [
        ({}, False),
        ({"backlog_events_max": 2}, False),
        ({"backlog_events_max": 1}, True),
        ({"backlog_bytes_max": 4 + EVENT_BYTES}, True),
        ({"backlog_total_bytes_max": 4 + EVENT_BYTES}, True),
    ],
)
def test_a_log_is_full_at_any_of_its_limits(settings: dict[str, Any], full: bool) -> None:
    backlog, log = Backlog(Settings(**settings)), log_of()
    write(backlog, log)

    assert backlog.full(log) is full


def test_while_the_store_is_away_every_log_is_full_but_for_one_that_is_lost() -> None:
    backlog, log = Backlog(Settings()), log_of()
    backlog.away = True

    assert backlog.full(log)
    log.lost = True
    assert not backlog.full(log)


async def test_who_waits_looks_again_when_it_is_woken_and_goes_on_at_the_end() -> None:
    backlog, log = Backlog(Settings(backlog_events_max=1)), log_of()
    event = write(backlog, log)
    waiters = [asyncio.create_task(backlog.room(log)) for _ in range(2)]
    await rounds()
    backlog.wake()
    await rounds()
    assert backlog.waiting == 2, "there is still no room"

    waiters[0].cancel()
    backlog.wake()  # in the same step
    await rounds()
    assert backlog.waiting == 1, "who has left is forgotten, however long the store is away"
    backlog.take(log, event)
    backlog.wake()
    await waiters[1]
    assert backlog.waiting == 0

    write(backlog, log)
    last = asyncio.create_task(backlog.room(log))
    await rounds()
    backlog.close()
    await last
    assert backlog.bytes == 0


async def test_what_is_counted_wrong_is_told_and_put_right() -> None:
    backlog, log = Backlog(Settings(backlog_total_bytes_max=1000)), log_of()
    write(backlog, log)
    backlog.bytes += 5000
    waiter = asyncio.create_task(backlog.room(log))
    await rounds()
    assert backlog.tally([log]) == Tally("backlog bytes", 5004 + EVENT_BYTES, 4 + EVENT_BYTES)

    log.recount()
    backlog.recount([log])
    await waiter
    assert backlog.tally([log]) == Tally("backlog bytes", 4 + EVENT_BYTES, 4 + EVENT_BYTES)


def test_a_log_is_crowded_where_not_even_a_line_that_nobody_awaits_fits() -> None:
    settings = Settings(backlog_events_max=2, backlog_bytes_max=1000)
    backlog, log = Backlog(settings), log_of()
    events = []
    for _ in range(2 * UNAWAITED_BACKLOGS):
        assert not backlog.crowded(log)
        events.append(write(backlog, log))
    assert backlog.crowded(log)
    backlog.take(log, events[0])
    assert not backlog.crowded(log)

    log.backlog_bytes = UNAWAITED_BACKLOGS * 1000 - 1
    assert not backlog.crowded(log)
    log.backlog_bytes += 1
    assert backlog.crowded(log)
    assert log.backlog_bytes < bytes_of_one_max(settings)
