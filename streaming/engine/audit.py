"""The audit: whether all is well on a live instance, by the list of `rules.invariants`.

Rules of this file:

- It looks while things move. What looks wrong is looked at again, after everything that was on its way has arrived:
  only what looks the same then is a violation.
- The loop is never held up for long: memory is looked at log by log, the store page by page, with a limit.
- A store that is away is no violation, and neither is a drain: there is no answer then, from its beginning on.

Owns:   what is looked at, in which order, and what is said of it.
Uses:   engine.evidence (what is to be seen), rules.invariants (what must hold), engine.mending (what is put right).
Never:  changes anything, unless it is asked to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from streaming.engine.backlog import bytes_of_one_max
from streaming.engine.evidence import evidence_in_memory, evidence_of, stored
from streaming.engine.journal import RecordQuery
from streaming.engine.lookup import LiveTask
from streaming.engine.mending import Mender
from streaming.engine.parts import Parts
from streaming.engine.runner import Runner
from streaming.engine.tables import BUSY_AT_REST, size_of_table
from streaming.errors import Draining, RecordDamaged
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import Budget, InstanceEvidence, Repair, Violation
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.invariants import check_instance, check_log, check_task
from streaming.rules.lifecycle import LIVE, TERMINAL

#: Seconds after which what looks wrong is looked at again.
AGAIN_S = 0.05

#: Records on one page, and logs in memory that are looked at before others have a turn.
PAGE = 200
LOGS_AT_ONCE = 50

#: Violations that one answer names at most, and that log lines name.
NAMED_MAX = 1000
LINES_MAX = 100

_NUMBER = re.compile(r"[0-9]+")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Audited:
    """What an audit says.

    Attributes:
        checked: how much was looked at, by name.
        whole: whether that was all there is, and not only as much as one audit may read.
        violations: what does not hold.
        repaired: what was put right.
    """

    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("live", "ended", "events", "logs"), 0))
    whole: bool = True
    violations: list[Violation] = field(default_factory=list)
    repaired: list[Repair] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The answer as it goes over the wire."""
        return {
            "checked": self.checked,
            "whole": self.whole,
            "found": len(self.violations),
            "violations": [violation.as_json() for violation in self.violations[:NAMED_MAX]],
            "repaired": [repair.as_json() for repair in self.repaired[:NAMED_MAX]],
        }


class Auditor:
    """Audits one instance, once at a time.

    Args:
        parts: of the instance.
        mender: puts things right.
    """

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts = parts
        self._mender = mender
        self._hub = parts.hub
        self._one_at_a_time = asyncio.Lock()

    async def audit(self, tasks_max: int, *, repair: bool) -> Audited:
        """Look at everything in memory, and at the newest tasks in the store.

        Args:
            tasks_max: live tasks whose logs are read in the store, at most, and as many that have ended.
            repair: put right what can be put right safely.

        Raises:
            Draining: the server is shutting down.
            QueryTooSlow: the store takes too long to find the tasks.
            StoreUnavailable: the store cannot be read or written, or is too slow.
        """
        async with self._one_at_a_time:
            audited = Audited()
            audited.violations += await self._twice(lambda: self._memory(audited))
            found, orphans = await self._store(audited, tasks_max)
            audited.violations += found
            self._check_open()
            if audited.violations:
                self._tell(audited.violations)
            if repair:
                audited.repaired += await self._mender.mend(audited.violations, orphans)
            return audited

    def _tell(self, violations: Sequence[Violation]) -> None:
        self._hub.diary.tell("audit", "", len(violations))
        for violation in violations[:LINES_MAX]:
            about = {} if violation.task_id is None else {"task_id": violation.task_id}
            _log.error("an invariant does not hold", invariant=violation.invariant, detail=violation.detail, **about)
        if len(violations) > LINES_MAX:
            _log.error("more invariants do not hold", left_out=len(violations) - LINES_MAX)
        self._hub.diary.dump(f"{len(violations)} invariants do not hold", violations[0].task_id)

    async def _twice(self, look: Callable[[], Any]) -> list[Violation]:
        """What looks wrong now, and just so when everything has arrived that was on its way."""
        suspects = await look()
        if not suspects:
            return []
        await self._arrived()
        return _both(suspects, await look())

    async def _arrived(self) -> None:
        self._check_open()
        await self._hub.committed(self._parts.settings.store_wait_s)
        await asyncio.sleep(AGAIN_S)
        self._check_open()

    def _check_open(self) -> None:
        if self._parts.drain.begun:
            raise Draining

    # -- memory -------------------------------------------------------------------------------------------------------

    async def _memory(self, audited: Audited) -> list[Violation]:
        self._check_open()
        found = check_instance(self._instance())
        audited.checked["logs"] = 0
        for task_id in list(self._hub.logs):
            log = self._hub.logs.get(task_id)
            if log is not None:
                window, memory = evidence_in_memory(log, self._parts.settings)
                found += check_log(window) + check_instance(memory)
                audited.checked["logs"] += 1
                if audited.checked["logs"] % LOGS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return found

    def _instance(self) -> InstanceEvidence:
        """All of it in one step, in which nothing moves."""
        parts, hub, tasks = self._parts, self._hub, self._parts.tasks
        tables = parts.tables()
        sizes = {name: size_of_table(table) for name, table in tables.items() if name not in BUSY_AT_REST}
        creating = parts.creating()
        going_on = {id: task for id, task in tasks.items() if not task.log.lost}
        handlers = {id for id, runner in parts.turns.running.items() if not (runner.over or runner.log.lost)}
        homeless = [
            (name, id)
            for name, table in tables.items()
            if not isinstance(table, int)
            for id in table
            if id not in tasks
        ]
        return InstanceEvidence(
            handlers=frozenset(handlers),
            live=frozenset(going_on),
            unfinished=frozenset(going_on),  # the store is asked later, and one by one
            running=frozenset(id for id, task in going_on.items() if _needs_a_handler(task)),
            placeless=frozenset(id for id, task in going_on.items() if self._is_nowhere(task)),
            homeless=[(name, id) for name, id in homeless if id not in creating],
            logless=frozenset(id for id, task in going_on.items() if hub.logs.get(id) is not task.log),
            tables=sizes,
            resting=not tasks and not creating,
            tallies=parts.tallies(),
            budgets=self._budgets(),
        )

    def _is_nowhere(self, task: LiveTask) -> bool:
        """Whether a task that goes on neither runs nor waits for its turn: it never would again."""
        turns = self._parts.turns
        return isinstance(task, Runner) and _goes_on(task) and not (task.id in turns.running or turns.is_waiting(task))

    def _budgets(self) -> list[Budget]:
        settings, parts = self._parts.settings, self._parts
        backlog = settings.backlog_total_bytes_max + bytes_of_one_max(settings) * (1 + len(parts.tasks))
        return [
            Budget("backlog bytes", self._hub.backlog_bytes, backlog),
            Budget("feed items", self._hub.feed.kept, settings.window_events_max),
            Budget("diary facts", len(self._hub.diary), settings.diary_facts_max),
        ]

    # -- the store ----------------------------------------------------------------------------------------------------

    async def _store(self, audited: Audited, tasks_max: int) -> tuple[list[Violation], list[str]]:
        """What does not hold of stored tasks; and those that the store calls live, and nobody here knows."""
        live, seen, strangers = list(self._parts.tasks), set[str](), list[str]()
        suspects: dict[str, list[Violation]] = {}
        unreadable: set[str] = set()
        async for record in self._records(LIVE, unreadable):
            seen.add(record.id)
            if record.id not in self._parts.tasks:
                strangers.append(record.id)
            await self._count(record.id, audited, "live", tasks_max, suspects)
        async for record in self._records(TERMINAL, unreadable):
            if not await self._count(record.id, audited, "ended", tasks_max, suspects):
                break
        found = await self._confirmed(suspects, audited)
        orphans = await self._orphans(strangers)
        missing = await self._missing([task_id for task_id in live if task_id not in seen], unreadable)
        damaged = frozenset([task_id for task_id in sorted(unreadable) if await self._is_damaged(task_id)])
        evidence = InstanceEvidence(live=missing, unfinished=frozenset(orphans), damaged=damaged)
        return found + check_instance(evidence), orphans

    async def _count(
        self, task_id: str, audited: Audited, what: str, most: int, suspects: dict[str, list[Violation]]
    ) -> bool:
        """Look at one task more, if there may be one, and note what looks wrong."""
        self._check_open()
        if audited.checked[what] >= most:
            audited.whole = False
            return False
        audited.checked[what] += 1
        await asyncio.sleep(0)  # a store in memory answers in the same step
        if found := await self._task(task_id, audited):
            suspects[task_id] = found
        return True

    async def _confirmed(self, suspects: dict[str, list[Violation]], audited: Audited) -> list[Violation]:
        """What looked wrong, and looks just so again."""
        if not suspects:
            return []
        await self._arrived()
        found: list[Violation] = []
        for task_id, violations in suspects.items():
            found += _both(violations, await self._task(task_id, audited))
        return found

    async def _records(self, statuses: frozenset[TaskStatus], unreadable: set[str]) -> AsyncIterator[Record]:
        """All records with one of these statuses, the newest first; those that cannot be read are noted."""
        wanted = Filter((Term("status", Operator.IN, tuple(sorted(status.value for status in statuses))),))
        after = None
        while True:
            page = await self._hub.journal.records(RecordQuery(wanted, after=after, limit=PAGE))
            unreadable.update(page.damaged)
            for record in page:
                yield record
            after = page.more
            if after is None:
                return
            await asyncio.sleep(0)

    async def _task(self, task_id: str, audited: Audited) -> list[Violation]:
        """What seems not to hold of one task."""
        task = self._parts.tasks.get(task_id)
        visible = 0 if task is None else task.log.window.committed
        try:
            evidence = await evidence_of(self._hub.journal, task_id)
        except RecordDamaged:
            return check_instance(InstanceEvidence(damaged=frozenset({task_id})))
        if evidence is None:
            return []
        audited.checked["events"] += len(evidence.events)
        return check_task(evidence) + check_log(stored(task_id, visible, evidence.record.last_seq))

    async def _orphans(self, strangers: Sequence[str]) -> list[str]:
        """Those of these tasks that the store calls live, and that nobody here knows.

        One that was on its way has arrived; and one that has ended since has its end in the store before it is
        forgotten here. So who is not known here first, and called live there then, is an orphan.
        """
        if not strangers:
            return []
        await self._arrived()
        found: list[str] = []
        for task_id in [task_id for task_id in strangers if task_id not in self._parts.tasks]:
            try:
                record = await self._hub.journal.record(task_id)
            except RecordDamaged:
                continue
            if record is not None and record.status in LIVE:
                found.append(task_id)
        self._check_open()  # a drain forgets tasks that the next process goes on with
        return found

    async def _is_damaged(self, task_id: str) -> bool:
        """Whether a record is there, and cannot be read; not one that was deleted since."""
        try:
            await self._hub.journal.record(task_id)
        except RecordDamaged:
            return True
        return False

    async def _missing(self, task_ids: Sequence[str], unreadable: set[str]) -> frozenset[str]:
        """Those of these tasks that go on here, and of which the store knows nothing; what cannot be read is noted."""
        suspects: list[LiveTask] = []
        if task_ids:
            await self._arrived()
        for task_id in task_ids:
            task = self._parts.tasks.get(task_id)
            try:
                record = await self._hub.journal.record(task_id)
            except RecordDamaged:
                unreadable.add(task_id)
                continue
            if task is not None and (record is None or record.status in TERMINAL):
                suspects.append(task)
        if suspects:
            await self._arrived()
        tasks = self._parts.tasks
        return frozenset(task.id for task in suspects if tasks.get(task.id) is task and _goes_on(task))


def _both(before: Sequence[Violation], now: Sequence[Violation]) -> list[Violation]:
    """What is wrong now, and was before in the same way: the numbers of what moves may be others."""
    known = set(map(_way, before))
    return [violation for violation in now if _way(violation) in known]


def _way(violation: Violation) -> tuple[str, str | None, str]:
    return violation.invariant, violation.task_id, _NUMBER.sub("", violation.detail)


def _goes_on(task: LiveTask) -> bool:
    return not (task.log.lost or task.log.window.ended)


def _needs_a_handler(task: LiveTask) -> bool:
    """Whether its stored record says that a handler here is at work."""
    return isinstance(task, Runner) and _goes_on(task) and task.log.visible.status is TaskStatus.RUNNING
