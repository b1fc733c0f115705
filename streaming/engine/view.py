"""The coordinator, as one principal sees it: its own tasks, and no others.

Rules of this file:

- Whether a task is there for a principal is asked in one way, before anything else, and nothing is asked of one that is
  not. So somebody else's task and one that does not exist take the same way, and the same time.
- What looks at many tasks is narrowed before it is asked, and never sorted out afterwards.

Owns:   which tasks there are for whom, and by whom something is done.
Uses:   rules.access (who sees what), engine.coordinator (everything else).
Never:  decides whether a principal may do something with a task of its own: that is a matter of scopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.journal import RecordPage, RecordQuery
from streaming.engine.lookup import Counts
from streaming.engine.options import StartOptions
from streaming.engine.subscription import Subscription
from streaming.engine.watch import Watch
from streaming.errors import TaskNotFound
from streaming.events import Event
from streaming.records import CancelReceipt, Change, Record
from streaming.rules.access import Principal
from streaming.rules.deadlines import Limit
from streaming.rules.drain import Outlook
from streaming.rules.feed import FeedFilter
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.reporting import Report
from streaming.rules.statistics import Statistics, StatisticsQuery
from streaming.rules.trace_context import TraceContext
from streaming.rules.why import Seen


def own_tasks(principal: Principal) -> Filter:
    """Which tasks are there for a principal that is no admin; see `Principal.sees`."""
    if principal.tenant is not None:
        return Filter((Term("tenant", Operator.EQ, (principal.tenant,)),))
    return Filter((Term("created_by", Operator.EQ, (principal.name,)), Term("tenant", Operator.NULL, (True,))))


class View:
    """The tasks of one principal; see `TaskCoordinator` for what each method does, takes and raises.

    What is about one task raises TaskNotFound for one that is not there for the principal.

    Args:
        coordinator: has the tasks of everybody.
        principal: who asks.
        granted: a task that was there for whoever has let this principal see it.
    """

    __slots__ = ("_coordinator", "_granted", "_principal")

    def __init__(self, coordinator: TaskCoordinator, principal: Principal, granted: str | None = None) -> None:
        self._coordinator = coordinator
        self._principal = principal
        self._granted = granted

    # -- many tasks ----------------------------------------------------------------------------------------------------

    async def list(self, query: RecordQuery) -> RecordPage:
        """One page of its records."""
        return await self._coordinator.list(replace(query, filter=self._own(query.filter)))

    async def count(self, filter: Filter, group_by: Sequence[str] = ()) -> Counts:
        """How many of its records there are."""
        return await self._coordinator.count(self._own(filter), group_by)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """What its tasks have done."""
        return await self._coordinator.statistics(replace(query, within=self._own(query.within)))

    async def follow(
        self,
        *,
        after: int = 0,
        tail: int | None = None,
        types: frozenset[str] = frozenset(),
        task_types: frozenset[str] = frozenset(),
        tag: str | None = None,
    ) -> Subscription:
        """Read the feed: the events of its tasks."""
        principal = None if self._principal.admin else self._principal
        return await self._coordinator.follow(
            after=after, tail=tail, types=types, task_types=task_types, tag=tag, principal=principal
        )

    async def _follow_for(self, wanted: FeedFilter, after: int | None) -> Subscription:
        tail = 0 if after is None else None
        return await self.follow(
            after=after or 0, tail=tail, types=wanted.types, task_types=wanted.task_types, tag=wanted.tag
        )

    def outlooks(self) -> Sequence[tuple[Record, Outlook]]:
        """What becomes of its running tasks in a drain."""
        sees = self._principal.sees
        return [each for each in self._coordinator.outlooks() if sees(each[0].created_by, each[0].tenant)]

    def _own(self, filter: Filter) -> Filter:
        return filter if self._principal.admin else filter.narrowed(own_tasks(self._principal))

    # -- a new task ----------------------------------------------------------------------------------------------------

    async def start(
        self,
        type: str,
        params: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        fingerprint: str = "",
        **options: Unpack[StartOptions],
    ) -> tuple[Record, bool]:
        """Start a task that is its own."""
        options["created_by"], options["tenant"] = self._principal.name, self._principal.tenant
        return await self._coordinator.start(
            type, params, idempotency_key=idempotency_key, fingerprint=fingerprint, **options
        )

    async def retry(
        self, task_id: str, *, idempotency_key: str | None = None, trace: TraceContext | None = None
    ) -> tuple[Record, bool]:
        """Start a task that has ended once more; the new one is its own."""
        await self._check(task_id)
        who = self._principal
        return await self._coordinator.retry(
            task_id, by=who.name, tenant=who.tenant, idempotency_key=idempotency_key, trace=trace
        )

    # -- one task ------------------------------------------------------------------------------------------------------

    async def _check(self, task_id: str) -> None:
        """Refuse a task that is not there for the principal.

        Raises:
            TaskNotFound: it is not.
            StoreUnavailable: nobody can tell.
        """
        if self._principal.admin or task_id == self._granted:
            return
        if not await self._coordinator.is_seen_by(self._principal, task_id):
            raise TaskNotFound(task_id)
        self._granted = task_id  # it never changes hands: once is enough

    async def get(self, task_id: str) -> Record:
        """The record of a task."""
        await self._check(task_id)
        return await self._coordinator.get(task_id)

    async def wait(self, task_id: str, wait_s: float) -> Record:
        """Wait for the end of a task."""
        await self._check(task_id)
        return await self._coordinator.wait(task_id, wait_s)

    async def changes(self, task_id: str) -> Sequence[Change]:
        """All changes of a task's status."""
        await self._check(task_id)
        return await self._coordinator.changes(task_id)

    async def why(self, task_id: str) -> Seen:
        """What is to be seen of a task."""
        await self._check(task_id)
        return await self._coordinator.why(task_id)

    async def watch(self, task_id: str, *, after: int = 0, tail: int | None = None) -> Subscription:
        """Read the log of a task."""
        await self._check(task_id)
        return await self._coordinator.watch(task_id, after=after, tail=tail)

    async def watch_all(
        self, logs: Mapping[str, int], *, feed: FeedFilter | None = None, feed_after: int | None = None
    ) -> Watch:
        """Read the logs of several tasks, and the feed, as one.

        Args:
            logs: cursors by task id.
            feed: what is wanted of the feed; None: nothing.
            feed_after: the cursor in the feed; None: from now on.
        """
        channels: dict[str, Subscription] = {}
        try:
            for task_id, after in logs.items():
                channels[task_id] = await self.watch(task_id, after=after)
            return Watch(None if feed is None else await self._follow_for(feed, feed_after), channels)
        except BaseException:
            for channel in channels.values():
                channel.close()
            raise

    async def history(self, task_id: str, *, after: int, limit: int) -> Sequence[Event]:
        """One page of a task's log."""
        await self._check(task_id)
        return await self._coordinator.history(task_id, after=after, limit=limit)

    async def cancel_task(self, task_id: str, *, reason: str = "", wait_s: float = 0.0) -> CancelReceipt:
        """Ask a task to stop."""
        await self._check(task_id)
        return await self._coordinator.cancel_task(task_id, reason=reason, by=self._principal.name, wait_s=wait_s)

    async def extend(self, task_id: str, limits: Mapping[Limit, float | None]) -> Record:
        """Give a live task more time, or less."""
        await self._check(task_id)
        return await self._coordinator.extend(task_id, limits)

    async def send_input(self, task_id: str, data: object) -> Event:
        """Send something into a task."""
        await self._check(task_id)
        return await self._coordinator.send_input(task_id, data, by=self._principal.name)

    async def report(self, task_id: str, report: Report) -> Record:
        """Take what the worker of an external task says of it."""
        await self._check(task_id)
        return await self._coordinator.report(task_id, report, by=self._principal.name)

    async def acknowledge(self, task_id: str) -> Record:
        """Note that the result of a task was seen."""
        await self._check(task_id)
        return await self._coordinator.acknowledge(task_id)

    async def delete(self, task_id: str) -> None:
        """Forget a task that has ended."""
        await self._check(task_id)
        await self._coordinator.delete(task_id)
