"""A circuit breaker lets a dead database rest, and finds out with one call at a time that it is back."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streaming.rules.breaker import Breaker, Circuit

PAUSE_S, PAUSE_MAX_S = 1.0, 5.0


def breaker() -> Breaker:
    return Breaker(failures_max=3, pause_s=PAUSE_S, pause_max_s=PAUSE_MAX_S)


def opened(at: float = 100.0) -> Breaker:
    found = breaker()
    for _ in range(3):
        found.failed(at)
    return found


def half_open(at: float = 101.0) -> Breaker:
    found = opened()
    assert found.may_try(at)
    return found


def test_a_new_one_is_closed_and_lets_everything_through() -> None:
    found = breaker()

    assert found.circuit is Circuit.CLOSED
    assert all(found.may_try(now) for now in (0.0, 0.0, 1.0))
    assert found.wait_s(0.0) == 0


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    found = breaker()
    found.failed(1)
    found.failed(2)
    assert found.wait_s(2) == 0
    found.failed(3)

    assert found.circuit is Circuit.OPEN
    assert not found.may_try(3.5)
    assert found.wait_s(3.25) == 0.75


def test_a_success_forgets_the_failures_before_it() -> None:
    found = breaker()
    for _ in range(10):
        found.failed(1)
        found.failed(2)
        found.succeeded(3)

    assert found.circuit is Circuit.CLOSED


def test_after_the_pause_one_call_is_let_through_to_try() -> None:
    found = opened(at=100)

    assert not found.may_try(100.9)
    assert [found.may_try(101), found.may_try(101), found.may_try(101.5)] == [True, False, False]
    assert found.circuit is Circuit.HALF_OPEN


def test_a_trial_that_succeeds_closes_it() -> None:
    found = half_open()
    found.succeeded(101.5)

    assert found.circuit is Circuit.CLOSED
    assert found.may_try(101.5)
    found.failed(102)
    assert found.circuit is Circuit.CLOSED  # and it counts from the beginning


def test_each_trial_that_fails_doubles_the_pause_up_to_its_limit() -> None:
    found, now, pauses = opened(at=0), 0.0, []
    for _ in range(5):
        pauses.append(found.wait_s(now))
        now += pauses[-1]
        assert found.may_try(now)
        found.failed(now)

    assert pauses == [1, 2, 4, 5, 5]


def test_after_a_recovery_the_pause_is_short_again() -> None:
    found = half_open()
    found.failed(101)
    assert found.wait_s(101) == 2
    assert found.may_try(103)
    found.succeeded(103)
    for _ in range(3):
        found.failed(104)

    assert found.wait_s(104) == 1


def test_a_trial_that_nobody_tells_the_end_of_does_not_keep_it_open() -> None:
    found = half_open(at=101)

    assert not found.may_try(101.9)
    assert found.may_try(102)
    assert not found.may_try(102)


def test_calls_from_before_it_opened_change_nothing() -> None:
    found = opened(at=100)
    found.failed(100.5)
    found.succeeded(100.6)

    assert found.circuit is Circuit.OPEN
    assert found.wait_s(100.75) == 0.25


def test_it_says_since_when_it_is_as_it_is() -> None:
    found, since = breaker(), []
    for now in (1.0, 2.0, 3.0, 3.5):
        found.failed(now)
        since.append(found.since)
    found.may_try(4.0)
    found.may_try(5.5)  # the trial is lost; the circuit is half open all the time
    since.append(found.since)
    found.succeeded(6.0)
    found.succeeded(7.0)

    assert [*since, found.since] == [0, 0, 3, 3, 4, 6]


@pytest.mark.parametrize(("failures_max", "pause_s", "pause_max_s"), [(0, 1, 1), (1, 0, 1), (1, 2, 1)])
def test_limits_that_make_no_sense_are_refused(failures_max: int, pause_s: float, pause_max_s: float) -> None:
    with pytest.raises(ValueError):
        Breaker(failures_max=failures_max, pause_s=pause_s, pause_max_s=pause_max_s)


class AnyUse(RuleBasedStateMachine):
    """Whatever happens, the resource is never asked more often than the pauses allow, nor given up."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now, self.asked_at = breaker(), 0.0, -1e9

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        was = self.breaker.circuit
        if self.breaker.may_try(self.now) and was is not Circuit.CLOSED:
            assert self.now - self.asked_at >= PAUSE_S - 1e-9
            self.asked_at = self.now

    @rule()
    def fail(self) -> None:
        self.breaker.failed(self.now)

    @rule()
    @precondition(lambda self: self.breaker.circuit is not Circuit.OPEN)
    def succeed(self) -> None:
        self.breaker.succeeded(self.now)
        assert self.breaker.circuit is Circuit.CLOSED
        self.asked_at = -1e9

    @invariant()
    def it_is_asked_again_in_time(self) -> None:
        assert 0 <= self.breaker.wait_s(self.now) <= PAUSE_MAX_S + 1e-6


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=50, stateful_step_count=30)
