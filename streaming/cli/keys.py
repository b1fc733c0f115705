"""The commands that make, list and revoke API keys, in the database itself and beside a running server.

Rules of this file:

- A key is shown once, alone on stdout. All other words go to stderr.
- No secret is taken from the command line, which everybody on this machine may read; none is logged.

Owns:   the words of ``streaming key``; that each act is told to the security log.
Uses:   store (the keys), access.keys (making one), observe.security.
Never:  asks a server: whoever may write to the database may make keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from streaming.cli.exits import Exit
from streaming.cli.output import Output, print_document, print_table, say
from streaming.cli.stores import Store
from streaming.errors import StoreUnavailable

if TYPE_CHECKING:
    from streaming.config import Settings
    from streaming.rules.access import ApiKey, Principal
    from streaming.store.key_store import KeyStore

Value = TypeVar("Value")

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]


@app.callback()
def key() -> None:
    """Make, list and revoke API keys, beside a running server."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The principal that it is for.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do; may be repeated.", show_default="all but metrics:read and admin"),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant, if there are any.", show_default=False)] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="When it is over, like 90d or 12h.", show_default="never")
    ] = None,
    store: Store = None,
    output: Format = Output.TEXT,
) -> None:
    """Make an API key, and show it once: only its hash is kept.

    The key goes to stdout, everything else to stderr. Once a database has
    had a key, its server wants a credential from everybody.

    Exit status: 0 done, 2 usage, 5 the database cannot be used.

    Examples:
        KEY=$(streaming key create ci)
        streaming key create grafana --scope metrics:read --expires-in 90d
        streaming key create operator --scope admin
    """
    from streaming.access.keys import new_key

    principal = _principal(name, scope, tenant)
    now = time.time()
    made, kept = new_key(principal, created_at=_time(now), expires_at=_end(now, expires_in))
    with _open(store, empty=True) as (keys, settings):
        keys.add(kept)
        _tell("key_created", kept.id, kept)
    say(f"key {kept.id} of {name}: {', '.join(sorted(principal.scopes))}; {_until(kept)}")
    say(f"it is kept in {_where(settings)}, and is not shown again")
    say("from now on, a server on this database wants a credential from everybody")
    if output is Output.JSON:
        print_document({"key": made, **_document(kept, _time(now))})
    else:
        print(made)


@app.command(name="list")
def list_keys(store: Store = None, output: Format = Output.TEXT) -> None:
    """List the API keys of a database, oldest first; none of their secrets.

    Columns are id, principal, tenant, scopes, state, created_at and
    expires_at. States are active, expired and revoked.

    Examples:
        streaming key list
        streaming key list -o json | jq -r '.[] | select(.state == "active").id'
    """
    with _open(store) as (keys, _):
        found = keys.all()
    now = _time(time.time())
    documents = [_document(each, now) for each in found]
    if output is Output.JSON:
        print_document(documents)
        return
    columns = ["id", "principal", "tenant", "scopes", "state", "created_at", "expires_at"]
    rows = [[*({**each, "scopes": " ".join(each["scopes"])}[column] for column in columns)] for each in documents]
    print_table(columns, rows)


@app.command()
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of keys, as list has them.")],
    store: Store = None,
) -> None:
    """Revoke API keys: in a few seconds they open nothing, and their streams end.

    There is no way back. A server whose last key is revoked goes on asking
    everybody for a credential.

    Exit status: 0 done, or done before; 3 there is no such key; 5 the
    database cannot be used.

    Examples:
        streaming key revoke nb3c6t2xk7wq5arz
    """
    with _open(store) as (keys, _):
        known = {each.id: each for each in keys.all()}
        done = [_revoked(keys, id, known.get(id)) for id in dict.fromkeys(map(_id, ids))]
    raise typer.Exit(Exit.OK if all(done) else Exit.NOT_FOUND)


def _revoked(keys: KeyStore, id: str, before: ApiKey | None) -> bool:
    """Revoke one key, and say what has become of it; False if there is none."""
    from streaming.observe.redaction import blot

    if not keys.revoke(id, _time(time.time())):
        say(f"there is no key {blot(id)[:64]!r}")
        return False
    if before is not None and before.revoked_at is not None:
        say(f"key {id} was revoked before, at {before.revoked_at}")
        return True
    _tell("key_revoked", id, before)
    say(f"key {id}{'' if before is None else f' of {before.principal.name}'} is revoked")
    return True


# -- what is given -----------------------------------------------------------------------------------------------------


def _principal(name: str, scope: list[str] | None, tenant: str | None) -> Principal:
    from streaming.rules.access import SCOPES_DEFAULT, Principal, read_name, read_scopes

    return Principal(
        _read(read_name, name, "NAME"),
        _read(read_scopes, scope, "--scope") if scope else SCOPES_DEFAULT,
        None if tenant is None else _read(read_name, tenant, "--tenant"),
    )


def _read(read: Callable[[Any], Value], given: object, where: str) -> Value:
    try:
        return read(given)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint=where) from None


def _end(now: float, length: str | None) -> str | None:
    from streaming.rules.times import read_length

    if length is None:
        return None
    try:
        return _time(now + _read(read_length, length, "--expires-in"))
    except (OverflowError, ValueError, OSError):
        raise typer.BadParameter("Times end with the year 9999.", param_hint="--expires-in") from None


def _id(text: str) -> str:
    """The id in what somebody gives: that of a list, that of a log line, or of a whole key, which is known now."""
    from streaming.access.keys import KIND, read_key

    whole = read_key(text)
    return text.removeprefix(KIND) if whole is None else whole[0]


# -- where -------------------------------------------------------------------------------------------------------------


@contextmanager
def _open(store: str | None, *, empty: bool = False) -> Iterator[tuple[KeyStore, Settings]]:
    """The keys of a database.

    Args:
        store: its URL; None for that of the environment.
        empty: whether one that is empty is set up.

    Raises:
        StoreUnavailable: it cannot be used, or is empty.
    """
    from streaming.config import load_settings
    from streaming.observe.logs import configure
    from streaming.store import open_database, open_key_store

    settings = load_settings(store_url=store)
    configure(settings)
    if not empty and settings.store_url != "memory://":
        with closing(open_database(settings)) as database:
            if database.inspect().revision is None:
                raise StoreUnavailable(f"There is no database at {_where(settings)}, or an empty one.")
    with closing(open_key_store(settings)) as keys:
        yield keys, settings


def _where(settings: Settings) -> str:
    """The database, as it may be shown; a file with its whole path, as a server may run in another directory."""
    from pathlib import Path

    from streaming.cli.settings import without_password

    kind, file, name = settings.store_url.partition("sqlite:///")
    return str(Path(name).absolute()) if file and not kind else without_password(settings.store_url)


# -- what is said ------------------------------------------------------------------------------------------------------


def _time(wall_s: float) -> str:
    from streaming.events import rfc3339

    return rfc3339(wall_s)


def _until(key: ApiKey) -> str:
    return "it has no end" if key.expires_at is None else f"until {key.expires_at}"


def _document(key: ApiKey, now: str) -> dict[str, Any]:
    state = "active" if key.good_at(now) else "expired" if key.revoked_at is None else "revoked"
    return {
        "id": key.id,
        "principal": key.principal.name,
        "tenant": key.principal.tenant,
        "scopes": sorted(key.principal.scopes),
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _tell(act: str, id: str, key: ApiKey | None) -> None:
    """Write to the security log what was done, to whose key, and by which user of this machine."""
    from streaming.access.keys import KIND
    from streaming.observe.security import tell

    told: dict[str, Any] = {"by": f"user:{_user()}", "key_id": KIND + id}
    if key is not None:
        whose = key.principal
        told |= {"holder": whose.name, "tenant": whose.tenant, "scopes": " ".join(sorted(whose.scopes))}
        told |= {"expires_at": key.expires_at}
    tell(act, principal=None, address=None, failed=False, always=True, **told)


def _user() -> str:
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
