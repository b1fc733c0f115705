"""Collecting what is to be seen of a task, in a store and in memory, so that it can be checked.

Rules of this file:

- Nothing in the evidence of a task is newer than its record: an event that comes meanwhile is no hole.
- Of a log the newest events are read, page by page, and of those what their check needs: the size is bounded.

Owns:   the evidence of one stored task, and of one log in memory.
Uses:   engine.journal, engine.log.
Never:  judges (``rules.invariants``).
"""

from __future__ import annotations

import dataclasses

from streaming.config import Settings
from streaming.engine.backlog import bytes_of_one_max
from streaming.engine.journal import Journal
from streaming.engine.log import Log, size_of
from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import Budget, InstanceEvidence, LogEvidence, Tally, TaskEvidence

#: Of one log the newest events that are read, and how many of them at once.
EVENTS_MAX = 1000
PAGE = 256


async def evidence_of(journal: Journal, task_id: str) -> TaskEvidence | None:
    """What the store has of a task; None if it has no such task.

    Its log may begin later than with its first event: retention may have removed some, and of a long one not all are
    read. A task without a beginning of its history may be older than histories.

    Raises:
        RecordDamaged: its record cannot be read.
        StoreUnavailable: the store cannot be read.
    """
    record = await journal.record(task_id)
    if record is None:
        return None
    events = await _newest_events(journal, record)
    changes = [change for change in await journal.changes(task_id) if change.seq <= record.last_seq]
    told = bool(changes) and changes[0].seq == 1
    return TaskEvidence(record=record, events=events, changes=changes, whole=False, told=told)


async def _newest_events(journal: Journal, record: Record) -> list[Event]:
    events: list[Event] = []
    seq = max(0, record.last_seq - EVENTS_MAX)
    while seq < record.last_seq:
        page = await journal.events_after(record.id, seq, last_seq=record.last_seq, limit=PAGE)
        if not page:
            break
        events += map(_slim, page)
        seq = page[-1].seq
    return events


def _slim(event: Event) -> Event:
    """Without what no check looks at."""
    return event if event.type == TaskStatus.RUNNING else dataclasses.replace(event, payload="null")


def stored(task_id: str, visible: int, stored_seq: int) -> LogEvidence:
    """What readers may see of a log, and what the store had of it afterwards; the rest of its window is left out."""
    return LogEvidence(
        task_id=task_id, first=1, committed=visible, last=visible, kept=visible, waiting=0, stored_seq=stored_seq
    )


def evidence_in_memory(log: Log, settings: Settings) -> tuple[LogEvidence, InstanceEvidence]:
    """What an instance has of an open log: its window and its readers, and what it takes."""
    task_id, window = log.window.task_id, log.window
    frames = [len(frame) for _, frame in window.kept]
    visible = sum(frames[: window.committed + 1 - window.first])
    waiting = sum(map(size_of, log.waiting))
    return (
        LogEvidence(
            task_id=task_id,
            first=window.first,
            committed=window.committed,
            last=window.last,
            kept=len(frames),
            waiting=log.backlog_events,
            cursors=[reader.cursor for reader in log.readers],
        ),
        InstanceEvidence(
            tallies=[
                Tally("backlog bytes", log.backlog_bytes, waiting, task_id),
                Tally("window bytes", window.size, sum(frames), task_id),
            ],
            budgets=[
                Budget("window bytes", visible, settings.window_bytes_max, task_id),
                Budget("backlog bytes", log.backlog_bytes, bytes_of_one_max(settings), task_id),
            ],
        ),
    )
