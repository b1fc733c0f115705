"""Cancel a handler at every await, and say what it makes of it.

Owns:   `sweep`: which runs there are.
Uses:   testing.rehearsal (one run), testing.points (which awaits), testing.verdict (what is said).
Never:  lets a run learn from another one: each has its own loop, coordinator and store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from streaming.config import Settings
from streaming.engine.registry import Registry, TaskType, task
from streaming.errors import InvalidTaskType
from streaming.records import RetryPolicy
from streaming.testing.open_loop import PATIENCE_S
from streaming.testing.place import Place
from streaming.testing.points import Point, chosen
from streaming.testing.rehearsal import Plan, Seen, Subject, rehearse
from streaming.testing.verdict import FAULTS, Fault, Verdict

#: Awaits that are tried, at most; see `testing.points` for which.
POINTS_MAX = 200

#: Who leaves more descriptors open than this has been proved wrong, and the process needs some for itself.
LEFT_OPEN_MAX = 200

#: Told of each run: how many there were, and how many there will be as far as is known.
Told = Callable[[int, int], None]

_MARK = "__streaming_task_type__"


class NoSuchPoint(LookupError):
    """One await is to be tried that a handler does not have."""


def sweep(
    handler: Callable[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    settings: Settings | None = None,
    others: Iterable[Callable[..., Any]] = (),
    faults: Collection[str] = FAULTS,
    points_max: int = POINTS_MAX,
    point: int | None = None,
    seed: int | None = None,
    timeout_s: float | None = None,
    patience_s: float = PATIENCE_S,
    on_run: Told | None = None,
) -> Verdict:
    """Run a handler once to count its awaits, then again for each of them and for each fault.

    It runs in a real coordinator on a memory store. Time is virtual, except while something real is waited for: a
    socket, a thread, a process. What the handler does in the world it does as often as there are runs.

    Args:
        handler: decorated with ``@task``, or any function that could be.
        params: its parameters.
        settings: of the server; ``cancel_grace_s`` is what its cleanup may take.
        others: handlers that it may start.
        faults: what is done to it; see `Fault`.
        points_max: awaits that are tried, at most.
        point: try only this one.
        seed: run ready tasks in an order of this seed, instead of asyncio's.
        timeout_s: seconds of loop time that it may run; None takes its own, else the server's.
        patience_s: real seconds for which something real is waited for that does not come.
        on_run: called after each run with the number of runs so far, and of all that are known to come.

    Returns:
        What was found.

    Raises:
        InvalidTaskType: this is no handler, or one that runs elsewhere.
        InvalidParams: it does not take these parameters.
        ValueError: there is no such fault.
        NoSuchPoint: the handler has fewer awaits.
    """
    began_s = time.monotonic()
    wanted = [Fault(fault) for fault in dict.fromkeys(faults)]
    subject = _subject(handler, dict(params or {}), settings or Settings(), others)
    subject = dataclasses.replace(subject, seed=seed, timeout_s=timeout_s, patience_s=patience_s)
    verdict = Verdict(subject.type if hasattr(handler, _MARK) else getattr(handler, "__name__", "the handler"))
    with _undisturbed():
        _Sweep(subject, verdict, wanted, on_run or _unheard).run(points_max, point)
    verdict.seconds = time.monotonic() - began_s
    return verdict


class _Sweep:
    """The runs of one sweep."""

    def __init__(self, subject: Subject, verdict: Verdict, faults: Sequence[Fault], on_run: Told) -> None:
        self._subject = subject
        self._verdict = verdict
        self._faults = faults
        self._on_run = on_run
        self._left_open = 0
        self._planned = 2

    def run(self, points_max: int, point: int | None) -> None:
        rehearse(self._subject, Plan(Fault.NOTHING))  # what is made once in a process is made now, and is no leak
        self._count(0)
        seen = self._try(Plan(Fault.NOTHING))
        self._verdict.points = len(seen.points)
        self._verdict.status = seen.status
        self._verdict.error = "" if seen.error is None else f"{seen.error.code}: {seen.error.message}"
        points = chosen(seen.points, points_max) if point is None else _only(seen.points, point)
        self._verdict.swept = len(points)
        plans = [plan for fault in self._faults for plan in _plans(fault, points)]
        self._planned += len(plans)
        cancelled: list[tuple[Point, Seen]] = []
        for plan in plans:
            if self._spoilt():
                return
            seen = self._try(plan)
            if plan.fault is Fault.CANCEL:
                cancelled.append((next(each for each in points if each.number == plan.point), seen))
        if Fault.SECOND_CANCEL in self._faults:
            self._cancel_twice(points, cancelled)

    def _cancel_twice(self, points: Sequence[Point], cancelled: list[tuple[Point, Seen]]) -> None:
        """Cancel again at each step of a cleanup; of cleanups that are the same, one is enough."""
        if not cancelled:
            cancelled = [(point, self._try(Plan(Fault.CANCEL, point.number))) for point in points]
        known: set[tuple[Place | None, Place]] = set()
        plans: list[Plan] = []
        for point, seen in cancelled:
            for number, place in enumerate(seen.cleanup, 1):
                if (seen.stood, place) not in known:
                    known.add((seen.stood, place))
                    plans.append(Plan(Fault.SECOND_CANCEL, point.number, number))
        self._planned += len(plans)
        for plan in plans:
            if self._spoilt():
                return
            self._try(plan)

    def _try(self, plan: Plan) -> Seen:
        seen = rehearse(self._subject, plan)
        self._count(seen.left_open)
        self._verdict.add(seen.sightings, plan.fault, plan.point or None)
        return seen

    def _count(self, left_open: int) -> None:
        self._left_open += left_open
        self._verdict.runs += 1
        self._planned = max(self._planned, self._verdict.runs)
        self._on_run(self._verdict.runs, self._planned)

    def _spoilt(self) -> bool:
        if self._left_open > LEFT_OPEN_MAX:
            self._verdict.stopped_early = f"it has left {self._left_open} descriptors open"
        return bool(self._verdict.stopped_early)


def _plans(fault: Fault, points: Sequence[Point]) -> Iterator[Plan]:
    if fault is Fault.CANCEL_BEFORE_FIRST_STEP:
        yield Plan(fault)
    for point in points:
        if (
            fault in (Fault.CANCEL, Fault.TIMEOUT, Fault.SHUTDOWN)
            or (fault is Fault.CANCEL_AT_WAKEUP and point.waits)
            or (fault is Fault.CANCEL_WITH_CHILD_FAILURE and point.ends)
        ):
            yield Plan(fault, point.number)


def _only(points: Sequence[Point], number: int) -> list[Point]:
    found = [point for point in points if point.number == number]
    if not found:
        raise NoSuchPoint(f"there is no point {number}: this handler has {len(points)}")
    return found


# -- the subject -------------------------------------------------------------------------------------------------------


def _subject(
    handler: Callable[..., Any],
    params: dict[str, Any],
    settings: Settings,
    others: Iterable[Callable[..., Any]],
) -> Subject:
    task_type = _type_of(handler)
    if task_type.run_in == "outside":
        raise InvalidTaskType(f"{task_type.name} runs outside: there is nothing here that could be cancelled.")
    registry = Registry()
    for other in others:
        if getattr(other, _MARK, task_type).name != task_type.name:
            registry.add(other)
    _add(registry, task_type)
    task_type.parameters.complete(params)
    return Subject(registry, task_type.name, params, settings)


def _type_of(handler: Callable[..., Any]) -> TaskType:
    """The task type of a handler, without its retries and restarts: each run is one attempt."""
    found = getattr(handler, _MARK, None)
    if not isinstance(found, TaskType):
        task("proved")(handler)
        found = getattr(handler, _MARK)
        delattr(handler, _MARK)
    policy = dataclasses.replace(found.policy, retry=RetryPolicy())
    return dataclasses.replace(found, on_interrupt="report", policy=policy)


def _add(registry: Registry, task_type: TaskType) -> None:
    registry._types[task_type.name] = task_type


# -- the surroundings --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing is logged, and the garbage collector looks only at what a run has made."""
    before, disabled = structlog.get_config(), logging.root.manager.disable
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        logging.disable(disabled)
        structlog.configure(**before)


def _unheard(runs: int, planned: int) -> None:
    """Nobody wants to know how far it is."""
