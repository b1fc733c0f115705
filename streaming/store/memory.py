"""The memory store: a journal that lasts as long as its process, and never grows without bound.

Owns:   records, logs, keys, and what is forgotten: the oldest events of a long log, the oldest terminal tasks.
Uses:   memory_task (one log), memory_feed (the order of all events), memory_list (which records a query finds),
        memory_past (what is not to be kept, durations and statistics).
Never:  waits: every method is one step of the event loop, and so atomic.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType

from streaming.config import Settings
from streaming.engine.journal import TROUBLES, Commit, Committed, FeedItem, Pruned, RecordPage, RecordQuery, Walk
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.access import ApiKey, Principal
from streaming.rules.filters import Filter
from streaming.rules.lifecycle import LIVE, TERMINAL
from streaming.rules.retention import Bounds, Retention
from streaming.rules.statistics import Statistics, StatisticsQuery
from streaming.store import memory_list, memory_past
from streaming.store.memory_feed import MemoryFeed
from streaming.store.memory_task import MemoryTask


class MemoryStore:
    """A journal in memory.

    Args:
        settings: ``memory_events_max`` (newest events kept of one task; a reader of older ones finds a hole) and
            ``memory_tasks_max`` (terminal tasks kept; the one that ended first is forgotten first, with its log; one
            that waits for its acknowledgement only if all of them do).
    """

    durable = False
    circuit = None
    troubles: Mapping[str, int] = MappingProxyType(dict.fromkeys(TROUBLES, 0))

    def __init__(self, settings: Settings) -> None:
        self._events_max = settings.memory_events_max
        self._tasks_max = settings.memory_tasks_max
        self._forget_all()
        self._opened = False

    async def open(self) -> None:
        """Begin, empty."""
        self._opened = True

    async def close(self) -> None:
        """Forget everything; closing twice is allowed."""
        self._opened = False
        self._forget_all()

    async def commit(self, commit: Commit) -> Committed:
        """See `Journal.commit`.

        Raises:
            StoreUnavailable: the store is closed, or the commit contradicts what it holds; nothing was stored.
        """
        self._check_open()
        lost = self._lost(commit)
        # The repeat of a commit that took place: the tasks that it ended are terminal now.
        done = self._outcome(commit) if lost else None
        if done is not None:
            return done
        stored = [event for event in commit.events if event.task_id not in lost]
        self._check_fits(commit, stored)
        for record in commit.created:
            self._add(record)
        positions = [self._append(event) for event in stored]
        for record in commit.updated:
            if record.id not in lost:
                self._update(record)
        for key in commit.keys:
            if key.task_id in self._tasks:
                self._add_key(key)
        for change in commit.changes:
            if change.task_id not in lost:
                self._tasks[change.task_id].changes.append(change)
        self._keep_bounds({event.task_id for event in stored})
        return Committed(positions, lost)

    async def outcome(self, commit: Commit) -> Committed | None:
        """See `Journal.outcome`."""
        self._check_open()
        return self._outcome(commit)

    async def record(self, task_id: str) -> Record | None:
        """See `Journal.record`."""
        self._check_open()
        task = self._tasks.get(task_id)
        return None if task is None else task.snapshot()

    async def is_seen_by(self, principal: Principal, task_id: str) -> bool:
        """See `Journal.is_seen_by`."""
        self._check_open()
        task = self._tasks.get(task_id)
        return task is not None and principal.sees(task.record.created_by, task.record.tenant)

    async def records(self, query: RecordQuery) -> RecordPage:
        """See `Journal.records`."""
        self._check_open()
        return memory_list.page(self._tasks, self._ages, query)

    async def count(self, filter: Filter, group_by: Sequence[str] = ()) -> list[tuple[tuple[str | None, ...], int]]:
        """See `Journal.count`."""
        self._check_open()
        return memory_list.count(self._tasks.values(), filter, group_by)

    async def changes(self, task_id: str) -> list[Change]:
        """See `Journal.changes`."""
        self._check_open()
        task = self._tasks.get(task_id)
        return [] if task is None else list(task.changes)

    async def acknowledge(self, task_id: str, time: str) -> Record | None:
        """See `Journal.acknowledge`."""
        self._check_open()
        if not self._has_ended(task_id):
            return None
        task = self._tasks[task_id]
        if task.record.acked_at is None:
            task.record = replace(task.record, acked_at=time, updated_at=time)
        if task_id in self._held:
            del self._held[task_id]
            self._terminal[task_id] = None
        return task.snapshot()

    async def unfinished(self) -> list[Record]:
        """See `Journal.unfinished`."""
        self._check_open()
        return [self._tasks[task_id].snapshot() for _, task_id in self._ages if self._is_live(task_id)]

    async def events_after(self, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        """See `Journal.events_after`."""
        self._check_open()
        task = self._tasks.get(task_id)
        return [] if task is None else task.after(seq, last_seq)[:limit]

    async def feed_after(
        self, position: int, *, last_position: int, limit: int, principal: Principal | None = None
    ) -> list[FeedItem]:
        """See `Journal.feed_after`."""
        self._check_open()
        items = self._items(position, last_position)
        seen = (item for item in items if principal is None or principal.sees(item.created_by, item.tenant))
        return list(islice(seen, limit))

    async def last_position(self) -> int:
        """See `Journal.last_position`."""
        self._check_open()
        return self._feed.last_position

    async def key(self, principal: str, key: str, *, created_after: str) -> IdempotencyKey | None:
        """See `Journal.key`."""
        self._check_open()
        found = self._keys.get((principal, key))
        return found if found is not None and found.created_at > created_after else None

    async def count_keys(self, principal: str, *, limit: int) -> int:
        """See `Journal.count_keys`."""
        self._check_open()
        return min(limit, sum(owner == principal for owner, _ in self._keys))

    async def forget_keys(self, *, created_before: str) -> int:
        """See `Journal.forget_keys`."""
        self._check_open()
        old = [name for name, key in self._keys.items() if key.created_at < created_before]
        for name in old:
            del self._keys[name]
        return len(old)

    async def delete(self, task_id: str) -> bool:
        """See `Journal.delete`."""
        self._check_open()
        if not self._has_ended(task_id):
            return False
        self._forget(task_id)
        return True

    # -- what was, and for how long it is kept -------------------------------------------------------------------------

    async def task_types(self) -> list[str]:
        """See `Journal.task_types`."""
        self._check_open()
        return sorted({task.record.type for task in self._tasks.values()})

    async def prune(self, type: str, bounds: Bounds, *, now: str, limit: int) -> Pruned:
        """See `Journal.prune`."""
        self._check_open()
        ended = (self._tasks[task_id] for task_id in self._terminal)
        of_type = (task for task in ended if task.record.type == type and task.record.finished_at is not None)
        gone = memory_past.surplus(of_type, bounds, now, limit)
        for task_id in gone:
            self._forget(task_id)
        return Pruned(records=len(gone))

    async def outgrown(self, policy: Retention, walk: Walk, *, now: str, limit: int) -> tuple[list[str], Walk | None]:
        """See `Journal.outgrown`."""
        self._check_open()
        return memory_past.outgrown(self._tasks, self._ages, policy, walk, now, limit)

    async def trim(self, task_ids: Sequence[str], policy: Retention, *, now: str, limit: int) -> int:
        """See `Journal.trim`."""
        self._check_open()
        left = limit
        for task_id in task_ids:
            task = self._tasks.get(task_id)
            if task is not None:
                left -= self._cut(task, len(task.events) - min(left, memory_past.excess(task, policy, now)))
        return limit - left

    async def durations(self, type: str, *, limit: int) -> list[float]:
        """See `Journal.durations`."""
        self._check_open()
        free, held = ((self._tasks[task_id] for task_id in reversed(ids)) for ids in (self._terminal, self._held))
        return memory_past.durations(free, held, type, limit)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """See `Journal.statistics`."""
        self._check_open()
        return memory_past.figures(self._tasks.values(), query)

    # -- who may come in -----------------------------------------------------------------------------------------------

    async def api_keys(self) -> list[ApiKey]:
        """See `Journal.api_keys`: those that were added here, since nobody else reaches them."""
        self._check_open()
        return sorted(self._api_keys.values(), key=lambda key: (key.created_at, key.id))

    def add_api_key(self, key: ApiKey) -> None:
        """Add an API key, or put it in the place of the one with this id."""
        self._api_keys[key.id] = key

    async def secret(self, name: str, fresh: str) -> str:
        """See `Journal.secret`."""
        self._check_open()
        return self._secrets.setdefault(name, fresh)

    # -- before a commit -----------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreUnavailable("The store is closed.")

    def _is_live(self, task_id: str) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and task.record.status in LIVE

    def _is_ours(self, task_id: str, first_seq: int | None) -> bool:
        """Whether a task can take events from ``first_seq`` on."""
        if not self._is_live(task_id):
            return False
        task = self._tasks[task_id]
        return not task.ended and first_seq in (None, task.last_seq + 1)

    def _lost(self, commit: Commit) -> frozenset[str]:
        first_seqs = commit.first_seqs()
        named = first_seqs.keys() | {record.id for record in commit.updated}
        named -= {record.id for record in commit.created}
        return frozenset(task_id for task_id in named if not self._is_ours(task_id, first_seqs.get(task_id)))

    def _outcome(self, commit: Commit) -> Committed | None:
        known = [event for event in commit.events if event.task_id in self._tasks]
        places = {event: self._tasks[event.task_id].position(event) for event in known}
        found = {event: position for event, position in places.items() if position is not None}
        if not found:
            return None
        positions, written = commit.positions_from(found)
        return Committed(positions, self._lost(commit) - written)

    def _check_fits(self, commit: Commit, stored: Sequence[Event]) -> None:
        """Refuse, before anything is changed, what a database would refuse."""
        created = {record.id for record in commit.created}
        fits = len(created) == len(commit.created) and created.isdisjoint(self._tasks) and self._logs_fit(stored)
        if not fits:
            raise StoreUnavailable("The store cannot be written: what it was given contradicts what it holds.")

    def _logs_fit(self, stored: Sequence[Event]) -> bool:
        """Whether seqs grow, and no task ends twice."""
        ends: dict[str, tuple[int, bool]] = {}
        for event in stored:
            task = self._tasks.get(event.task_id)
            last_seq, ended = ends.get(event.task_id) or (0 if task is None else task.last_seq, False)
            ends_task = event.type in TERMINAL
            if event.seq <= last_seq or (ended and ends_task):
                return False
            ends[event.task_id] = (event.seq, ended or ends_task)
        return True

    # -- reading -------------------------------------------------------------------------------------------------------

    def _items(self, position: int, last_position: int) -> Iterator[FeedItem]:
        for place, event in self._feed.after(position, last_position):
            record = self._tasks[event.task_id].record
            yield FeedItem(place, event, record.type, record.tags, record.created_by, record.tenant)

    # -- changes -------------------------------------------------------------------------------------------------------

    def _add(self, record: Record) -> None:
        self._tasks[record.id] = MemoryTask(record)
        insort(self._ages, (record.created_at, record.id))

    def _append(self, event: Event) -> int:
        position = self._feed.append(event)
        self._tasks[event.task_id].append(event, position)
        return position

    def _update(self, record: Record) -> None:
        self._tasks[record.id].record = record
        if record.status in TERMINAL:
            (self._held if record.awaits_ack else self._terminal)[record.id] = None

    def _add_key(self, key: IdempotencyKey) -> None:
        name = (key.principal, key.key)
        self._keys[name] = key
        self._tasks[key.task_id].keys.append(name)

    def _keep_bounds(self, grown: Iterable[str]) -> None:
        for task_id in grown:
            self._cut(self._tasks[task_id], self._events_max)
        while len(self._terminal) + len(self._held) > self._tasks_max:
            self._forget(next(iter(self._terminal or self._held)))

    def _cut(self, task: MemoryTask, events_max: int) -> int:
        positions = task.cut(events_max)
        for position in positions:
            self._feed.remove(position)
        return len(positions)

    def _has_ended(self, task_id: str) -> bool:
        return task_id in self._terminal or task_id in self._held

    def _forget(self, task_id: str) -> None:
        task = self._tasks.pop(task_id)
        self._terminal.pop(task_id, None)
        self._held.pop(task_id, None)
        del self._ages[bisect_left(self._ages, (task.record.created_at, task_id))]
        for position in task.positions:
            self._feed.remove(position)
        for name in task.keys:
            if name in self._keys and self._keys[name].task_id == task_id:
                del self._keys[name]

    def _forget_all(self) -> None:
        self._tasks: dict[str, MemoryTask] = {}
        self._ages: list[tuple[str, str]] = []  # (created_at, id), ascending
        # In the order in which they ended, or were acknowledged; and those that wait for that.
        self._terminal: OrderedDict[str, None] = OrderedDict()
        self._held: OrderedDict[str, None] = OrderedDict()
        self._keys: dict[tuple[str, str], IdempotencyKey] = {}
        self._api_keys: dict[str, ApiKey] = {}
        self._secrets: dict[str, str] = {}
        self._feed = MemoryFeed()
