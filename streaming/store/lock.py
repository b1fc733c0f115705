"""One instance per file.

Owns:   the exclusive lock beside a database, and the words for who holds it.
Never:  outlives its process: the kernel releases the lock, also after kill -9. The lock file itself stays.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from streaming.errors import StoreUnavailable


class FileLock:
    """An exclusive lock on a file of its own.

    Args:
        path: the lock file; it is made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock, and write down who has it.

        Raises:
            StoreUnavailable: another process has it, or the file cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"The lock file {self._path} cannot be written ({error.strerror}): "
                "the directory of the database must be writable."
            ) from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back; does nothing without it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def holder(self) -> str | None:
        """Who has it, in words; None if nobody has. For the blink of an eye nobody else can take it."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return f"process {_holder(descriptor)}"
        finally:
            os.close(descriptor)
        return None

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            raise StoreUnavailable(
                f"The database is in use by process {holder}, which holds {self._path}: "
                "stop that process, or choose another STREAMING_STORE_URL."
            ) from None
        except OSError as error:
            raise StoreUnavailable(
                f"The lock file {self._path} cannot be locked ({error.strerror}): "
                "the database must be on a file system that supports flock."
            ) from error
        _note(descriptor, f"{os.getpid()}\n".encode())


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"


def _note(descriptor: int, holder: bytes) -> None:
    try:
        os.pwrite(descriptor, holder, 0)
        os.ftruncate(descriptor, len(holder))
    except OSError:
        os.ftruncate(descriptor, 0)  # the disk is full: the lock holds, only who has it cannot be said
