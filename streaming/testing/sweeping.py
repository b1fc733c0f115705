"""Cancel a handler at every await, and say what it makes of it.

Owns:   `sweep`: which runs there are, and whether they have tried anything.
Uses:   testing.subject (what is run), testing.rehearsal (one run), testing.points (which awaits), testing.verdict (what
        is said).
Never:  lets a run learn from another one: each has its own loop, coordinator and store.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from streaming.config import Settings
from streaming.records import TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.leaks import UNKNOWN
from streaming.testing.open_loop import PATIENCE_S
from streaming.testing.place import Place
from streaming.testing.points import Point, chosen
from streaming.testing.rehearsal import rehearse
from streaming.testing.settings import settings_of
from streaming.testing.subject import Plan, Seen, Subject, is_decorated, subject_of
from streaming.testing.verdict import FAULTS, Fault, Verdict

#: Awaits that are tried, at most; see `testing.points` for which.
POINTS_MAX = 200

#: Who leaves more descriptors open than this has been proved wrong, and the process needs some for itself.
LEFT_OPEN_MAX = 200

#: Told of each run: how many there were, and how many there will be as far as is known.
Told = Callable[[int, int], None]

_one_at_a_time = threading.Lock()


class NoSuchPoint(LookupError):
    """One await is to be tried that a handler does not have."""


def sweep(
    handler: Callable[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    settings: Settings | None = None,
    others: Iterable[Callable[..., Any]] = (),
    faults: Collection[str] = FAULTS,
    ends: str = TaskStatus.COMPLETED,
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
        handler: decorated with ``@task``, or any function or method that could be.
        params: its parameters.
        settings: of the server; ``cancel_grace_s`` is what its cleanup may take. None takes the defaults, whatever the
            environment says.
        others: handlers that it may start.
        faults: what is done to it, or one of these; see `Fault`.
        ends: how it is meant to end when nothing happens to it; if it ends in another way nothing is proved.
        points_max: awaits that are tried, at most.
        point: try only this one.
        seed: run ready tasks in an order of this seed, instead of asyncio's.
        timeout_s: seconds of loop time that it may run; None takes its own, else the server's.
        patience_s: real seconds for which something real is waited for that does not come.
        on_run: called after each run with the number of runs so far, and of all that are known to come.

    Returns:
        What was found.

    Raises:
        InvalidTaskType: this is no handler, or one that runs elsewhere; or one of the others is none, or two have the
            same name.
        InvalidParams: it does not take these parameters, or may not run so long.
        ValueError: there is no such fault, or none at all; there is no such end; or no await is to be tried.
        NoSuchPoint: the handler has fewer awaits.
        RuntimeError: an event loop is running in this thread, or another sweep in this process.
    """
    began_s = time.monotonic()
    wanted = _checked(faults, ends, points_max)
    subject = subject_of(handler, dict(params or {}), settings or settings_of(), others, timeout_s=timeout_s)
    subject = dataclasses.replace(subject, seed=seed, patience_s=patience_s)
    name = subject.type if is_decorated(handler) else getattr(handler, "__name__", "the handler")
    verdict = Verdict(name, ends=str(ends))
    with _alone(), _undisturbed():
        _Sweep(subject, verdict, wanted, on_run or _unheard).run(points_max, point)
    verdict.seconds = time.monotonic() - began_s
    return verdict


def _checked(faults: Collection[str], ends: str, points_max: int) -> list[Fault]:
    """The faults, if all of this can be done."""
    wanted = list(dict.fromkeys([faults] if isinstance(faults, str) else faults))
    if not wanted:
        raise ValueError("no fault is to be tried")
    for each in wanted:
        if each not in FAULTS:
            raise ValueError(f"there is no fault {str(each)!r}: choose one of {', '.join(FAULTS)}")
    if ends not in TERMINAL:
        raise ValueError(f"no handler ends as {str(ends)!r}: choose one of {', '.join(sorted(TERMINAL))}")
    if points_max < 1:
        raise ValueError(f"points_max is at least 1, not {points_max}")
    return [Fault(each) for each in wanted]


class _Sweep:
    """The runs of one sweep."""

    def __init__(self, subject: Subject, verdict: Verdict, faults: Sequence[Fault], on_run: Told) -> None:
        self._subject = subject
        self._verdict = verdict
        self._faults = faults
        self._on_run = on_run
        self._left_open = 0
        self._planned = 2
        self._tried: set[int] = set()
        self._attempts = 0
        self._hits = 0

    def run(self, points_max: int, point: int | None) -> None:
        first = rehearse(self._subject, Plan())  # what is made once in a process is made now, and is no leak
        self._count(0)
        seen = self._try(Plan())
        self._note_plain(seen)
        points = chosen(seen.points, points_max) if point is None else _only(seen.points, point)
        self._strike(points)
        self._verdict.swept = len(self._tried)
        if first.points and not seen.points:
            self._verdict.untried = f"it had {len(first.points)} awaits when it first ran, and none when it ran again"
        elif points and not self._attempts:
            self._verdict.untried = "none of these faults can be done to it"
        elif self._tried and not self._hits:
            self._verdict.untried = "whenever it was to be stopped at an await, it was over"

    def _note_plain(self, seen: Seen) -> None:
        """Note how it is if nothing happens to it."""
        verdict = self._verdict
        verdict.points = len(seen.points)
        if seen.cut_off:
            verdict.cut_off_at = verdict.points
            return
        verdict.status = seen.status
        verdict.error = "" if seen.error is None else f"{seen.error.code}: {seen.error.message}"

    def _strike(self, points: Sequence[Point]) -> None:
        plans = [plan for fault in self._faults for plan in _plans(fault, points)]
        self._planned += len(plans)
        cancelled: dict[int, Seen] = {}
        for plan in plans:
            if self._spoilt():
                return
            seen = self._try(plan)
            if plan.fault is Fault.CANCEL:
                cancelled[plan.point] = seen
        if Fault.SECOND_CANCEL in self._faults:
            self._cancel_twice(points, cancelled)

    def _cancel_twice(self, points: Sequence[Point], cancelled: dict[int, Seen]) -> None:
        """Cancel again at each step of a cleanup; of cleanups that are the same, one is enough."""
        known: set[tuple[Place | None, Place]] = set()
        plans: list[Plan] = []
        for point in points:
            if self._spoilt():
                return
            seen = cancelled.get(point.number) or self._try(Plan(Fault.CANCEL, point.number), told=False)
            for number, place in enumerate(seen.cleanup, 1):
                if (seen.stood, place) not in known:
                    known.add((seen.stood, place))
                    plans.append(Plan(Fault.SECOND_CANCEL, point.number, number))
        self._planned += len(plans)
        for plan in plans:
            if self._spoilt():
                return
            self._try(plan)

    def _try(self, plan: Plan, *, told: bool = True) -> Seen:
        """Run it; what is seen of a run that nobody has asked for is not told."""
        seen = rehearse(self._subject, plan)
        self._count(seen.left_open)
        if not self._subject.watched and any(sighting.where == UNKNOWN for sighting in seen.sightings):
            self._subject = dataclasses.replace(self._subject, watched=True)
            return self._try(plan, told=told)  # now it is seen where
        self._attempts += plan.fault is not Fault.NOTHING
        if plan.point:
            self._tried.add(plan.point)
            self._hits += seen.stood is not None
        if told:
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


# -- the surroundings --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other loop in this thread, and no other sweep in this process.

    Raises:
        RuntimeError: there is one.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a sweep has event loops of its own: call it from a plain 'def', not from an 'async def'")
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError("another sweep is under way in this process")
    try:
        yield
    finally:
        _one_at_a_time.release()


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
