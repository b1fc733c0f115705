"""The tables of a database, as this version knows them.

Owns:   table, column and index names; which columns of a task may change.
Uses:   rules.lifecycle (which event types are terminal).
Never:  creates or alters anything: that is done by ``migrations``, and a test holds both together.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint, select

from streaming.rules.lifecycle import TERMINAL

#: Marks a SQLite file as ours ("strm"), so that nobody else's database is ever touched.
APPLICATION_ID = 0x7374726D

metadata = MetaData()

# Times are RFC 3339 in UTC with a fixed width: they sort as texts. Values with structure are JSON texts.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("progress", Text),
    Column("result", Text),
    Column("error", Text),
    Column("cancel", Text),
    Column("started_at", Text),
    Column("finished_at", Text),
    Index("tasks_by_age", "created_at", "id"),
    Index("tasks_by_status", "status", "created_at", "id"),
    Index("tasks_by_type", "type", "created_at", "id"),
)

#: What an update writes; the other columns are as the start of the task left them.
MUTABLE = (
    tasks.c.status,
    tasks.c.timeout_s,
    tasks.c.updated_at,
    tasks.c.attempt,
    tasks.c.progress,
    tasks.c.result,
    tasks.c.error,
    tasks.c.cancel,
    tasks.c.started_at,
    tasks.c.finished_at,
)

events = Table(
    "events",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("task_id", "seq", name="events_by_task"),
    sqlite_autoincrement=True,  # a position is never given twice, not even after a delete
)

Index(
    "events_one_terminal",
    events.c.task_id,
    unique=True,
    sqlite_where=events.c.type.in_(sorted(TERMINAL)),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Text, nullable=False),
    Index("idempotency_keys_by_task", "task_id"),
    Index("idempotency_keys_by_age", "created_at"),
)

# SQLite's own table: what AUTOINCREMENT gave last, to a row since deleted or not.
_given = Table("sqlite_sequence", MetaData(), Column("name", Text), Column("seq", Integer))

#: One number, or no row while nothing was ever stored.
LAST_POSITION = select(_given.c.seq).where(_given.c.name == "events")
