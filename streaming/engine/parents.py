"""What a running task can ask for: others under it, which live no longer than it.

Owns:   the start of a task by another one, the end of those whose parent has ended, and the place that is lent to them.
Uses:   engine.family (who is under whom), engine.starts (what is taken in), engine.turns (whose turn it is).
Never:  runs a task.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from streaming.config import Settings
from streaming.engine.draft import Draft, draft, scoped_key
from streaming.engine.family import Family
from streaming.engine.hub import Hub
from streaming.engine.journal import Journal
from streaming.engine.lookup import LiveTask
from streaming.engine.options import StartOptions
from streaming.engine.registry import Registry
from streaming.engine.runner import Runner
from streaming.engine.starts import Starts
from streaming.engine.steering import Steering
from streaming.engine.transitions import SERVER
from streaming.errors import KeyBusy, TaskEnded
from streaming.records import Record, TaskStatus
from streaming.rules.deadlines import for_child
from streaming.rules.trace_context import kept_trace_context


class Parents(Steering):
    """The part of the coordinator that handlers ask for something; see `engine.family.Host`.

    Args:
        registry: the task types.
        journal: what is remembered.
        hub: what is live.
        settings: the limits.
        spawn: runs a task whose turn it is.
    """

    _starts: Starts

    def __init__(
        self, registry: Registry, journal: Journal, hub: Hub, settings: Settings, spawn: Callable[[Runner], None]
    ) -> None:
        super().__init__(registry, journal, hub, settings, spawn)
        self._family = Family()

    async def start_child(
        self, parent: str, attempt: int, type: str, params: dict[str, Any], options: StartOptions, remaining_s: float
    ) -> Record:
        """Start a task under a running one; see `TaskContext.start`.

        Args:
            parent: the running task.
            attempt: the attempt of it that asks.
            type: name of the task type.
            params: its parameters.
            options: what else is asked for.
            remaining_s: seconds that the parent has left.

        Raises:
            TaskEnded: the attempt has ended, or its time is over.
            KeyBusy: its key is busy and it wants to be refused then, or the key is held by the parent or one above it,
                which waits for this one.
            StreamingError: as `start`.
        """
        above = self._at_work(parent, attempt)
        if above is None or remaining_s <= 0:
            raise TaskEnded(f"The time of task {parent} is over, and it starts no other.")
        total_s = for_child(options.get("total_timeout_s"), remaining_s)
        given: StartOptions = {
            "priority": above.priority,
            "trace": kept_trace_context(above.traceparent, above.tracestate),
            **options,
            "created_by": above.created_by,
            "tenant": above.tenant,
            "total_timeout_s": total_s,
        }
        wanted = draft(self.registry.get(type), params, given, self.settings, parent=above)
        if (holder := self._holder_above(wanted)) is not None:
            raise KeyBusy(wanted.record.key or "", holder)
        record, _ = await self._starts.start(wanted)
        return record

    def _at_work(self, task_id: str, attempt: int) -> Record | None:
        """A task whose handler is at work in this attempt."""
        log = self._live(task_id)
        if log is None or log.record.status is not TaskStatus.RUNNING or log.record.attempt != attempt:
            return None
        return log.record

    def _holder_above(self, wanted: Draft) -> str | None:
        """Which of the tasks above a new one holds its key."""
        above = wanted.record.parent
        while wanted.key is not None and above is not None and (log := self._live(above)) is not None:
            if scoped_key(log.record) == wanted.key:
                return above
            above = log.record.parent
        return None

    def cancel_children(self, parent: str) -> None:
        """A handler's tasks live no longer than it; those that stop already are left alone."""
        for child_id in self._family.of(parent):
            child = self._tasks[child_id]
            if self._goes_on(child) and not child.stopping:
                self._cancel(child, SERVER, _orphaned(parent))

    def _cancel_orphan(self, task: LiveTask, parent: str) -> None:
        """Its parent has ended while it was being stored."""
        task.cancel(SERVER, _orphaned(parent))
        if isinstance(task, Runner):
            self._end_cancelled(task)

    def lending(self, task_id: str) -> AbstractAsyncContextManager[None]:
        """Let another task run in the place of this one, which waits for it."""
        return self._turns.lending(task_id)


def _orphaned(parent: str) -> str:
    return f"Its parent {parent} was stopped or has ended"
