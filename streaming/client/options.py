"""What a start may ask for, as the client takes it, how it goes over the wire, and what comes of it.

Owns:   the names and types of the options; the body of a start; what is known of its task.
Never:  checks them: that is for the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from streaming.records import Record


class RetryOptions(TypedDict, total=False):
    """What follows a failed attempt; what is left out is as the task type says.

    Attributes:
        retries: attempts after the first, at most.
        backoff_s: the longest pause before the first of them; it doubles with each.
        backoff_max_s: the longest pause of all.
        on: which failures: error codes, or names of exception classes.
    """

    retries: int
    backoff_s: float
    backoff_max_s: float
    on: Sequence[str]


class Limits(TypedDict, total=False):
    """How long a task may take, in seconds.

    Attributes:
        timeout_s: one run.
        queue_timeout_s: the wait for a turn.
        heartbeat_timeout_s: silence in a run.
        total_timeout_s: from the start to the end, with all waiting and all attempts.
    """

    timeout_s: float | None
    queue_timeout_s: float | None
    heartbeat_timeout_s: float | None
    total_timeout_s: float | None


class StartOptions(Limits, total=False):
    """What a start may ask for; None and what is left out is for the task type and the server to say.

    Attributes:
        priority: ``low``, ``normal``, ``high`` or ``urgent``.
        key: tasks with the same key run one after the other.
        if_running: what happens if one of them has not ended: ``enqueue``, ``reject``, ``replace`` or ``join``.
        external_id: what the task is called elsewhere.
        retry: what follows a failed attempt.
        cancel_unwatched_s: seconds after which it is cancelled once its last viewer has left.
        keep_until_ack: its record stays until its result was acknowledged.
        tags: words to find it by.
    """

    priority: str | None
    key: str | None
    if_running: str | None
    external_id: str | None
    retry: RetryOptions | None
    cancel_unwatched_s: float | None
    keep_until_ack: bool | None
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Started:
    """What a start has led to.

    Attributes:
        record: of the task.
        joined: whether it may be a task that somebody else has started. False says that it is the caller's own: new, or
            started before under the same Idempotency-Key. With ``if_running="join"`` a repeated request, and one whose
            answer was lost, cannot be told from a join: they count as one.
    """

    record: Record
    joined: bool


def start_body(type: str, params: Mapping[str, Any] | None, options: StartOptions) -> dict[str, Any]:
    """The body of a start.

    Args:
        type: name of the task type.
        params: its parameters.
        options: what else is asked for.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "cancel_unwatched_s" in given:
        given["on_unwatched"] = {"cancel_after_s": given.pop("cancel_unwatched_s")}
    if "retry" in given:
        given["retry"] = {**given["retry"], **({"on": [*given["retry"]["on"]]} if "on" in given["retry"] else {})}
    if "tags" in given:
        given["tags"] = [*given["tags"]]
        if not given["tags"]:
            del given["tags"]
    return {"type": type, "params": dict(params or {}), **given}
