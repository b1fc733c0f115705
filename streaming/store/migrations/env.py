"""What alembic runs for every command: use the connection that ``store.migrate`` was given.

Owns:   that a migration is one transaction, so that a crash leaves all of it or nothing.
Never:  connects by itself.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
