"""Why a task is still running, or not running yet, or how it has ended: one sentence, and the facts behind it.

Rules of this file:

- Who was told to stop is still there because of that, whatever it waits for. What a stop waits for comes next; then
  what the handler waits for.
- Only what is known is said. That a handler has stood on a line for so long is known only if somebody has looked twice
  and found it in the same wait.

Owns:   `Seen`, which sentence it makes, and its form on the wire.
Uses:   rules.waits (what code waits for), rules.statistics (quantiles).
Never:  looks at a task, a clock or a store (``engine.why``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from streaming.events import seconds_of
from streaming.records import Eta, Record, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import TERMINAL, Cause
from streaming.rules.statistics import nearest_rank
from streaming.rules.waits import Stack, Wait


class Hindrance(StrEnum):
    """Why a waiting task does not have its turn."""

    PAUSE = "pause"
    KEY = "key"
    PLACES = "places"
    TYPE = "type"
    PRINCIPAL = "principal"
    DRAINING = "draining"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Turn:
    """The place of a task that waits for its turn.

    Attributes:
        hindrance: why it does not have it.
        ahead: how many waiting tasks come before it.
        holder: the task that has its key.
    """

    hindrance: Hindrance
    ahead: int = 0
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """A stop that the task has been told of, or will be.

    Attributes:
        cause: why.
        delivered_s: seconds since its handler was told first; None before.
        deliveries: how often it was told.
    """

    cause: Cause
    delivered_s: float | None = None
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class Protection:
    """A protected section of its handler.

    Attributes:
        reason: of the section.
        left_s: seconds for which it still holds a stop back; 0 once it has overrun.
    """

    reason: str
    left_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a task.

    Attributes:
        record: as it was committed.
        time: when it was seen, RFC 3339.
        loop_now: the same on the clock of `Stack.until`.
        stack: of its handler; None where it has none here.
        unmoved_since: since when it is known to be in the same wait, RFC 3339.
        turn: its place, if it waits for its turn.
        stopping: what it is to be stopped for.
        protections: its protected sections.
        children: id, type and status of its child tasks that have not ended.
        deadlines: when each limit is reached, RFC 3339.
        external: whether its work is done elsewhere.
        silent_s: seconds since its worker elsewhere was heard of, or this server has begun to listen.
        past: seconds that past runs of its type took.
        eta: when it may end.
    """

    record: Record
    time: str
    loop_now: float = 0.0
    stack: Stack | None = None
    unmoved_since: str | None = None
    turn: Turn | None = None
    stopping: Stopping | None = None
    protections: tuple[Protection, ...] = ()
    children: tuple[tuple[str, str, TaskStatus], ...] = ()
    deadlines: tuple[tuple[Limit, str], ...] = ()
    external: bool = False
    silent_s: float = 0.0
    past: Sequence[float] = ()
    eta: Eta | None = None

    def since(self, time: str | None) -> float | None:
        """Seconds since then."""
        return None if time is None else max(0.0, seconds_of(self.time) - seconds_of(time))

    @property
    def elapsed_s(self) -> float | None:
        """Seconds since its run began; of one that has ended, those that the run took."""
        record = self.record
        if record.started_at is None or record.status in (TaskStatus.PENDING, TaskStatus.RETRYING):
            return None
        ended = record.finished_at or self.time
        return max(0.0, seconds_of(ended) - seconds_of(record.started_at))


_FOR = MappingProxyType(
    {
        Wait.SLEEP: "sleeps",
        Wait.LOCK: "waits for a lock",
        Wait.SEMAPHORE: "waits for a place at a semaphore or limiter",
        Wait.EVENT: "waits for an event of asyncio",
        Wait.CONDITION: "waits for a condition",
        Wait.BARRIER: "waits at a barrier",
        Wait.QUEUE: "waits for a queue",
        Wait.FULL_QUEUE: "waits for room in a queue",
        Wait.SOCKET: "waits for a socket",
        Wait.PROGRAM: "waits for a program",
        Wait.THREAD: "waits for a thread",
        Wait.FUTURE: "waits for a future",
        Wait.ROOM: "waits until the store has taken more of its events",
        Wait.INPUT: "waits for an input",
        Wait.CHILD: "waits for a child task",
        Wait.PLACE: "waits for a place to go on, after it has lent its own",
        Wait.STORE: "waits for the store",
        Wait.PROCESS_PLACE: "waits for a free worker process",
        Wait.PROCESS: "works in a process of its own, into which nobody can see from here",
        Wait.THREAD_PLACE: "waits for a free thread",
        Wait.THREAD_CODE: "runs in a thread",
        Wait.NEXT_STEP: "goes on in the next step of the event loop",
        Wait.NOT_BEGUN: "is about to begin",
        Wait.TASKS: "waits for other tasks of asyncio",
    }
)

_HINDERED = MappingProxyType(
    {
        Hindrance.PAUSE: "pauses before attempt {attempt}",
        Hindrance.KEY: "waits for its turn, as task {holder} has its key",
        Hindrance.PLACES: "waits for its turn, as no more tasks may run at the same time",
        Hindrance.TYPE: "waits for its turn, as no more tasks of its type may run at the same time",
        Hindrance.PRINCIPAL: "waits for its turn, as no more tasks of its principal may run at the same time",
        Hindrance.DRAINING: "waits for the next server, as this one is stopping",
        Hindrance.NOTHING: "is about to begin",
    }
)


def why(seen: Seen) -> dict[str, Any]:
    """The answer about a task, as it goes over the wire."""
    record, stack = seen.record, seen.stack
    return {
        "task_id": record.id,
        "type": record.type,
        "status": record.status.value,
        "sentence": sentence(seen),
        "reason": _reason(seen),
        "where": None if stack is None else stack.where,
        "waits_until": _waits_until(seen),
        "unmoved_since": seen.unmoved_since,
        "stack": None if stack is None else stack.as_json(),
        "elapsed_s": _rounded(seen.elapsed_s),
        "heard_at": record.heartbeat_at,
        "silent_s": _rounded(_silent_s(seen)),
        "past": _past_json(seen),
        "eta": None if seen.eta is None else dataclasses.asdict(seen.eta),
        "turn": None
        if seen.turn is None
        else {**dataclasses.asdict(seen.turn), "hindrance": seen.turn.hindrance.value},
        "retry_at": record.retry_at,
        "cancel": None if record.cancel is None else record.cancel.as_json(),
        "stopping": _stopping_json(seen.stopping),
        "protected": [{"reason": each.reason, "left_s": round(each.left_s, 3)} for each in seen.protections],
        "children": [{"id": id, "type": type, "status": status.value} for id, type, status in seen.children],
        "deadlines": [{"limit": limit.value, "at": at} for limit, at in seen.deadlines],
    }


def sentence(seen: Seen) -> str:
    """The answer for people."""
    if seen.record.status in TERMINAL:
        return f"It has ended: {_ended(seen)}."
    clauses = [_stop_clause(seen), _work_clause(seen), _time_clause(seen)]
    return "; ".join(clause for clause in clauses if clause is not None).join(("It ", "."))


def _reason(seen: Seen) -> str:
    """The same for programs: a word."""
    if seen.record.status in TERMINAL:
        return seen.record.status.value
    if seen.stopping is not None and seen.stopping.delivered_s is not None:
        return "stopping"
    if _held(seen):
        return "protected"
    if seen.turn is not None:
        return seen.turn.hindrance.value
    if seen.external:
        return "worker"
    return Wait.NOT_BEGUN.value if seen.stack is None else seen.stack.wait.value


# -- a task that has not ended -----------------------------------------------------------------------------------------


def _stop_clause(seen: Seen) -> str | None:
    stop = seen.stopping
    if stop is None:
        return None
    words = f"{_STOP[stop.cause]}{_asked(seen) if stop.cause is Cause.CANCEL else ''}"
    if stop.delivered_s is not None:
        times = "" if stop.deliveries < 2 else f", {stop.deliveries} times by now"
        return f"was told {span(stop.delivered_s)} ago to stop ({words}{times}), and has not"
    if _held(seen):
        longest = max(seen.protections, key=lambda each: each.left_s)
        return (
            f"is to stop ({words}), which its protected section {longest.reason!r} holds back for"
            f" {span(longest.left_s)} at most"
        )
    return f"is to stop ({words}), and has not been told yet"


_STOP = MappingProxyType(
    {Cause.CANCEL: "a cancel", Cause.TIMEOUT: "its time is over", Cause.SHUTDOWN: "the server is stopping"}
)


def _asked(seen: Seen) -> str:
    cancel = seen.record.cancel
    return "" if cancel is None else f" by {cancel.by}"


def _held(seen: Seen) -> bool:
    stop = seen.stopping
    return stop is not None and stop.delivered_s is None and any(each.left_s > 0 for each in seen.protections)


def _work_clause(seen: Seen) -> str:
    if seen.turn is not None:
        return _turn(seen, seen.turn)
    if seen.external:
        return _worker(seen)
    if seen.stack is None:
        return _FOR[Wait.NOT_BEGUN]
    return _stack(seen, seen.stack)


def _turn(seen: Seen, turn: Turn) -> str:
    words = _HINDERED[turn.hindrance].format(attempt=seen.record.attempt, holder=turn.holder)
    if turn.hindrance is Hindrance.PAUSE:
        return f"{words} until {seen.record.retry_at}"
    if turn.hindrance in (Hindrance.DRAINING, Hindrance.NOTHING):
        return words
    return f"{words}, with {turn.ahead} waiting {'task' if turn.ahead == 1 else 'tasks'} ahead of it"


def _worker(seen: Seen) -> str:
    if seen.record.status is TaskStatus.PENDING:
        return f"waits for a worker elsewhere, which has not been heard of for {span(seen.silent_s)}"
    return f"is worked on elsewhere, by a worker that was last heard of {span(seen.silent_s)} ago"


def _stack(seen: Seen, stack: Stack) -> str:
    words = _FOR[stack.wait]
    if stack.wait is Wait.CHILD and stack.task_id is not None:
        words = f"waits for its child task {stack.task_id}"
    if stack.wait is Wait.SLEEP and stack.until is not None:
        words += f" for another {span(max(0.0, stack.until - seen.loop_now))}"
    if stack.where is not None:
        words += f" at {stack.where}"
    if stack.branches:
        number = len(stack.branches) + stack.more
        words = f"waits at {stack.where} for " if stack.where is not None else "waits for "
        words += "an asyncio task, which " if number == 1 else f"{number} asyncio tasks, the first of which "
        words += _stack(seen, stack.branches[0])
    return words


def _time_clause(seen: Seen) -> str | None:
    parts = []
    if seen.elapsed_s is not None:
        parts.append(f"it has run for {span(seen.elapsed_s)}{_compared(seen, seen.elapsed_s)}")
    unmoved_s = seen.since(seen.unmoved_since)
    if unmoved_s is not None:
        parts.append(f"has been in this very wait for {span(unmoved_s)} at least")
    heard_at = seen.record.heartbeat_at
    if seen.elapsed_s is not None and not seen.external and heard_at is not None and heard_at != seen.record.started_at:
        parts.append(f"was last heard of {span(seen.since(heard_at) or 0.0)} ago")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] if parts else None


def _compared(seen: Seen, elapsed_s: float) -> str:
    """How that is against past runs."""
    number = len(seen.past)
    if not number:
        return ""
    runs = "the last run" if number == 1 else f"the last {number} runs"
    shorter = sum(1 for each in seen.past if each < elapsed_s)
    if shorter:
        return f" (longer than {f'{shorter} of ' if number > 1 else ''}{runs} of its type)"
    return f" ({runs} of its type took {span(min(seen.past))} at least)"


# -- a task that has ended ---------------------------------------------------------------------------------------------


def _ended(seen: Seen) -> str:
    record = seen.record
    words = record.status.value.replace("_", " ")
    if seen.elapsed_s is not None:
        words += f" after a run of {span(seen.elapsed_s)}"
    if record.error is not None:
        words += f" ({record.error.code}: {record.error.message.rstrip('.')})"
    return words


# -- parts -------------------------------------------------------------------------------------------------------------


def _silent_s(seen: Seen) -> float | None:
    if seen.external and seen.record.status not in TERMINAL:
        return seen.silent_s
    return seen.since(seen.record.heartbeat_at)


def _waits_until(seen: Seen) -> float | None:
    if seen.stack is None or seen.stack.until is None:
        return None
    return round(max(0.0, seen.stack.until - seen.loop_now), 3)


def _past_json(seen: Seen) -> dict[str, Any]:
    past, elapsed_s = sorted(seen.past), seen.elapsed_s
    quantiles = {f"p{percent}_s": _rounded(nearest_rank(past, percent)) if past else None for percent in (50, 90, 99)}
    shorter = None if elapsed_s is None else sum(1 for each in past if each < elapsed_s)
    return {"runs": len(past), **quantiles, "shorter": shorter}


def _stopping_json(stop: Stopping | None) -> dict[str, Any] | None:
    if stop is None:
        return None
    return {"cause": stop.cause.value, "delivered_s": _rounded(stop.delivered_s), "deliveries": stop.deliveries}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def span(seconds: float) -> str:
    """A length of time, with two or three digits that count."""
    for most, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{round(seconds / unit_s, 3):.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"
