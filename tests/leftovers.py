"""What a coordinator still holds when everything has ended: it should be nothing.

Owns:   the list of its tables, and of the asyncio tasks that it may leave behind.
Never:  waits for anything.
"""

from __future__ import annotations

import asyncio

from streaming import TaskCoordinator

#: The tasks that live as long as the coordinator.
RESIDENT = frozenset({"streaming-committer"})


def leftovers(coordinator: TaskCoordinator) -> dict[str, object]:
    """Everything that is not empty, by name."""
    hub = coordinator._hub
    committer = hub._committer
    tables = {
        "tasks": coordinator._tasks,
        "running": coordinator._turns.running,
        "waiting": coordinator._turns._waiting,
        "waits": coordinator._turns._waits,
        "pauses": coordinator._turns._pauses,
        "loans": coordinator._turns._lent,
        "those who come back": coordinator._turns._returning,
        "busy types": +coordinator._turns._busy,
        "line": coordinator._turns.line.size,
        "children": coordinator._family._children,
        "starting": +coordinator._starts._starting,
        "starting to wait": coordinator._starts._queueing,
        "starting outside": coordinator._starts._starting_outside,
        "stuck": coordinator.stuck,
        "keys": coordinator._starts._once._flights,
        "logs": hub._logs,
        "feed readers": hub.feed_readers,
        "handlers that wait for room": hub._room,
        "backlog bytes": hub._backlog_bytes,
        "batches": committer._batches,
        "batch in flight": committer._writing,
        "asyncio tasks": {name for name in _task_names() if name.startswith("streaming-") and name not in RESIDENT},
    }
    return {name: table for name, table in tables.items() if table}


def _task_names() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks()]
