"""What is live at this moment, looked up when somebody asks.

Owns:   counts of live tasks and of readers that have something left to read.
Uses:   engine.parts (where everything is).
Never:  changes anything, or keeps what it has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from streaming.engine.parts import Parts
from streaming.events import seconds_of
from streaming.records import CancelOutcome, TaskStatus
from streaming.rules.lifecycle import LIVE

_STATUS_AND_TYPE = attrgetter("status", "type")


@dataclass(frozen=True, slots=True)
class Live:
    """What is live, as it was committed.

    Attributes:
        tasks: by status and type.
        cancels: wishes to cancel a task that still goes on, by what has become of them.
        oldest_waiting_s: for how long the oldest pending task has waited; 0 if none waits.
    """

    tasks: Counter[tuple[str, str]]
    cancels: Counter[str]
    oldest_waiting_s: float

    def of_status(self, status: TaskStatus) -> int:
        """How many tasks have a status."""
        return sum(count for (found, _), count in self.tasks.items() if found == status.value)


def look(parts: Parts, label: Callable[[str], str]) -> Live:
    """Look at all live tasks.

    Args:
        parts: of the instance.
        label: what a task type is called.
    """
    records = [task.log.visible for task in parts.tasks.values()]
    tasks: Counter[tuple[str, str]] = Counter()
    for (status, type), count in Counter(map(_STATUS_AND_TYPE, records)).items():
        if status in LIVE:  # one that has ended may be about to be forgotten
            tasks[status.value, label(type)] += count
    wishes = [(record.cancel, record.status) for record in records if record.cancel is not None]
    cancels = Counter(receipt.outcome.value for receipt, status in wishes if status in LIVE)
    oldest = min((record.created_at for record in records if record.status is TaskStatus.PENDING), default=None)
    waited_s = 0.0 if oldest is None else max(0.0, parts.hub.wall() - seconds_of(oldest))
    return Live(tasks, cancels, waited_s)


def readers_behind(parts: Parts) -> int:
    """How many readers of live tasks and of the feed have not been given all that is committed."""
    hub = parts.hub
    behind = sum(reader.cursor < hub.feed.last for reader in hub.feed_readers)
    for log in hub.logs.values():
        if log.readers:
            committed = log.window.committed
            behind += sum(reader.cursor < committed for reader in log.readers)
    return behind


#: What may have become of a wish to cancel a task that still goes on.
OPEN_OUTCOMES = (CancelOutcome.REQUESTED.value, CancelOutcome.IGNORED.value)
