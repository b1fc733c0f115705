"""Tasks that a handler starts: they live no longer than it.

Owns:   which live task was started by which; what a handler can do with a task that it has started.
Uses:   a `Host`, the coordinator's side of it.
Never:  runs or ends a task itself.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from streaming.engine.options import StartOptions
from streaming.engine.tables import Tables
from streaming.records import CancelReceipt, Record


class Host(Protocol):
    """The coordinator, as far as the tasks of a handler need it."""

    async def start_child(
        self, parent: str, attempt: int, type: str, params: dict[str, Any], options: StartOptions, remaining_s: float
    ) -> Record:
        """Start a task under an attempt of another one."""

    def cancel_children(self, parent: str) -> None:
        """Cancel the tasks that a task has started."""

    async def get(self, task_id: str) -> Record:
        """The record of a task."""

    async def result(self, task_id: str) -> Any:
        """Wait for the end of a task."""

    async def cancel_task(self, task_id: str, *, reason: str, by: str) -> CancelReceipt:
        """Ask a task to stop."""

    def lending(self, task_id: str) -> AbstractAsyncContextManager[None]:
        """Let another task run in the place of this one meanwhile."""


class Child:
    """A task that a handler has started.

    Args:
        host: what runs it.
        parent: the handler's task.
        id: its own.

    Attributes:
        id: of the task.
    """

    __slots__ = ("_host", "_parent", "id")

    def __init__(self, host: Host, parent: str, id: str) -> None:
        self.id = id
        self._host = host
        self._parent = parent

    async def result(self) -> Any:
        """Wait for its end, and return its result; another task may run in the place of yours meanwhile.

        Then it waits until there is a place for yours again.

        Raises:
            TaskFailed: its handler raised.
            TaskCancelled: somebody cancelled it.
            TaskTimedOut: it was over one of its deadlines.
            TaskInterrupted: a shutdown ended it.
        """
        async with self._host.lending(self._parent):
            return await self._host.result(self.id)

    async def record(self) -> Record:
        """How far it is."""
        return await self._host.get(self.id)

    async def cancel(self, reason: str = "") -> CancelReceipt:
        """Ask it to stop; see `TaskCoordinator.cancel_task`."""
        return await self._host.cancel_task(self.id, reason=reason, by=f"task {self._parent}")


#: How a handler starts a task under its own: type, parameters, options, seconds left.
StartChild = Callable[[str, dict[str, Any], StartOptions, float], Awaitable[Child]]


def starter(host: Host, parent: str, attempt: int) -> StartChild:
    """How the handler of an attempt of ``parent`` starts others."""
    return functools.partial(_start, host, parent, attempt)


async def _start(
    host: Host, parent: str, attempt: int, type: str, params: dict[str, Any], options: StartOptions, remaining_s: float
) -> Child:
    record = await host.start_child(parent, attempt, type, params, options, remaining_s)
    return Child(host, parent, record.id)


class Family:
    """Who was started by whom, among the live tasks."""

    def __init__(self) -> None:
        self._children: dict[str, dict[str, None]] = {}

    def add(self, record: Record) -> None:
        """A task was stored."""
        if record.parent is not None:
            self._children.setdefault(record.parent, {})[record.id] = None

    def remove(self, record: Record) -> None:
        """A task has ended."""
        siblings = self._children.get(record.parent or "")
        if siblings is not None:
            siblings.pop(record.id, None)
            if not siblings:
                del self._children[record.parent or ""]

    def forget(self, task_id: str) -> bool:
        """Strike out a task that nobody knows, and say whether it was there."""
        found = [parent for parent, children in self._children.items() if task_id in children]
        for parent in found:
            del self._children[parent][task_id]
            if not self._children[parent]:
                del self._children[parent]
        return bool(found)

    def tables(self) -> Tables:
        """What is held here."""
        return {"children": {child for children in self._children.values() for child in children}}

    def of(self, parent: str) -> tuple[str, ...]:
        """The live tasks that this one has started."""
        return tuple(self._children.get(parent, ()))
