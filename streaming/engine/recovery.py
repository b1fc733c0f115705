"""After a crash: what became of the tasks that the last process left behind.

Owns:   writing it down, before anybody can ask.
Uses:   rules.lifecycle (what becomes of which status).
Never:  runs a task: those that wait for their turn are handed back.
"""

from __future__ import annotations

import functools

import structlog

from streaming.engine.hub import Hub, Log
from streaming.engine.registry import Registry
from streaming.engine.runner import may_restart
from streaming.engine.transitions import end, requeue
from streaming.records import Record, TaskError
from streaming.rules.lifecycle import Transition, recovery
from streaming.rules.outcome import Outcome

_log = structlog.get_logger(__name__)


async def recover(hub: Hub, registry: Registry) -> list[Log]:
    """Take up every task that is not terminal, and see it stored.

    Args:
        hub: of the new process, open.
        registry: the task types that exist now.

    Returns:
        The logs of the tasks that wait for their turn, or go on elsewhere, oldest first.

    Raises:
        StoreUnavailable: the store cannot be read, or the hub was closed meanwhile.
    """
    waiting = [
        log for record in await hub.journal.unfinished() if _take_up(hub, registry, log := hub.resume(record), record)
    ]
    await hub.committed()
    return waiting


def _take_up(hub: Hub, registry: Registry, log: Log, record: Record) -> bool:
    """Write down what becomes of one task, and say whether it is live."""
    known = record.type in registry
    transition = recovery(
        record.status,
        cancelled=record.to_be_cancelled,
        restartable=known and may_restart(registry.get(record.type), record),
        known=known,
        outside=known and registry.get(record.type).outside,
        orphaned=record.parent is not None,
    )
    _log.info("recovering a task", task_id=record.id, status=record.status.value, transition=transition)
    if transition is None:
        return True
    if transition is Transition.REQUEUE:
        requeue(hub, log, "crash")
        return True
    end(hub, log, Outcome(transition, _error(transition, record, known=known)))
    hub.when_committed(functools.partial(hub.drop, log))
    return False


def _error(transition: Transition, record: Record, *, known: bool) -> TaskError:
    if transition is Transition.CANCEL:
        return TaskError("cancelled", "It was cancelled; then the server crashed.")
    if not known:
        message = f"The server has restarted, and knows no task type {record.type!r} any more."
        return TaskError("unknown_type", message)
    who = "task" if record.parent is None else "task that has started it"
    return TaskError("crash", f"The server crashed or was killed while the {who} was running.")
