"""What has become of tasks, counted from the log: a metric is one of its readers.

Rules of this file:

- It is told once for each commit. What it does there is little, and nothing for each event.
- Only what is stored is counted; what was lost to somebody else is not.
- Nothing here grows with the number of tasks that have ended.

Owns:   counts of starts, runs, retries, cancels, timeouts and ends, and how long they took.
Uses:   engine.observer (what was written).
Never:  counts what is live: that is looked up when somebody asks (``observe.live``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container
from types import MappingProxyType

from streaming.engine.observer import Step, Written
from streaming.events import seconds_of
from streaming.observe.distribution import LONG_S, SHORT_S, Distribution
from streaming.observe.recent import Recent
from streaming.records import Record, TaskStatus
from streaming.rules.deadlines import EXPIRED_CODES
from streaming.rules.lifecycle import TERMINAL

#: Stands for a task type that is not registered: what others have left in a store must not become a label.
OTHER = "other"

_LIMITS = MappingProxyType({code: limit.value for limit, code in EXPIRED_CODES.items()})

#: Statuses whose error may be that of a deadline.
_EXPIRED = frozenset({TaskStatus.TIMED_OUT, TaskStatus.RETRYING})


class Tally:
    """An observer of the engine that counts.

    Args:
        types: the task types that have a name of their own here.
        clock: seconds; it never goes back.

    Attributes:
        now: as given.
        created: tasks by type.
        finished: tasks by status and type.
        retries: attempts that have failed and are followed by another one, by type.
        requeues: runs that were interrupted and are followed by another one, by type.
        timeouts: by the limit.
        cancels: tasks that have ended after somebody wanted to cancel them, by what became of that.
        waiting: seconds from the creation to the first run, by type.
        running: seconds of one run, by type.
        stopping: seconds from a wish to cancel to the stop.
        commits: seconds of each.
        events: that were written.
        rows: of all kinds that were written.
        recent: what was committed lately.
    """

    def __init__(self, types: Container[str], clock: Callable[[], float]) -> None:
        self.created: Counter[str] = Counter()
        self.finished: Counter[tuple[str, str]] = Counter()
        self.retries: Counter[str] = Counter()
        self.requeues: Counter[str] = Counter()
        self.timeouts: Counter[str] = Counter()
        self.cancels: Counter[str] = Counter()
        self.waiting: dict[str, Distribution] = {}
        self.running: dict[str, Distribution] = {}
        self.stopping = Distribution(LONG_S)
        self.commits = Distribution(SHORT_S)
        self.events = 0
        self.rows = 0
        self.recent = Recent(clock)
        self.now = clock
        self._types = types
        self._begun: dict[str, str] = {}  # when the run of each task has begun that this process has seen begin

    def committed(self, written: Written) -> None:
        """See `engine.observer.Observer`."""
        self.events += written.events
        self.rows += written.rows
        self.commits.add(written.seconds)
        self.recent.add(written.events, written.seconds)
        for step in written.steps:
            self._step(step)
        for task_id in written.lost:
            self._begun.pop(task_id, None)

    def label(self, type: str) -> str:
        """What a task type is called here."""
        return type if type in self._types else OTHER

    def forget_runs(self, live: Collection[str]) -> None:
        """Forget the runs of tasks that are gone without an end: their records went to somebody else."""
        if len(self._begun) > len(live):
            self._begun = {task_id: time for task_id, time in self._begun.items() if task_id in live}

    def _step(self, step: Step) -> None:
        change, record = step.change, step.record
        type, status = self.label(record.type), change.status
        begun = self._begun.pop(change.task_id, None)
        if begun is not None:
            self._spread(self.running, type, begun, change.time)
        if status is TaskStatus.RUNNING:
            self._begun[change.task_id] = change.time
            if record.attempt == 1:
                self._spread(self.waiting, type, record.created_at, change.time)
        elif status is TaskStatus.PENDING:
            (self.created if change.seq == 1 else self.requeues)[type] += 1
        elif status is TaskStatus.RETRYING:
            self.retries[type] += 1
        if status in _EXPIRED and record.error is not None and (limit := _LIMITS.get(record.error.code)) is not None:
            self.timeouts[limit] += 1
        if status in TERMINAL:
            self.finished[status.value, type] += 1
            self._end(record)

    def _end(self, record: Record) -> None:
        receipt = record.cancel
        if receipt is None:
            return
        self.cancels[receipt.outcome.value] += 1
        if receipt.stopped_at is not None:
            self.stopping.add(_seconds(receipt.requested_at, receipt.stopped_at))

    def _spread(self, those: dict[str, Distribution], type: str, since: str, until: str) -> None:
        found = those.get(type)
        if found is None:
            found = those[type] = Distribution(LONG_S)
        found.add(_seconds(since, until))


def _seconds(since: str, until: str) -> float:
    """The wall clock may have gone back between."""
    return max(0.0, seconds_of(until) - seconds_of(since))
