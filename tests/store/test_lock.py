"""One instance per file, whatever becomes of the one before."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import pytest

from streaming.errors import StoreUnavailable
from streaming.store.lock import FileLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db.lock"


def hold(path: Path, pipe: Connection) -> None:
    """In another process: take the lock and keep it."""
    FileLock(path).take()
    pipe.send("held")
    pipe.recv()


def test_a_second_one_is_refused_and_told_who_has_it(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    first.take()

    with pytest.raises(StoreUnavailable, match=rf"in use by process {os.getpid()}, which holds {path}"):
        second.take()
    second.release()  # it has nothing to release
    with pytest.raises(StoreUnavailable):
        second.take()

    first.release()
    second.take()
    second.release()


@pytest.mark.process
def test_kill_9_releases_it(path: Path) -> None:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(path, theirs))
    process.start()
    assert ours.recv() == "held"
    with pytest.raises(StoreUnavailable, match=f"process {process.pid},"):
        FileLock(path).take()

    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lock = FileLock(path)
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
    process.close()


def test_the_pid_of_the_one_before_is_overwritten(path: Path) -> None:
    path.write_text("12345678901234567890\n")
    lock = FileLock(path)
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_full_disk_is_no_reason_not_to_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(_descriptor: int, _data: bytes, _offset: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path.write_text("12345\n")
    monkeypatch.setattr(os, "pwrite", pwrite)
    lock = FileLock(path)
    lock.take()
    with pytest.raises(StoreUnavailable, match="by process unknown"):
        FileLock(path).take()
    lock.release()


def test_a_lock_file_without_a_pid_is_still_a_lock(path: Path) -> None:
    lock = FileLock(path)
    lock.take()
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="by process unknown"):
        FileLock(path).take()
    lock.release()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.lock"
    with pytest.raises(StoreUnavailable, match=rf"{path} cannot be written \(No such file or directory\)"):
        FileLock(path).take()


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _flags: int) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StoreUnavailable, match=r"cannot be locked \(No locks available\)"):
        FileLock(path).take()
    assert len(os.listdir("/proc/self/fd")) == open_before
