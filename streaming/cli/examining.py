"""A look at this machine, at the settings, and at the store that they name.

Owns:   collecting: what is asked of the machine, the settings and the database.
Uses:   rules.checkup (what it means).
Never:  changes anything: a file that is written to see whether that works is gone at once; the lock of a server is left
        alone. Says what a secret is.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streaming.errors import StoreUnavailable, StoreUnreachable, StreamingError
from streaming.rules import checkup
from streaming.rules.arrivals import judge_clock
from streaming.rules.checkup import Access
from streaming.rules.finding import Finding, Verdict

if TYPE_CHECKING:
    from streaming.config import Settings
    from streaming.store.database import Database

#: Seconds that whoever listens at our address may take to say who it is.
ANSWER_S = 2.0

#: Seconds over which the clocks are watched.
WATCHED_S = 0.02

#: Bytes that are written to see whether there is room for them.
TRIED_BYTES = 65_536

#: What the server is made of, by the name on the package index.
PARTS = ("streaming", "uvicorn", "httptools", *(() if sys.platform == "win32" else ("uvloop",)))

_FILE = "sqlite:///"

#: The line of ``/proc/.../limits``.
_OPEN_FILES = re.compile(r"^Max open files +(\d+) +(\d+)", re.MULTILINE)

#: The clock of the database, whether it is a copy that only reads, and how large it is.
_ASKED = (
    "SELECT extract(epoch FROM clock_timestamp())::float8, pg_is_in_recovery(), pg_database_size(current_database())"
)


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at all of it.

    Args:
        environ: the variables; the settings are read from those of this process.
    """
    yield checkup.judge_software({"Python": platform.python_version(), **{name: _version(name) for name in PARTS}})
    yield _ticking()
    settings = None
    for found in _configuration():
        if isinstance(found, Finding):
            yield found
        else:
            settings = found
    if settings is None:
        return
    yield from checkup.judge_limits(settings.max_connections, settings.max_streams, settings.keepalive_s)
    port, serving = _port(settings)
    yield port
    seen = _Seen()
    for part in _store(settings, serving=serving):
        if isinstance(part, Finding):
            yield part
        else:
            seen = part
    yield _files(settings, seen.holder)
    yield from checkup.judge_access(_access(settings, seen.keys, environ))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _ticking() -> Finding:
    began, wall, back = time.monotonic(), time.time(), False
    last = began
    while last - began < WATCHED_S:
        now = time.monotonic()
        back = back or now < last
        last = now
        if time.time() - wall > 10 * WATCHED_S:  # a clock that stands would keep us here
            break
    return checkup.judge_ticking(last - began, time.time() - wall, back=back)


def _files(settings: Settings, holder: str | None) -> Finding:
    """Those of the server, if it runs here: a supervisor gives it other limits than a shell gives to us."""
    limits, whose = resource.getrlimit(resource.RLIMIT_NOFILE), "this process"
    if holder is not None and (process := re.fullmatch(r"process (\d+)", holder)):
        theirs = _limits_of(process[1])
        limits, whose = (limits, whose) if theirs is None else (theirs, holder)
    return checkup.judge_files(*limits, settings.max_connections, settings.max_streams, whose=whose)


def _limits_of(process: str) -> tuple[int, int] | None:
    """How many files a process may open, and how many at most; None if it is not ours to know (Linux only)."""
    with suppress(OSError):
        if found := _OPEN_FILES.search(Path("/proc", process, "limits").read_text()):
            return int(found[1]), int(found[2])
    return None


# -- settings ----------------------------------------------------------------------------------------------------------


def _configuration() -> Iterator[Finding | Settings]:
    """What is wrong with the settings; or that nothing is, and they themselves."""
    from streaming.config import load_settings

    try:
        settings = load_settings()
        types = _usable(settings)
    except StreamingError as error:
        wrong = [f"{each.field}: {each.message}" for each in error.errors] or [error.detail]
        for each in wrong:
            yield Finding(
                "settings",
                Verdict.PROBLEM,
                f"{each.rstrip('.')}.",
                "The server does not start so. docs/settings.md says what each setting may be.",
            )
        return
    yield Finding("settings", Verdict.OK, f"They can be used; there are {types} task types.")
    yield settings


def _usable(settings: Settings) -> int:
    """Make of the settings what a server makes of them before it opens anything; how many task types there are.

    Raises:
        StreamingError: it could not.
    """
    from streaming.access.gate import Gate
    from streaming.engine.retention import policy_of
    from streaming.server import load_registry

    policy_of(settings)
    Gate(settings, secret="of nobody: nothing is signed")  # noqa: S106  # the server makes one of its own
    return len(list(load_registry(settings)))


def _access(settings: Settings, keys: int | None, environ: Mapping[str, str]) -> Access:
    from streaming.access.keys import ConfiguredKeys
    from streaming.secret_files import readable_by_others

    text = "" if settings.api_keys is None else settings.api_keys.get_secret_value()
    return Access(
        host=settings.host,
        loopback=settings.loopback,
        insecure=settings.insecure_public,
        configured=settings.credentials,
        keys=keys,
        short=ConfiguredKeys(text, "").short,
        readable=[variable for variable, _ in readable_by_others(environ)],
        any_origin="*" in settings.cors_origins,
    )


# -- the port ----------------------------------------------------------------------------------------------------------


def _port(settings: Settings) -> tuple[Finding, bool]:
    """What there is at the address of the settings, and whether it is a server of ours."""
    taken = _taken(settings.host, settings.port)
    answer = None if taken is None else _answer(settings.host, settings.port)
    return checkup.judge_port(taken, answer, f"{settings.host}:{settings.port}"), answer == "ours"


def _taken(host: str, port: int) -> str | None:
    """Why nobody can listen there; None if somebody can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as error:
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    return None


def _answer(host: str, port: int) -> str | None:
    """Who answers there: ``ours``, ``other``, or nobody."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # all addresses are also this one
    asking = http.client.HTTPConnection(reached, port, timeout=ANSWER_S)
    try:
        asking.request("GET", "/healthz")
        document = json.loads(asking.getresponse().read(TRIED_BYTES))
        return "ours" if isinstance(document, dict) and document.get("status") == "ok" else "other"
    except ConnectionRefusedError:
        return None
    except (OSError, ValueError, http.client.HTTPException):
        return "other"
    finally:
        asking.close()


# -- the store ---------------------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What was seen of the store, and matters elsewhere.

    Attributes:
        keys: how many API keys in it open something; None if it could not be asked.
        holder: who uses it, in words.
    """

    keys: int | None = 0
    holder: str | None = None


def _store(settings: Settings, *, serving: bool) -> Iterator[Finding | _Seen]:
    kind = settings.store_url.partition(":")[0].partition("+")[0]
    yield checkup.judge_survival(kind, settings.sqlite_synchronous)
    if kind == "memory":
        return
    if settings.store_url.startswith(_FILE):
        yield from _folder(Path(settings.store_url.removeprefix(_FILE)).resolve().parent)
    try:
        yield from _database(settings, serving=serving)
    except StoreUnavailable as error:
        away = isinstance(error, StoreUnreachable)
        yield Finding(
            "store",
            Verdict.UNREACHABLE if away else Verdict.PROBLEM,
            error.detail,
            "Look whether the database runs, and at STREAMING_STORE_URL."
            if away
            else "Look at STREAMING_STORE_URL, at what is there, and at the rights of this user.",
        )
        yield _Seen(keys=None)


def _folder(folder: Path) -> Iterator[Finding]:
    """Whether a file can be written there, by writing one; and how much room there is."""
    try:
        usage = os.statvfs(folder)
        with tempfile.TemporaryFile(dir=folder, prefix=".streaming-doctor-") as trial:
            trial.write(bytes(TRIED_BYTES))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        yield Finding(
            "store",
            Verdict.PROBLEM,
            f"{folder} cannot be written: {error.strerror or error}.",
            "The folder of the database must be there, have room, and be writable by the user of the server.",
        )
        return
    yield checkup.judge_disk(usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize, str(folder))


def _database(settings: Settings, *, serving: bool) -> Iterator[Finding | _Seen]:
    from streaming.store import open_database
    from streaming.store.revision import is_older
    from streaming.store.schema import REVISION

    with closing(open_database(settings)) as database:
        inspection = database.inspect()
        revision = inspection.revision
        yield Finding("store", Verdict.OK, "It can be used." if revision else "There is nothing in it yet.")
        yield checkup.judge_schema(revision, REVISION, older=revision is not None and is_older(revision))
        yield checkup.judge_holder(inspection.holder, serving=serving)
        if not settings.store_url.startswith(_FILE):
            yield from _server_of(database, settings.jwt_leeway_s)
        yield _Seen(_open_keys(database) if revision == REVISION else 0, inspection.holder)


def _server_of(database: Database, leeway_s: float) -> Iterator[Finding]:
    """What there is to know of a database server: its clock, and whether it can be written."""
    before = time.time()
    with database.reading() as connection:
        theirs, copy, size = connection.exec_driver_sql(_ASKED).one()
    took_s = time.time() - before
    yield judge_clock(theirs - before - took_s / 2, took_s / 2, "the database", leeway_s)
    if copy:
        yield Finding(
            "store",
            Verdict.PROBLEM,
            "This database is a copy that can only be read.",
            "Name the one that can be written: ?target_session_attrs=read-write finds it among several hosts.",
        )
    yield Finding("disk", Verdict.OK, f"The database has {size / 2**20:.1f} MiB; its disk is not seen from here.")


def _open_keys(database: Database) -> int:
    from streaming.events import rfc3339
    from streaming.store import credentials

    now = rfc3339(time.time())
    with database.reading() as connection:
        keys = credentials.api_keys(connection)
    return sum(key.good_at(now) for key in keys)
