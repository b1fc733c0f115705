"""The PostgreSQL of the tests is a real one, keeps what it must keep, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy

from tests import postgres
from tests.postgres import VERSIONS, NoPostgres, PostgresFailed, PostgresServer

pytestmark = pytest.mark.process

#: Skips where there is none, like all that use the fixture itself.
needs_postgres = pytest.mark.usefixtures("postgres_server")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=sorted(VERSIONS))
def server(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Beside the one of all tests, which shows as well that two do not disturb each other."""
    with PostgresServer(request.param, max_connections=20) as server:
        assert server.port != postgres_server.port
        assert server.query("select current_setting('server_version_num')::int / 10000") == [(request.param,)]
        server.create_database("mine")
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    server.query("create table kept (number int)", "mine")
    yield "mine"
    if not server.runs:
        server.start()
    server.empty_database("mine")


def test_it_has_the_settings_that_were_asked_for(server: PostgresServer) -> None:
    assert server.query(
        "select current_setting('fsync'), current_setting('max_connections'), current_setting('server_encoding')"
    ) == [("off", "20", "UTF8")]


def test_the_url_is_for_an_engine_of_sqlalchemy(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)

    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("select current_database()")) == "test"
    engine.dispose()


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_what_was_committed_outlives_every_way_to_end(server: PostgresServer, database: str, how: str) -> None:
    server.query("insert into kept values (1)", database)
    port = server.port

    with psycopg.connect(server.url(database).replace("+psycopg", "")) as other:
        other.execute("insert into kept values (2)")  # never committed
        server.restart(how)
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")

    assert server.query("select number from kept", database) == [(1,)]
    assert port == server.port


def is_shared_memory(number: int) -> bool:
    """The system keeps it until somebody asks for its end."""
    read_status = 2
    return int(ctypes.CDLL(None).shmctl(number, read_status, ctypes.create_string_buffer(1024))) == 0


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_once_it_has_ended_no_process_and_no_listener_is_left(server: PostgresServer, database: str, how: str) -> None:
    with psycopg.connect(server.url(database).replace("+psycopg", "")):
        family = server.processes()
        assert len(family) > 5
        shared = server.shared_memory()
        assert is_shared_memory(shared)

        if how == "kill":
            server.kill()
        else:
            server.stop(how)

    assert [member for member in family if postgres.is_alive(member)] == []
    assert not is_shared_memory(shared)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_two_databases_are_apart(server: PostgresServer, database: str) -> None:
    other = server.create_database()

    server.query("insert into kept values (1)", database)

    with pytest.raises(psycopg.errors.UndefinedTable):
        server.query("select * from kept", other)
    server.drop_database(other)


def test_a_database_can_be_the_copy_of_another(server: PostgresServer, database: str) -> None:
    server.query("insert into kept values (7)", database)

    copy = server.create_database(template=database)

    assert server.query("select number from kept", copy) == [(7,)]
    server.drop_database(copy)


def test_an_emptied_database_is_as_new(server: PostgresServer, database: str) -> None:
    server.query("create schema other", database)
    server.query("create table other.thing (number serial)", database)
    server.query("create type kind as enum ('a')", database)

    with psycopg.connect(server.url(database).replace("+psycopg", "")) as open_elsewhere:
        open_elsewhere.execute("lock table kept")
        server.empty_database(database)
        with pytest.raises(psycopg.errors.AdminShutdown):
            open_elsewhere.execute("select 1")

    assert server.query(
        "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'", database
    ) == [("public",)]
    assert server.query("select count(*) from pg_class where relnamespace = 'public'::regnamespace", database) == [(0,)]
    server.query("create table kept (number int)", database)


@pytest.mark.parametrize("round_", [1, 2])
def test_the_database_of_a_test_is_empty(postgres_server: PostgresServer, postgres_url: str, round_: int) -> None:
    name = postgres_url.rpartition("/")[2]

    assert postgres_server.query("select count(*) from pg_tables where schemaname = 'public'", name) == [(0,)]
    postgres_server.query("create table mine (number int)", name)
    if round_ == 1:
        postgres_server.stop()  # the next test finds it running nevertheless


@needs_postgres
def test_everything_is_gone_after_it_was_closed() -> None:
    with PostgresServer() as server:
        family, guard = server.processes(), psutil.Process(server._guard.pid)

    assert not server.folder.exists()
    assert [member for member in [*family, guard] if postgres.is_alive(member)] == []


ABANDON = """
import sys
from tests.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.folder, server._guard.pid, server.processes()[0].pid, flush=True)
sys.stdin.read()
"""


@needs_postgres
def test_everything_is_gone_after_the_tests_were_killed() -> None:
    """Python has no chance to clean up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ABANDON]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        folder, *pids = tests.stdout.readline().split()
        guard, first = (psutil.Process(int(pid)) for pid in pids)
        family = [guard, first, *first.children(recursive=True)]

        tests.kill()

    postgres.wait_until(lambda: not any(postgres.is_alive(member) for member in family), "processes are left")
    assert not Path(folder).exists()


@needs_postgres
def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = PostgresServer(shared_buffers="many")

    with pytest.raises(PostgresFailed, match="invalid value for parameter"), server:
        raise AssertionError("it started")

    assert not server.folder.exists()


@needs_postgres
def test_programs_in_a_closed_folder_serve_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root runs them as somebody else, who may not enter here."""
    closed = postgres._copied(postgres.programs(16), tmp_path / "closed")
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres, "programs", lambda version: closed)

    with PostgresServer() as server:
        assert server.query("select 1") == [(1,)]
        assert (server.folder / "programs").exists() is (os.geteuid() == 0)


def test_without_the_wheel_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "WHEEL", "not_installed")

    with pytest.raises(NoPostgres, match=r"dev\.py install"):
        PostgresServer()
