"""What the engine asks of a store.

Owns:   the `Journal` protocol: commit, read back, recover.
Never:  implements it (``store``), or decides what is written (``engine.coordinator``).

The contract, which one test suite checks against every store:

- `Journal.commit` is atomic: all of it, or nothing. When it raises, nothing is stored, or all of it is and only the
  answer was lost; `Journal.outcome` tells which.
- Positions of the feed grow with every commit, in the order of ``Commit.events``.
- A record whose status in the store is terminal, whose log there has its terminal event, or that is gone, is *lost* to
  us, and so is one to whose log somebody else writes: it does not end there right before the first of our events. Its
  updates and events are left out, the rest of the commit is stored, and `Committed.lost` names it.
- What somebody else has damaged takes nothing else with it, and a log line names it: a record that cannot be read is
  left out of pages and of `Journal.unfinished`, an API key is there and opens nothing, and a ``gap`` with the reason
  ``damaged`` stands for such an event.
- Anything that goes wrong outside our control is raised as `errors.StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.access import ApiKey, Principal
from streaming.rules.breaker import Circuit
from streaming.rules.feed import FeedItem
from streaming.rules.filters import EVERYTHING, Filter
from streaming.rules.retention import Bounds, Retention
from streaming.rules.sorting import DEFAULT_ORDER, Key, Order
from streaming.rules.statistics import Statistics, StatisticsQuery

__all__ = [
    "PAGE_BYTES_MAX",
    "TROUBLES",
    "Commit",
    "Committed",
    "FeedItem",
    "Journal",
    "Pruned",
    "RecordPage",
    "RecordQuery",
    "Walk",
]

#: A page of events or records may end once it has so many bytes, so that large ones do not fill the memory.
PAGE_BYTES_MAX = 1_048_576

#: What may go wrong with a store.
TROUBLES = ("read", "write")


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction writes.

    Attributes:
        events: in feed order; of one task, in the order of seq.
        created: new records; their first event is in ``events``.
        updated: records as they are to be now, at most one a task; none of them is in ``created``.
        keys: idempotency keys of created records and of others; one whose record is gone is left out.
        changes: of the status, one for each event in ``events`` that tells one.
    """

    events: Sequence[Event]
    created: Sequence[Record] = ()
    updated: Sequence[Record] = ()
    keys: Sequence[IdempotencyKey] = ()
    changes: Sequence[Change] = ()

    def first_seqs(self) -> dict[str, int]:
        """The lowest seq of each task that has events here."""
        return {event.task_id: event.seq for event in reversed(self.events)}

    def positions_from(self, found: Mapping[Event, int]) -> tuple[Sequence[int], frozenset[str]]:
        """Where the events of a commit that took place were stored, by those that are still there.

        Retention may have removed the oldest of a task meanwhile; but a commit gives its positions without holes.

        Args:
            found: positions of some of the events, at least one; the newest of each task that was stored.

        Returns:
            The positions of all that were stored, and whose events these are.
        """
        written = frozenset(event.task_id for event in found)
        stored = [event for event in self.events if event.task_id in written]
        event = next(iter(found))
        first = found[event] - stored.index(event)
        return range(first, first + len(stored)), written


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a commit.

    Attributes:
        positions: the feed positions of the stored events, in their order, growing.
        lost: ids of tasks whose events and updates were left out.
    """

    positions: Sequence[int]
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """Which records, in which order.

    Attributes:
        filter: which.
        order: in which order.
        after: the place behind which the page begins, a sort key in this order; None for the first page.
        limit: at most so many.
    """

    filter: Filter = EVERYTHING
    order: tuple[Order, ...] = DEFAULT_ORDER
    after: Key | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records; iterate over it.

    A page may have fewer records than its limit, even none, and be followed by another one: a store looks at
    ``scan_max`` records at most for one page, and a page of large records ends early (as in https://google.aip.dev/158).

    Attributes:
        records: in the order of the query.
        more: the place behind which the next page begins; None if there is nothing behind this one.
        damaged: ids of those that would be on it, and cannot be read.
    """

    records: Sequence[Record]
    more: Key | None = None
    damaged: Sequence[str] = ()

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention has removed in one transaction.

    Attributes:
        records: with all that belongs to them.
        events: the oldest of logs that go on, or that are too long to go at once.
    """

    records: int = 0
    events: int = 0

    def __bool__(self) -> bool:
        return self != Pruned()

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.records + other.records, self.events + other.events)


@dataclass(frozen=True, slots=True)
class Walk:
    """A way through the logs, oldest task first.

    Attributes:
        type: of the tasks; None goes through the live tasks of all types.
        after: (created_at, id) of the last task that was looked at.
    """

    type: str | None = None
    after: tuple[str, str] = ("", "")


class Journal(Protocol):
    """A store, seen from the engine."""

    @property
    def durable(self) -> bool:
        """Whether what is committed outlives the process."""

    @property
    def circuit(self) -> Circuit | None:
        """The state of the breaker in front of the store; None if it has none."""

    @property
    def troubles(self) -> Mapping[str, int]:
        """How often it could not be read (``read``) or written (``write``) since it was opened."""

    async def open(self) -> None:
        """Make ready for use: connect, upgrade the schema, take the lock of this store.

        Raises:
            StoreUnreachable: nobody answers there now; it may be tried again.
            StoreUnavailable: it cannot be used; the message says why and what would help.
        """

    async def close(self) -> None:
        """Release everything. Closing twice is allowed."""

    async def commit(self, commit: Commit) -> Committed:
        """Store all of ``commit`` in one transaction.

        Raises:
            StoreUnavailable: nothing was stored, or nobody knows; ask `outcome`.
        """

    async def outcome(self, commit: Commit) -> Committed | None:
        """What became of a commit that raised: None if it did not take place and may be repeated."""

    async def record(self, task_id: str) -> Record | None:
        """The stored record; ``last_seq`` counts all stored events.

        Raises:
            RecordDamaged: it cannot be read, and will not be.
        """

    async def is_seen_by(self, principal: Principal, task_id: str) -> bool:
        """Whether a record of this id is there for a principal; nothing else of it is read."""

    async def records(self, query: RecordQuery) -> RecordPage:
        """One page of records; see `RecordPage`.

        Raises:
            BadFilter: this order needs a filter that leaves fewer records; the detail says which orders do not.
            QueryTooSlow: it takes longer than ``query_timeout_s``.
        """

    async def count(self, filter: Filter, group_by: Sequence[str] = ()) -> list[tuple[tuple[str | None, ...], int]]:
        """How many records there are, for each combination of values of the fields in ``group_by``, most first.

        Args:
            filter: which records count.
            group_by: names of fields with few values: status, type, priority, created_by, error.

        Returns:
            (values in the order of ``group_by``, how many); without ``group_by`` one entry with no values.

        Raises:
            QueryTooSlow: it takes longer than ``query_timeout_s``.
        """

    async def changes(self, task_id: str) -> list[Change]:
        """All changes of a task's status, in their order; none of an unknown task."""

    async def acknowledge(self, task_id: str, time: str) -> Record | None:
        """Note on a terminal record that its result was seen: the first time counts. None if there is no such one."""

    async def unfinished(self) -> list[Record]:
        """All records that are not terminal, oldest first."""

    async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        """Events with ``seq`` < event.seq <= ``last_seq``, ascending, at most ``limit``.

        There may be fewer, but not none where there are some: a page ends once it has `PAGE_BYTES_MAX`.
        """

    async def feed_after(
        self, position: int, *, last_position: int, limit: int, principal: Principal | None = None
    ) -> list[FeedItem]:
        """Feed items with ``position`` < item.position <= ``last_position``, ascending, at most ``limit``.

        There may be fewer, but not none where there are some: a page ends once it has `PAGE_BYTES_MAX`.

        Args:
            position: of the item before the first one.
            last_position: of the last one, at most.
            limit: items at most.
            principal: only those of tasks that it sees; None takes all.
        """

    async def last_position(self) -> int:
        """The highest feed position that was ever given, 0 in a new store."""

    async def key(self, principal: str, key: str, *, created_after: str) -> IdempotencyKey | None:
        """The idempotency key, unless it was created at or before ``created_after`` (RFC 3339)."""

    async def count_keys(self, principal: str, *, limit: int) -> int:
        """How many idempotency keys of a principal there are, the forgotten ones left out; ``limit`` at most."""

    async def forget_keys(self, *, created_before: str) -> int:
        """Remove idempotency keys created before that time, and say how many."""

    async def delete(self, task_id: str) -> bool:
        """Remove a terminal or damaged record with its log and its key; False if there is none or it goes on."""

    async def task_types(self) -> list[str]:
        """The types of all stored tasks, ascending."""

    async def prune(self, type: str, bounds: Bounds, *, now: str, limit: int) -> Pruned:
        """Remove, in one short transaction, the oldest terminal records of a type that are not to be kept.

        A live record stays, and so does one with ``keep_until_ack`` that was not acknowledged; neither counts. A record
        goes with its log, its history and its key. Of one with a very long log only events go at first.

        Args:
            type: of the tasks.
            bounds: what is kept of their records.
            now: the time, RFC 3339.
            limit: records at most.

        Returns:
            What was removed; nothing, once all that is left is kept.
        """

    async def outgrown(self, policy: Retention, walk: Walk, *, now: str, limit: int) -> tuple[list[str], Walk | None]:
        """Look at the logs of the next tasks of a walk.

        Args:
            policy: what is kept of their events.
            walk: which tasks.
            now: the time, RFC 3339.
            limit: tasks to look at, at most.

        Returns:
            The ids of those that have events which are not to be kept, and where the walk goes on; None at its end.
        """

    async def trim(self, task_ids: Sequence[str], policy: Retention, *, now: str, limit: int) -> int:
        """Remove, in one short transaction, the oldest events of these tasks that are not to be kept.

        The newest event of a task stays, and so does the terminal one. What is left has no holes.

        Args:
            task_ids: whose events.
            policy: what is kept of them.
            now: the time, RFC 3339.
            limit: events at most.

        Returns:
            How many were removed; fewer than ``limit``, once all that is left is kept.
        """

    async def durations(self, type: str, *, limit: int) -> list[float]:
        """The seconds that the newest completed runs of a type took, newest first; maybe fewer than there are."""

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """The figures of tasks that have ended; see `rules.statistics`.

        Raises:
            QueryTooSlow: it takes longer than ``query_timeout_s``.
        """

    async def api_keys(self) -> list[ApiKey]:
        """All API keys that somebody has made, revoked ones as well, oldest first."""

    async def secret(self, name: str, fresh: str) -> str:
        """What only the servers of this store know: the same for all of them, now and after a restart.

        Args:
            name: which secret.
            fresh: is stored, and is the secret from now on, if there is none yet.
        """
