"""A transition, written down: the event of the new status together with what it changes in the record.

Owns:   `move` and `end`; what a cancel receipt says once its task has ended.
Uses:   rules.lifecycle (what may follow), engine.hub (where it is written).
Never:  decides that something happens; it only writes it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.engine.registry import TaskType
from streaming.events import rfc3339, seconds_of
from streaming.records import CancelOutcome, CancelReceipt, Record, TaskError
from streaming.rules.lifecycle import Transition, after
from streaming.rules.outcome import Outcome

#: Who changes a status: the server, or the work itself.
SERVER, WORK = "server", "handler"


def move(
    hub: Hub,
    log: Log,
    transition: Transition,
    data: dict[str, Any],
    now: str,
    *,
    by: str = SERVER,
    reason: str = "",
    **changes: Any,
) -> None:
    """Write one transition.

    Args:
        hub: the hub of the log.
        log: of the task.
        transition: which.
        data: of the event.
        now: its time, RFC 3339.
        by: who did it, for the history.
        reason: why, for the history.
        changes: fields of the record, besides the status.

    Raises:
        IllegalTransition: the life cycle has no such row.
        TaskEnded: the log has its terminal event.
    """
    status = after(log.record.status, transition)
    hub.append_with(log, status.value, data, now, why=(by, reason), status=status, **changes)


def end(hub: Hub, log: Log, outcome: Outcome, *, where: str | None = None, by: str | None = None) -> None:
    """Write the terminal event.

    Args:
        hub: the hub of the log.
        log: of the task.
        outcome: how it ended.
        where: the line on which the handler still runs, if the task ends without it.
        by: who has brought the end about; None is told by the outcome.
    """
    now = hub.now()
    data: dict[str, Any] = {}
    if outcome.error is not None:
        data["error"] = dataclasses.asdict(outcome.error)
    if outcome.error is None or outcome.result is not None:
        data["result"] = outcome.result
    move(
        hub,
        log,
        outcome.transition,
        data,
        now,
        by=by or _who(log.record.cancel, outcome.transition),
        reason="" if outcome.error is None else outcome.error.message,
        result=outcome.result,
        error=outcome.error,
        cancel=_final(log.record.cancel, outcome.transition, now, where),
        retry_at=None,
        finished_at=now,
    )


def requeue(hub: Hub, log: Log, reason: str) -> None:
    """Send an interrupted task back to the queue."""
    attempt = log.record.attempt + 1
    data = {"attempt": attempt, "reason": reason}
    log.heartbeat_at = None
    # A cancel that the last attempt has declined says nothing about the next one.
    changes: dict[str, Any] = {
        "attempt": attempt,
        "started_at": None,
        "progress": None,
        "steps": None,
        "cancel": None,
    }
    move(hub, log, Transition.REQUEUE, data, hub.now(), reason=reason, **changes)


def may_restart(task_type: TaskType, record: Record) -> bool:
    """Whether an interrupted run may be followed by another one; attempts after a failure do not count.

    Not so for what a handler has started: its next attempt starts its own.
    """
    retried = record.policy.retry.retries - record.retries_left
    return (
        record.parent is None
        and task_type.on_interrupt == "restart"
        and record.attempt - retried < task_type.attempts_max
    )


def retry(hub: Hub, log: Log, error: TaskError, pause_s: float) -> None:
    """Let another attempt follow a failed one."""
    now = hub.now()
    attempt, retry_at = log.record.attempt + 1, rfc3339(seconds_of(now) + pause_s)
    data = {"attempt": attempt, "retry_at": retry_at, "error": dataclasses.asdict(error)}
    changes: dict[str, Any] = {
        "attempt": attempt,
        "retries_left": log.record.retries_left - 1,
        "retry_at": retry_at,
        "error": error,
        "progress": None,
        "steps": None,
        "cancel": None,
    }
    move(hub, log, Transition.RETRY, data, now, by=WORK, reason=error.message, **changes)


def begin(hub: Hub, log: Log, *, by: str = SERVER) -> None:
    """Let an attempt begin."""
    now = hub.now()
    log.heartbeat_at = now
    data = {"attempt": log.record.attempt}
    move(hub, log, Transition.START, data, now, by=by, started_at=now, retry_at=None, error=None)


def _who(receipt: CancelReceipt | None, transition: Transition) -> str:
    """Who has brought an end about."""
    if transition is Transition.CANCEL and receipt is not None:
        return receipt.by
    return WORK if transition in (Transition.RETURN, Transition.RAISE) else SERVER


def _final(receipt: CancelReceipt | None, transition: Transition, now: str, where: str | None) -> CancelReceipt | None:
    if receipt is None or receipt.declined:
        return receipt
    if transition is Transition.CANCEL:
        delivered_at = receipt.delivered_at or now
        return dataclasses.replace(
            receipt, delivered_at=delivered_at, stopped_at=now, outcome=CancelOutcome.STOPPED, where=None
        )
    if where is not None:
        return dataclasses.replace(receipt, outcome=CancelOutcome.IGNORED, where=where)
    return dataclasses.replace(receipt, stopped_at=now, outcome=CancelOutcome.COMPLETED)
