"""Records and events that are not kept for ever: who waits for an acknowledgement, how much there is of each type.

Owns:   the third schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add what retention counts by, and count what is there."""
    op.add_column("tasks", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("tasks", sa.Column("trimmed_bytes", BIG, nullable=False, server_default=sa.text("0")))
    op.execute(
        "UPDATE tasks SET held = true WHERE acked_at IS NULL "
        "AND policy IS NOT NULL AND policy LIKE '%\"keep_until_ack\"\\:true%'"
    )
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "tasks_by_type_end",
        "tasks",
        ["type", "held", "finished_at", "id"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
    op.create_table(
        "totals",
        sa.Column("type", TEXT, primary_key=True),
        sa.Column("records", BIG, nullable=False),
        sa.Column("bytes", BIG, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO totals SELECT type, count(*), sum(log_bytes - trimmed_bytes) FROM tasks "
        "WHERE finished_at IS NOT NULL AND NOT held GROUP BY type"
    )
