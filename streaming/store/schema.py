"""The tables of a database, as this version knows them.

Owns:   table, column and index names; which columns of a task may change; their revision.
Uses:   rules.lifecycle (which event types are terminal).
Never:  creates or alters anything: that is done by ``migrations``, and a test holds both together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    false,
    select,
    text,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from streaming.rules.lifecycle import TERMINAL

#: The newest step of ``migrations``, which makes these tables.
REVISION = "0005"

#: Where all that is ours lies in a PostgreSQL database.
SCHEMA = "streaming"

#: PostgreSQL before this version has no ``IS JSON``.
IS_JSON_SINCE = (16,)

#: Marks a SQLite file as ours ("strm"), so that nobody else's database is ever touched.
APPLICATION_ID = 0x7374726D

#: Texts compare by code point everywhere, as they do in Python and in SQLite.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")

#: What grows for ever. SQLite numbers rows by an INTEGER of this size, and by nothing else.
Big = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

# Times are RFC 3339 in UTC with a fixed width: they sort as texts. Values with structure are JSON texts.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("progress", Text),
    Column("result", Text),
    Column("error", Text),
    Column("cancel", Text),
    Column("started_at", Text),
    Column("finished_at", Text),
    Column("priority", Integer, nullable=False, server_default=text("1")),
    Column("key", Text),
    Column("external_id", Text),
    Column("parent", Text),
    Column("retry_of", Text),
    Column("policy", Text),
    Column("retries_left", Integer, nullable=False, server_default=text("0")),
    Column("retry_at", Text),
    Column("steps", Text),
    Column("heartbeat_at", Text),
    Column("acked_at", Text),
    Column("client_seq", Big, nullable=False, server_default=text("0")),
    Column("log_bytes", Big, nullable=False, server_default=text("0")),
    Column("percent", Float),  # of the progress
    Column("error_code", Text),  # of the error
    Column("held", Boolean, nullable=False, server_default=false()),  # until somebody has acknowledged the result
    Column("trimmed_bytes", Big, nullable=False, server_default=text("0")),  # of log_bytes, what is gone
    Column("tenant", Text),
    Column("traceparent", Text),
    Column("tracestate", Text),
    Index("tasks_by_age", "created_at", "id"),
    Index("tasks_by_status", "status", "created_at", "id"),
    Index("tasks_by_type", "type", "created_at", "id"),
    Index("tasks_by_end", "finished_at", "id"),
    Index("tasks_by_status_and_type", "status", "type"),  # what counts by both takes a tenth of the time
)

# What most tasks do not have takes no room in its index.
for _name, *_columns in (
    ("tasks_by_key", tasks.c.key, tasks.c.created_at, tasks.c.id),
    ("tasks_by_external_id", tasks.c.external_id, tasks.c.created_at, tasks.c.id),
    ("tasks_by_parent", tasks.c.parent, tasks.c.created_at, tasks.c.id),
    ("tasks_by_retry", tasks.c.retry_of, tasks.c.created_at, tasks.c.id),
):
    _there = _columns[0].is_not(None)
    Index(_name, *_columns, sqlite_where=_there, postgresql_where=_there)

# The tasks of one owner, a tenant or a principal without one, however many others there are. Each task is in two.
for _name, _owner, _there in (
    ("tasks_by_tenant", tasks.c.tenant, tasks.c.tenant.is_not(None)),
    ("tasks_by_principal", tasks.c.created_by, tasks.c.tenant.is_(None)),
):
    for _suffix, *_columns in (("", tasks.c.created_at, tasks.c.id), ("_end", tasks.c.finished_at, tasks.c.id)):
        Index(f"{_name}{_suffix}", _owner, *_columns, sqlite_where=_there, postgresql_where=_there)

# Whether a task is there for somebody takes SQLite no longer if its parameters are long: they are no part of this.
Index("tasks_by_owner", tasks.c.id, tasks.c.created_by, tasks.c.tenant).ddl_if(dialect="sqlite")

_ended = tasks.c.finished_at.is_not(None)
Index(
    "tasks_by_type_end",
    *(tasks.c.type, tasks.c.held, tasks.c.finished_at, tasks.c.id),
    sqlite_where=_ended,
    postgresql_where=_ended,
)

#: What an update writes; the other columns are as the start of the task left them.
MUTABLE = (
    tasks.c.status,
    tasks.c.timeout_s,
    tasks.c.updated_at,
    tasks.c.attempt,
    tasks.c.progress,
    tasks.c.result,
    tasks.c.error,
    tasks.c.cancel,
    tasks.c.started_at,
    tasks.c.finished_at,
    tasks.c.policy,
    tasks.c.retries_left,
    tasks.c.retry_at,
    tasks.c.steps,
    tasks.c.heartbeat_at,
    tasks.c.client_seq,
    tasks.c.log_bytes,
    tasks.c.percent,
    tasks.c.error_code,
    tasks.c.held,
)

events = Table(
    "events",
    metadata,
    Column("position", Big, primary_key=True, autoincrement=True),
    Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("task_id", "seq", name="events_by_task"),
    sqlite_autoincrement=True,  # a position is never given twice, not even after a delete
)

_terminal = events.c.type.in_(sorted(TERMINAL))
Index("events_one_terminal", events.c.task_id, unique=True, sqlite_where=_terminal, postgresql_where=_terminal)

#: Every change of a task's status; it outlives the events that told it.
changes = Table(
    "changes",
    metadata,
    Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What a task can be found by: its tags, and the words of its texts. They go with their task, by `terms_of`.
terms = Table(
    "terms",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("term", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Text, nullable=False),
    Index("idempotency_keys_by_task", "task_id"),
    Index("idempotency_keys_by_age", "created_at"),
)

#: API keys that were made by hand. What opens is no part of it, only its hash.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),  # of the principal
    Column("tenant", Text),
    Column("scopes", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("revoked_at", Text),
)

#: What the server must know again after a restart, and nobody else may know.
secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: How many ended tasks of a type are not held, and how many bytes of events they have: so nobody has to count them.
totals = Table(
    "totals",
    metadata,
    Column("type", Text, primary_key=True),
    Column("records", Big, nullable=False),
    Column("bytes", Big, nullable=False),
    sqlite_with_rowid=False,
)

#: PostgreSQL only, one row: the last position that was given, to an event since deleted or not. Whoever commits events
#: locks it, since a sequence of PostgreSQL would let them become visible in another order.
feed = Table("feed", MetaData(), Column("position", Big, nullable=False))


class _LastPosition(FunctionElement[int]):
    """The last position that was given, or NULL while nothing was ever stored."""

    inherit_cache = True
    type = Big


@compiles(_LastPosition, "sqlite")
def _of_sqlite(*_: object, **__: object) -> str:
    return "(SELECT seq FROM sqlite_sequence WHERE name = 'events')"  # what AUTOINCREMENT gave last


@compiles(_LastPosition, "postgresql")
def _of_postgres(*_: object, **__: object) -> str:
    return "(SELECT position FROM feed)"


class JsonValid(FunctionElement[bool]):
    """Whether a text is JSON; NULL where the database cannot tell."""

    inherit_cache = True
    type = Boolean()


@compiles(JsonValid, "sqlite")
def _valid_in_sqlite(element: JsonValid, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_valid({compiler.process(element.clauses, **options)})"


@compiles(JsonValid, "postgresql")
def _valid_in_postgres(element: JsonValid, compiler: SQLCompiler, **options: Any) -> str:
    version = getattr(compiler.dialect, "server_version_info", None)  # none before it has ever been connected
    if version is not None and version < IS_JSON_SINCE:
        return "CAST(NULL AS boolean)"
    return f"({compiler.process(element.clauses, **options)} IS JSON)"


#: One number, or NULL.
LAST_POSITION = select(_LastPosition())
