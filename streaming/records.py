"""What the product remembers of a task.

Owns:   the record, its status words, the cancel receipt, the progress and the error of a task.
Never:  decides what may follow what (``rules.lifecycle``) or where a record is kept (``store``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class TaskStatus(StrEnum):
    """The rows of the life-cycle table."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class CancelOutcome(StrEnum):
    """What became of a cancel: still open, obeyed, overtaken by the handler's own end, or not obeyed."""

    REQUESTED = "requested"
    STOPPED = "stopped"
    COMPLETED = "completed"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is: percent from 0 to 100, and a message for people."""

    percent: float
    message: str | None = None


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task has no result: a machine-readable code, a message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CancelReceipt:
    """What became of the wish to cancel a task; all times are RFC 3339.

    Attributes:
        requested_at: when the wish was written down.
        by: the principal who asked.
        reason: shown to every reader.
        delivered_at: when the handler was cancelled; None while a protected section or the store holds it back.
        stopped_at: when the handler had ended.
        outcome: see `CancelOutcome`.
        where: for ``ignored``: file, line and function in which the handler went on.
        declined: the handler took the cancel back with ``asyncio.Task.uncancel``, so no second one was sent.
    """

    requested_at: str
    by: str
    reason: str = ""
    delivered_at: str | None = None
    stopped_at: str | None = None
    outcome: CancelOutcome = CancelOutcome.REQUESTED
    where: str | None = None
    declined: bool = False

    def as_json(self) -> dict[str, Any]:
        """The receipt as it goes over the wire."""
        fields = dataclasses.asdict(self) | {"outcome": self.outcome.value}
        if self.outcome is not CancelOutcome.IGNORED:
            del fields["where"], fields["declined"]
        return fields


@dataclass(frozen=True, slots=True)
class Record:
    """The row that remembers a task; a snapshot, replaced and never changed.

    Attributes:
        id: 32 hexadecimal digits.
        type: name of the task type.
        status: where in its life the task is.
        params: a JSON object: what the client sent, and the defaults of what it left out.
        tags: words to find the task by.
        attempt: 1 for the first run, one more for each restart after an interruption.
        progress: the last one reported.
        result: what the handler returned, any JSON value.
        error: why there is no result.
        cancel: the receipt of the cancel, if anybody asked for one.
        timeout_s: seconds the handler may run.
        last_seq: seq of the last event.
        created_by: the principal who started it.
        created_at: and the other times, RFC 3339.
    """

    id: str
    type: str
    status: TaskStatus
    params: dict[str, Any]
    timeout_s: float
    created_at: str
    updated_at: str
    created_by: str = "anonymous"
    tags: tuple[str, ...] = ()
    attempt: int = 1
    progress: Progress | None = None
    result: Any = None
    error: TaskError | None = None
    cancel: CancelReceipt | None = None
    last_seq: int = 0
    started_at: str | None = None
    finished_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The task as it goes over the wire; every task has normal priority and no key."""
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status.value,
            "params": self.params,
            "priority": "normal",
            "key": None,
            "tags": list(self.tags),
            "attempt": self.attempt,
            "progress": None if self.progress is None else dataclasses.asdict(self.progress),
            "result": self.result,
            "error": None if self.error is None else dataclasses.asdict(self.error),
            "cancel": None if self.cancel is None else self.cancel.as_json(),
            "timeout_s": self.timeout_s,
            "last_seq": self.last_seq,
            "created_by": self.created_by,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "updated_at": self.updated_at,
            "finished_at": self.finished_at,
        }


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Remembers which start a client's Idempotency-Key stands for.

    Attributes:
        key: the header's value, unique per principal.
        principal: who used it.
        fingerprint: hash of the request's body.
        task_id: the task that was started.
        created_at: RFC 3339; the key is forgotten 24 hours later.
    """

    key: str
    principal: str
    fingerprint: str
    task_id: str
    created_at: str
