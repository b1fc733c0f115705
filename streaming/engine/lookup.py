"""Everything that only looks: records, logs, the feed, results.

Owns:   finding a task, live or remembered.
Uses:   engine.hub (live tasks), engine.journal (all others).
Never:  changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from streaming.engine.alarm import Latch
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal, RecordPage, RecordQuery
from streaming.engine.log import Log
from streaming.engine.mailbox import Mailbox
from streaming.engine.subscription import Subscription
from streaming.errors import (
    Draining,
    RecordDamaged,
    StoreUnavailable,
    TaskActive,
    TaskCancelled,
    TaskFailed,
    TaskInterrupted,
    TaskNotFound,
    TaskTerminal,
    TaskTimedOut,
    TaskUnsuccessful,
)
from streaming.events import Event
from streaming.records import CancelReceipt, Change, Record, TaskError, TaskStatus
from streaming.rules.access import Principal
from streaming.rules.deadlines import Limit
from streaming.rules.feed import FeedFilter
from streaming.rules.filters import Filter
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.log import LogWindow, with_gap
from streaming.rules.statistics import Statistics, StatisticsQuery

#: How many records have these values, in the order of the fields that were asked for.
Counts: TypeAlias = list[tuple[tuple[str | None, ...], int]]

_UNSUCCESSFUL: dict[TaskStatus, type[TaskUnsuccessful]] = {
    TaskStatus.FAILED: TaskFailed,
    TaskStatus.CANCELLED: TaskCancelled,
    TaskStatus.TIMED_OUT: TaskTimedOut,
    TaskStatus.INTERRUPTED: TaskInterrupted,
}


class LiveTask(Protocol):
    """A task that has not ended: one attempt of a handler here, or the work of somebody elsewhere.

    Attributes:
        log: where it is told what happens.
        mailbox: what others send into it.
        settled: set once a cancel was delivered, or cannot be delivered yet.
    """

    log: Log
    mailbox: Mailbox
    settled: Latch

    @property
    def id(self) -> str:
        """The task's id."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""

    @property
    def expired_limit(self) -> Limit | None:
        """The limit for which it is being stopped, if it is one."""

    def cancel(self, by: str, reason: str) -> None:
        """Write down that somebody cancels it."""

    def cancel_unwatched(self, reason: str | None) -> None:
        """Cancel it because nobody watches it; None takes that back."""

    def move(self, limit: Limit, seconds: float | None) -> None:
        """Make a limit longer or shorter."""


class Lookup:
    """The reading half of the coordinator.

    Args:
        journal: what is remembered.
        hub: what is live.
        wait_s: seconds that a question waits for a store that does not answer.
    """

    def __init__(self, journal: Journal, hub: Hub, wait_s: float) -> None:
        self._journal = journal
        self._wait_s = wait_s
        self._hub = hub
        self._tasks: dict[str, LiveTask] = {}

    async def get(self, task_id: str) -> Record:
        """The record of a task, as it was committed.

        Args:
            task_id: the task.

        Raises:
            TaskNotFound: there is none.
            RecordDamaged: somebody else has written to it in the store; so does everything else that needs it.
            StoreUnavailable: the store cannot be read.
        """
        log = self._live(task_id)
        if log is not None:
            return log.snapshot()
        record = await self._journal.record(task_id)
        if record is None:
            raise TaskNotFound(task_id)
        return record

    async def is_seen_by(self, principal: Principal, task_id: str) -> bool:
        """Whether a task is there for a principal.

        The answer about a task of somebody else takes the same way as the one about a task that does not exist.

        Args:
            principal: who asks.
            task_id: the task.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        log = self._live(task_id)
        if log is not None and principal.sees(log.record.created_by, log.record.tenant):
            return True
        return await self._journal.is_seen_by(principal, task_id)

    async def list(self, query: RecordQuery) -> RecordPage:
        """One page of records.

        Args:
            query: which, and in which order.

        Raises:
            BadFilter: this order needs a filter that leaves fewer records.
            QueryTooSlow: the store takes longer than it may.
            StoreUnavailable: it cannot be read.
        """
        return await self._journal.records(query)

    async def count(self, filter: Filter, group_by: Sequence[str] = ()) -> Counts:
        """How many records there are, for each combination of values; see `Journal.count`.

        Raises:
            QueryTooSlow: the store takes longer than it may.
            StoreUnavailable: it cannot be read.
        """
        return await self._journal.count(filter, group_by)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """What tasks that have ended have done, in a few numbers.

        Raises:
            QueryTooSlow: the store takes longer than it may.
            StoreUnavailable: it cannot be read.
        """
        return await self._journal.statistics(query)

    async def durations(self, type: str, limit: int) -> Sequence[float]:
        """Seconds that the newest completed runs of a type took; see `Journal.durations`.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        return await self._journal.durations(type, limit=limit)

    async def changes(self, task_id: str) -> Sequence[Change]:
        """All changes of a task's status, in their order.

        Args:
            task_id: the task.

        Raises:
            TaskNotFound: there is none.
            StoreUnavailable: the store cannot be read.
        """
        found = await self._journal.changes(task_id)
        if not found:
            await self.get(task_id)  # one that was stored before there was a history has none
        return found

    def now(self) -> str:
        """The time of the next event, RFC 3339."""
        return self._hub.now()

    async def wait(self, task_id: str, wait_s: float) -> Record:
        """Wait for the end of a task.

        Args:
            task_id: the task.
            wait_s: seconds to wait at most.

        Returns:
            The record, terminal or not.

        Raises:
            TaskNotFound: there is none.
            StoreUnavailable: the store cannot be read.
        """
        record = await self.get(task_id)
        if wait_s <= 0 or record.status in TERMINAL:
            return record
        subscription = await self.watch(task_id, after=record.last_seq)
        try:
            async with asyncio.timeout(wait_s):
                while await subscription.next() is not None:
                    pass
        except TimeoutError:
            pass  # the record says how far it is
        finally:
            subscription.close()
        return await self.get(task_id)

    async def result(self, task_id: str) -> Any:
        """Wait for the end of a task, however long, and return its result.

        Args:
            task_id: the task.

        Raises:
            TaskFailed: the handler raised.
            TaskCancelled: somebody cancelled it.
            TaskTimedOut: it was over its timeout, which the message names.
            TaskInterrupted: a shutdown or a crash ended it.
            TaskNotFound: there is none.
            StoreUnavailable: the store cannot be read.
        """
        record = await self.wait(task_id, float("inf"))
        if record.status is TaskStatus.COMPLETED:
            return record.result
        error = record.error or TaskError("interrupted", "The server has stopped.")
        raise _UNSUCCESSFUL.get(record.status, TaskInterrupted)(task_id, error.code, error.message)

    async def watch(self, task_id: str, *, after: int = 0, tail: int | None = None) -> Subscription:
        """Read the log of a task, from the beginning by default.

        Args:
            task_id: the task.
            after: the cursor: the seq of the last event that was seen.
            tail: begin so many events before the head instead.

        Raises:
            TaskNotFound: there is none.
            BadCursor: no event with this seq is visible.
            StoreUnavailable: the store cannot be read.
        """
        log = await self._log_of(task_id)
        return self._hub.read(log, after if tail is None else max(0, log.window.committed - tail))

    async def follow(
        self,
        *,
        after: int = 0,
        tail: int | None = None,
        types: frozenset[str] = frozenset(),
        task_types: frozenset[str] = frozenset(),
        tag: str | None = None,
        principal: Principal | None = None,
    ) -> Subscription:
        """Read the feed: the events of all tasks, in commit order.

        Args:
            after: the cursor: the last feed position that was seen.
            tail: begin so many positions before the head instead.
            types: only events of these types.
            task_types: only events of tasks of these types.
            tag: only events of tasks with this tag.
            principal: only events of tasks that are there for it; None is for everybody's.

        Raises:
            BadCursor: the feed has not got so far.
        """
        cursor = after if tail is None else max(0, self._hub.feed.last - tail)
        return self._hub.follow(cursor, FeedFilter(types, task_types, tag, principal))

    async def history(self, task_id: str, *, after: int, limit: int) -> Sequence[Event]:
        """One page of a task's log, as its stream would say it.

        Args:
            task_id: the task.
            after: the cursor: the seq of the last event of the page before, 0 for the first page.
            limit: events on the page, at most; a gap counts as one.

        Returns:
            The committed events behind the cursor; none at the head. A page that the store ends early has fewer.

        Raises:
            TaskNotFound: there is none.
            BadCursor: no event with this seq is visible.
            StoreUnavailable: the store cannot be read.
        """
        window = (await self._log_of(task_id)).window
        window.after(after)  # refuses a cursor that is no position
        upto = window.committed
        if upto == after:
            return []
        events = await self._journal.events_after(task_id, after, last_seq=upto, limit=limit)
        return with_gap(events, task_id=task_id, after=after, upto=upto, time=self._hub.now())[:limit]

    async def _log_of(self, task_id: str) -> Log:
        """The log of a live task, or one that stands for what the store has."""
        log = self._live(task_id)
        if log is not None:
            return log
        record = await self.get(task_id)
        if record.status not in TERMINAL:
            # Its creation may be stored, but not yet acknowledged: a reader has to get the log that is going to grow.
            await self._hub.committed(self._wait_s)
            log = self._live(task_id)
            if log is not None:
                return log
            record = await self.get(task_id)
        log = Log(record, LogWindow(task_id, last_seq=record.last_seq, ended=record.status in TERMINAL))
        log.lost = True  # nobody writes to it here
        return log

    async def _check_over(self, task_id: str) -> None:
        """Refuse what a task that goes on must not suffer.

        Raises:
            TaskNotFound: there is none.
            TaskActive: it has not ended.
            StoreUnavailable: the store cannot be read.
        """
        try:
            record = await self.get(task_id)
        except RecordDamaged:
            return  # that of a task which runs here is not read from the store
        if record.status not in TERMINAL:
            raise TaskActive(task_id, record.status)

    async def _going_on(self, task_id: str) -> LiveTask | None:
        """A task of which something may still be asked; None if it has ended.

        Raises:
            TaskNotFound: there is none.
            Draining: it waits for the next server.
            StoreUnavailable: the store cannot be read, or has a task that runs nowhere here.
        """
        task = self._owned(task_id)
        if task is None and (await self.get(task_id)).status not in TERMINAL:
            await self._hub.committed(self._wait_s)  # its creation may be stored, but not acknowledged yet
            task = self._owned(task_id)
            status = (await self.get(task_id)).status
            if task is None and status not in TERMINAL:
                raise (
                    Draining if self._hub.closed else StoreUnavailable(f"The task is {status}, but runs nowhere here.")
                )
        if task is None:
            return None
        if task.log.window.ended:
            await self._hub.committed(self._wait_s)  # nobody is told of an end that is not stored
            return None
        if self._hub.closed:
            raise Draining  # in a moment it is forgotten, and what is written to it goes nowhere
        return task

    async def _receipt_of_ended(self, task_id: str) -> CancelReceipt:
        """What became of the cancel of a task that has ended.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended in another way.
            StoreUnavailable: the store cannot be read.
        """
        record = await self.get(task_id)
        if record.status is TaskStatus.CANCELLED and record.cancel is not None:
            return record.cancel
        raise TaskTerminal(task_id, record.status)

    def _live(self, task_id: str) -> Log | None:
        task = self._owned(task_id)
        return None if task is None else task.log

    def _owned(self, task_id: str) -> LiveTask | None:
        """A live task that is ours."""
        task = self._tasks.get(task_id)
        return None if task is None or task.log.lost else task
