"""What is known of one log in memory."""

from __future__ import annotations

import pytest

from streaming.engine.log import EVENT_BYTES, Log, size_of
from streaming.errors import TaskEnded
from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.rules.log import LogWindow

NOW = "2026-11-01T12:00:00.000000Z"
LATER = "2026-11-01T12:00:01.000000Z"


def log_of(*payloads: str, committed: int = 0) -> Log:
    record = Record("a", "work", TaskStatus.RUNNING, {}, 1.0, NOW, NOW, heartbeat_at=NOW, log_bytes=5)
    log = Log(record, LogWindow("a"))
    for seq, payload in enumerate(payloads, 1):
        log.window.append(Event("a", seq, "tick", NOW, payload))
    log.window.commit(committed)
    return log


def test_a_record_that_is_written_has_what_the_log_knows_of_itself() -> None:
    log = log_of()
    log.heartbeat_at, log.bytes = LATER, 77
    record = log.heard(attempt=2)

    assert (record.attempt, record.heartbeat_at, record.log_bytes) == (2, LATER, 77)


def test_a_record_that_is_shown_is_as_fresh_as_the_last_committed_event() -> None:
    log = log_of("1", "2", committed=1)

    assert log.snapshot().last_seq == 1


def test_a_dropped_log_takes_no_more() -> None:
    log = log_of()
    log.check_open()
    log.dropped = True
    with pytest.raises(TaskEnded, match="Task a takes no more events"):
        log.check_open()


@pytest.mark.parametrize(("committed", "trimmed", "seqs"), [(0, False, [1, 2, 3]), (2, False, [3]), (2, True, [3])])
def test_what_waits_is_what_is_not_committed(committed: int, trimmed: bool, seqs: list[int]) -> None:
    log = log_of("1", "22", "333", committed=committed)
    if trimmed:
        log.window.trim(events_max=0, bytes_max=0)

    assert [event.seq for event in log.waiting] == seqs
    log.backlog_events = log.backlog_bytes = 99
    log.recount()
    assert (log.backlog_events, log.backlog_bytes) == (len(seqs), sum(map(size_of, log.waiting)))


def test_what_an_event_takes_is_more_than_its_payload() -> None:
    assert size_of(Event("a", 1, "tick", NOW, "1234")) == 4 + EVENT_BYTES
