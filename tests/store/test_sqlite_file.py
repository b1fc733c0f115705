"""A file that cannot be used is refused with one line that says why, and one that can is used as told."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.exc import OperationalError

from streaming.errors import StoreUnavailable
from streaming.store import sqlite
from streaming.store.migrate import run_steps
from streaming.store.sqlite import SqliteFile


def make(path: Path, *, synchronous: str = "normal", busy_s: float = 0.05) -> SqliteFile:
    return SqliteFile(path, synchronous=synchronous, busy_s=busy_s, readers=2)


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[SqliteFile]:
    with closing(make(path, **options)) as made:
        made.open()
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def refusal(path: Path) -> str:
    """The one line with which a file is refused; nothing stays locked or open."""
    with closing(make(path)) as refused, pytest.raises(StoreUnavailable) as caught:
        refused.open()
    assert "\n" not in caught.value.detail
    return caught.value.detail


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("synchronous", "number"), [("normal", 1), ("full", 2)])
def test_the_writer_keeps_a_write_ahead_log_as_safe_as_told(path: Path, synchronous: str, number: int) -> None:
    with opened(path, synchronous=synchronous) as made, made.writing() as connection:
        wanted = {"journal_mode": "wal", "synchronous": number, "foreign_keys": 1, "busy_timeout": 50}
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted} == wanted


def test_a_reader_cannot_write(path: Path) -> None:
    with opened(path) as made, made.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 50
        with pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM tasks")


def test_nothing_is_left_of_the_log_after_a_close(path: Path) -> None:
    with opened(path):
        pass
    assert {file.name for file in path.parent.iterdir()} == {"x.db", "x.db.lock"}


def test_a_name_with_special_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#%20\N{SNOWMAN}.db"
    with opened(path):
        assert "tasks" in tables(path)


# -- transactions ------------------------------------------------------------------------------------------------------


def test_a_write_holds_the_write_lock_from_its_begin(path: Path) -> None:
    with opened(path) as made, closing(sqlite3.connect(path, timeout=0)) as other:
        with made.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")


def test_an_exception_takes_everything_back(path: Path) -> None:
    with opened(path) as made:
        with suppress(ZeroDivisionError), made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE half (x)")
            raise ZeroDivisionError
        assert "half" not in tables(path)
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE whole (x)")
        assert "whole" in tables(path)


def write_in_vain(connection: SqlConnection) -> None:
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")  # so that only the commit finds out
    connection.exec_driver_sql("INSERT INTO changes VALUES ('nobody', 1, 'pending', '', '', '')")


def test_what_cannot_be_committed_is_taken_back_and_the_next_is_written(path: Path) -> None:
    """SQLite leaves such a transaction open, to be mended; nobody does that here."""
    with opened(path) as made:
        with pytest.raises(StoreUnavailable, match="contradicts"), made.writing() as connection:
            write_in_vain(connection)
        with made.writing() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM changes").scalar() == 0
            connection.exec_driver_sql("CREATE TABLE whole (x)")
        assert "whole" in tables(path)


def test_a_lock_of_another_process_is_waited_for_and_then_named(path: Path) -> None:
    with opened(path) as made, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process has locked it"), made.writing():
            raise AssertionError("not reached")
        with made.reading() as connection:  # reading goes on
            assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 0
        other.rollback()
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE whole (x)")


def test_a_full_disk_is_named_and_writing_goes_on_once_there_is_room(path: Path) -> None:
    with opened(path) as made:
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE big (x)")
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreUnavailable, match="its disk is full"), made.writing() as connection:
            fill(connection, 1, 100_000)
        with made.writing() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM big").scalar() == 0
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
            fill(connection, 100_000)


@pytest.mark.parametrize(("replace", "reason"), [(False, "its file is gone"), (True, "its file was replaced")])
def test_a_file_that_lost_its_name_is_not_written_until_it_has_it_back(path: Path, replace: bool, reason: str) -> None:
    with opened(path) as database:
        elsewhere = path.rename(path.with_name("elsewhere.db"))
        if replace:
            path.touch()
        with pytest.raises(StoreUnavailable, match=reason):
            database.writing().__enter__()
        elsewhere.rename(path)
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM tasks")


def test_a_database_that_becomes_read_only_is_named(path: Path) -> None:
    with opened(path) as made:
        pooled = made._writer.raw_connection()
        with closing(pooled.cursor()) as cursor:
            cursor.execute("PRAGMA query_only = ON")
            pooled.close()  # back into the pool
            with pytest.raises(StoreUnavailable, match="it is read-only"), made.writing():
                raise AssertionError("not reached")
            cursor.execute("PRAGMA query_only = OFF")
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE whole (x)")


def test_a_file_that_was_damaged_while_it_was_closed_is_named(path: Path) -> None:
    with opened(path):
        pass
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x77" * (len(content) - 4096)  # all but the first page
    path.write_bytes(content)

    assert refusal(path) == f"The database {path} cannot be used: its file is damaged."


def fill(connection: SqlConnection, *sizes_bytes: int) -> None:
    for size_bytes in sizes_bytes:
        connection.exec_driver_sql("INSERT INTO big VALUES (randomblob(?))", (size_bytes,))


# -- files that cannot be used -----------------------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.db"
    assert refusal(path) == f"There is no directory {path.parent}: create it, or choose another STREAMING_STORE_URL."


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a directory: name a file in STREAMING_STORE_URL."


@pytest.mark.parametrize("content", [b"no database " * 1000, b"short"])
def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path) == f"The database {path} cannot be used: its file is no SQLite database."
    assert path.read_bytes() == content


@pytest.mark.parametrize("empty", [False, True])
def test_a_write_ahead_log_without_its_database_is_named_and_left_alone(path: Path, empty: bool) -> None:
    """SQLite deletes it, with all that was committed to it: somebody has moved the one and forgotten the other."""
    crashed = path.with_name("crashed.db")
    with opened(path) as made:
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE committed (x)")
        log = Path(shutil.copy(f"{path}-wal", f"{crashed}-wal"))
        content = log.read_bytes()
        if empty:
            crashed.touch()

        assert refusal(crashed) == (
            f"The database {crashed} cannot be used: its write-ahead log {log} is there without it, and holds what was "
            f"committed last; put the database back beside it, or move the log away to start with an empty database."
        )
        assert log.read_bytes() == content
        assert crashed.exists() is empty

        shutil.copy(path, crashed)
    with opened(crashed):
        assert "committed" in tables(crashed)


def test_a_database_of_another_program_is_named_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE tasks (x)")
    content = path.read_bytes()

    expected = f"The database {path} cannot be used: it belongs to another program; choose another STREAMING_STORE_URL."
    assert refusal(path) == expected
    assert path.read_bytes() == content


def test_a_newer_schema_is_named_and_left_alone(path: Path) -> None:
    with opened(path) as made, made.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    content = path.read_bytes()

    assert re.fullmatch(
        rf"The database {path} cannot be used: its schema '9999' was made by a newer version .*\.", refusal(path)
    )
    assert path.read_bytes() == content


def test_an_upgrade_that_fails_leaves_nothing_and_can_be_repeated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_late(connection: Any, _tell: object) -> None:
        run_steps(connection)
        raise sqlite3.OperationalError("secret")

    monkeypatch.setattr("streaming.store.migrate.run_steps", fail_late)
    assert refusal(path) == f"The database {path} cannot be used: an unexpected error."
    assert tables(path) == set()

    monkeypatch.undo()
    with opened(path):
        assert "tasks" in tables(path)


def test_a_file_system_without_shared_memory_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 1937011309")
        monkeypatch.setattr(sqlite, "_JOURNAL", "PRAGMA journal_mode = memory")
        assert "does not support a write-ahead log" in refusal(path)


def test_a_file_on_a_read_only_file_system_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # what the kernel says there, to root as well
    assert refusal(path) == f"The database {path} is read-only: this user must be able to write it."


def test_a_second_instance_is_refused_also_through_a_link(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    with opened(path):
        assert f"in use by process {os.getpid()}" in refusal(path)
        assert f"in use by process {os.getpid()}" in refusal(link)
    with opened(link):
        assert f"in use by process {os.getpid()}" in refusal(path)


def refused_to_nobody(path: Path, pipe: Connection) -> None:
    """In another process, without the rights of root: say why the file is refused."""
    if os.geteuid() == 0:
        os.setuid(65534)
    pipe.send(refusal(path))


def set_file_read_only(path: Path) -> None:
    path.chmod(stat.S_IREAD | stat.S_IRGRP | stat.S_IROTH)


def set_directory_read_only(path: Path) -> None:
    path.with_name("x.db.lock").unlink()
    path.parent.chmod(0o555)


@pytest.mark.process
@pytest.mark.parametrize(
    ("restrict", "message"),
    [
        (set_file_read_only, "The database {path} is read-only: this user must be able to write it."),
        (
            set_directory_read_only,
            "The lock file {path}.lock cannot be written (Permission denied): "
            "the directory of the database must be writable.",
        ),
    ],
)
def test_what_this_user_may_not_write_is_named(restrict: Callable[[Path], None], message: str) -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are closed to other users
        path = Path(directory).resolve() / "x.db"
        path.parent.chmod(0o777)
        with opened(path):
            pass
        for file in path.parent.iterdir():
            file.chmod(0o666)
        restrict(path)
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=refused_to_nobody, args=(path, theirs))
        process.start()
        theirs.close()
        assert ours.recv() == message.format(path=path)
        process.join()
        process.close()
        path.parent.chmod(0o777)
