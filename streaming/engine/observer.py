"""Who looks on while the log is written: told once for each commit, and not for each event.

Rules of this file:

- An observer is told of what is stored, in the step in which it becomes visible. It must not wait.
- One that raises has a bug, and is told nothing more: nobody's task is to fail because somebody counts.

Owns:   what is told of a commit, and to whom.
Uses:   engine.batch (what is written).
Never:  counts anything itself (``observe``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from streaming.engine.batch import Batch
from streaming.engine.deliveries import Deliveries
from streaming.engine.journal import Committed
from streaming.records import Change, Record

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a status that is stored, and the record with the last one of its commit."""

    change: Change
    record: Record


@dataclass(frozen=True, slots=True)
class Written:
    """What one commit has written.

    Attributes:
        events: how many.
        rows: how many of all kinds: events, records, changes, idempotency keys.
        steps: the changes of a status, in their order.
        lost: ids of tasks that are ours no longer; nothing of them was written.
        seconds: from its beginning to the answer of the store.
    """

    events: int
    rows: int
    steps: Sequence[Step]
    lost: frozenset[str]
    seconds: float


class Observer(Protocol):
    """Somebody who counts."""

    def now(self) -> float:
        """Seconds, of which only differences count; that of an event loop may be too coarse."""

    def committed(self, written: Written) -> None:
        """Something is stored."""


class Observed:
    """Where an observer may stand.

    Attributes:
        by: the one that stands there; None tells nobody.
        deliveries: what readers took; it is counted in any case.
    """

    __slots__ = ("by", "deliveries")

    def __init__(self) -> None:
        self.deliveries = Deliveries()
        self.by: Observer | None = None

    def now(self) -> float:
        """The observer's clock; 0 if there is none."""
        return 0.0 if self.by is None else self.by.now()

    def stored(self, batch: Batch, done: Committed, seconds: float) -> None:
        """Tell of a batch."""
        if self.by is None:
            return
        try:
            self.by.committed(written(batch, done, seconds))
        except Exception:
            self.by = None
            _log.exception("what is counted of commits stands still: the observer has failed")


def written(batch: Batch, done: Committed, seconds: float) -> Written:
    """What a batch has written, without what was left out."""
    events, records, lost = len(batch.events), len(batch.created) + len(batch.updated), done.lost
    changes = batch.changes
    if lost:
        events = sum(event.task_id not in lost for event in batch.events)
        records = sum(record.id not in lost for record in batch.records())
        changes = [change for change in changes if change.task_id not in lost]
    keys = len(batch.keys) + sum(key is not None for _, key, _ in batch.created.values())
    steps = _steps(batch, changes) if changes else ()
    return Written(events, events + records + len(changes) + keys, steps, lost, seconds)


def _steps(batch: Batch, changes: Sequence[Change]) -> Sequence[Step]:
    records = {record.id: record for record in batch.records()}
    return [Step(change, records[change.task_id]) for change in changes]
