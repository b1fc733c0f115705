"""The pytest plugin: tests that run in many schedules, and handlers that are cancelled at every await.

It comes with the package, and does nothing to tests that do not ask for it.

Owns:   the marker ``simulated``, the fixtures ``world`` and ``cancel_sweep``; the options ``--schedules``, ``--seed``
        and ``--replay``, and what they are called where another plugin has these names.
Uses:   testing.exploration and testing.sweeping, imported when a test needs them: every pytest session loads this.
Never:  touches a test without the marker.
"""

from __future__ import annotations

import argparse
import inspect
import os
import shlex
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from streaming.testing.exploration import Attempt, Failure, Scenario
    from streaming.testing.faults import Faults
    from streaming.testing.verdict import Verdict

#: Schedules of a test whose marker says nothing else.
SCHEDULES = 200

#: What our options are called.
_names: dict[str, str] = {}

_ASYNC = "is for async test functions, and for async methods of plain classes"
_MARKER = "simulated(schedules=200, order='mixed', faults=None)"


class _Wanted(NamedTuple):
    """What a marker says."""

    schedules: int
    order: str
    faults: Faults | None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    _add(parser, "schedules", type=_count, metavar="N", help="schedules of each simulated test, instead of its own")
    _add(parser, "seed", type=int, default=0, metavar="S", help="seed of the first schedule that is drawn; 0")
    _add(parser, "replay", metavar="TRACE", help="run this one schedule only, as a failure has named it")


def _add(parser: pytest.Parser, name: str, **how: Any) -> None:
    """Add one, with a longer name if another plugin has taken the short one."""
    group = parser.getgroup("streaming", "simulated schedules (streaming)")
    _names[name] = f"--{name}"
    try:
        group.addoption(_names[name], dest=f"streaming_{name}", **how)
    except (ValueError, argparse.ArgumentError):
        _names[name] = f"--streaming-{name}"
        group.addoption(_names[name], dest=f"streaming_{name}", **how)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and refuse a trace that is none before anything runs."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}: run this async test in so many schedules of a simulated loop; its argument 'world' is a new world "
        "each time",
    )
    trace = config.getoption("streaming_replay")
    if trace is not None:
        from streaming.testing.choices import Trace

        try:
            Trace.parse(trace)
        except ValueError as error:
            raise pytest.UsageError(f"{_names['replay']}: {error}") from None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Take over the tests that are marked, from whoever else runs async tests."""
    made = yield
    return [_simulated(item) for item in made] if isinstance(made, list) else made


def _simulated(item: Any) -> Any:
    marker = item.get_closest_marker("simulated") if isinstance(item, pytest.Function) else None
    if marker is None:
        return item
    wanted = _wanted(item, marker)
    taken = SimulatedFunction.from_parent(
        item.parent,
        name=item.name,
        callspec=getattr(item, "callspec", None),
        callobj=item.obj,
        fixtureinfo=item._fixtureinfo,
        keywords=item.keywords,
        originalname=item.originalname,
    )
    taken.own_markers = item.own_markers
    taken.wanted = wanted
    return taken


def _wanted(item: pytest.Function, marker: pytest.Mark) -> _Wanted:
    """What the marker says, if that can be done.

    Raises:
        pytest.Collector.CollectError: it cannot; the text says why.
    """
    from streaming.testing.faults import Faults
    from streaming.testing.order import ORDERS

    if marker.args or marker.kwargs.keys() - {"schedules", "order", "faults"}:
        raise _refused(item, "takes schedules=, order= and faults=, by name")
    wanted = _Wanted(**{"schedules": SCHEDULES, "order": "mixed", "faults": None, **marker.kwargs})
    if type(wanted.schedules) is not int or wanted.schedules < 1:
        raise _refused(item, f"takes a number of schedules, at least 1, not {wanted.schedules!r}")
    if wanted.order not in ORDERS:
        raise _refused(item, f"knows no order {wanted.order!r}: choose one of {', '.join(ORDERS)}")
    if not isinstance(wanted.faults, Faults | None):
        raise _refused(item, f"takes faults as streaming.testing.Faults, not {wanted.faults!r}")
    if not inspect.iscoroutinefunction(item.obj):
        raise _refused(item, _ASYNC)
    return wanted


def _refused(item: pytest.Item, words: str) -> pytest.Collector.CollectError:
    return pytest.Collector.CollectError(f"{item.nodeid}: @pytest.mark.simulated {words}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let no marked test run as if it were none: one of a ``unittest.TestCase``, say."""
    if item.get_closest_marker("simulated") is not None and not isinstance(item, SimulatedFunction):
        pytest.fail(f"@pytest.mark.simulated {_ASYNC}", pytrace=False)


class SimulatedFunction(pytest.Function):
    """An async test that runs once in every schedule.

    Attributes:
        wanted: what its marker says.
    """

    wanted: _Wanted

    def runtest(self) -> None:
        """Explore it, and raise what it raises, with the command that shows it again."""
        from streaming.testing.choices import Trace
        from streaming.testing.exploration import explore, replay

        trace = self.config.getoption("streaming_replay")
        if trace is not None:
            self._see_again(replay(self._scenario, Trace.parse(trace)))
            return
        found = explore(
            self._scenario,
            schedules=self.config.getoption("streaming_schedules") or self.wanted.schedules,
            seed=self.config.getoption("streaming_seed"),
            order=self.wanted.order,
        )
        self.user_properties.append(("schedules", found.schedules))
        if found.failure is not None:
            failure = found.failure
            head = f"\nschedule {failure.schedule} (seed {failure.seed}) fails."
            failure.error.add_note(f"{head}\n{failure.explanation}{self._again(failure)}")
            raise failure.error

    def _see_again(self, seen: Attempt) -> None:
        if seen.error is not None:
            raise seen.error
        if seen.unused:
            many = "1 choice" if len(seen.unused) == 1 else f"{len(seen.unused)} choices"
            words = f"{many} of this trace did not come up, so it may be one of other code: {seen.unused}"
            self.warn(pytest.PytestWarning(words))

    def _again(self, failure: Failure) -> str:
        """How to see a failure again."""
        if not failure.replayable:
            return ""
        file = os.path.relpath(self.path, self.config.invocation_params.dir)
        test = "::".join([file, *self.nodeid.split("::")[1:]])
        return f"\n\nSee it again:\n  pytest {shlex.quote(test)} {_names['replay']} {shlex.quote(str(failure.shrunk))}"

    @property
    def _scenario(self) -> Scenario:
        arguments = {name: self.funcargs[name] for name in self._fixtureinfo.argnames}

        async def scenario(world: Any) -> None:
            if self.wanted.faults is not None:
                world.faults = self.wanted.faults
            await self.obj(**(arguments | {"world": world} if "world" in arguments else arguments))

        return scenario


@pytest.fixture
def world(request: pytest.FixtureRequest) -> object:
    """The world of this schedule: a `streaming.testing.World`, which a simulated test is given anew each time."""
    if not isinstance(request.node, SimulatedFunction):
        pytest.fail("the fixture 'world' is for tests marked with @pytest.mark.simulated", pytrace=False)
    return _NoWorld()


class _NoWorld:
    """What other fixtures get: they are made once for all schedules, and each schedule has a world of its own."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a fixture has no world, and so no world.{name}: only the test function is given one")


@pytest.fixture
def cancel_sweep() -> Callable[..., Verdict]:
    """A function that cancels a handler at each of its awaits, and fails if that does harm; see `streaming.testing`."""
    from streaming.testing.sweeping import sweep

    def checked(handler: Any, /, *args: Any, **kwargs: Any) -> Verdict:
        __tracebackhide__ = True  # the line that counts is the test's
        verdict = sweep(handler, *args, **kwargs)
        verdict.function = "cancel_sweep"
        try:
            verdict.raise_if_bad()
        except AssertionError as bad:
            raise AssertionError(str(bad)) from None
        return verdict

    return checked
