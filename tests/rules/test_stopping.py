"""What happens next to a running handler, row by row and for every mixture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.lifecycle import Cause
from streaming.rules.stopping import INSIST_MAX_S, Section, Step, Stop, next_step

NOW = 100.0


def step(
    stop: Stop | None = None,
    *sections: Section,
    deadline_at: float = math.inf,
    warn_at: float = math.inf,
    uncancelled: bool = False,
) -> tuple[Step, float]:
    return next_step(
        now=NOW, stop=stop, deadline_at=deadline_at, sections=sections, uncancelled=uncancelled, warn_at=warn_at
    )


def delivered(cause: Cause = Cause.CANCEL, *, insist_at: float) -> Stop:
    return Stop(cause, delivered_at=NOW - 1, deliveries=1, insist_at=insist_at)


def section(until: float, *, overrun: bool = False) -> Section:
    return Section("paying", until, overrun)


def test_nothing_to_do_is_nothing_to_look_at() -> None:
    assert step() == (Step.WAIT, math.inf)


def test_a_handler_in_its_time_is_looked_at_again_when_that_is_over() -> None:
    assert step(deadline_at=150.0) == (Step.WAIT, 150.0)
    assert step(None, section(120.0), deadline_at=150.0) == (Step.WAIT, 120.0)


@pytest.mark.parametrize("deadline_at", [NOW, NOW - 1])
def test_a_handler_over_its_time_expires(deadline_at: float) -> None:
    assert step(deadline_at=deadline_at) == (Step.EXPIRE, NOW)


def test_readers_are_warned_before_the_time_is_over() -> None:
    assert step(deadline_at=150.0, warn_at=130.0) == (Step.WAIT, 130.0)
    assert step(None, section(120.0), deadline_at=150.0, warn_at=130.0) == (Step.WAIT, 120.0)
    assert step(None, section(120.0), deadline_at=150.0, warn_at=NOW) == (Step.WARN, NOW)


def test_nobody_is_warned_of_what_is_there_or_cannot_come_any_more() -> None:
    assert step(deadline_at=NOW, warn_at=NOW - 1) == (Step.EXPIRE, NOW)
    assert step(Stop(Cause.CANCEL), deadline_at=150.0, warn_at=NOW) == (Step.DELIVER, NOW)
    assert step(delivered(insist_at=105.0), deadline_at=150.0, warn_at=103.0) == (Step.WAIT, 105.0)


def test_a_deadline_expires_also_in_a_protected_section_and_is_held_back_there() -> None:
    assert step(None, section(120.0), deadline_at=NOW) == (Step.EXPIRE, NOW)
    assert step(Stop(Cause.TIMEOUT), section(120.0), deadline_at=NOW) == (Step.WAIT, 120.0)


def test_the_first_cause_wins_over_a_deadline_that_passes_later() -> None:
    assert step(Stop(Cause.CANCEL), deadline_at=NOW - 1) == (Step.DELIVER, NOW)


def test_a_stop_is_delivered_only_once_it_is_written_down() -> None:
    assert step(Stop(Cause.CANCEL, written=False)) == (Step.WAIT, math.inf)
    assert step(Stop(Cause.CANCEL)) == (Step.DELIVER, NOW)


@pytest.mark.parametrize("cause", Cause)
def test_a_section_in_its_time_holds_every_cause_back(cause: Cause) -> None:
    assert step(Stop(cause), section(120.0)) == (Step.WAIT, 120.0)


def test_of_two_sections_the_one_that_overruns_first_is_looked_at_first() -> None:
    assert step(Stop(Cause.CANCEL), section(130.0), section(120.0)) == (Step.WAIT, 120.0)


@pytest.mark.parametrize("stop", [None, Stop(Cause.CANCEL), delivered(insist_at=NOW)])
def test_an_overrun_is_reported_before_anything_else(stop: Stop | None) -> None:
    assert step(stop, section(NOW), deadline_at=NOW) == (Step.OVERRUN, NOW)


def test_a_section_that_overran_protects_no_more() -> None:
    assert step(Stop(Cause.CANCEL), section(NOW - 1, overrun=True)) == (Step.DELIVER, NOW)
    assert step(Stop(Cause.CANCEL), section(NOW - 1, overrun=True), section(120.0)) == (Step.WAIT, 120.0)


def test_a_delivered_stop_is_given_its_time() -> None:
    assert step(delivered(insist_at=105.0)) == (Step.WAIT, 105.0)
    assert step(delivered(insist_at=105.0), section(103.0)) == (Step.WAIT, 103.0)


def test_a_handler_that_does_not_obey_is_cancelled_again() -> None:
    assert step(delivered(insist_at=NOW)) == (Step.INSIST, NOW)


def test_a_second_cancel_does_not_tear_a_protected_section_either() -> None:
    assert step(delivered(insist_at=NOW), section(120.0)) == (Step.WAIT, 120.0)


def test_a_cancel_that_was_taken_back_is_left_alone() -> None:
    assert step(delivered(insist_at=NOW), uncancelled=True) == (Step.DECLINED, NOW)
    assert step(delivered(insist_at=NOW), section(120.0), uncancelled=True) == (Step.DECLINED, NOW)


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.SHUTDOWN])
def test_a_timeout_and_a_shutdown_cannot_be_taken_back(cause: Cause) -> None:
    assert step(delivered(cause, insist_at=NOW), uncancelled=True) == (Step.INSIST, NOW)


def test_each_repeat_waits_twice_as_long_up_to_a_minute() -> None:
    stop = Stop(Cause.CANCEL)
    waits = []
    for _ in range(6):
        stop.deliver(NOW, 5.0)
        waits.append(stop.insist_at - NOW)

    assert waits == [5.0, 10.0, 20.0, 40.0, INSIST_MAX_S, INSIST_MAX_S]
    assert stop.deliveries == 6


def test_a_grace_over_a_minute_is_not_shortened() -> None:
    stop = Stop(Cause.CANCEL)
    stop.deliver(NOW, 90.0)
    stop.deliver(NOW, 90.0)

    assert stop.insist_at == NOW + 90.0


def test_the_first_delivery_is_the_one_that_counts() -> None:
    stop = Stop(Cause.CANCEL)
    stop.deliver(1.0, 5.0)
    stop.deliver(6.0, 5.0)

    assert stop.delivered_at == 1.0


times = st.floats(0, 200)
stops = st.none() | st.builds(
    Stop, st.sampled_from(Cause), st.booleans(), st.none() | times, st.integers(0, 5), times | st.just(math.inf)
)


@given(
    stops,
    times | st.just(math.inf),
    times | st.just(math.inf),
    st.lists(st.builds(section, times, overrun=st.booleans())),
    st.booleans(),
)
def test_a_wait_ends_later_than_now_and_every_other_step_is_due_now(
    stop: Stop | None, deadline_at: float, warn_at: float, sections: list[Section], uncancelled: bool
) -> None:
    found, until = step(stop, *sections, deadline_at=deadline_at, warn_at=warn_at, uncancelled=uncancelled)

    assert until > NOW if found is Step.WAIT else until == NOW


@given(stops, times, st.lists(st.builds(section, st.floats(NOW + 1, 200))), st.booleans())
def test_nothing_is_ever_torn_that_is_protected(
    stop: Stop | None, deadline_at: float, sections: list[Section], uncancelled: bool
) -> None:
    found, _ = step(stop, *sections, deadline_at=deadline_at, uncancelled=uncancelled)

    assert not sections or found not in (Step.DELIVER, Step.INSIST)
