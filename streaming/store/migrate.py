"""Bring a database to the schema of this version.

Owns:   which databases are ours, which are too new, and the upgrade of those that are older.
Uses:   migrations (the steps), alembic.
Never:  touches a file that somebody else made, or one of a newer version.
"""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from streaming.errors import StoreUnavailable
from streaming.store.schema import APPLICATION_ID

# Alembic keeps the migration under way in module globals: one upgrade at a time in a process.
_one_at_a_time = threading.Lock()


def check_owner(connection: Connection) -> None:
    """Refuse a database that another program made.

    Raises:
        StoreUnavailable: it has tables, but not our mark.
    """
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    owner = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if tables and owner != APPLICATION_ID:
        raise StoreUnavailable("it belongs to another program; choose another STREAMING_STORE_URL")


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, in the transaction of ``connection``.

    Raises:
        StoreUnavailable: its schema is newer than this version.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "streaming.store:migrations")
    steps = ScriptDirectory.from_config(config)
    stored = MigrationContext.configure(connection).get_current_revision()
    if stored == steps.get_current_head():
        return
    if stored is not None and stored not in {step.revision for step in steps.walk_revisions()}:
        raise StoreUnavailable(
            f"its schema {stored!r} was made by a newer version of this program; upgrade the program"
        )
    with _one_at_a_time:
        command.upgrade(config, "head")
