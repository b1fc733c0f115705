"""A record goes over the wire as the contract shows it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from streaming.records import (
    CancelOutcome,
    CancelReceipt,
    Eta,
    Policy,
    Priority,
    Progress,
    Record,
    RetryPolicy,
    Steps,
    TaskError,
    TaskStatus,
    changed,
)

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
        "external_id": None,
        "parent": None,
        "retry_of": None,
        "tags": [],
        "attempt": 1,
        "retries_left": 0,
        "retry_at": None,
        "progress": None,
        "steps": None,
        "eta": None,
        "result": None,
        "error": None,
        "cancel": None,
        "timeout_s": 60.0,
        "queue_timeout_s": None,
        "heartbeat_timeout_s": None,
        "total_timeout_s": None,
        "retry": {"retries": 0, "backoff_s": 1.0, "backoff_max_s": 300.0, "on": []},
        "on_unwatched": "continue",
        "keep_until_ack": False,
        "last_seq": 0,
        "client_seq": 0,
        "created_by": "anonymous",
        "tenant": None,
        "traceparent": None,
        "created_at": TIME,
        "started_at": None,
        "updated_at": TIME,
        "heartbeat_at": None,
        "finished_at": None,
        "acked_at": None,
    }


def test_what_is_inside_a_task_is_written_out() -> None:
    record = dataclasses.replace(
        RECORD,
        tags=("a", "b"),
        progress=Progress(40.0, "2 of 5"),
        steps=Steps(2, 5, "parse"),
        eta=Eta(TIME, TIME),
        priority=Priority.URGENT,
        policy=Policy(RetryPolicy(3, on=("TimeoutError",)), 5.0, 6.0, 7.0, 8.0, True),
        error=TaskError("handler_error", "KeyError"),
        cancel=RECEIPT,
        result=[1, {"a": None}],
    )

    found = record.as_json()

    assert found["tags"] == ["a", "b"]
    assert found["progress"] == {"percent": 40.0, "message": "2 of 5"}
    assert found["steps"] == {"completed": 2, "total": 5, "current": "parse"}
    assert found["eta"] == {"earliest": TIME, "latest": TIME}
    assert found["priority"] == "urgent"
    assert found["retry"] == {"retries": 3, "backoff_s": 1.0, "backoff_max_s": 300.0, "on": ["TimeoutError"]}
    assert (found["queue_timeout_s"], found["heartbeat_timeout_s"], found["total_timeout_s"]) == (5.0, 6.0, 7.0)
    assert found["on_unwatched"] == {"cancel_after_s": 8.0}
    assert found["keep_until_ack"] is True
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
        "retrying",
        "completed",
        "failed",
        "cancelled",
        "timed_out",
        "interrupted",
    ]


def test_priorities_have_their_ranks() -> None:
    assert [priority.rank for priority in Priority] == [0, 1, 2, 3]


def test_a_record_is_replaced_and_never_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.attempt = 2  # type: ignore[misc]  # the point


def test_a_changed_record_is_a_new_one_with_all_other_values() -> None:
    every = {field.name: f"the {field.name}" for field in dataclasses.fields(Record)}
    record = Record(**every)  # type: ignore[arg-type]  # each value tells where it belongs

    assert changed(record) == record
    assert changed(record) is not record
    assert changed(record, status=TaskStatus.FAILED, result=1, finished_at=TIME) == dataclasses.replace(
        record, status=TaskStatus.FAILED, result=1, finished_at=TIME
    )
    assert record == Record(**every)  # type: ignore[arg-type]  # as it was


def test_a_record_has_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        changed(RECORD, colour="red")
