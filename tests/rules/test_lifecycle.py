"""The life cycle is one table, and nothing else decides what may follow what."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import IllegalTransition
from streaming.records import TaskStatus
from streaming.rules.lifecycle import LIVE, TERMINAL, TRANSITIONS, Cause, Transition, after, ending, recovery

PAIRS = list(product(TaskStatus, Transition))


def test_terminal_are_exactly_the_statuses_that_the_contract_calls_so() -> None:
    assert {"completed", "failed", "cancelled", "timed_out", "interrupted"} == TERMINAL
    assert {"pending", "running", "retrying"} == LIVE


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_leaves_a_terminal_status(status: TaskStatus, transition: Transition) -> None:
    with pytest.raises(IllegalTransition):
        after(status, transition)


@pytest.mark.parametrize(("status", "transition"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_a_row_of_the_table_is_followed(status: TaskStatus, transition: Transition) -> None:
    assert after(status, transition) is TRANSITIONS[status, transition]


@pytest.mark.parametrize(("status", "transition"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_a_pair_that_is_not_in_the_table_is_refused_by_name(status: TaskStatus, transition: Transition) -> None:
    with pytest.raises(IllegalTransition, match=f"A {status} task cannot {transition}"):
        after(status, transition)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[TaskStatus.COMPLETED, Transition.START] = TaskStatus.RUNNING  # type: ignore[index]  # the point


def test_every_status_can_be_reached_and_every_live_one_can_end() -> None:
    assert set(TaskStatus) == {TaskStatus.PENDING, *TRANSITIONS.values()}
    for status in LIVE:
        assert TERMINAL & {target for (source, _), target in TRANSITIONS.items() if source is status}


@given(st.lists(st.sampled_from(Transition), max_size=60))
def test_any_walk_meets_at_most_one_terminal_status_and_stops_there(wishes: list[Transition]) -> None:
    status = TaskStatus.PENDING
    ends = 0
    for wish in wishes:
        try:
            status = after(status, wish)
        except IllegalTransition:
            continue
        assert not ends
        ends += status in TERMINAL
    assert ends == (status in TERMINAL)


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("cause", Cause)
def test_a_written_cause_decides_the_ending_whatever_the_handler_did(cause: Cause, raised: bool) -> None:
    assert ending(cause, raised=raised) == cause.value


def test_without_a_cause_the_handler_decides_its_ending() -> None:
    assert ending(None, raised=True) is Transition.RAISE
    assert ending(None, raised=False) is Transition.RETURN


@pytest.mark.parametrize(
    ("status", "cancelled", "restartable", "known", "expected"),
    [
        ("pending", True, True, True, Transition.CANCEL),
        ("pending", True, False, False, Transition.CANCEL),
        ("pending", False, True, True, None),
        ("pending", False, False, True, None),
        ("pending", False, False, False, Transition.CRASH),
        ("running", True, True, True, Transition.CANCEL),
        ("running", False, True, True, Transition.REQUEUE),
        ("running", False, False, True, Transition.CRASH),
        ("running", False, True, False, Transition.CRASH),
    ],
)
def test_what_a_crash_left_behind_gets_one_clear_transition(
    status: str, cancelled: bool, restartable: bool, known: bool, expected: Transition | None
) -> None:
    found = recovery(TaskStatus(status), cancelled=cancelled, restartable=restartable, known=known)

    assert found is expected


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_task_of_a_handler_ends_with_it_wherever_it_works(status: TaskStatus) -> None:
    how = {"restartable": True, "known": True, "orphaned": True}

    assert recovery(status, cancelled=False, outside=True, **how) is Transition.CRASH
    assert recovery(status, cancelled=False, **how) is Transition.CRASH
    assert recovery(status, cancelled=True, **how) is Transition.CANCEL


@pytest.mark.parametrize("status", sorted(LIVE))
def test_work_that_is_done_elsewhere_goes_on(status: TaskStatus) -> None:
    assert recovery(status, cancelled=True, restartable=False, known=True, outside=True) is None
    assert recovery(status, cancelled=False, restartable=False, known=False, outside=True) is Transition.CRASH


@given(st.sampled_from(sorted(LIVE)), *[st.booleans()] * 5)
def test_every_recovery_is_a_row_of_the_table(
    status: TaskStatus, cancelled: bool, restartable: bool, known: bool, outside: bool, orphaned: bool
) -> None:
    transition = recovery(
        status, cancelled=cancelled, restartable=restartable, known=known, outside=outside, orphaned=orphaned
    )

    assert transition is None or (status, transition) in TRANSITIONS
