"""Which schema a database has, and whether this version can work with it.

Owns:   the words for a schema that is too old, too new, or somebody else's; the set-up of an empty database.
Uses:   migrate, only where there is something to do: alembic takes its time to import.
Never:  changes tables that hold something, unless it was told to upgrade.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, select

from streaming.errors import StoreUnavailable
from streaming.store.schema import APPLICATION_ID, REVISION, SCHEMA, feed, metadata

#: Told each step before it is taken.
Tell = Callable[[str], None]

_FOREIGN = "it belongs to another program; choose another STREAMING_STORE_URL"
_TABLES = "SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')"
_VERSIONS = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": f"SELECT count(to_regclass('{SCHEMA}.alembic_version'))",
}


def stored_revision(connection: Connection) -> str | None:
    """The revision of its tables; None if there are none yet.

    Raises:
        StoreUnavailable: there are tables, but another program made them.
        SQLAlchemyError: it has our revision, and a table or a column of it is missing: the first commit would be tried
            for ever.
    """
    stored: str | None = None
    if connection.exec_driver_sql(_VERSIONS[connection.dialect.name]).scalar_one():
        stored = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    if not _ours(connection, stored):
        raise StoreUnavailable(_FOREIGN)
    if stored == REVISION:
        only_there = [] if connection.dialect.name == "sqlite" else [feed]
        for table in (*metadata.sorted_tables, *only_there):
            connection.execute(select(table).limit(0))
    return stored


def make_current(connection: Connection, upgrade: Tell | None = None) -> None:
    """Set up an empty database, and refuse one that has another schema than this version.

    Args:
        connection: in a transaction, which holds all of it or nothing.
        upgrade: upgrade an older one as well, and tell each step.

    Raises:
        StoreUnavailable: its schema is not that of this version, and what to do about it.
    """
    stored = stored_revision(connection)
    if stored == REVISION:
        return
    if stored is not None and not (is_older(stored) and upgrade is not None):
        raise StoreUnavailable(_what_to_do(stored))
    from streaming.store.migrate import run_steps

    run_steps(connection, upgrade)


def check_current(connection: Connection) -> None:
    """Refuse a database whose schema is not that of this version, and change nothing.

    Raises:
        StoreUnavailable: it is another one, or there is none; and what to do about it.
    """
    stored = stored_revision(connection)
    if stored != REVISION:
        raise StoreUnavailable("it is empty" if stored is None else _what_to_do(stored))


def _what_to_do(stored: str) -> str:
    if is_older(stored):
        return (
            f"its schema {stored!r} is older than {REVISION!r} of this program; make a backup, then run: "
            "streaming db upgrade"
        )
    return f"its schema {stored!r} was made by a newer version of this program; upgrade the program"


def is_older(stored: str) -> bool:
    """Whether a revision is before ours: they count up, in four digits."""
    return len(stored) == len(REVISION) and stored.isdigit() and stored < REVISION


def _ours(connection: Connection, stored: str | None) -> bool:
    """Whether the database, or our schema in it, is empty or has our mark."""
    if connection.dialect.name == "sqlite":
        tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        return not tables or connection.exec_driver_sql("PRAGMA application_id").scalar_one() == APPLICATION_ID
    return stored is not None or not connection.exec_driver_sql(_TABLES, (SCHEMA,)).scalar_one()
