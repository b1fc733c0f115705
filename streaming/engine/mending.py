"""What an audit may put right on a live instance, and how.

Rules of this file:

- Only what is safe: what is taken from nobody, or was lost anyway. A handler that runs is left alone, and so is every
  event that waits for its commit.
- Each look that decides and what it decides are one step: nothing moves in between.
- Each repair is told in a log line, with its task.

Owns:   which violation can be mended.
Uses:   engine.turns, engine.family, engine.starts, engine.outside, engine.hub (each puts its own tables right).
Never:  finds a violation (``engine.audit``), or decides what becomes of a task (``engine.recovery``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import structlog

from streaming.engine.evidence import evidence_in_memory
from streaming.engine.lookup import LiveTask
from streaming.engine.parts import Parts
from streaming.engine.runner import Runner
from streaming.errors import Draining, RecordDamaged
from streaming.records import Record
from streaming.rules.evidence import Repair, Violation
from streaming.rules.lifecycle import LIVE

#: Of which invariants a number may be counted anew.
_COUNTED = ("tallies_right", "backlog_waits")

_log = structlog.get_logger(__name__)


class Mender:
    """Puts right what it can on one instance.

    Args:
        parts: of the instance.
        forget: forgets a live task.
        take_up: takes up stored tasks that are not terminal, as after a crash.
    """

    def __init__(
        self, parts: Parts, forget: Callable[[LiveTask], None], take_up: Callable[[Sequence[Record]], None]
    ) -> None:
        self._parts = parts
        self._hub = parts.hub
        self._turns = parts.turns
        self._tasks = parts.tasks
        self._forget = forget
        self._take_up = take_up
        self._repairs: list[Repair] = []

    async def mend(self, violations: Iterable[Violation], orphans: Iterable[str]) -> list[Repair]:
        """Put right what can be put right.

        Args:
            violations: what does not hold.
            orphans: tasks that the store calls live, and that nobody here knows.

        Raises:
            Draining: the server has begun to shut down; what was done is done all the same.
            StoreUnavailable: the store cannot be read, or what was written is not stored in time; what was done is
                done all the same.
        """
        named = sorted({(each.invariant, each.task_id) for each in violations if each.task_id is not None})
        places = [task_id for name, task_id in named if name == "no_place_without_task"]
        handlers = [task_id for name, task_id in named if name == "no_record_without_runner"]
        self._repairs = []
        self._recount([task_id for name, task_id in named if name in _COUNTED])
        self._vacate(places)
        for task_id in dict.fromkeys([*handlers, *orphans]):
            await self._adopt(task_id)
        if self._repairs:
            await self._hub.committed(self._parts.settings.store_wait_s)
        return self._repairs

    def _done(self, invariant: str, task_id: str | None, done: str) -> None:
        """Tell it at once: what follows may fail."""
        about = {} if task_id is None else {"task_id": task_id}
        _log.warning("the audit has mended something", invariant=invariant, done=done, **about)
        self._repairs.append(Repair(invariant, task_id, done))

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _recount(self, task_ids: Collection[str]) -> None:
        """Count anew what is counted wrong: of these tasks, and of the instance."""
        wrong = self._wrong(task_ids)
        if not wrong:
            return
        self._turns.recount()
        self._parts.starts.recount(len(self._parts.creating()))
        self._parts.outside.recount()
        self._hub.recount(task_ids)
        left = self._wrong(task_ids)
        self._turns.fill()
        for (name, number, task_id), (says, counted) in wrong.items():
            if (name, number, task_id) not in left:
                self._done(name, task_id, f"{number} was {says}, and is {counted}")

    def _wrong(self, task_ids: Collection[str]) -> dict[tuple[str, str, str | None], tuple[int, int]]:
        tallies = self._parts.tallies()
        wrong: dict[tuple[str, str, str | None], tuple[int, int]] = {}
        for task_id in task_ids:
            if (log := self._hub.logs.get(task_id)) is None:
                continue
            tallies += evidence_in_memory(log, self._parts.settings)[1].tallies
            if log.backlog_events != len(log.waiting):
                wrong["backlog_waits", "backlog events", task_id] = (log.backlog_events, len(log.waiting))
        for tally in tallies:
            if tally.says != tally.counted:
                wrong["tallies_right", tally.name, tally.task_id] = (tally.says, tally.counted)
        return wrong

    # -- places -------------------------------------------------------------------------------------------------------

    def _vacate(self, task_ids: Iterable[str]) -> None:
        """Free places that nobody holds."""
        creating = self._parts.creating()
        for task_id in task_ids:
            if task_id not in self._tasks and task_id not in creating and self._free(task_id):
                self._done("no_place_without_task", task_id, "its place is free")

    def _free(self, task_id: str) -> bool:
        runner = self._turns.running.get(task_id)
        if runner is not None and (runner.at_work or not runner.over):
            return False
        parts = self._parts
        done = [parts.hub.forget(task_id), parts.family.forget(task_id), parts.outside.vacate(task_id)]
        return any([*done, self._turns.vacate(task_id)])

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def _adopt(self, task_id: str) -> None:
        """Take up a task that is not terminal and that nobody here goes on with, as after a crash."""
        if (task := self._tasks.get(task_id)) is not None:
            if isinstance(task, Runner) and self._is_idle(task):
                self._begin_anew(task)
            return
        try:
            record = await self._hub.journal.record(task_id)
        except RecordDamaged:
            return  # it is a violation of its own, and nobody can go on with it
        if self._parts.drain.begun:
            raise Draining
        known = task_id in self._tasks or task_id in self._hub.logs
        if record is not None and record.status in LIVE and not known:
            self._go_on(record)

    def _begin_anew(self, runner: Runner) -> None:
        """Forget a task, and take it up as it was committed last; who waits for it looks again."""
        record = runner.log.snapshot()
        self._hub.abandon(runner.log)
        self._forget(runner)
        self._turns.vacate(runner.id)
        runner.settled.set()
        self._go_on(record)

    def _go_on(self, record: Record) -> None:
        self._take_up([record])
        status = self._hub.logs[record.id].record.status
        self._done("no_record_without_runner", record.id, f"it was taken up as after a crash, and is {status}")

    def _is_idle(self, runner: Runner) -> bool:
        """Whether a task neither runs nor waits for its turn, and all that was written of it is stored."""
        log = runner.log
        placed = self._turns.is_waiting(runner) or runner.id in self._turns.running
        stored = not log.waiting and log.record == log.visible
        return stored and not (placed or runner.at_work or log.lost or log.window.ended)
