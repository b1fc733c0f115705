"""What must always hold, as one list: of a task, of a reader, of a log in memory, of an instance.

Rules of this file:

- An invariant has a name, a sentence, and a check that only looks at evidence and tells what it finds.
- Tests, the test kit and ``GET /audit`` use this list, and have none of their own.
- What retention has removed, and what nobody has looked at, is no violation: the evidence says what may be missing.

Owns:   the list, and what is a violation.
Uses:   rules.lifecycle (what may follow what).
Never:  collects evidence, or mends anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt, Record, TaskStatus
from streaming.rules.evidence import InstanceEvidence, LogEvidence, ReaderEvidence, TaskEvidence, Violation
from streaming.rules.lifecycle import LIVE, TERMINAL, TRANSITIONS

__all__ = [
    "INVARIANTS",
    "OF_AN_INSTANCE",
    "OF_A_LOG",
    "OF_A_READER",
    "OF_A_TASK",
    "Invariant",
    "Violation",
    "check_instance",
    "check_log",
    "check_reader",
    "check_task",
]

#: Characters of what is found, at most: some of it is as long as a log.
DETAIL_MAX = 500

E = TypeVar("E")

#: What a check finds: whom it is about, if not the one that the evidence is about, and what is wrong.
Found: TypeAlias = Iterator[tuple[str | None, str]]

_STATUSES = frozenset(TaskStatus)
_MAY_FOLLOW = frozenset((before, after) for (before, _), after in TRANSITIONS.items())


@dataclass(frozen=True, slots=True)
class Invariant(Generic[E]):
    """Something that must always hold.

    Attributes:
        name: stable; of a violation in ``GET /audit``, in log lines and in documents.
        sentence: what must hold.
        check: tells whatever does not.
    """

    name: str
    sentence: str
    check: Callable[[E], Found]


# -- of a task --------------------------------------------------------------------------------------------------------


def _seq_without_holes(evidence: TaskEvidence) -> Found:
    seqs = [event.seq for event in evidence.events]
    if evidence.whole and seqs[:1] != [1]:
        yield None, f"the log begins at {seqs[0]}" if seqs else "the log is empty"
    for one, other in pairwise(seqs):
        if other != one + 1:
            yield None, f"{other} follows {one}"


def _record_knows_its_last_event(evidence: TaskEvidence) -> Found:
    last_seq = evidence.events[-1].seq if evidence.events else 0
    if evidence.record.last_seq != last_seq:
        yield None, f"the record says {evidence.record.last_seq}, the log ends at {last_seq}"


def _one_terminal_event(evidence: TaskEvidence) -> Found:
    status, events = evidence.record.status, evidence.events
    ends = [event for event in events if event.type in TERMINAL]
    wanted = [status.value] if status in TERMINAL else []
    if [event.type for event in ends] != wanted:
        yield None, f"the record is {status}, the log has {', '.join(event.type for event in ends) or 'no end'}"
    elif ends and events[-1] is not ends[0]:
        yield None, f"{events[-1].type} ({events[-1].seq}) follows {ends[0].type} ({ends[0].seq})"


def _events_can_be_read(evidence: TaskEvidence) -> Found:
    for event in evidence.events:
        if event.type == "gap":
            yield None, f"event {event.seq} is damaged in the store"


def _history_tells_each_status(evidence: TaskEvidence) -> Found:
    first = evidence.first_seq
    if not evidence.told and evidence.changes:
        first = max(first, evidence.changes[0].seq)
    elif not evidence.told:
        return
    logged = [(event.seq, event.type) for event in evidence.events if event.seq >= first and event.type in _STATUSES]
    entries = [(change.seq, change.status.value) for change in evidence.changes if change.seq >= first]
    if logged != entries:
        yield None, f"the log has {_listed(logged)}, the history {_listed(entries)}"


def _history_follows_the_life_cycle(evidence: TaskEvidence) -> Found:
    statuses = [change.status for change in evidence.changes]
    if evidence.told and statuses[:1] != [TaskStatus.PENDING]:
        yield None, f"it begins with {statuses[0]}" if statuses else "there is none"
    for change, (before, after) in zip(evidence.changes[1:], pairwise(statuses), strict=False):
        if (before, after) not in _MAY_FOLLOW:
            yield None, f"{after} ({change.seq}) follows {before}"
    if statuses and statuses[-1] is not evidence.record.status:
        yield None, f"it ends with {statuses[-1]}, the record is {evidence.record.status}"


def _attempts_are_numbered(evidence: TaskEvidence) -> Found:
    runs = [_attempt(event) for event in evidence.events if event.type == TaskStatus.RUNNING]
    first = runs[0] if runs and evidence.first_seq > 1 and isinstance(runs[0], int) else 1
    if runs != list(range(first, first + len(runs))):
        yield None, f"the runs have the attempts {runs}"
    elif runs or evidence.first_seq == 1:
        last, record = first + len(runs) - 1, evidence.record
        most = last if record.status is TaskStatus.RUNNING else last + 1
        if not max(last, 1) <= record.attempt <= most:
            yield None, f"the record has attempt {record.attempt} after run {last}"


def _retries_within_the_policy(evidence: TaskEvidence) -> Found:
    record = evidence.record
    most, left = record.policy.retry.retries, record.retries_left
    made = sum(change.status is TaskStatus.RETRYING for change in evidence.changes)
    if not 0 <= left <= most or (evidence.told and made != most - left):
        yield None, f"{made} were made and {left} are left of {most}"


def _one_wish_to_cancel(evidence: TaskEvidence) -> Found:
    """An attempt that follows another one has no wish yet, unless it gets its own."""
    wishes, whole = 0, evidence.first_seq == 1
    for event in evidence.events:
        if event.type in (TaskStatus.PENDING, TaskStatus.RETRYING):
            wishes, whole = 0, True
        elif event.type == "cancel_requested":
            wishes += 1
    wanted = int(evidence.record.cancel is not None)
    if wishes > wanted or (whole and wishes < wanted):
        yield None, f"the log has {wishes} of this attempt, the record {wanted}"


def _a_receipt_for_each_cancel(evidence: TaskEvidence) -> Found:
    final = evidence.record.cancel
    if evidence.record.status is TaskStatus.CANCELLED and final is None:
        yield None, "it was cancelled, and has no receipt"
    for receipt in evidence.receipts:
        if final is None or (receipt.requested_at, receipt.by) != (final.requested_at, final.by):
            yield None, f"{receipt.by} was told of a wish of {receipt.requested_at}, which the record does not have"


def _receipt_fits_the_end(evidence: TaskEvidence) -> Found:
    record = evidence.record
    if record.cancel is not None and not _fits(record.cancel, record):
        yield None, f"the receipt says {record.cancel.outcome}, the record is {record.status}"


def _record_fits_its_status(evidence: TaskEvidence) -> Found:
    record = evidence.record
    terminal = record.status in TERMINAL
    if (record.finished_at is not None) is not terminal:
        yield None, f"a {record.status} record has {'no end' if terminal else 'an end'}"
    if (record.retry_at is not None) is not (record.status is TaskStatus.RETRYING):
        yield None, f"a {record.status} record has {'a' if record.retry_at else 'no'} next attempt"
    failed = (terminal and record.status is not TaskStatus.COMPLETED) or record.status is TaskStatus.RETRYING
    if (record.error is not None) is not failed:
        yield None, f"a {record.status} record has {'an' if record.error else 'no'} error"


def _fits(receipt: CancelReceipt, record: Record) -> bool:
    if record.status in LIVE:
        return receipt.outcome in (CancelOutcome.REQUESTED, CancelOutcome.IGNORED) and receipt.stopped_at is None
    if record.status is TaskStatus.CANCELLED:
        return receipt.outcome is CancelOutcome.STOPPED and None not in (receipt.delivered_at, receipt.stopped_at)
    if receipt.outcome is CancelOutcome.IGNORED:
        return receipt.where is not None and (receipt.declined or record.status is TaskStatus.INTERRUPTED)
    return receipt.outcome is CancelOutcome.COMPLETED


def _attempt(event: Event) -> Any:
    try:
        data = event.data
    except ValueError:
        return None
    return data.get("attempt") if isinstance(data, dict) else None


def _listed(entries: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{name} ({seq})" for seq, name in entries) or "nothing"


# -- of a reader ------------------------------------------------------------------------------------------------------


def _reader_saw_a_prefix(evidence: ReaderEvidence) -> Found:
    log, gaps = dict(evidence.log), dict(evidence.gaps)
    cursor = evidence.after
    for seq, block in evidence.seen:
        cursor = gaps.get(cursor + 1, cursor)
        if seq != cursor + 1:
            yield None, f"it got {seq} behind {cursor}"
        if seq not in log and (evidence.whole or seq >= min(log, default=seq + 1)):
            yield None, f"it got {seq}, which is not stored"
        elif log.get(seq, block) != block:
            yield None, f"it got other bytes for {seq} than those stored"
        cursor = seq


def _reader_saw_the_end(evidence: ReaderEvidence) -> Found:
    last = max([seq for seq, _ in evidence.seen] + [last for _, last in evidence.gaps], default=evidence.after)
    end = evidence.log[-1][0] if evidence.log else 0
    if evidence.to_the_end and last != end:
        yield None, f"it was told that nothing follows {last}, the log ends at {end}"


def _nothing_visible_before_its_commit(evidence: ReaderEvidence) -> Found:
    for seq in evidence.early:
        yield None, f"it got {seq} before that was stored"


# -- of a log in memory -----------------------------------------------------------------------------------------------


def _window_is_whole(evidence: LogEvidence) -> Found:
    first, committed, last = evidence.first, evidence.committed, evidence.last
    if not 1 <= first <= committed + 1 <= last + 1 or evidence.kept != last + 1 - first:
        yield None, f"{evidence.kept} events are kept of {first}..{last}, of which {committed} is the newest visible"


def _visible_is_stored(evidence: LogEvidence) -> Found:
    if evidence.stored_seq is not None and evidence.committed > evidence.stored_seq:
        yield None, f"readers may see {evidence.committed}, the store ends at {evidence.stored_seq}"


def _backlog_is_what_waits(evidence: LogEvidence) -> Found:
    if evidence.waiting != evidence.last - evidence.committed:
        yield None, f"{evidence.waiting} wait, {evidence.last - evidence.committed} are not visible yet"


def _readers_stand_in_the_log(evidence: LogEvidence) -> Found:
    for cursor in evidence.cursors:
        if not 0 <= cursor <= evidence.committed:
            yield None, f"a reader stands at {cursor}, the log ends at {evidence.committed}"


# -- of an instance ---------------------------------------------------------------------------------------------------


def _no_runner_without_a_record(evidence: InstanceEvidence) -> Found:
    for task_id in sorted(evidence.handlers - evidence.live):
        yield task_id, "its handler runs, and nobody here knows the task"
    for task_id in sorted(evidence.live - evidence.unfinished):
        yield task_id, "it goes on here, and the store has no unfinished record of it"


def _no_record_without_a_runner(evidence: InstanceEvidence) -> Found:
    for task_id in sorted(evidence.unfinished - evidence.live):
        yield task_id, "its record is not terminal, and nobody here knows the task"
    for task_id in sorted(evidence.running & evidence.live - evidence.handlers):
        yield task_id, "its record is running, and no handler is"
    for task_id in sorted(evidence.placeless - evidence.running):
        yield task_id, "it goes on here, and neither runs nor waits for its turn"


def _no_place_without_a_task(evidence: InstanceEvidence) -> Found:
    for table, task_id in evidence.homeless:
        yield task_id, f"it is held in {table!r}, and is not live"


def _every_live_task_has_its_log(evidence: InstanceEvidence) -> Found:
    for task_id in sorted(evidence.logless):
        yield task_id, "it is live, and has no log here"


def _records_can_be_read(evidence: InstanceEvidence) -> Found:
    for task_id in sorted(evidence.damaged):
        yield task_id, "its record cannot be read"


def _tables_empty_at_rest(evidence: InstanceEvidence) -> Found:
    if evidence.resting:
        for name, size in sorted(evidence.tables.items()):
            if size:
                yield None, f"{name!r} has {size}"


def _tallies_are_right(evidence: InstanceEvidence) -> Found:
    for tally in evidence.tallies:
        if tally.says != tally.counted:
            yield tally.task_id, f"{tally.name!r} says {tally.says}, and it is {tally.counted}"


def _memory_within_its_budget(evidence: InstanceEvidence) -> Found:
    for budget in evidence.budgets:
        if budget.taken > budget.most:
            yield budget.task_id, f"{budget.name!r} takes {budget.taken}, at most {budget.most} are foreseen"


# -- the list ---------------------------------------------------------------------------------------------------------

OF_A_TASK: tuple[Invariant[TaskEvidence], ...] = (
    Invariant("seq_without_holes", "The seq of a task is 1, 2, 3, ... without holes.", _seq_without_holes),
    Invariant("record_knows_last_event", "A record knows its last event.", _record_knows_its_last_event),
    Invariant(
        "one_terminal_event", "An ended task has exactly one terminal event, and nothing after it.", _one_terminal_event
    ),
    Invariant("events_readable", "Every stored event can be read.", _events_can_be_read),
    Invariant("history_complete", "Each status has its entry in the history.", _history_tells_each_status),
    Invariant(
        "history_follows_life_cycle",
        "A status changes along a row of the life cycle, and the record has the last one.",
        _history_follows_the_life_cycle,
    ),
    Invariant("attempts_numbered", "Each run of a task has the next attempt's number.", _attempts_are_numbered),
    Invariant("retries_within_policy", "A task is retried as often as it may be.", _retries_within_the_policy),
    Invariant("one_wish_to_cancel", "An attempt has one wish to cancel it, or none.", _one_wish_to_cancel),
    Invariant("receipt_for_each_cancel", "Each cancel has its receipt.", _a_receipt_for_each_cancel),
    Invariant("receipt_fits_end", "A receipt says what the end of its task says.", _receipt_fits_the_end),
    Invariant("record_fits_status", "A record has what belongs to its status.", _record_fits_its_status),
)

OF_A_READER: tuple[Invariant[ReaderEvidence], ...] = (
    Invariant("reader_saw_prefix", "Every reader saw a prefix of the log, byte for byte.", _reader_saw_a_prefix),
    Invariant("reader_saw_end", "Who is told that nothing follows has seen all of it.", _reader_saw_the_end),
    Invariant(
        "nothing_visible_before_commit",
        "Nothing is visible before its commit.",
        _nothing_visible_before_its_commit,
    ),
)

OF_A_LOG: tuple[Invariant[LogEvidence], ...] = (
    Invariant("window_whole", "The window of a log keeps its newest events without holes.", _window_is_whole),
    Invariant("visible_stored", "What readers may see is stored.", _visible_is_stored),
    Invariant("backlog_waits", "What waits for its commit is what is not visible yet.", _backlog_is_what_waits),
    Invariant("readers_within_log", "A reader stands at an event of its log.", _readers_stand_in_the_log),
)

OF_AN_INSTANCE: tuple[Invariant[InstanceEvidence], ...] = (
    Invariant("no_runner_without_record", "What runs has a record that is not terminal.", _no_runner_without_a_record),
    Invariant("no_record_without_runner", "What is not terminal is live here.", _no_record_without_a_runner),
    Invariant("no_place_without_task", "What holds a place is live.", _no_place_without_a_task),
    Invariant("live_task_has_log", "What is live has a log.", _every_live_task_has_its_log),
    Invariant("records_readable", "Every stored record can be read.", _records_can_be_read),
    Invariant("tables_empty_at_rest", "At rest nothing is left in any table.", _tables_empty_at_rest),
    Invariant("tallies_right", "A number that is kept is what it counts.", _tallies_are_right),
    Invariant("memory_within_budget", "Memory stays within its budget.", _memory_within_its_budget),
)

_ALL: tuple[Invariant[Any], ...] = (*OF_A_TASK, *OF_A_READER, *OF_A_LOG, *OF_AN_INSTANCE)

#: Each sentence by its name.
INVARIANTS = MappingProxyType({each.name: each.sentence for each in _ALL})


def check_task(evidence: TaskEvidence) -> list[Violation]:
    """What does not hold of a task."""
    return _check(OF_A_TASK, evidence, evidence.task_id)


def check_reader(evidence: ReaderEvidence) -> list[Violation]:
    """What does not hold of what a reader saw."""
    return _check(OF_A_READER, evidence, evidence.task_id)


def check_log(evidence: LogEvidence) -> list[Violation]:
    """What does not hold of a log in memory."""
    return _check(OF_A_LOG, evidence, evidence.task_id)


def check_instance(evidence: InstanceEvidence) -> list[Violation]:
    """What does not hold of an instance."""
    return _check(OF_AN_INSTANCE, evidence, None)


def _check(invariants: Sequence[Invariant[E]], evidence: E, task_id: str | None) -> list[Violation]:
    return [
        Violation(
            invariant.name, about or task_id, detail if len(detail) <= DETAIL_MAX else f"{detail[:DETAIL_MAX]} ..."
        )
        for invariant in invariants
        for about, detail in invariant.check(evidence)
    ]
