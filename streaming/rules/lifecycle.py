"""The life of a task, as one table.

Rules of this file:

- A status changes only along a row of `TRANSITIONS`; everything else asks the table.
- "Terminal" is derived from it: a status that no row leaves.
- How a run ended is told apart by what was written down before (`Ending`), never guessed from an exception type.

Owns:   which transition may follow which status, and which transition an ending is.
Never:  does anything.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from streaming.errors import IllegalTransition
from streaming.records import TaskStatus


class Transition(StrEnum):
    """What happens to a task."""

    START = "start"
    RETURN = "return"
    RAISE = "raise"
    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    CRASH = "crash"
    REQUEUE = "requeue"
    RETRY = "retry"


class Cause(StrEnum):
    """Why a runner is stopped."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"


_PENDING, _RUNNING, _RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING

TRANSITIONS = MappingProxyType(
    {
        (_PENDING, Transition.START): TaskStatus.RUNNING,
        (_PENDING, Transition.CANCEL): TaskStatus.CANCELLED,
        (_PENDING, Transition.TIMEOUT): TaskStatus.TIMED_OUT,
        (_PENDING, Transition.SHUTDOWN): TaskStatus.INTERRUPTED,
        (_PENDING, Transition.CRASH): TaskStatus.INTERRUPTED,
        (_RUNNING, Transition.RETURN): TaskStatus.COMPLETED,
        (_RUNNING, Transition.RAISE): TaskStatus.FAILED,
        (_RUNNING, Transition.CANCEL): TaskStatus.CANCELLED,
        (_RUNNING, Transition.TIMEOUT): TaskStatus.TIMED_OUT,
        (_RUNNING, Transition.SHUTDOWN): TaskStatus.INTERRUPTED,
        (_RUNNING, Transition.CRASH): TaskStatus.INTERRUPTED,
        (_RUNNING, Transition.REQUEUE): TaskStatus.PENDING,
        (_RUNNING, Transition.RETRY): TaskStatus.RETRYING,
        (_RETRYING, Transition.START): TaskStatus.RUNNING,
        (_RETRYING, Transition.CANCEL): TaskStatus.CANCELLED,
        (_RETRYING, Transition.TIMEOUT): TaskStatus.TIMED_OUT,
        (_RETRYING, Transition.SHUTDOWN): TaskStatus.INTERRUPTED,
        (_RETRYING, Transition.CRASH): TaskStatus.INTERRUPTED,
    }
)

TERMINAL = frozenset(TaskStatus) - {status for status, _ in TRANSITIONS}
LIVE = frozenset(TaskStatus) - TERMINAL


def after(status: TaskStatus, transition: Transition) -> TaskStatus:
    """The status that follows.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return TRANSITIONS[status, transition]
    except KeyError:
        raise IllegalTransition(f"A {status} task cannot {transition}.") from None


def ending(cause: Cause | None, *, raised: bool) -> Transition:
    """Which transition the end of a handler is.

    Args:
        cause: what the handler was stopped for, once that was delivered to it; None if nothing was.
        raised: whether it raised rather than returned; with a cause this tells nothing.

    Returns:
        The cause's own transition, or `Transition.RETURN` or `Transition.RAISE`.
    """
    if cause is not None:
        return Transition(cause.value)
    return Transition.RAISE if raised else Transition.RETURN


def recovery(
    status: TaskStatus,
    *,
    cancelled: bool,
    restartable: bool,
    known: bool,
    outside: bool = False,
    orphaned: bool = False,
) -> Transition | None:
    """What becomes of a task that a crash left behind.

    Args:
        status: as stored.
        cancelled: a cancel was written down before the crash; it is honoured.
        restartable: its type says so, and it has attempts left.
        known: its type is still registered.
        outside: its work is done elsewhere, and was not touched by the crash.
        orphaned: a handler has started it, which the crash has ended.

    Returns:
        The transition, or None for a task that simply goes on, or waits for its turn.
    """
    if outside and known and not orphaned:
        return None
    if cancelled:
        return Transition.CANCEL
    if not known or orphaned:
        return Transition.CRASH
    if status is not TaskStatus.RUNNING:
        return None
    return Transition.REQUEUE if restartable else Transition.CRASH
