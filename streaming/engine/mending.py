"""What an audit may put right on a live instance, and how.

Rules of this file:

- Only what is safe: what is taken from nobody, or was lost anyway. A handler that runs is left alone, and so is every
  event that waits for its commit.
- Each look that decides and what it decides are one step: nothing moves in between.
- Each repair is told in a log line, with its task.

Owns:   which violation can be mended.
Uses:   engine.turns, engine.family, engine.starts, engine.external, engine.hub (each puts its own tables right).
Never:  finds a violation (``engine.audit``), or decides what becomes of a task (``engine.recovery``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from streaming.engine.evidence import evidence_in_memory
from streaming.engine.lookup import LiveTask
from streaming.engine.parts import Parts
from streaming.engine.runner import Runner
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import Repair, Violation
from streaming.rules.lifecycle import TERMINAL

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

    async def mend(self, violations: Iterable[Violation], orphans: Iterable[str]) -> list[Repair]:
        """Put right what can be put right.

        Args:
            violations: what does not hold.
            orphans: tasks that the store calls live, and that nobody here knows.

        Raises:
            StoreUnavailable: the store cannot be read, or what was written is not stored in time; what was done is
                done all the same.
        """
        named = sorted({(each.invariant, each.task_id) for each in violations if each.task_id is not None})
        places = [task_id for name, task_id in named if name == "no_place_without_task"]
        handlers = [task_id for name, task_id in named if name == "no_record_without_runner"]
        repairs = [*self._recount(), *self._vacate(places)]
        for task_id in [*self._without_a_handler(handlers), *orphans]:
            repairs += await self._adopt(task_id)
        for repair in repairs:
            about = {} if repair.task_id is None else {"task_id": repair.task_id}
            _log.warning("the audit has mended something", invariant=repair.invariant, done=repair.done, **about)
        if repairs:
            await self._hub.committed(self._parts.settings.store_wait_s)
        return repairs

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _recount(self) -> list[Repair]:
        """Count anew whatever is counted wrong."""
        wrong = self._wrong()
        if not wrong:
            return []
        self._turns.recount()
        self._parts.starts.recount(len(self._parts.creating()))
        self._hub.recount()
        left = self._wrong()
        self._turns.fill()
        return [
            Repair(name, task_id, f"{number} was {says}, and is {counted}")
            for (name, number, task_id), (says, counted) in wrong.items()
            if (name, number, task_id) not in left
        ]

    def _wrong(self) -> dict[tuple[str, str, str | None], tuple[int, int]]:
        tallies = self._parts.tallies()
        wrong: dict[tuple[str, str, str | None], tuple[int, int]] = {}
        for task_id, log in self._hub.logs.items():
            tallies += evidence_in_memory(log, self._parts.settings)[1].tallies
            if log.backlog_events != len(log.waiting):
                wrong["backlog_waits", "backlog events", task_id] = (log.backlog_events, len(log.waiting))
        for tally in tallies:
            if tally.says != tally.counted:
                wrong["tallies_right", tally.name, tally.task_id] = (tally.says, tally.counted)
        return wrong

    # -- places -------------------------------------------------------------------------------------------------------

    def _vacate(self, task_ids: Iterable[str]) -> list[Repair]:
        """Free places that nobody holds."""
        creating = self._parts.creating()
        return [
            Repair("no_place_without_task", task_id, "its place is free")
            for task_id in task_ids
            if task_id not in self._tasks and task_id not in creating and self._free(task_id)
        ]

    def _free(self, task_id: str) -> bool:
        runner = self._turns.running.get(task_id)
        if runner is not None and not runner.over:
            return False  # its handler may be at work
        parts = self._parts
        done = [parts.hub.forget(task_id), parts.family.forget(task_id), parts.outside.vacate(task_id)]
        return any([*done, self._turns.vacate(task_id)])

    # -- tasks --------------------------------------------------------------------------------------------------------

    def _without_a_handler(self, task_ids: Iterable[str]) -> list[str]:
        """Forget tasks that are said to run, and whose handler is gone."""
        found = [task for task_id in task_ids if (task := self._tasks.get(task_id)) and self._is_idle(task)]
        for task in found:
            self._forget(task)
            self._turns.vacate(task.id)
        return [task.id for task in found]

    @staticmethod
    def _is_idle(task: LiveTask) -> bool:
        """Whether its run is over, and has not brought it to an end, as the store knows it."""
        log = task.log
        still = log.visible.status is TaskStatus.RUNNING and not (log.waiting or log.lost or log.window.ended)
        return isinstance(task, Runner) and task.over and still

    async def _adopt(self, task_id: str) -> list[Repair]:
        """Take up a task that the store calls live and nobody here knows, as after a crash."""
        record = await self._hub.journal.record(task_id)
        if record is None or record.status in TERMINAL or task_id in self._tasks or task_id in self._hub.logs:
            return []
        self._take_up([record])
        status = self._hub.logs[task_id].record.status
        return [Repair("no_record_without_runner", task_id, f"it was taken up as after a crash, and is {status}")]
