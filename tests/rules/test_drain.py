"""The grace is spent, and never overspent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.drain import FLUSH_MAX_S, Outlook, outlook, plan_drain

seconds = st.floats(0, 86_400)


@given(seconds, st.floats(0.001, 86_400))
def test_the_phases_add_up_to_the_grace_and_none_is_negative(grace_s: float, cancel_grace_s: float) -> None:
    plan = plan_drain(grace_s, cancel_grace_s)

    assert plan.finish_s + plan.stop_s + plan.flush_s == pytest.approx(grace_s)
    assert min(plan.finish_s, plan.stop_s, plan.flush_s) >= 0


@given(seconds, st.floats(0.001, 86_400))
def test_stopping_gets_what_a_cancel_gets_but_at_most_two_fifths(grace_s: float, cancel_grace_s: float) -> None:
    plan = plan_drain(grace_s, cancel_grace_s)

    assert plan.stop_s == pytest.approx(min(cancel_grace_s, 0.4 * grace_s))
    assert plan.flush_s <= FLUSH_MAX_S


def test_the_default_grace_leaves_time_for_each_phase() -> None:
    plan = plan_drain(10.0, 5.0)

    assert (plan.finish_s, plan.stop_s, plan.flush_s) == (4.5, 4.0, 1.5)


def test_no_grace_is_no_time() -> None:
    plan = plan_drain(0.0, 5.0)

    assert (plan.finish_s, plan.stop_s, plan.flush_s) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("span", "left_s", "expected"),
    [
        ((1.0, 5.0), 5.0, Outlook.FINISH),
        ((1.0, 5.1), 5.0, Outlook.UNKNOWN),
        ((5.0, 9.0), 5.0, Outlook.UNKNOWN),
        ((5.1, 9.0), 5.0, Outlook.STOP),
        (None, 5.0, Outlook.UNKNOWN),
        (None, 0.0, Outlook.STOP),
        ((0.0, 0.0), 0.0, Outlook.STOP),
        ((0.0, 0.0), 0.1, Outlook.FINISH),
    ],
)
def test_what_becomes_of_a_task_is_said_only_where_its_forecast_leaves_no_doubt(
    span: tuple[float, float] | None, left_s: float, expected: Outlook
) -> None:
    assert outlook(span, left_s) is expected
