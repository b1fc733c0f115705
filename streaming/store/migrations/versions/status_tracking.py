"""Records that can be found and steered: priority, keys, policies, history, search terms.

Owns:   the second schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add columns and tables, and fill them from what is there."""
    _add_columns()
    _add_indexes()
    op.create_table(
        "changes",
        sa.Column("task_id", TEXT, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("time", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "terms",
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("term", TEXT, primary_key=True),
        sa.Column("task_id", TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":  # the only one that has had the schema before
        _fill()


def _add_columns() -> None:
    for column in (
        sa.Column("priority", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("key", TEXT),
        sa.Column("external_id", TEXT),
        sa.Column("parent", TEXT),
        sa.Column("retry_of", TEXT),
        sa.Column("policy", TEXT),
        sa.Column("retries_left", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("retry_at", TEXT),
        sa.Column("steps", TEXT),
        sa.Column("heartbeat_at", TEXT),
        sa.Column("acked_at", TEXT),
        sa.Column("client_seq", BIG, nullable=False, server_default=sa.text("0")),
        sa.Column("log_bytes", BIG, nullable=False, server_default=sa.text("0")),
        sa.Column("percent", sa.Float),
        sa.Column("error_code", TEXT),
    ):
        op.add_column("tasks", column)


def _add_indexes() -> None:
    op.create_index("tasks_by_end", "tasks", ["finished_at", "id"])
    op.create_index("tasks_by_status_and_type", "tasks", ["status", "type"])
    for name, columns in (
        ("tasks_by_key", ["key", "created_at", "id"]),
        ("tasks_by_external_id", ["external_id", "created_at", "id"]),
        ("tasks_by_parent", ["parent", "created_at", "id"]),
        ("tasks_by_retry", ["retry_of", "created_at", "id"]),
    ):
        there = sa.column(columns[0]).is_not(None)
        op.create_index(name, "tasks", columns, sqlite_where=there, postgresql_where=there)


def _fill() -> None:
    """History, search terms and copies of what was only inside of JSON; a damaged row stays as it is."""
    op.execute(
        "UPDATE tasks SET percent = json_extract(progress, '$.percent') "
        "WHERE progress IS NOT NULL AND json_valid(progress)"
    )
    op.execute(
        "UPDATE tasks SET error_code = json_extract(error, '$.code') WHERE error IS NOT NULL AND json_valid(error)"
    )
    op.execute(
        "UPDATE tasks SET log_bytes = (SELECT coalesce(sum(length(payload)), 0) FROM events WHERE task_id = tasks.id)"
    )
    op.execute(
        "INSERT INTO changes SELECT task_id, seq, type, time, 'server', '' FROM events "
        "WHERE type IN ('cancelled', 'completed', 'failed', 'interrupted', 'pending', 'running', 'timed_out')"
    )
    op.execute(
        "INSERT OR IGNORE INTO terms SELECT 'tag', value, tasks.id FROM tasks, json_each(tasks.tags) "
        "WHERE tags <> '[]' AND json_valid(tags)"
    )
    op.execute("INSERT OR IGNORE INTO terms SELECT 'word', type, id FROM tasks")
