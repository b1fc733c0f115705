"""A record goes over the wire as the contract shows it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from streaming.records import CancelOutcome, CancelReceipt, Progress, Record, TaskError, TaskStatus

TIME = "2026-11-01T12:00:00.000000Z"
RECORD = Record("0" * 32, "countdown", TaskStatus.RUNNING, {"count": 5}, 60.0, TIME, TIME)
RECEIPT = CancelReceipt(TIME, "anna", "too slow")


def test_a_task_has_exactly_the_fields_of_the_contract() -> None:
    assert RECORD.as_json() == {
        "id": "0" * 32,
        "type": "countdown",
        "status": "running",
        "params": {"count": 5},
        "priority": "normal",
        "key": None,
        "tags": [],
        "attempt": 1,
        "progress": None,
        "result": None,
        "error": None,
        "cancel": None,
        "timeout_s": 60.0,
        "last_seq": 0,
        "created_by": "anonymous",
        "created_at": TIME,
        "started_at": None,
        "updated_at": TIME,
        "finished_at": None,
    }


def test_what_is_inside_a_task_is_written_out() -> None:
    record = dataclasses.replace(
        RECORD,
        tags=("a", "b"),
        progress=Progress(40.0, "2 of 5"),
        error=TaskError("handler_error", "KeyError"),
        cancel=RECEIPT,
        result=[1, {"a": None}],
    )

    found = record.as_json()

    assert found["tags"] == ["a", "b"]
    assert found["progress"] == {"percent": 40.0, "message": "2 of 5"}
    assert found["error"] == {"code": "handler_error", "message": "KeyError"}
    assert found["cancel"]["outcome"] == "requested"
    assert found["result"] == [1, {"a": None}]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("outcome", [CancelOutcome.REQUESTED, CancelOutcome.STOPPED, CancelOutcome.COMPLETED])
def test_a_receipt_tells_who_when_and_what_became_of_it(outcome: CancelOutcome) -> None:
    assert dataclasses.replace(RECEIPT, outcome=outcome).as_json() == {
        "requested_at": TIME,
        "by": "anna",
        "reason": "too slow",
        "delivered_at": None,
        "stopped_at": None,
        "outcome": outcome.value,
    }


def test_an_ignored_cancel_tells_where_and_whether_it_was_taken_back() -> None:
    ignored = dataclasses.replace(RECEIPT, outcome=CancelOutcome.IGNORED, where="a.py:7 in work", declined=True)

    assert ignored.as_json()["where"] == "a.py:7 in work"
    assert ignored.as_json()["declined"] is True


def test_the_statuses_are_those_of_the_table() -> None:
    assert [status.value for status in TaskStatus] == [
        "pending",
        "running",
        "completed",
        "failed",
        "cancelled",
        "timed_out",
        "interrupted",
    ]


def test_a_record_is_replaced_and_never_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.attempt = 2  # type: ignore[misc]  # the point
