"""What is known of a task, a reader, a log in memory and an instance when somebody asks whether all is well.

Owns:   the evidence that `rules.invariants` looks at; what is said of a violation, and of one that was mended.
Never:  collects it: that is for who can see a store or a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streaming.events import Event
from streaming.records import CancelReceipt, Change, Record


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold.

    Attributes:
        invariant: its name.
        task_id: the task that it is about; None if it is about the instance.
        detail: what was found.
    """

    invariant: str
    task_id: str | None
    detail: str

    def __str__(self) -> str:
        about = "" if self.task_id is None else f" of task {self.task_id}"
        return f"{self.invariant}{about}: {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """The violation as it goes over the wire."""
        return {"invariant": self.invariant, "task_id": self.task_id, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Repair:
    """A violation that was put right.

    Attributes:
        invariant: what did not hold.
        task_id: the task that it is about; None if it is about the instance.
        done: what was done.
    """

    invariant: str
    task_id: str | None
    done: str

    def __str__(self) -> str:
        about = "" if self.task_id is None else f" of task {self.task_id}"
        return f"{self.invariant}{about}: {self.done}"

    def as_json(self) -> dict[str, Any]:
        """The repair as it goes over the wire."""
        return {"invariant": self.invariant, "task_id": self.task_id, "done": self.done}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvidence:
    """One task at one moment: nothing in it is newer than the record.

    Attributes:
        record: as it is stored.
        events: stored events, ascending, up to the last; without the oldest ones if they are gone or were not read.
        changes: of its status, as they are stored.
        whole: whether the log has to begin with its first event; not so where retention may have removed some.
        told: whether the history has to begin with the first status; not so where a task is older than histories.
        receipts: what those were told who have asked for its cancel.
    """

    record: Record
    events: Sequence[Event]
    changes: Sequence[Change]
    whole: bool = True
    told: bool = True
    receipts: Sequence[CancelReceipt] = ()

    @property
    def task_id(self) -> str:
        """The task."""
        return self.record.id

    @property
    def first_seq(self) -> int:
        """Of the first event that is known; behind the last one where none is."""
        return self.events[0].seq if self.events else self.record.last_seq + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderEvidence:
    """What one reader of a log saw.

    Attributes:
        task_id: the task.
        seen: seq and bytes of each event, in the order in which they came.
        log: seq and bytes of each stored event, in their order.
        after: the cursor with which it came.
        gaps: the ranges of which it was told that they are gone, first and last.
        early: seq of each event that it saw before its commit.
        to_the_end: whether it was told that nothing follows.
        whole: whether the log has to begin with its first event; not so where retention may have removed some.
    """

    task_id: str
    seen: Sequence[tuple[int, bytes]]
    log: Sequence[tuple[int, bytes]]
    after: int = 0
    gaps: Sequence[tuple[int, int]] = ()
    early: Sequence[int] = ()
    to_the_end: bool = False
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvidence:
    """A log in the memory of one instance.

    Attributes:
        task_id: the task.
        first: seq of the oldest event that is kept.
        committed: seq of the newest event that readers may see.
        last: seq of the newest event that was written.
        kept: how many events are kept.
        waiting: how many events the log says wait for their commit.
        stored_seq: seq of the newest event in the store, asked after ``committed`` was read; None if nobody has asked.
        cursors: of its readers.
    """

    task_id: str
    first: int
    committed: int
    last: int
    kept: int
    waiting: int
    stored_seq: int | None = None
    cursors: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """A number that is kept beside what it counts.

    Attributes:
        name: of the number.
        says: the number.
        counted: the same, counted anew.
        task_id: the task that it is about; None if it is about the instance.
    """

    name: str
    says: int
    counted: int
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory that has a limit.

    Attributes:
        name: of what takes it, with its unit.
        taken: how much it takes.
        most: the limit, with what one more write may add to it.
        task_id: the task that takes it; None if it is the instance.
    """

    name: str
    taken: int
    most: int
    task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvidence:
    """One instance, and the store that is its own.

    Attributes:
        handlers: ids of the tasks whose handlers run here, without those that are being stopped as they are lost.
        live: ids of the tasks in memory that go on.
        unfinished: ids of the records in the store that are not terminal.
        running: ids of those among them that a handler here has to be at work for.
        placeless: ids of live tasks that neither run here nor wait for their turn.
        damaged: ids of records in the store that cannot be read.
        homeless: whose id a table has that is to know live tasks only: name of the table, id.
        logless: ids of live tasks that have no log here.
        tables: what is to be empty at rest, and is not: its size by its name.
        resting: whether the instance is at rest: no task is live.
        tallies: numbers that are kept.
        budgets: memory that is taken.
    """

    handlers: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    unfinished: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    placeless: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()
    homeless: Sequence[tuple[str, str]] = ()
    logless: frozenset[str] = frozenset()
    tables: Mapping[str, int] = field(default_factory=dict)
    resting: bool = False
    tallies: Sequence[Tally] = ()
    budgets: Sequence[Budget] = ()
