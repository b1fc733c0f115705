"""Handlers that have blocked the event loop.

Owns:   how many stalls there were, and the event of a task that has made one.
Uses:   engine.hub (where it is written).
Never:  finds out that the loop is blocked: somebody beside it does (``observe.stall``).
"""

from __future__ import annotations

from collections.abc import Mapping

from streaming.engine.hub import Hub
from streaming.engine.lookup import LiveTask
from streaming.engine.runner import Runner
from streaming.events import encode_payload
from streaming.records import TaskStatus


class Stalls:
    """The stalls of one instance.

    Args:
        hub: of the logs.
        tasks: the live ones.

    Attributes:
        by_handlers: so many were made by handlers.
        by_others: so many by something else.
    """

    def __init__(self, hub: Hub, tasks: Mapping[str, LiveTask]) -> None:
        self.by_handlers = 0
        self.by_others = 0
        self._hub = hub
        self._tasks = tasks

    def type_of(self, task_id: str | None) -> str | None:
        """The type of a live task; callable from any thread."""
        task = self._tasks.get(task_id or "")
        return task.task_type.name if isinstance(task, Runner) else None

    def note(self, task_id: str | None, where: str, seconds: float) -> None:
        """The loop goes on: count the stall, and tell the readers of the task.

        Args:
            task_id: whose handler it was; None if it was none.
            where: its line.
            seconds: how long it has blocked the loop, about.
        """
        if task_id is None:
            self.by_others += 1
            return
        self.by_handlers += 1
        task = self._tasks.get(task_id)
        if (
            task is None
            or task.log.dropped
            or task.log.window.ended
            or task.log.record.status is not TaskStatus.RUNNING
        ):
            return
        self._hub.append(task.log, "stalled", encode_payload({"where": where, "seconds": round(seconds, 3)}))
