"""A task before its start: what was asked for, over what its type says.

Owns:   the limits of the options; the first record of a task.
Uses:   engine.registry (what the type says), rules.schedule (what a start does that finds its key busy).
Never:  starts anything.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from streaming.config import Settings
from streaming.engine.options import RetryOptions, StartOptions
from streaming.engine.parameters import refuse_unstorable
from streaming.engine.registry import TaskType
from streaming.errors import FieldError, InvalidParams
from streaming.records import Policy, Priority, Record, RetryPolicy, TaskStatus
from streaming.rules.access import owner_of
from streaming.rules.retry import RETRIES_MAX
from streaming.rules.schedule import IfRunning
from streaming.rules.trace_context import TraceContext, kept_trace_context

RETRY_NAMES_MAX = 32
NAME_MAX = 255

#: Options that say how a task is to be treated.
_OF_POLICY = frozenset({field.name for field in dataclasses.fields(Policy)})

_Word = TypeVar("_Word", Priority, IfRunning)


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that may be started.

    Attributes:
        task_type: its type.
        record: as it is going to be, without id and times.
        if_running: what happens if a task with its key has not ended.
        parent_attempt: the attempt of its parent that starts it; 0 without a parent.
        repeats: the trace of the task that it repeats.
    """

    task_type: TaskType
    record: Record
    if_running: IfRunning
    parent_attempt: int = 0
    repeats: TraceContext | None = None

    @property
    def key(self) -> str | None:
        """Its key; that of somebody else is another one."""
        return scoped_key(self.record)

    @property
    def owner(self) -> str:
        """Whose it is, and so its idempotency key."""
        return owner_of(self.record.created_by, self.record.tenant)


def scoped_key(record: Record) -> str | None:
    """The key of a task among those of all principals."""
    return None if record.key is None else f"{owner_of(record.created_by, record.tenant)}\n{record.key}"


def draft(
    task_type: TaskType,
    params: dict[str, Any],
    options: StartOptions,
    settings: Settings,
    *,
    parent: Record | None = None,
    retry_of: Record | None = None,
) -> Draft:
    """Check what a start asks for.

    Args:
        task_type: of the task.
        params: as they were sent.
        options: what else is asked for.
        settings: the limits.
        parent: the task that starts this one.
        retry_of: the task that this one repeats: it has the same time, whatever ``options`` say of it.

    Raises:
        InvalidParams: one entry in ``errors`` for each field that is wrong.
    """
    complete = task_type.validate(params)
    if retry_of is None:
        policy, timeout_s = _policy(task_type.policy, options, settings), options.get("timeout_s")
    else:
        policy, timeout_s = _policy_again(retry_of, task_type), min(retry_of.timeout_s, settings.timeout_max_s)
    if task_type.outside and policy.retry.retries:
        message = "The work of an external task is not repeated by the server: leave it out."
        raise InvalidParams("retry is wrong.", errors=[FieldError("retry.retries", message)])
    tags, created_by = tuple(dict.fromkeys(options.get("tags", ()))), options.get("created_by", "anonymous")
    trace = options.get("trace")
    key, external_id, tenant = options.get("key"), options.get("external_id"), options.get("tenant")
    named = {"key": key, "external_id": external_id, "created_by": created_by, "tenant": tenant}
    _check_names(named)
    refuse_unstorable({"tags": tags, "retry": policy.retry.on, **named})
    record = Record(
        id="",
        type=task_type.name,
        status=TaskStatus.PENDING,
        params=complete,
        timeout_s=task_type.timeout(timeout_s, settings),
        created_at="",
        updated_at="",
        created_by=created_by,
        priority=_word(Priority, "priority", options.get("priority", Priority.NORMAL)),
        key=key,
        external_id=external_id,
        parent=None if parent is None else parent.id,
        retry_of=None if retry_of is None else retry_of.id,
        policy=policy,
        tags=tags,
        retries_left=policy.retry.retries,
        tenant=tenant,
        traceparent=None if trace is None else trace.traceparent,
        tracestate=None if trace is None else trace.tracestate or None,
    )
    if_running = _word(IfRunning, "if_running", options.get("if_running", IfRunning.ENQUEUE))
    repeats = None if retry_of is None else kept_trace_context(retry_of.traceparent, retry_of.tracestate)
    return Draft(task_type, record, if_running, 0 if parent is None else parent.attempt, repeats)


def options_of(record: Record) -> StartOptions:
    """What the start of a task has asked for, to ask for it again; `draft` takes its time from the record itself.

    Whose the new one is depends on who asks.
    """
    return StartOptions(priority=record.priority, key=record.key, external_id=record.external_id, tags=record.tags)


def check_seconds(name: str, seconds: float | None, settings: Settings) -> float | None:
    """Check a number of seconds; None is for as long as it takes.

    Raises:
        InvalidParams: no positive number, or over the maximum.
    """
    if seconds is not None and not 0 < seconds <= settings.timeout_max_s:
        message = f"A number of seconds over 0, at most {settings.timeout_max_s:g}."
        raise InvalidParams(f"{name} is wrong.", errors=[FieldError(name, message)])
    return None if seconds is None else float(seconds)


def _word(words: type[_Word], name: str, value: str) -> _Word:
    try:
        return words(value)
    except ValueError:
        message = f"One of {', '.join(words)}."
        raise InvalidParams(f"{name} is wrong.", errors=[FieldError(name, message)]) from None


def _policy(default: Policy, options: StartOptions, settings: Settings) -> Policy:
    """What the start asks for, over what the type says."""
    if _OF_POLICY.isdisjoint(options):
        return default
    given = {
        "queue_timeout_s": options.get("queue_timeout_s"),
        "heartbeat_timeout_s": options.get("heartbeat_timeout_s"),
        "total_timeout_s": options.get("total_timeout_s"),
        "cancel_unwatched_s": options.get("cancel_unwatched_s"),
    }
    seconds = {name: check_seconds(name, value, settings) or getattr(default, name) for name, value in given.items()}
    return Policy(
        retry=_retry(default.retry, options.get("retry") or {}, settings),
        keep_until_ack=options.get("keep_until_ack", default.keep_until_ack),
        **seconds,
    )


def _policy_again(old: Record, task_type: TaskType) -> Policy:
    """That of a task that is repeated: what it had was allowed, by its start or by its type.

    What a parent had left is no limit of its own.
    """
    if old.parent is None:
        return old.policy
    return dataclasses.replace(old.policy, total_timeout_s=task_type.policy.total_timeout_s)


def _retry(default: RetryPolicy, options: RetryOptions, settings: Settings) -> RetryPolicy:
    changes: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if not changes:
        return default
    policy = dataclasses.replace(default, **changes)
    if not 0 <= policy.retries <= RETRIES_MAX:
        message = f"A whole number from 0 to {RETRIES_MAX}."
        raise InvalidParams("retry.retries is wrong.", errors=[FieldError("retry.retries", message)])
    names = tuple(dict.fromkeys(policy.on))
    if len(names) > RETRY_NAMES_MAX or not all(map(_is_name, names)):
        message = f"At most {RETRY_NAMES_MAX} error codes or names of exception classes."
        raise InvalidParams("retry.on is wrong.", errors=[FieldError("retry.on", message)])
    for name in ("backoff_s", "backoff_max_s"):
        if name in options:
            check_seconds(f"retry.{name}", getattr(policy, name), settings)
    return dataclasses.replace(policy, on=names)


def _check_names(names: dict[str, str | None]) -> None:
    wrong = [name for name, value in names.items() if value is not None and not _is_name(value)]
    if wrong:
        message = f"1 to {NAME_MAX} printable characters."
        raise InvalidParams(f"{wrong[0]} is wrong.", errors=[FieldError(name, message) for name in wrong])


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_MAX and text.isprintable()
