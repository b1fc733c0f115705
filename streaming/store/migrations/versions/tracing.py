"""Which trace a task belongs to.

Owns:   the fifth schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what goes from one program to the next; the tasks that are there belong to no trace."""
    for name in ("traceparent", "tracestate"):
        op.add_column("tasks", sa.Column(name, TEXT))
