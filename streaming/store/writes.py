"""What one transaction writes.

Owns:   commit, its outcome, deletes.
Uses:   statements (how), rows (values), reads (is it terminal), schema.
Never:  begins or ends a transaction (``database``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, text, tuple_, update

from streaming.engine.journal import Commit, Committed
from streaming.errors import RecordDamaged
from streaming.events import Event
from streaming.records import IdempotencyKey, Record
from streaming.rules.lifecycle import TERMINAL
from streaming.store import reads
from streaming.store.rows import change_row, event_row, key_row, task_row, term_rows, update_row
from streaming.store.schema import MUTABLE, changes, events, idempotency_keys, tasks, terms
from streaming.store.statements import RowInsert, Statement, driver_of, expect, heads, move_feed, storable
from streaming.store.terms import delete_terms
from streaming.store.totals import count_ended

_insert_tasks = RowInsert(tasks)
_insert_events = RowInsert(events)
_insert_keys = RowInsert(idempotency_keys, same="replace")
_insert_changes = RowInsert(changes)
_insert_terms = RowInsert(terms, same="ignore")

_UPDATE_TASK = Statement(
    update(tasks).where(tasks.c.id == text("?")).ordered_values(*((column, text("?")) for column in MUTABLE))
)

#: (task_id, seq) pairs in one question.
_PAIRS_MAX = 400


def write(connection: Connection, commit: Commit) -> Committed:
    """Write a commit, without what belongs to tasks that are terminal or gone."""
    last_position, lost = _before(connection, commit)
    if lost:
        # The repeat of a commit that took place: the tasks that it ended are terminal now.
        done = outcome(connection, commit)
        if done is not None:
            return done
    return _write(connection, commit, last_position, lost, _standing(connection, commit))


def write_expected(connection: Connection, commit: Commit, last_position: int) -> Committed:
    """Write a commit without asking how things are; see `Database.one_trip`.

    Args:
        connection: in a trip.
        commit: all of it is to be written, and the tasks of its keys are to be live.
        last_position: the last one that was given. The transaction fails with `faults.UNEXPECTED` if one of these is
            not so.
    """
    expect(connection, last_position, dict.fromkeys(_keys_of_others(commit)) | _ends(commit))
    return _write(connection, commit, last_position, frozenset(), commit.keys)


def _write(
    connection: Connection, commit: Commit, last_position: int, lost: frozenset[str], keys: Sequence[IdempotencyKey]
) -> Committed:
    stored = [event for event in commit.events if event.task_id not in lost]
    positions = range(last_position + 1, last_position + 1 + len(stored))
    updated = [record for record in commit.updated if record.id not in lost]
    failed = [record for record in updated if record.error and record.finished_at]
    _insert_tasks.run(connection, [task_row(record) for record in commit.created])
    _insert_events.run(connection, [event_row(*pair) for pair in zip(positions, stored, strict=True)])
    if stored:
        move_feed(connection, positions[-1])
    if updated:
        _update(connection, [storable(connection, update_row(record)) for record in updated])
    _insert_keys.run(connection, [key_row(key) for key in keys])
    _insert_changes.run(connection, [change_row(change) for change in commit.changes if change.task_id not in lost])
    _insert_terms.run(connection, [row for record in (*commit.created, *failed) for row in term_rows(record)])
    count_ended(connection, [record.id for record in (*commit.created, *updated) if record.finished_at])
    return Committed(positions, lost)


def _update(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    statement = _UPDATE_TASK.text(connection)
    if connection.dialect.name == "sqlite":
        driver_of(connection).executemany(statement, rows)
    else:
        connection.exec_driver_sql(statement, list(rows))


def _standing(connection: Connection, commit: Commit) -> list[IdempotencyKey]:
    """The keys whose tasks are there."""
    gone = _keys_of_others(commit)
    if gone:
        gone -= set(connection.execute(select(tasks.c.id).where(tasks.c.id.in_(gone))).scalars())
    return [key for key in commit.keys if key.task_id not in gone]


def _keys_of_others(commit: Commit) -> set[str]:
    """The tasks of its keys that it does not create: they may be gone."""
    return {key.task_id for key in commit.keys} - {record.id for record in commit.created}


def outcome(connection: Connection, commit: Commit) -> Committed | None:
    """What became of a commit: None if none of its events is stored."""
    found = _positions(connection, commit.events)
    if not found:
        return None
    positions, written = commit.positions_from(found)
    _, lost = _before(connection, commit)
    return Committed(positions, lost - written)


def delete_task(connection: Connection, task_id: str) -> bool:
    """Delete a task that is terminal or damaged; its events, its history, its terms and its key go with it."""
    try:
        found = reads.find(connection, task_id)
    except RecordDamaged:
        found = None  # whatever it was, nobody can go on with it; terms without a task find nothing
    else:
        if found is None or found.status not in TERMINAL:
            return False
    count_ended(connection, [task_id], sign=-1)
    connection.execute(delete(tasks).where(tasks.c.id == task_id))
    if found is not None:
        delete_terms(connection, term_rows(found))
    return True


def acknowledge(connection: Connection, task_id: str, time: str) -> Record | None:
    """Note that the result of a terminal task was seen."""
    unseen = (tasks.c.id == task_id, tasks.c.status.in_(sorted(TERMINAL)), tasks.c.acked_at.is_(None))
    count_ended(connection, [task_id], sign=-1)
    connection.execute(update(tasks).where(*unseen).values(acked_at=time, updated_at=time, held=False))
    count_ended(connection, [task_id])
    found = reads.find(connection, task_id)
    return found if found is not None and found.status in TERMINAL else None


def delete_keys(connection: Connection, created_before: str) -> int:
    """Delete the keys that are older."""
    old = idempotency_keys.c.created_at < created_before
    return connection.execute(delete(idempotency_keys).where(old)).rowcount


def _before(connection: Connection, commit: Commit) -> tuple[int, frozenset[str]]:
    """The last position that was given, and which tasks of ``commit`` are lost.

    A task with a terminal event is terminal, also where somebody has set its status back: its log takes no second one.
    """
    ends = _ends(commit)
    last_position, last_seqs = heads(connection, ends.keys())
    ours = {task_id for task_id, seq in last_seqs.items() if ends[task_id] in (seq, None)}
    return last_position, frozenset(ends.keys() - ours)


def _ends(commit: Commit) -> dict[str, int | None]:
    """The last seq of each task of ``commit`` before it; None if it has no event here. What is created has none."""
    first_seqs = commit.first_seqs()
    ends: dict[str, int | None] = dict.fromkeys(record.id for record in commit.updated)
    ends |= {task_id: seq - 1 for task_id, seq in first_seqs.items()}
    return {task_id: ends[task_id] for task_id in ends.keys() - {record.id for record in commit.created}}


def _positions(connection: Connection, wanted: Sequence[Event]) -> dict[Event, int]:
    """Where those of the events are that are stored exactly so."""
    place = tuple_(events.c.task_id, events.c.seq)
    found: dict[Event, int] = {}
    for start in range(0, len(wanted), _PAIRS_MAX):
        pairs = [(event.task_id, event.seq) for event in wanted[start : start + _PAIRS_MAX]]
        rows = connection.execute(select(events).where(place.in_(pairs)))
        found |= {Event(*values): position for position, *values in rows}
    return {event: found[event] for event in wanted if event in found}
