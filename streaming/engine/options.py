"""What a start may ask for besides its type and parameters.

Owns:   the names and types of the options.
Never:  checks them (``engine.draft``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from streaming.records import Priority
from streaming.rules.schedule import IfRunning
from streaming.rules.trace_context import TraceContext


class RetryOptions(TypedDict, total=False):
    """What follows a failed attempt; what is left out is as the task type says. See `RetryPolicy`."""

    retries: int
    backoff_s: float
    backoff_max_s: float
    on: Sequence[str]


class StartOptions(TypedDict, total=False):
    """What a start may ask for.

    Attributes:
        timeout_s: seconds that one run may take; None takes the type's, else the server's default.
        queue_timeout_s: seconds that it may wait for a turn.
        heartbeat_timeout_s: seconds that a run may be silent.
        total_timeout_s: seconds from the start to the end, with all waiting and all attempts.
        retry: what follows a failed attempt.
        priority: whose turn comes first.
        key: tasks of one principal with the same key run one after the other.
        if_running: what happens if a task with this key has not ended.
        external_id: what the task is called elsewhere, 1 to 255 printable characters.
        cancel_unwatched_s: seconds after which it is cancelled once its last viewer has left.
        keep_until_ack: its record stays until its result was acknowledged.
        tags: words to find the task by.
        created_by: the principal, 1 to 255 printable characters.
        tenant: of the principal, likewise; None for one without.
        trace: where in which trace the task belongs; None if it is in none.
    """

    timeout_s: float | None
    queue_timeout_s: float | None
    heartbeat_timeout_s: float | None
    total_timeout_s: float | None
    retry: RetryOptions | None
    priority: Priority
    key: str | None
    if_running: IfRunning
    external_id: str | None
    cancel_unwatched_s: float | None
    keep_until_ack: bool
    tags: Sequence[str]
    created_by: str
    tenant: str | None
    trace: TraceContext | None
