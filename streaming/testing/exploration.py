"""Run a scenario in one schedule after the other; find one that fails; say how to see it again.

Owns:   `explore`, `attempt`, `Failure` and `Exploration`.
Uses:   testing.order (which schedules), testing.shrink (the fewest choices that still fail).
Never:  knows what a scenario does.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from streaming.testing.choices import Choices, Trace
from streaming.testing.loop import Deadlock, SimulatedLoop, run
from streaming.testing.order import Fifo, Order, Uniform, order_of
from streaming.testing.shrink import RUNS_MAX, shrink
from streaming.testing.world import Violations, World

#: Runs of a second search, in other schedules.
SHORTER_RUNS_MAX = 150

#: Seconds that the search for fewer choices takes, about: what fails slowly is not to be run a thousand times.
SHRINK_S_MAX = 30.0

#: What is explored: it gets a world, and raises if something is wrong.
Scenario = Callable[[World], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a scenario.

    Attributes:
        trace: what was decided, and not plainly.
        error: what it raised; None if all was well.
        decisions: how often one of several ready tasks was chosen.
        notes: what the choices meant.
    """

    trace: Trace
    error: BaseException | None
    decisions: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule in which a scenario fails.

    Attributes:
        schedule: the how manieth it was, from 1.
        seed: of it.
        found: its trace.
        shrunk: the fewest choices that fail in the same way.
        runs: how many runs the search for them took.
        error: what the scenario raises with them.
        notes: what they mean, one line each.
        replayable: whether it has failed again with its choices. One that has not depends on something that is no
            choice of the world: the real time, chance, the address of an object.
    """

    schedule: int
    seed: int
    found: Trace
    shrunk: Trace
    runs: int
    error: BaseException
    notes: tuple[str, ...]
    replayable: bool = True

    def __str__(self) -> str:
        head = f"schedule {self.schedule} (seed {self.seed}) fails: {type(self.error).__name__}: {self.error}"
        return f"{head}\n{self.explanation}"

    @property
    def explanation(self) -> str:
        """What it takes."""
        if not self.replayable:
            return (
                "The same choices do not fail again: it depends on something that is no choice of the world, like the "
                "real time, chance, or a set of objects in the order of their addresses."
            )
        if not self.shrunk:
            return "It fails in the ordinary order of asyncio, with nothing going wrong."
        enough = "this one is" if len(self.shrunk) == 1 else f"these {len(self.shrunk)} are"
        plural = "choice" if len(self.found) == 1 else "choices"
        head = f"It has {len(self.found)} {plural} that asyncio would not have made; {enough} enough:"
        return "\n".join([head, *(f"  {note}" for note in self.notes)])


@dataclass(frozen=True, slots=True)
class Exploration:
    """What came out.

    Attributes:
        schedules: how many were run, without those of the search for fewer choices.
        seconds: how long that took.
        failure: the first one that was found; None if there was none.
    """

    schedules: int
    seconds: float
    failure: Failure | None


def attempt(scenario: Scenario, seed: int, order: Order, replay: Trace | None = None) -> Attempt:
    """Run a scenario once.

    Args:
        scenario: what to run.
        seed: decides everything, unless there is a trace.
        order: which of several ready tasks runs next.
        replay: the choices of an earlier run.
    """
    choices = Choices(seed, order, replay)
    loop = SimulatedLoop(choices)
    world = World(choices, loop)
    error: BaseException | None = None
    try:
        with _quiet():
            run(loop, _play(scenario, world))
    except KeyboardInterrupt:
        raise
    except BaseException as raised:
        error = raised
    unseen = world.unseen()
    if unseen and error is None:
        error = Violations(unseen)
    elif unseen and error is not None:
        error.add_note("\n".join(("Besides:", *unseen)))
    return Attempt(choices.trace, error, choices.schedule.taken, tuple(choices.notes))


async def _play(scenario: Scenario, world: World) -> None:
    await scenario(world)
    world.check()


def explore(
    scenario: Scenario,
    *,
    schedules: int = 200,
    seed: int = 0,
    order: str = "mixed",
    shrink_runs_max: int = RUNS_MAX,
    progress: Callable[[int], None] = lambda done: None,
) -> Exploration:
    """Run a scenario in many schedules, until one fails.

    The first one is the ordinary order of asyncio, with nothing going wrong.

    Args:
        scenario: what to run.
        schedules: how many.
        seed: of the first one; the others have those that follow.
        order: by which strategy; see `order_of`.
        shrink_runs_max: runs that the search for fewer choices may take.
        progress: told after each schedule how many there were.

    Raises:
        ValueError: there is no such order.
    """
    begin = time.perf_counter()
    order_of(order, seed, 1)  # refuses a wrong one before anything runs
    plain = attempt(scenario, seed, Fifo(), Trace())
    if plain.error is not None:
        return Exploration(1, time.perf_counter() - begin, _failure(scenario, 1, seed, plain, plain.error, 0))
    progress(1)
    for number in range(1, schedules):
        each = seed + number
        tried = attempt(scenario, each, order_of(order, each, plain.decisions))
        if tried.error is not None:
            seconds = time.perf_counter() - begin
            failure = _failure(scenario, number + 1, each, tried, tried.error, shrink_runs_max)
            return Exploration(number + 1, seconds, failure)
        progress(number + 1)
    return Exploration(schedules, time.perf_counter() - begin, None)


def replay(scenario: Scenario, trace: Trace) -> Attempt:
    """Run a scenario with the choices of an earlier run."""
    return attempt(scenario, 0, Fifo(), trace)


def _failure(
    scenario: Scenario, schedule: int, seed: int, tried: Attempt, error: BaseException, runs_max: int
) -> Failure:
    wanted = signature(error)

    def alike(other: Attempt) -> bool:
        return other.error is not None and bool(signature(other.error) & wanted)

    shrunk, runs = shrink(tried.trace, lambda trace: alike(replay(scenario, trace)), runs_max=runs_max)
    last = replay(scenario, shrunk)
    if alike(last):
        shrunk, runs = _shorter(scenario, alike, shrunk, runs, min(runs_max, runs + SHORTER_RUNS_MAX))
        last = replay(scenario, shrunk)
    if last.error is None or not alike(last):
        return Failure(schedule, seed, tried.trace, tried.trace, runs, error, tried.notes, replayable=False)
    return Failure(schedule, seed, tried.trace, last.trace, runs, last.error, last.notes)


def _shorter(
    scenario: Scenario, alike: Callable[[Attempt], bool], best: Trace, runs: int, runs_max: int
) -> tuple[Trace, int]:
    """Look for the same failure in other schedules: `Pct` makes a choice for each step for which it holds a task back.

    Returns:
        A trace with as few choices or fewer, and how many runs there were in all.
    """
    seed = 0
    while runs < runs_max and len(best) > 1:
        tried = attempt(scenario, seed, Uniform(seed))
        seed, runs = seed + 1, runs + 1
        if alike(tried):
            left, more = shrink(tried.trace, lambda trace: alike(replay(scenario, trace)), runs_max=runs_max - runs)
            best, runs = min(best, left, key=len), runs + more
    return best, runs


def signature(error: BaseException) -> frozenset[str]:
    """In which ways a run failed: two runs that have one in common fail alike."""
    if isinstance(error, Violations):
        return frozenset(_NUMBER.sub("", line) for line in error.found)
    if isinstance(error, Deadlock):
        return frozenset(f"waits for ever: {_NUMBER.sub('', line)}" for line in str(error).splitlines()[1:])
    if isinstance(error, BaseExceptionGroup):
        return frozenset().union(*map(signature, error.exceptions))
    return frozenset({f"{type(error).__qualname__} at {_place(error)}"})


def _place(error: BaseException) -> str:
    """The innermost line that belongs neither to the standard library nor to an installed package."""
    place = "nowhere"
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if place == "nowhere" or not ("site-packages" in file or file.startswith(("<frozen", _STDLIB))):
            place = f"{file}:{line}"
    return place


_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"

#: Numbers, and addresses in memory: what differs between two failures of one kind.
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


class _Silence(structlog.BoundLoggerBase):
    """Log lines go nowhere: each of them would cost more than a step. What nobody has expected is a complaint."""

    def _nothing(self, event: str, **values: Any) -> None:
        pass

    debug = info = warning = error = _nothing

    def exception(self, event: str, **values: Any) -> None:
        error = sys.exc_info()[1]
        asyncio.get_running_loop().call_exception_handler({"message": event, "exception": error, **values})

    critical = exception


@contextmanager
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=_Silence)
    try:
        yield
    finally:
        structlog.configure(**before)
