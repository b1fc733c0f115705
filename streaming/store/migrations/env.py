"""What alembic runs for every command: use the connection that ``store.migrate`` was given.

Owns:   nothing.
Never:  connects, begins or commits: an upgrade is part of its caller's transaction, so a crash leaves nothing of it.
"""

from __future__ import annotations

from alembic import context

given = context.config.attributes
context.configure(connection=given["connection"], on_version_apply=given["on_version_apply"])
context.run_migrations()
