"""What the product remembers of a task.

Owns:   the record and its words: status, priority, policy, progress, error, cancel receipt, history.
Never:  decides what may follow what (``rules.lifecycle``) or where a record is kept (``store``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any


class TaskStatus(StrEnum):
    """The rows of the life-cycle table."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class Priority(StrEnum):
    """Whose turn comes first, from the last to the first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        """0 for low, one more for each step."""
        return _RANKS[self]


_RANKS = {priority: rank for rank, priority in enumerate(Priority)}


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
class Steps:
    """How far a task of several steps is: how many are done, of how many, and the name of the one under way."""

    completed: int
    total: int | None = None
    current: str | None = None


@dataclass(frozen=True, slots=True)
class Eta:
    """When a task may end: between two times, RFC 3339."""

    earliest: str
    latest: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What follows a failed attempt.

    Attributes:
        retries: attempts after the first, at most.
        backoff_s: the longest pause before the first retry, in seconds; it doubles with each.
        backoff_max_s: the longest pause of all.
        on: which failures: error codes, or names of exception classes; empty means whatever a handler raises.
    """

    retries: int = 0
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task is to be treated; chosen at its start.

    Attributes:
        retry: what follows a failed attempt.
        queue_timeout_s: seconds it may wait for its turn; None for as long as it takes.
        heartbeat_timeout_s: seconds a run may be silent.
        total_timeout_s: seconds from the start to the end, with all waiting and all attempts.
        cancel_unwatched_s: seconds after which it is cancelled once nobody watches it any more; None goes on.
        keep_until_ack: its record stays until somebody has acknowledged the result.
    """

    retry: RetryPolicy = RetryPolicy()
    queue_timeout_s: float | None = None
    heartbeat_timeout_s: float | None = None
    total_timeout_s: float | None = None
    cancel_unwatched_s: float | None = None
    keep_until_ack: bool = False


#: Of a task whose start asks for nothing.
PLAIN = Policy()


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a task's status.

    Attributes:
        task_id: the task.
        seq: of the event that tells it.
        status: the new one.
        time: when, RFC 3339.
        by: who did it: a principal, or ``server``.
        reason: why, in words.
    """

    task_id: str
    seq: int
    status: TaskStatus
    time: str
    by: str
    reason: str = ""


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
        priority: whose turn comes first.
        key: tasks with the same key run one after the other.
        external_id: what the task is called elsewhere.
        parent: the task that has started this one.
        retry_of: the ended task that this one repeats.
        policy: how it is to be treated.
        tags: words to find the task by.
        attempt: 1 for the first run, one more for each that follows.
        retries_left: so many failed attempts may still be followed by another one.
        retry_at: when the next attempt begins, while the task is retrying.
        progress: the last one reported.
        steps: the last ones reported.
        heartbeat_at: when the task was heard of last.
        eta: when it may end; not stored, but worked out by who shows the record.
        result: what the handler returned, any JSON value.
        error: why there is no result.
        cancel: the receipt of the cancel, if anybody asked for one.
        timeout_s: seconds the handler may run.
        last_seq: seq of the last event.
        created_by: the principal who started it.
        tenant: of that principal; None for one without.
        traceparent: where in which trace the task belongs; None if it is in none.
        tracestate: what goes with that.
        acked_at: when somebody has acknowledged the result.
        client_seq: of the last event that an external worker has reported.
        log_bytes: size of all its events, about.
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
    priority: Priority = Priority.NORMAL
    key: str | None = None
    external_id: str | None = None
    parent: str | None = None
    retry_of: str | None = None
    policy: Policy = PLAIN
    tags: tuple[str, ...] = ()
    attempt: int = 1
    retries_left: int = 0
    retry_at: str | None = None
    progress: Progress | None = None
    steps: Steps | None = None
    heartbeat_at: str | None = None
    eta: Eta | None = None
    result: Any = None
    error: TaskError | None = None
    cancel: CancelReceipt | None = None
    last_seq: int = 0
    acked_at: str | None = None
    client_seq: int = 0
    log_bytes: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    tenant: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def to_be_cancelled(self) -> bool:
        """Whether somebody has cancelled it, and its handler has not declined that."""
        return self.cancel is not None and not self.cancel.declined

    @property
    def awaits_ack(self) -> bool:
        """Whether it is kept until somebody has acknowledged its result."""
        return self.policy.keep_until_ack and self.acked_at is None

    def as_json(self) -> dict[str, Any]:
        """The task as it goes over the wire."""
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status.value,
            "params": self.params,
            "priority": self.priority.value,
            "key": self.key,
            "external_id": self.external_id,
            "parent": self.parent,
            "retry_of": self.retry_of,
            "tags": list(self.tags),
            "attempt": self.attempt,
            "retries_left": self.retries_left,
            "retry_at": self.retry_at,
            "progress": None if self.progress is None else dataclasses.asdict(self.progress),
            "steps": None if self.steps is None else dataclasses.asdict(self.steps),
            "eta": None if self.eta is None else dataclasses.asdict(self.eta),
            "result": self.result,
            "error": None if self.error is None else dataclasses.asdict(self.error),
            "cancel": None if self.cancel is None else self.cancel.as_json(),
            "timeout_s": self.timeout_s,
            **_policy_json(self.policy),
            "last_seq": self.last_seq,
            "client_seq": self.client_seq,
            "created_by": self.created_by,
            "tenant": self.tenant,
            "traceparent": self.traceparent,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "updated_at": self.updated_at,
            "heartbeat_at": self.heartbeat_at,
            "finished_at": self.finished_at,
            "acked_at": self.acked_at,
        }


_values_of: Callable[[Record], tuple[Any, ...]] = attrgetter(*(field.name for field in dataclasses.fields(Record)))


def changed(record: Record, **changes: Any) -> Record:
    """A copy with some other values: `dataclasses.replace`, in half of the time, for what happens with every event.

    Raises:
        AttributeError: there is no such field.
    """
    copy = Record(*_values_of(record))
    for name, value in changes.items():
        object.__setattr__(copy, name, value)  # nobody has seen it yet
    return copy


def _policy_json(policy: Policy) -> dict[str, Any]:
    unwatched_s = policy.cancel_unwatched_s
    return {
        "queue_timeout_s": policy.queue_timeout_s,
        "heartbeat_timeout_s": policy.heartbeat_timeout_s,
        "total_timeout_s": policy.total_timeout_s,
        "retry": retry_json(policy.retry),
        "on_unwatched": "continue" if unwatched_s is None else {"cancel_after_s": unwatched_s},
        "keep_until_ack": policy.keep_until_ack,
    }


def retry_json(retry: RetryPolicy) -> dict[str, Any]:
    """What follows a failed attempt, as it goes over the wire."""
    return {
        "retries": retry.retries,
        "backoff_s": retry.backoff_s,
        "backoff_max_s": retry.backoff_max_s,
        "on": list(retry.on),
    }


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Remembers which start a client's Idempotency-Key stands for.

    Attributes:
        key: the header's value, unique per principal.
        principal: who used it, with its tenant; see `rules.access.owner_of`.
        fingerprint: hash of the request's body.
        task_id: the task that was started.
        created_at: RFC 3339; the key is forgotten 24 hours later.
    """

    key: str
    principal: str
    fingerprint: str
    task_id: str
    created_at: str
