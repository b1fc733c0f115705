"""Who may come in: API keys, and what only the servers of a store know.

Rules of this file:

- A row that nobody of ours has written opens nothing, and is a key all the same, since a store without any is open to
  everybody on its machine. A secret that nobody of ours has written is written anew.
- What is secret is in no log line, and in no error.

Owns:   the statements for ``api_keys`` and ``secrets``; what a row must be like to be an API key.
Uses:   rules.access (what a key is), schema.
Never:  makes or compares a secret.
"""

from __future__ import annotations

import json
import re
from typing import Any

import structlog
from sqlalchemy import Connection, RowMapping, select, update

from streaming.events import rfc3339
from streaming.rules.access import ApiKey, Principal, read_name, read_scopes
from streaming.store.rows import check_times
from streaming.store.schema import api_keys as table
from streaming.store.schema import secrets
from streaming.store.statements import RowInsert

_log = structlog.get_logger(__name__)

_HASH = re.compile(r"[0-9a-f]{64}\Z")

#: Whose a key is that cannot be read, and since when it is revoked.
_UNREADABLE, _LONG_AGO = Principal("unreadable", frozenset()), rfc3339(0)

_insert_key = RowInsert(table)
_insert_secret = RowInsert(secrets, same="ignore")


def api_keys(connection: Connection) -> list[ApiKey]:
    """See `Journal.api_keys`."""
    rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id)).mappings()
    return list(map(_read, rows))


def _read(row: RowMapping) -> ApiKey:
    try:
        return _key_from(row)
    except (ValueError, TypeError, RecursionError) as error:
        _log.error("an API key cannot be read, and opens nothing", key_id=str(row["id"]), reason=str(error))
        return ApiKey(str(row["id"]), "", _UNREADABLE, _LONG_AGO, revoked_at=_LONG_AGO)


def _key_from(row: RowMapping) -> ApiKey:
    for name in ("id", "hash", "name", "scopes", "created_at"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is no text")
    if not _HASH.match(row["hash"]):
        raise ValueError("its hash is none")
    check_times(row["created_at"], *(row[name] for name in ("expires_at", "revoked_at") if row[name] is not None))
    tenant = None if row["tenant"] is None else read_name(row["tenant"])
    principal = Principal(read_name(row["name"]), read_scopes(_words(row["scopes"])), tenant)
    return ApiKey(row["id"], row["hash"], principal, row["created_at"], row["expires_at"], row["revoked_at"])


def _words(scopes: str) -> list[str]:
    words = json.loads(scopes)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise TypeError("its scopes are no list of words")
    return words


def add_key(connection: Connection, key: ApiKey) -> None:
    """Store a new key; its id is there only once."""
    _insert_key.run(connection, [_row_of(key)])


def _row_of(key: ApiKey) -> tuple[Any, ...]:
    """In the order of ``schema.api_keys``."""
    who = key.principal
    scopes = json.dumps(sorted(who.scopes), separators=(",", ":"))
    return key.id, key.hash, who.name, who.tenant, scopes, key.created_at, key.expires_at, key.revoked_at


def revoke_key(connection: Connection, id: str, time: str) -> bool:
    """Let a key open nothing from now on, and say whether there is one; the first time counts."""
    valid = (table.c.id == id, table.c.revoked_at.is_(None))
    connection.execute(update(table).where(*valid).values(revoked_at=time))
    return connection.execute(select(table.c.id).where(table.c.id == id)).first() is not None


def secret(connection: Connection, name: str) -> str | None:
    """A secret; None if there is none, or none that could be used."""
    found = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    return found if isinstance(found, str) and found else None


def keep_secret(connection: Connection, name: str, fresh: str) -> str:
    """See `Journal.secret`; another process that does the same is waited for, and the first one counts."""
    _insert_secret.run(connection, [(name, fresh)])
    found = secret(connection, name)
    if found is not None:
        return found
    _log.error("a secret cannot be read, and is replaced", name=name)
    connection.execute(update(secrets).where(secrets.c.name == name).values(value=fresh))
    return fresh
