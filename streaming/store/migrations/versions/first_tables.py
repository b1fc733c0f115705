"""Tasks, events and idempotency keys.

Owns:   the first schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables in a new file, and mark the file as ours."""
    op.execute("PRAGMA application_id = 1937011309")
    _create_tasks()
    _create_events()
    _create_idempotency_keys()


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("timeout_s", sa.Float, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("progress", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("cancel", sa.Text),
        sa.Column("started_at", sa.Text),
        sa.Column("finished_at", sa.Text),
    )
    op.create_index("tasks_by_age", "tasks", ["created_at", "id"])
    op.create_index("tasks_by_status", "tasks", ["status", "created_at", "id"])
    op.create_index("tasks_by_type", "tasks", ["type", "created_at", "id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.UniqueConstraint("task_id", "seq", name="events_by_task"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "events_one_terminal",
        "events",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("type IN ('cancelled', 'completed', 'failed', 'interrupted', 'timed_out')"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_index("idempotency_keys_by_task", "idempotency_keys", ["task_id"])
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
