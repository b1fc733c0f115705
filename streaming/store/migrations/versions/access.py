"""Whose tasks are whose: tenants, API keys, and the secrets of the server.

Owns:   the fourth schema.
Never:  changes any more: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what access is decided by; the tasks that are there have no tenant."""
    op.add_column("tasks", sa.Column("tenant", TEXT))
    tenant = sa.column("tenant", TEXT)
    for name, columns, some in (
        ("tasks_by_tenant", ["tenant", "created_at", "id"], tenant.is_not(None)),
        ("tasks_by_tenant_end", ["tenant", "finished_at", "id"], tenant.is_not(None)),
        ("tasks_by_principal", ["created_by", "created_at", "id"], tenant.is_(None)),
        ("tasks_by_principal_end", ["created_by", "finished_at", "id"], tenant.is_(None)),
    ):
        op.create_index(name, "tasks", columns, sqlite_where=some, postgresql_where=some)
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("tasks_by_owner", "tasks", ["id", "created_by", "tenant"])
    op.create_table(
        "api_keys",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("tenant", TEXT),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT),
        sa.Column("revoked_at", TEXT),
    )
    op.create_table("secrets", sa.Column("name", TEXT, primary_key=True), sa.Column("value", TEXT, nullable=False))
