"""A transition is one event and one record in one commit, and a receipt tells the truth once its task has ended."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streaming.engine.log import Log
from streaming.engine.transitions import end, move, requeue
from streaming.errors import IllegalTransition, TaskEnded
from streaming.records import CancelOutcome, CancelReceipt, Progress, TaskError, TaskStatus
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import Outcome
from tests.engine.hubs import Desk

pytestmark = pytest.mark.clock("virtual")

DONE = Outcome(Transition.RETURN, None, {"n": 1})
FAILED = Outcome(Transition.RAISE, TaskError("handler_error", "KeyError"))
CANCELLED = Outcome(Transition.CANCEL, TaskError("cancelled", "Cancelled by anna."))


async def data_of(desk: Desk, seq: int) -> tuple[str, Any]:
    (event,) = await desk.store.events_after("a", seq - 1, last_seq=seq, limit=1)
    return event.type, event.data


async def with_receipt(desk: Desk, **changes: Any) -> Log:
    log = await desk.log()
    receipt = dataclasses.replace(CancelReceipt("then", "anna", "slow"), **changes)
    desk.hub.amend(log, cancel=receipt)
    await desk.hub.committed()
    return log


async def test_a_move_writes_event_and_record_together() -> None:
    async with Desk() as desk:
        log = desk.create()
        await desk.hub.committed()
        move(desk.hub, log, Transition.START, {"attempt": 1}, "now", started_at="now")
        await desk.hub.committed()

        commit = desk.store.commits[-1]
        assert [event.type for event in commit.events] == ["running"]
        assert [(record.status, record.started_at, record.last_seq) for record in commit.updated] == [
            (TaskStatus.RUNNING, "now", 2)
        ]


async def test_a_move_that_the_life_cycle_does_not_know_leaves_no_trace() -> None:
    async with Desk() as desk:
        log = await desk.log()

        with pytest.raises(IllegalTransition):
            move(desk.hub, log, Transition.START, {}, "now")

        await desk.hub.committed()
        assert log.snapshot().last_seq == 2


async def test_nothing_ends_twice() -> None:
    async with Desk() as desk:
        log = await desk.log()
        end(desk.hub, log, DONE)

        with pytest.raises((IllegalTransition, TaskEnded)):
            end(desk.hub, log, FAILED)


@pytest.mark.parametrize(
    ("outcome", "type", "data"),
    [
        (DONE, "completed", {"result": {"n": 1}}),
        (Outcome(Transition.RETURN), "completed", {"result": None}),
        (FAILED, "failed", {"error": {"code": "handler_error", "message": "KeyError"}}),
        (
            dataclasses.replace(CANCELLED, result=[1]),
            "cancelled",
            {"error": {"code": "cancelled", "message": "Cancelled by anna."}, "result": [1]},
        ),
    ],
)
async def test_the_terminal_event_carries_result_or_error(outcome: Outcome, type: str, data: dict[str, Any]) -> None:
    async with Desk() as desk:
        log = await desk.log()
        end(desk.hub, log, outcome)
        await desk.hub.committed()

        assert await data_of(desk, 3) == (type, data)
        record = log.snapshot()
        assert (record.result, record.error) == (outcome.result, outcome.error)
        assert record.finished_at == record.updated_at == desk.hub.now()


async def test_a_requeued_task_begins_again_with_the_next_attempt() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.hub.amend(log, progress=Progress(40.0), started_at="then")
        requeue(desk.hub, log, "crash")
        await desk.hub.committed()

        assert await data_of(desk, 3) == ("pending", {"attempt": 2, "reason": "crash"})
        record = log.snapshot()
        assert (record.status, record.attempt, record.started_at, record.progress) == (
            TaskStatus.PENDING,
            2,
            None,
            None,
        )


# -- the receipt -------------------------------------------------------------------------------------------------------


async def test_a_task_that_nobody_cancelled_has_no_receipt() -> None:
    async with Desk() as desk:
        log = await desk.log()
        end(desk.hub, log, DONE)

        assert log.record.cancel is None


async def test_an_obeyed_cancel_is_stopped_with_its_times() -> None:
    async with Desk() as desk:
        log = await with_receipt(desk, delivered_at="later")
        end(desk.hub, log, CANCELLED)

        assert log.record.cancel == CancelReceipt(
            "then", "anna", "slow", "later", desk.hub.now(), CancelOutcome.STOPPED
        )


async def test_a_task_that_never_ran_is_cancelled_and_stopped_in_one_step() -> None:
    async with Desk() as desk:
        log = await with_receipt(desk)
        end(desk.hub, log, CANCELLED)

        receipt = log.record.cancel
        assert receipt is not None
        assert (receipt.delivered_at, receipt.stopped_at) == (desk.hub.now(), desk.hub.now())


async def test_a_cancel_that_was_ignored_first_and_obeyed_then_is_stopped() -> None:
    async with Desk() as desk:
        log = await with_receipt(desk, delivered_at="later", outcome=CancelOutcome.IGNORED, where="a.py:1 in f")
        end(desk.hub, log, CANCELLED)

        receipt = log.record.cancel
        assert receipt is not None
        assert (receipt.outcome, receipt.where) == (CancelOutcome.STOPPED, None)


@pytest.mark.parametrize("outcome", [DONE, FAILED, Outcome(Transition.TIMEOUT), Outcome(Transition.SHUTDOWN)])
async def test_a_cancel_that_was_overtaken_says_so(outcome: Outcome) -> None:
    async with Desk() as desk:
        log = await with_receipt(desk)
        end(desk.hub, log, outcome)

        receipt = log.record.cancel
        assert receipt is not None
        assert (receipt.outcome, receipt.delivered_at) == (CancelOutcome.COMPLETED, None)
        assert receipt.stopped_at == desk.hub.now()


async def test_a_handler_that_still_runs_is_never_called_stopped() -> None:
    async with Desk() as desk:
        log = await with_receipt(desk, delivered_at="later")
        end(desk.hub, log, Outcome(Transition.SHUTDOWN), where="a.py:1 in f")

        receipt = log.record.cancel
        assert receipt is not None
        assert (receipt.outcome, receipt.where, receipt.stopped_at) == (CancelOutcome.IGNORED, "a.py:1 in f", None)


@pytest.mark.parametrize("outcome", [DONE, CANCELLED, Outcome(Transition.TIMEOUT)])
async def test_a_cancel_that_was_taken_back_stays_so(outcome: Outcome) -> None:
    async with Desk() as desk:
        log = await with_receipt(desk, outcome=CancelOutcome.IGNORED, where="a.py:1 in f", declined=True)
        before = log.record.cancel
        end(desk.hub, log, outcome)

        assert log.record.cancel == before
