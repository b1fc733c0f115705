"""Where the server of a benchmark keeps its tasks: a SQLite file, or a database of a real PostgreSQL.

Owns:   one PostgreSQL a run, with ``fsync`` and 1 GB of shared buffers; empty stores; stores with many records, made
        once a run and used by every round.
Uses:   tests.postgres (the server), benchmarks.records (what is in a store), benchmarks.machine (cores).
Never:  measures our server.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import create_engine

from benchmarks import machine, records
from benchmarks.figure import Flaw
from benchmarks.server import COMMAND, Server, running

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

READ_BYTES = 16 * 1024 * 1024

#: Transactions that are timed.
COMMITS = 300

KINDS: Mapping[str, str] = MappingProxyType({"sqlite": "SQLite", "postgres": "PostgreSQL"})


class Stores:
    """What one run of a command has made; all of it is gone afterwards."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._filled: dict[tuple[str, int], str] = {}
        self._folder: Path | None = None
        self._postgres: PostgresServer | None = None
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """End the PostgreSQL, and remove all files."""
        self._stack.close()

    def empty(self, kind: str) -> str:
        """The URL of a new store."""
        name = f"bench_{next(self._numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{self._directory()}/{name}.db"
        server = self._server()
        server.create_database(name)
        return server.url(name)

    def remove(self, url: str) -> None:
        """Give back its room."""
        name = url.rpartition("/")[2]
        if url.startswith("sqlite"):
            for file in self._directory().glob(f"{name}*"):
                file.unlink()
        else:
            self._server().drop_database(name)

    def filled(self, kind: str, count: int) -> str:
        """The URL of a store with so many records; starts may have been added to it since."""
        if (kind, count) not in self._filled:
            url = self.empty(kind)
            with machine.on_all_cores(), _bar(f"{KINDS[kind]}: records", count) as told:
                records.fill(url, count, told)
            self._filled[kind, count] = url
        if kind == "sqlite":
            _read_whole(self._directory() / self._filled[kind, count].rpartition("/")[2])
        return self._filled[kind, count]

    def _directory(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="streaming-bench-"))
            self._stack.callback(shutil.rmtree, self._folder)
        return self._folder

    def _server(self) -> PostgresServer:
        if self._postgres is None:
            from tests.postgres import NoPostgres, PostgresServer

            try:
                with machine.on_all_cores():
                    # As its manual advises where memory is there, and as it is by default.
                    server = PostgresServer(fsync=True, shared_buffers="1GB", max_wal_size="1GB")
                    self._postgres = self._stack.enter_context(server)
            except NoPostgres as reason:
                raise Flaw(str(reason)) from None
        return self._postgres


@contextmanager
def kept() -> Iterator[None]:
    """Stores that are made inside stay until the end of it."""
    stores = Stores()
    _current.append(stores)
    try:
        yield
    finally:
        _current.remove(stores)
        stores.close()


def _read_whole(path: Path) -> None:
    """Let the system have a file in memory, which it may have put away since it was made."""
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass


def commits_ms(kind: str) -> list[float]:
    """What small transactions take by themselves: one connection, one row each. Blocks."""
    url = _stores().empty(kind)
    engine = create_engine(url)
    times_ms = []
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if kind == "sqlite":
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("CREATE TABLE plain (value TEXT)")
        connection.commit()
        for _ in range(COMMITS):
            begin_s = time.perf_counter()
            cursor.execute("INSERT INTO plain VALUES ('x')")
            connection.commit()
            times_ms.append(1_000 * (time.perf_counter() - begin_s))
    engine.dispose()
    _stores().remove(url)
    return times_ms


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[Server]:
    """A server on an empty store of its own."""
    url = _stores().empty(kind)
    try:
        async with running(command=(*COMMAND, "--store", url)) as server:
            yield server
    finally:
        _stores().remove(url)


def serving_records(kind: str, count: int) -> AbstractAsyncContextManager[Server]:
    """A server on a store with so many records."""
    return running(command=(*COMMAND, "--store", _stores().filled(kind, count)))


def _stores() -> Stores:
    return _current[-1] if _current else _nowhere()


def _nowhere() -> NoReturn:
    raise RuntimeError("stores are made inside of kept()")


@contextmanager
def _bar(title: str, count: int) -> Iterator[Callable[[int], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=count)
        yield lambda number: progress.advance(task, number)


_current: list[Stores] = []
