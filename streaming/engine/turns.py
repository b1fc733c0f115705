"""Whose turn it is: the line of waiting tasks, the pauses between attempts, and the places of those that run.

Owns:   who waits, for how long, and for what; who runs; how many may.
Uses:   rules.schedule (the order), engine.timing (the deadlines of those that wait).
Never:  runs a task, or ends one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streaming.config import Settings
from streaming.engine.draft import scoped_key
from streaming.engine.hub import Hub
from streaming.engine.lookup import LiveTask
from streaming.engine.registry import Registry
from streaming.engine.runner import Runner
from streaming.engine.timing import Wait, deadlines_now, loop_time
from streaming.rules.deadlines import Due, Limit
from streaming.rules.schedule import Line, Waiting


class Turns:
    """The waiting and the running tasks of one coordinator.

    Args:
        registry: how many of a type may run.
        hub: where they tell what happens.
        settings: how many may run.
        spawn: runs a task whose turn it is.
        on_expired: ends a task that has waited too long; it has left the line.
    """

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        settings: Settings,
        spawn: Callable[[Runner], None],
        on_expired: Callable[[Runner, Due], None],
    ) -> None:
        self.line = Line(settings.ageing_s)
        self.running: dict[str, Runner] = {}
        self._registry = registry
        self._hub = hub
        self._settings = settings
        self._spawn = spawn
        self._on_expired = on_expired
        self._closed = False
        self._waiting: dict[str, Runner] = {}
        self._waits: dict[str, Wait] = {}
        self._pauses: dict[str, asyncio.TimerHandle] = {}
        self._busy: Counter[str] = Counter()
        self._lent: dict[str, int] = {}

    def __len__(self) -> int:
        """How many wait, for a turn or for the end of a pause."""
        return len(self._waiting)

    @property
    def places(self) -> int:
        """How many more may run."""
        return self._settings.max_running - len(self.running) + len(self._lent)

    def wait(self, runner: Runner, since: str) -> None:
        """Let a task wait for its turn.

        Args:
            runner: the task.
            since: when its waiting began, RFC 3339.
        """
        self._waiting[runner.id] = runner
        at = loop_time(self._hub, since)
        self._watch(runner, at)
        self._join(runner, at)

    def pause(self, runner: Runner, until: str) -> None:
        """Let a task wait for its next attempt.

        Args:
            runner: the task; it keeps its key.
            until: when it may have a turn, RFC 3339.
        """
        self._waiting[runner.id] = runner
        at = loop_time(self._hub, until)
        self.line.announce(runner.id, scoped_key(runner.log.record))
        self._watch(runner, at)
        if not self._closed:
            self._pauses[runner.id] = asyncio.get_running_loop().call_at(at, self._join, runner, at)

    def is_waiting(self, task: LiveTask) -> bool:
        """Whether a task waits, for a turn or for the end of a pause."""
        return self._waiting.get(task.id) is task

    def withdraw(self, task: LiveTask) -> bool:
        """Take out a task that waits, and say whether it did; its key passes on."""
        if not self.is_waiting(task):
            return False
        self._stop_waiting(task.id)
        self.line.ended(task.id)
        self.fill()
        return True

    def move(self, task: LiveTask, limit: Limit, seconds: float | None) -> None:
        """Make a limit of a waiting task longer or shorter."""
        wait = self._waits.get(task.id)
        if wait is not None:
            wait.deadlines.move(limit, seconds)
            wait.arm()

    def fill(self) -> None:
        """Give waiting tasks their turn."""
        while self.places > 0 and not self._closed and (turn := self.line.next(self._is_free)) is not None:
            runner = self._waiting[turn.id]
            self._stop_waiting(runner.id)
            self.running[runner.id] = runner
            self._busy[turn.type] += 1
            self._spawn(runner)

    def left(self, runner: Runner) -> None:
        """A run is over; what follows it is for others to say."""
        if self.running.pop(runner.id, None) is not None and self._lent.pop(runner.id, None) is None:
            self._busy[runner.task_type.name] -= 1

    def ended(self, task: LiveTask) -> None:
        """The task has ended: its key passes on."""
        self.line.ended(task.id)
        self.fill()

    @contextmanager
    def lending(self, task_id: str) -> Iterator[None]:
        """Let another task run in the place of one that waits for it."""
        runner = self.running.get(task_id)
        if runner is not None:
            self._lend(runner)
        try:
            yield
        finally:
            if runner is not None and self.running.get(task_id) is runner:
                self._take_back(runner)

    def _lend(self, runner: Runner) -> None:
        loans = self._lent[runner.id] = self._lent.get(runner.id, 0) + 1
        if loans == 1:
            self._busy[runner.task_type.name] -= 1
            self.fill()

    def _take_back(self, runner: Runner) -> None:
        """It goes on at once: for a moment more may run than there are places."""
        self._lent[runner.id] -= 1
        if not self._lent[runner.id]:
            del self._lent[runner.id]
            self._busy[runner.task_type.name] += 1

    def close(self) -> list[Runner]:
        """Give nobody a turn any more; those that wait stay as they are, or are ended by who closes."""
        self._closed = True
        waiting = list(self._waiting.values())
        for task_id in list(self._waiting):
            self._silence(task_id)
        return waiting

    def clear(self) -> None:
        """Forget those that wait."""
        for task_id in list(self._waiting):
            self._stop_waiting(task_id)
            self.line.ended(task_id)

    def _is_free(self, type: str) -> bool:
        limit = self._limit(type)
        return limit is None or self._busy[type] < limit

    def _limit(self, type: str) -> int | None:
        return self._settings.type_limits.get(type) or self._registry.get(type).max_running

    def _join(self, runner: Runner, since: float) -> None:
        self._pauses.pop(runner.id, None)
        record = runner.log.record
        self.line.add(Waiting(record.id, record.type, scoped_key(record), record.priority, since))
        self.fill()

    def _watch(self, runner: Runner, since: float) -> None:
        """Keep an eye on the deadlines of a waiting task, if it has any."""
        policy = runner.log.record.policy
        if self._closed or (policy.queue_timeout_s is None and policy.total_timeout_s is None):
            return
        deadlines = deadlines_now(self._hub, runner.log, self._settings, since)
        self._waits[runner.id] = Wait(self._hub, runner.log, deadlines, lambda due: self._expire(runner, due))

    def _expire(self, runner: Runner, due: Due) -> None:
        self.withdraw(runner)
        self._on_expired(runner, due)

    def _stop_waiting(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)
        self._silence(task_id)

    def _silence(self, task_id: str) -> None:
        wait, pause = self._waits.pop(task_id, None), self._pauses.pop(task_id, None)
        if wait is not None:
            wait.stop()
        if pause is not None:
            pause.cancel()
