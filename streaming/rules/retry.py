"""Which failure is followed by another attempt, and after which pause.

Rules of this file:

- A policy that lists nothing retries what a handler raises, except where another attempt would fail in the same way.
- A policy that lists error codes and names of exception classes retries those and nothing else; a class stands for
  all that derive from it.
- A run that took too long is retried only where its code is listed; a task that waited too long, or whose time is over
  as a whole, never.
- A pause has full jitter: any part of a time that doubles with each retry, so that tasks that have failed together do
  not come back together (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

Owns:   `should_retry`, `failure_names`, `pause_s`, and how many retries there may be.
Never:  throws the dice or waits: the chance comes as an argument, and somebody else has the clock.
"""

from __future__ import annotations

from streaming.records import RetryPolicy, TaskError
from streaming.rules.deadlines import EXPIRED_CODES, Limit
from streaming.rules.lifecycle import Transition

#: Retries that a start or a task type may ask for.
RETRIES_MAX = 1000

#: Codes of failures that would only be repeated; a policy can list them all the same.
LASTING = frozenset(
    {
        "invalid_params",
        "invalid_event",
        "event_too_large",
        "too_many_events",
        "log_too_large",
        "invalid_result",
        "result_too_large",
        "handler_cancelled_itself",
    }
)

#: Codes of one run that took too long.
RETRIED_TIMEOUTS = frozenset({EXPIRED_CODES[Limit.RUN], EXPIRED_CODES[Limit.HEARTBEAT]})

#: One of these is in the MRO of whatever a handler raises, except for a cancellation.
_RAISED = frozenset({"Exception", "BaseExceptionGroup"})

#: More doublings than any limit leaves room for, and few enough for a float.
_DOUBLINGS_MAX = 1000


def failure_names(error: TaskError, raised: BaseException | None) -> frozenset[str]:
    """All that a policy may call a failure.

    Args:
        error: of the attempt.
        raised: the exception, if it was one.

    Returns:
        The error's code, and the name of the exception's class and of each class that it derives from.
    """
    classes = type(raised).__mro__ if raised is not None else ()
    return frozenset({error.code} | {each.__name__ for each in classes if each not in (BaseException, object)})


def should_retry(policy: RetryPolicy, retries_left: int, names: frozenset[str], transition: Transition) -> bool:
    """Decide whether a failed attempt is followed by another one.

    Args:
        policy: of the task.
        retries_left: how many attempts may still follow.
        names: of the failure, see `failure_names`.
        transition: how the attempt ended.

    Returns:
        Whether another one follows.
    """
    if retries_left <= 0:
        return False
    listed = names.intersection(policy.on)
    if transition is Transition.TIMEOUT:
        return bool(listed & RETRIED_TIMEOUTS)
    if transition is not Transition.RAISE:
        return False
    return bool(listed) if policy.on else bool(names & _RAISED) and not names & LASTING


def pause_s(policy: RetryPolicy, retry_number: int, chance: float) -> float:
    """How long to wait before a retry.

    Args:
        policy: of the task.
        retry_number: 1 for the first retry.
        chance: a random number, 0 <= chance < 1.

    Returns:
        Seconds: that part of ``backoff_s`` doubled ``retry_number - 1`` times, or of ``backoff_max_s`` if that is less.
    """
    doubled = policy.backoff_s * 2.0 ** min(retry_number - 1, _DOUBLINGS_MAX)
    return chance * min(policy.backoff_max_s, doubled)
