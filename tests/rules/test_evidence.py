"""What is told of a violation, and what evidence says of itself."""

from __future__ import annotations

import pytest

from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.rules.evidence import TaskEvidence, Violation

TASK_ID = "0" * 31 + "1"
NOW = "2026-11-01T12:00:00.000000Z"


def test_a_violation_is_one_line_for_people_and_three_fields_for_programs() -> None:
    violation = Violation("seq_without_holes", TASK_ID, "3 follows 1")

    assert str(violation) == f"seq_without_holes of task {TASK_ID}: 3 follows 1"
    assert violation.as_json() == {"invariant": "seq_without_holes", "task_id": TASK_ID, "detail": "3 follows 1"}


def test_a_violation_of_the_instance_names_no_task() -> None:
    assert str(Violation("tables_empty_at_rest", None, "'line' has 2")) == "tables_empty_at_rest: 'line' has 2"


@pytest.mark.parametrize(("seqs", "first"), [((1, 2), 1), ((2,), 2), ((), 3)])
def test_evidence_knows_from_where_on_the_log_is_known(seqs: tuple[int, ...], first: int) -> None:
    record = Record(TASK_ID, "work", TaskStatus.PENDING, {}, 1.0, NOW, NOW, last_seq=2)
    events = [Event(TASK_ID, seq, "tick", NOW, "null") for seq in seqs]
    evidence = TaskEvidence(record=record, events=events, changes=())

    assert (evidence.task_id, evidence.first_seq) == (TASK_ID, first)
