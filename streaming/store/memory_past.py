"""What the memory store knows of ended tasks: which of them are not to be kept, and how long they took.

Owns:   which records and events go; durations and statistics.
Uses:   rules.retention and rules.statistics (the decisions), memory_task (one log).
Never:  removes anything itself (``memory``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from streaming.engine.journal import Walk
from streaming.records import Record, TaskStatus
from streaming.rules.lifecycle import LIVE
from streaming.rules.retention import Bounds, Retention
from streaming.rules.statistics import Ended, Statistics, StatisticsQuery, ended, statistics
from streaming.store.memory_list import is_wanted
from streaming.store.memory_task import MemoryTask


def surplus(tasks: Iterable[MemoryTask], bounds: Bounds, now: str, limit: int) -> list[str]:
    """The ids of the ended tasks that go next.

    Args:
        tasks: all of the type that may go.
        bounds: what is kept of them.
        now: the time, RFC 3339.
        limit: tasks at most.
    """
    known = sorted((task.record.finished_at or "", task.record.id, task.bytes) for task in tasks)
    size = sum(its_size for _, _, its_size in known)
    gone = bounds.surplus(((time, its_size) for time, _, its_size in known), count=len(known), size=size, now=now)
    return [task_id for _, task_id, _ in known[: min(gone, limit)]]


def outgrown(
    tasks: Mapping[str, MemoryTask],
    ages: Sequence[tuple[str, str]],
    policy: Retention,
    walk: Walk,
    now: str,
    limit: int,
) -> tuple[list[str], Walk | None]:
    """See `Journal.outgrown`.

    Args:
        tasks: all, by id.
        ages: (created_at, id) of all, ascending.
        policy: and the others, as there.
        walk: which tasks.
        now: the time, RFC 3339.
        limit: tasks to look at.
    """
    behind = (ages[index] for index in range(bisect_right(ages, walk.after), len(ages)))
    looked = list(islice((place for place in behind if _is_on_the_way(tasks[place[1]].record, walk)), limit))
    ids = [task_id for _, task_id in looked if excess(tasks[task_id], policy, now)]
    return ids, None if len(looked) < limit else Walk(walk.type, looked[-1])


def _is_on_the_way(record: Record, walk: Walk) -> bool:
    return record.status in LIVE if walk.type is None else record.type == walk.type


def excess(task: MemoryTask, policy: Retention, now: str) -> int:
    """How many of its oldest events are not to be kept; never the newest."""
    bounds = policy.for_type(task.record.type).events
    oldest = ((event.time, len(event.payload)) for event in islice(task.events, max(0, len(task.events) - 1)))
    return bounds.surplus(oldest, count=len(task.events), size=task.bytes, now=now)


def durations(free: Iterable[MemoryTask], held: Iterable[MemoryTask], type: str, limit: int) -> list[float]:
    """See `Journal.durations`.

    Args:
        free: those that have ended and are not held, newest first.
        held: those that are, newest first.
        type: of the tasks.
        limit: durations at most.
    """
    runs: list[Ended] = []
    for some in (free, held):
        runs += islice(_ended(task for task in some if _is_run(task.record, type)), limit)
    runs.sort(key=lambda task: task.finished_at, reverse=True)
    return [task.ran_s for task in runs[:limit] if task.ran_s is not None]


def _is_run(record: Record, type: str) -> bool:
    return record.type == type and record.status is TaskStatus.COMPLETED and record.started_at is not None


def figures(tasks: Iterable[MemoryTask], query: StatisticsQuery) -> Statistics:
    """See `Journal.statistics`."""
    found = [
        task
        for task in _ended(task for task in tasks if is_wanted(task.record, query.within))
        if query.since <= task.finished_at < query.until and (not query.types or task.type in query.types)
    ]
    found.sort(key=lambda task: task.finished_at, reverse=True)
    return statistics(found[: query.tasks_max + 1], query)


def _ended(tasks: Iterable[MemoryTask]) -> Iterator[Ended]:
    for task in tasks:
        record = task.record
        if record.finished_at is not None:
            repeated = record.attempt > 1 or record.retry_of is not None
            times = record.created_at, record.started_at, record.finished_at
            yield ended(record.type, record.status.value, *times, repeated=repeated, paused_at=_paused_at(task))


def _paused_at(task: MemoryTask) -> str | None:
    """When the pause began in which a task ended; None if it ended in none."""
    before = task.changes[-2:-1]
    return before[0].time if before and before[0].status is TaskStatus.RETRYING else None
