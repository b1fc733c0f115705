"""Each invariant holds of sound evidence, and names what is broken in evidence that is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streaming.events import Event
from streaming.records import (
    CancelOutcome,
    CancelReceipt,
    Change,
    Policy,
    Record,
    RetryPolicy,
    TaskError,
    TaskStatus,
)
from streaming.rules.evidence import Budget, InstanceEvidence, LogEvidence, ReaderEvidence, Tally, TaskEvidence
from streaming.rules.invariants import (
    DETAIL_MAX,
    INVARIANTS,
    OF_A_LOG,
    OF_A_READER,
    OF_A_TASK,
    OF_AN_INSTANCE,
    Invariant,
    Violation,
    check_instance,
    check_log,
    check_reader,
    check_task,
)

TASK_ID = "0" * 31 + "1"
OTHER_ID = "0" * 31 + "2"
NOW = "2026-11-01T12:00:00.000000Z"
LATER = "2026-11-01T12:00:01.000000Z"
ERROR = TaskError("exception", "no luck")


def event(seq: int, type: str, **data: Any) -> Event:
    return Event(TASK_ID, seq, type, NOW, json.dumps(data))


def life(*types: str, **fields: Any) -> TaskEvidence:
    """A sound task with these events; each run has the next attempt."""
    events, changes, attempt = [], [], 0
    for seq, type in enumerate(types, 1):
        attempt += type == "running"
        events.append(event(seq, type, **({"attempt": attempt} if type == "running" else {})))
        if type in set(TaskStatus):
            changes.append(Change(TASK_ID, seq, TaskStatus(type), NOW, "server"))
    status = changes[-1].status
    retried = types.count("retrying")
    again = status in (TaskStatus.PENDING, TaskStatus.RETRYING)
    record = Record(
        TASK_ID,
        "work",
        status,
        {},
        1.0,
        NOW,
        NOW,
        policy=Policy(RetryPolicy(retries=2)),
        retries_left=2 - retried,
        attempt=max(1, attempt + again),
        last_seq=len(events),
        retry_at=NOW if status is TaskStatus.RETRYING else None,
        finished_at=NOW if status in ("completed", "failed", "cancelled", "timed_out", "interrupted") else None,
        error=ERROR if status in ("failed", "cancelled", "timed_out", "interrupted", "retrying") else None,
    )
    return TaskEvidence(record=replace(record, **fields), events=events, changes=changes)


def receipt(**fields: Any) -> CancelReceipt:
    return CancelReceipt(NOW, "anna", **fields)


STOPPED = receipt(delivered_at=NOW, stopped_at=NOW, outcome=CancelOutcome.STOPPED)
OVERTAKEN = receipt(stopped_at=NOW, outcome=CancelOutcome.COMPLETED)
DECLINED = receipt(delivered_at=NOW, outcome=CancelOutcome.IGNORED, where="a.py:1 in f", declined=True)
IGNORED = receipt(delivered_at=NOW, outcome=CancelOutcome.IGNORED, where="a.py:1 in f")

FINISHED = life("pending", "running", "tick", "completed")
CANCELLED = life("pending", "running", "cancel_requested", "cancelled", cancel=STOPPED)
RETRIED = life("pending", "running", "retrying", "running", "tick", "completed")


def changed(evidence: TaskEvidence, **fields: Any) -> TaskEvidence:
    """The same, but for some fields of the record."""
    return replace(evidence, record=replace(evidence.record, **fields))


def trimmed(evidence: TaskEvidence, first_seq: int) -> TaskEvidence:
    """The same, once retention has removed what is older."""
    return replace(evidence, events=[each for each in evidence.events if each.seq >= first_seq], whole=False)


SOUND: dict[str, TaskEvidence] = {
    "it waits": life("pending"),
    "it runs": life("pending", "running", "tick"),
    "it has ended": FINISHED,
    "it was cancelled": CANCELLED,
    "it was cancelled before it ran": life("pending", "cancel_requested", "cancelled", cancel=STOPPED),
    "its cancel came too late": life("pending", "running", "cancel_requested", "completed", cancel=OVERTAKEN),
    "its handler declined": life("pending", "running", "cancel_requested", "completed", cancel=DECLINED),
    "the server went without it": life("pending", "running", "cancel_requested", "interrupted", cancel=IGNORED),
    "it is being cancelled": life("pending", "running", "cancel_requested", cancel=receipt()),
    "it goes on all the same": life("pending", "running", "cancel_requested", "cancel_ignored", cancel=IGNORED),
    "it waits for its next attempt": life("pending", "running", "retrying"),
    "it was retried": RETRIED,
    "a wish of an earlier attempt is over": life("pending", "running", "cancel_requested", "pending", "running"),
    "it goes back to the queue": life("pending", "running", "pending"),
    "its oldest events are gone": trimmed(RETRIED, 3),
    "only its end is left": trimmed(CANCELLED, 4),
    "only a later run is left": trimmed(RETRIED, 4),
    "it is older than histories": replace(FINISHED, changes=(), told=False),
    "its history begins in the middle": replace(FINISHED, changes=FINISHED.changes[1:], told=False),
    "its wish is known to who has asked": replace(CANCELLED, receipts=[receipt()]),
}

BROKEN_TASKS: list[tuple[str, TaskEvidence]] = [
    ("seq_without_holes", replace(FINISHED, events=[*FINISHED.events[:2], FINISHED.events[3]])),
    ("seq_without_holes", replace(life("pending", "running", "tick", "tick"), whole=True, events=[event(4, "tick")])),
    ("seq_without_holes", changed(replace(life("pending"), events=(), told=False, changes=()), last_seq=0)),
    ("record_knows_last_event", changed(FINISHED, last_seq=3)),
    ("record_knows_last_event", changed(FINISHED, last_seq=5)),
    ("one_terminal_event", life("pending", "running", "completed", "tick")),
    ("one_terminal_event", life("pending", "running", "completed", "completed")),
    ("one_terminal_event", changed(FINISHED, status=TaskStatus.FAILED, error=ERROR)),
    ("one_terminal_event", changed(FINISHED, status=TaskStatus.RUNNING, finished_at=None)),
    ("one_terminal_event", changed(life("pending", "running"), status=TaskStatus.COMPLETED, finished_at=NOW)),
    ("events_readable", life("pending", "running", "gap", "completed")),
    ("history_complete", replace(FINISHED, changes=[FINISHED.changes[0], FINISHED.changes[2]])),
    ("history_complete", replace(FINISHED, changes=[*FINISHED.changes[:2], replace(FINISHED.changes[2], seq=9)])),
    ("history_follows_life_cycle", life("pending", "completed")),
    ("history_follows_life_cycle", replace(FINISHED, changes=FINISHED.changes[:2])),
    ("history_follows_life_cycle", replace(FINISHED, changes=FINISHED.changes[1:])),
    ("history_follows_life_cycle", replace(FINISHED, changes=())),
    ("attempts_numbered", changed(FINISHED, attempt=3)),
    ("attempts_numbered", changed(RETRIED, attempt=1)),
    ("attempts_numbered", changed(life("pending", "running"), attempt=2)),
    ("attempts_numbered", replace(life("pending", "running"), events=[event(1, "pending"), event(2, "running")])),
    ("retries_within_policy", changed(RETRIED, retries_left=2)),
    ("retries_within_policy", changed(RETRIED, retries_left=-1)),
    ("retries_within_policy", changed(replace(RETRIED, told=False), retries_left=3)),
    ("one_wish_to_cancel", life("pending", "running", "cancel_requested")),
    ("one_wish_to_cancel", life("pending", "running", cancel=receipt())),
    ("one_wish_to_cancel", life("pending", "running", "cancel_requested", "cancel_requested", cancel=receipt())),
    ("receipt_for_each_cancel", life("pending", "running", "cancelled")),
    ("receipt_for_each_cancel", replace(CANCELLED, receipts=[CancelReceipt(LATER, "anna")])),
    ("receipt_for_each_cancel", replace(CANCELLED, receipts=[CancelReceipt(NOW, "bert")])),
    ("receipt_for_each_cancel", replace(FINISHED, receipts=[receipt()])),
    ("receipt_fits_end", changed(CANCELLED, cancel=OVERTAKEN)),
    ("receipt_fits_end", changed(CANCELLED, cancel=replace(STOPPED, delivered_at=None))),
    ("receipt_fits_end", life("pending", "running", "cancel_requested", "completed", cancel=STOPPED)),
    ("receipt_fits_end", life("pending", "running", "cancel_requested", "completed", cancel=IGNORED)),
    ("receipt_fits_end", life("pending", "running", "cancel_requested", cancel=STOPPED)),
    (
        "receipt_fits_end",
        life("pending", "running", "cancel_requested", "interrupted", cancel=replace(IGNORED, where=None)),
    ),
    ("record_fits_status", changed(FINISHED, finished_at=None)),
    ("record_fits_status", changed(FINISHED, retry_at=NOW)),
    ("record_fits_status", changed(FINISHED, error=ERROR)),
    ("record_fits_status", changed(life("pending", "running", "failed"), error=None)),
    ("record_fits_status", changed(life("pending", "running", "retrying"), retry_at=None)),
    ("record_fits_status", changed(life("pending"), finished_at=NOW)),
]

LOG = [(1, b"one"), (2, b"two"), (3, b"three")]


def saw(*seqs: int, **fields: Any) -> ReaderEvidence:
    blocks = dict(LOG)
    seen = [(seq, blocks.get(seq, b"?")) for seq in seqs]
    return ReaderEvidence(**{"task_id": TASK_ID, "seen": seen, "log": LOG} | fields)


SOUND_READERS = [
    saw(),
    saw(1, 2),
    saw(1, 2, 3, to_the_end=True),
    saw(3, after=2, to_the_end=True),
    saw(after=3, to_the_end=True),
    saw(3, gaps=[(1, 2)], to_the_end=True),
    saw(gaps=[(1, 3)], to_the_end=True),
    saw(1, 2, 3, log=LOG[2:], whole=False),
    saw(1, log=(), whole=False),
]

BROKEN_READERS = [
    ("reader_saw_prefix", saw(1, 3)),
    ("reader_saw_prefix", saw(1, 1)),
    ("reader_saw_prefix", saw(2)),
    ("reader_saw_prefix", saw(1, 2, 3, 4)),
    ("reader_saw_prefix", saw(3, gaps=[(1, 1)])),
    ("reader_saw_prefix", saw(1, seen=[(1, b"other")])),
    ("reader_saw_prefix", saw(1, 2, log=LOG[1:])),
    ("reader_saw_prefix", saw(1, 2, 3, 4, log=LOG[1:], whole=False)),
    ("reader_saw_end", saw(1, 2, to_the_end=True)),
    ("reader_saw_end", saw(to_the_end=True, after=1, log=())),
    ("nothing_visible_before_commit", saw(1, 2, early=[2])),
]


def log(**fields: Any) -> LogEvidence:
    sound: dict[str, Any] = {
        "first": 3,
        "committed": 4,
        "last": 6,
        "kept": 4,
        "waiting": 2,
        "stored_seq": 5,
        "cursors": (0, 4),
    }
    return LogEvidence(**{"task_id": TASK_ID} | sound | fields)


SOUND_LOGS = [
    log(),
    log(stored_seq=None),
    log(first=1, committed=0, last=0, kept=0, waiting=0, cursors=()),
    log(first=5, committed=4, last=4, kept=0, waiting=0),
]

BROKEN_LOGS = [
    ("window_whole", log(kept=3)),
    ("window_whole", log(first=6, kept=1)),
    ("window_whole", log(committed=7, waiting=-1, stored_seq=None)),
    ("window_whole", log(first=0, kept=7)),
    ("visible_stored", log(stored_seq=3)),
    ("backlog_waits", log(waiting=1)),
    ("readers_within_log", log(cursors=(5,))),
    ("readers_within_log", log(cursors=(-1,))),
]

HERE = frozenset({TASK_ID})
AT_WORK = InstanceEvidence(
    handlers=HERE,
    live=HERE | {OTHER_ID},
    unfinished=HERE | {OTHER_ID},
    running=HERE,
    tables={"tasks": 2},
    tallies=[Tally("backlog bytes", 7, 7)],
    budgets=[Budget("backlog", 7, 7)],
)

SOUND_INSTANCES = [InstanceEvidence(), AT_WORK, InstanceEvidence(resting=True, tables={"tasks": 0})]

BROKEN_INSTANCES = [
    ("no_runner_without_record", InstanceEvidence(handlers=HERE)),
    ("no_runner_without_record", InstanceEvidence(live=HERE)),
    ("no_record_without_runner", InstanceEvidence(unfinished=HERE)),
    ("no_record_without_runner", replace(AT_WORK, handlers=frozenset())),
    ("no_record_without_runner", replace(AT_WORK, placeless=frozenset({OTHER_ID}))),
    ("no_place_without_task", replace(AT_WORK, homeless=[("busy keys", OTHER_ID)])),
    ("live_task_has_log", replace(AT_WORK, logless=HERE)),
    ("records_readable", replace(AT_WORK, damaged=HERE)),
    ("tables_empty_at_rest", InstanceEvidence(resting=True, tables={"tasks": 0, "line": 1})),
    ("tallies_right", replace(AT_WORK, tallies=[Tally("backlog bytes", 7, 6, TASK_ID)])),
    ("memory_within_budget", replace(AT_WORK, budgets=[Budget("window", 8, 7, TASK_ID)])),
]


def names(violations: Sequence[Violation]) -> set[str]:
    return {violation.invariant for violation in violations}


@pytest.mark.parametrize("evidence", SOUND.values(), ids=SOUND)
def test_nothing_is_found_in_a_sound_task(evidence: TaskEvidence) -> None:
    assert [*map(str, check_task(evidence))] == []


@pytest.mark.parametrize(
    ("check", "sound"),
    [
        *((check_reader, each) for each in SOUND_READERS),
        *((check_log, each) for each in SOUND_LOGS),
        *((check_instance, each) for each in SOUND_INSTANCES),
    ],
)
def test_nothing_is_found_where_all_is_well(check: Callable[[Any], list[Violation]], sound: Any) -> None:
    assert check(sound) == []


@pytest.mark.parametrize(
    ("check", "invariant", "evidence"),
    [
        *((check_task, *each) for each in BROKEN_TASKS),
        *((check_reader, *each) for each in BROKEN_READERS),
        *((check_log, *each) for each in BROKEN_LOGS),
        *((check_instance, *each) for each in BROKEN_INSTANCES),
    ],
)
def test_what_is_broken_is_named(check: Callable[[Any], list[Violation]], invariant: str, evidence: Any) -> None:
    found = check(evidence)

    assert invariant in names(found)
    assert all(each.detail and "\n" not in each.detail for each in found)


def test_each_invariant_is_broken_by_some_test() -> None:
    broken = {name for name, _ in [*BROKEN_TASKS, *BROKEN_READERS, *BROKEN_LOGS, *BROKEN_INSTANCES]}

    assert broken == set(INVARIANTS)


def test_the_list_has_each_name_once_and_a_sentence_for_it() -> None:
    everything: tuple[Invariant[Any], ...] = (*OF_A_TASK, *OF_A_READER, *OF_A_LOG, *OF_AN_INSTANCE)
    listed = [each.name for each in everything]

    assert sorted(listed) == sorted(INVARIANTS)
    assert all(sentence.endswith(".") for sentence in INVARIANTS.values())


@pytest.mark.parametrize("payload", ["[1]", "{", '{"attempt": "1"}', "null"])
def test_a_payload_that_somebody_has_damaged_is_a_violation_and_no_error(payload: str) -> None:
    sound = life("pending", "running")
    events = [sound.events[0], replace(sound.events[1], payload=payload)]

    assert names(check_task(replace(sound, events=events))) == {"attempts_numbered"}


def test_a_violation_of_a_task_names_it_and_one_of_the_instance_names_whom_it_is_about() -> None:
    of_a_task = check_task(changed(FINISHED, last_seq=9))
    of_an_instance = check_instance(BROKEN_INSTANCES[0][1]) + check_instance(BROKEN_INSTANCES[8][1])

    assert [each.task_id for each in of_a_task] == [TASK_ID]
    assert [each.task_id for each in of_an_instance] == [TASK_ID, None]


def test_what_is_found_is_told_in_bounds_however_long_it_is() -> None:
    evidence = life("pending", "running")
    events = [evidence.events[0], replace(evidence.events[1], payload=json.dumps({"attempt": "9" * 100_000}))]

    (found,) = check_task(replace(evidence, events=events))

    assert found.invariant == "attempts_numbered"
    assert len(found.detail) == DETAIL_MAX + 4
    assert found.detail.endswith("9 ...")
