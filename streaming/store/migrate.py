"""Bring a database to the schema of this version.

Owns:   running the steps that a database lacks.
Uses:   migrations (the steps), alembic.
Never:  decides whether they may be run (``revision``).
"""

from __future__ import annotations

import threading
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from streaming.store.revision import Tell

# Alembic keeps the migration under way in module globals: one upgrade at a time in a process.
_one_at_a_time = threading.Lock()


def run_steps(connection: Connection, tell: Tell | None = None) -> None:
    """Run the steps that the database lacks, in the transaction of ``connection``."""

    def applied(*, step: Any, **_: object) -> None:
        if tell is not None:
            tell(f"{step.up_revision_id}: {step.up_revision.doc}")

    config = Config(attributes={"connection": connection, "on_version_apply": [applied]})
    config.set_main_option("script_location", "streaming.store:migrations")
    with _one_at_a_time:
        command.upgrade(config, "head")
