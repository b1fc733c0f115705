"""What a coordinator still holds when everything has ended: it should be nothing.

Owns:   the list of the asyncio tasks that it may leave behind.
Uses:   the tables as the product names them, and the invariant that they are empty.
Never:  waits for anything.
"""

from __future__ import annotations

import asyncio

from streaming import TaskCoordinator
from streaming.engine.tables import Table, size_of_table
from streaming.rules.evidence import InstanceEvidence
from streaming.rules.invariants import check_instance

#: The tasks that live as long as the coordinator.
RESIDENT = frozenset({"streaming-committer"})


def leftovers(coordinator: TaskCoordinator) -> dict[str, object]:
    """Everything that is not empty, by name."""
    tables: dict[str, Table] = {
        **coordinator.tables(),
        "stuck": [runner.id for runner in coordinator.stuck],
        "asyncio tasks": {name for name in _task_names() if name.startswith("streaming-") and name not in RESIDENT},
    }
    sizes = {name: size_of_table(table) for name, table in tables.items()}
    left: dict[str, object] = {name: tables[name] for name, size in sizes.items() if size}
    assert bool(left) == bool(check_instance(InstanceEvidence(tables=sizes, resting=True)))
    return left


def _task_names() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks()]
