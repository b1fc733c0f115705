"""Run a scenario in one schedule after the other; find one that fails; say how to see it again.

Owns:   `explore`, `attempt`, `Failure` and `Exploration`.
Uses:   testing.order (which schedules), testing.shrink (the fewest choices that still fail).
Never:  knows what a scenario does.
"""

from __future__ import annotations

import asyncio
import logging
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

#: Real seconds that the search for fewer choices takes, about: what fails slowly is not to be run a thousand times.
SHRINK_S_MAX = 30.0

#: The trace of a run that has replayed all there was.
NOTHING = Trace()

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
        unused: choices of a replayed trace that did not come up as they are: it may belong to other code.
    """

    trace: Trace
    error: BaseException | None
    decisions: int
    notes: tuple[str, ...]
    unused: Trace = NOTHING


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule in which a scenario fails.

    Attributes:
        schedule: the how manieth it was, from 1.
        seed: of it; the first schedule is not drawn, and says the seed of the one after it.
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
    besides = [*([] if isinstance(error, Violations) else world.problems), *world.unseen()]
    if besides and error is None:
        error = Violations(besides)
    elif besides and error is not None:
        error.add_note("\n".join(("Besides:", *besides)))
    return Attempt(choices.trace, error, choices.schedule.taken, tuple(choices.notes), Trace.of(choices.unused()))


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

    The first one is the ordinary order of asyncio, with nothing going wrong; those that are drawn come after it.

    Args:
        scenario: what to run.
        schedules: how many.
        seed: of the second schedule, which is the first one that is drawn; the others have those that follow.
        order: by which strategy; see `order_of`.
        shrink_runs_max: runs that the search for fewer choices may take.
        progress: told after each schedule how many there were.

    Raises:
        RuntimeError: an event loop is running here already; this runs its own.
        ValueError: there is no such order, or no schedule is asked for.
    """
    begin = time.perf_counter()
    order_of(order, seed, 1)  # refuses a wrong one before anything runs
    if schedules < 1:
        raise ValueError(f"schedules is {schedules}: at least 1 can be explored")
    _require_no_loop()
    plain = attempt(scenario, seed, Fifo(), Trace())
    if plain.error is not None:
        return Exploration(1, time.perf_counter() - begin, _failure(scenario, 1, seed, plain, plain.error, 0))
    progress(1)
    for number in range(2, schedules + 1):
        each = seed + number - 2
        tried = attempt(scenario, each, order_of(order, each, plain.decisions))
        if tried.error is not None:
            seconds = time.perf_counter() - begin
            failure = _failure(scenario, number, each, tried, tried.error, shrink_runs_max)
            return Exploration(number, seconds, failure)
        progress(number)
    return Exploration(schedules, time.perf_counter() - begin, None)


def _require_no_loop() -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a scenario runs in an event loop of its own: call this from a function that is not async")


def replay(scenario: Scenario, trace: Trace) -> Attempt:
    """Run a scenario with the choices of an earlier run.

    Args:
        scenario: what to run.
        trace: these choices; of one that does not fit, the rest is in `Attempt.unused`.

    Raises:
        RuntimeError: an event loop is running here already.
    """
    _require_no_loop()
    return attempt(scenario, 0, Fifo(), trace)


def _failure(
    scenario: Scenario, schedule: int, seed: int, tried: Attempt, error: BaseException, runs_max: int
) -> Failure:
    search = _Search(scenario, error, runs_max)
    shrunk = search.fewest(tried.trace)
    last = replay(scenario, shrunk)
    if search.is_alike(last):
        shrunk = search.shorter(shrunk)
        last = replay(scenario, shrunk)
    if last.error is None or not search.is_alike(last):
        return Failure(schedule, seed, tried.trace, tried.trace, search.runs, error, tried.notes, replayable=False)
    return Failure(schedule, seed, tried.trace, last.trace, search.runs, last.error, last.notes)


class _Search:
    """The search for the fewest choices with which a scenario fails in the same way.

    Args:
        scenario: that fails.
        error: how.
        runs_max: runs that it may take.

    Attributes:
        runs: that it has taken.
    """

    def __init__(self, scenario: Scenario, error: BaseException, runs_max: int) -> None:
        self.runs = 0
        self._scenario = scenario
        self._wanted = signature(error)
        self._runs_max = runs_max
        self._end_s = time.monotonic() + SHRINK_S_MAX

    def is_alike(self, other: Attempt) -> bool:
        """Whether a run failed in the same way."""
        return other.error is not None and bool(signature(other.error) & self._wanted)

    def fewest(self, trace: Trace) -> Trace:
        """Take choices away."""
        left, runs = shrink(trace, self._fails, runs_max=self._runs_max - self.runs, is_late=self._is_late)
        self.runs += runs
        return left

    def shorter(self, best: Trace) -> Trace:
        """Look in other schedules: `Pct` makes a choice for each step for which it holds a task back."""
        self._runs_max = min(self._runs_max, self.runs + SHORTER_RUNS_MAX)
        seed = 0
        while self.runs < self._runs_max and len(best) > 1 and not self._is_late():
            tried = attempt(self._scenario, seed, Uniform(seed))
            seed, self.runs = seed + 1, self.runs + 1
            if self.is_alike(tried):
                best = min(best, self.fewest(tried.trace), key=len)
        return best

    def _fails(self, trace: Trace) -> bool:
        return self.is_alike(replay(self._scenario, trace))

    def _is_late(self) -> bool:
        return time.monotonic() > self._end_s


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


#: How the names of the server's own loggers begin.
_SERVER = "streaming."

_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"

#: Numbers, and addresses in memory: what differs between two failures of one kind.
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


_Silent: Any = structlog.make_filtering_bound_logger(logging.CRITICAL)


class _Silence(_Silent):  # type: ignore[misc]  # structlog makes it
    """Log lines go nowhere: each would cost more than a step. An exception that the server has not expected is told."""

    def exception(self, event: str, *args: Any, **values: Any) -> None:
        if self._logger == _SERVER:
            error = sys.exc_info()[1]
            asyncio.get_running_loop().call_exception_handler({"message": event, "exception": error, **values})

    def critical(self, event: str, *args: Any, **values: Any) -> None:
        pass

    def log(self, level: int, event: str, *args: Any, **values: Any) -> None:
        pass

    async def acritical(self, event: str, *args: Any, **values: Any) -> None:
        pass

    async def alog(self, level: int, event: str, *args: Any, **values: Any) -> None:
        pass

    fatal, afatal, aexception = critical, acritical, acritical


def _logger(*names: Any) -> str:
    """Stands for a logger: it says only whose it is."""
    return _SERVER if names and str(names[0]).startswith(_SERVER) else ""


@contextmanager
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=_Silence, logger_factory=_logger)
    try:
        yield
    finally:
        structlog.configure(**before)
