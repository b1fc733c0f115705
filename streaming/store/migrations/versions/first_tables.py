"""Tasks, events and idempotency keys.

Owns:   the first schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create all tables in a new file, and mark the file as ours."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("PRAGMA application_id = 1937011309")
    _create_tasks()
    _create_events()
    if op.get_bind().dialect.name == "postgresql":
        _create_feed()
    _create_idempotency_keys()


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("params", TEXT, nullable=False),
        sa.Column("timeout_s", sa.Float, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("updated_at", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("progress", TEXT),
        sa.Column("result", TEXT),
        sa.Column("error", TEXT),
        sa.Column("cancel", TEXT),
        sa.Column("started_at", TEXT),
        sa.Column("finished_at", TEXT),
    )
    op.create_index("tasks_by_age", "tasks", ["created_at", "id"])
    op.create_index("tasks_by_status", "tasks", ["status", "created_at", "id"])
    op.create_index("tasks_by_type", "tasks", ["type", "created_at", "id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("position", BIG, primary_key=True, autoincrement=op.get_bind().dialect.name == "sqlite"),
        sa.Column("task_id", TEXT, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("time", TEXT, nullable=False),
        sa.Column("payload", TEXT, nullable=False),
        sa.UniqueConstraint("task_id", "seq", name="events_by_task"),
        sqlite_autoincrement=True,
    )
    terminal = sa.text("type IN ('cancelled', 'completed', 'failed', 'interrupted', 'timed_out')")
    op.create_index(
        "events_one_terminal", "events", ["task_id"], unique=True, sqlite_where=terminal, postgresql_where=terminal
    )


def _create_feed() -> None:
    """One row, and never another one: the last position."""
    op.create_table(
        "feed",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True, server_default=sa.true()),
        sa.Column("position", BIG, nullable=False),
    )
    op.execute("INSERT INTO feed (position) VALUES (0)")


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("task_id", TEXT, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
    )
    op.create_index("idempotency_keys_by_task", "idempotency_keys", ["task_id"])
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
