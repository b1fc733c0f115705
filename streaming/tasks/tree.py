"""Walk a directory tree, and read its files, without ever leaving it.

Owns:   the order of the walk, what counts as a file, and what is left out and why.
Uses:   tasks.below (directories are opened one in another, never through a link).
Never:  follows a symbolic link, opens what is no regular file, or fails because of one entry.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from streaming.tasks.below import open_inside

#: Deeper directories are left out: each level of the walk holds one file descriptor.
DEPTH_MAX = 100

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file of the tree.

    Attributes:
        path: relative to where the walk began.
        folder: descriptor of the open directory that the file is in; valid until the walk goes on.
        name: its name there.
        size: bytes, when the walk came by.
    """

    path: bytes
    folder: int
    name: bytes
    size: int


#: Hears of an entry that is left out: its relative path, and why.
Skip = Callable[[bytes, str], None]

#: Called for each entry that is come by, whatever it is; it may raise, so that no directory is too large for memory.
Count = Callable[[], None]


def walk(folder: int, skip: Skip, count: Count = lambda: None) -> Generator[Entry]:
    """Yield every regular file below an open directory, in the order of the paths' bytes.

    Args:
        folder: descriptor of the directory; it stays open.
        skip: told of everything that is left out.
        count: told of everything.

    Yields:
        The files. An iterator that is not exhausted must be closed.
    """
    return _walk(folder, b"", 0, skip, count)


def _walk(folder: int, prefix: bytes, depth: int, skip: Skip, count: Count) -> Generator[Entry]:
    for key, name, status in _entries(folder, prefix, skip, count):
        path = prefix + name
        if not key.endswith(b"/"):
            yield Entry(path, folder, name, status.st_size)
        elif depth >= DEPTH_MAX:
            skip(path, "too deep")
        else:
            yield from _enter(folder, name, path, depth, skip, count)


def _enter(folder: int, name: bytes, path: bytes, depth: int, skip: Skip, count: Count) -> Generator[Entry]:
    try:
        inner = open_inside(folder, os.fsdecode(name))
    except OSError as error:
        skip(path, reason(error))
        return
    try:
        with closing(_walk(inner, path + b"/", depth + 1, skip, count)) as entries:
            yield from entries
    finally:
        os.close(inner)


def _entries(folder: int, prefix: bytes, skip: Skip, count: Count) -> list[tuple[bytes, bytes, os.stat_result]]:
    """The files and directories of one directory, sorted so that the whole walk is in the order of paths.

    A directory sorts as its name with a slash, because that is how the paths below it begin: ``a-b`` comes before
    ``a/b``, and ``a`` is before neither.
    """
    found = []
    names: list[bytes] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                count()
                names.append(os.fsencode(entry.name))
    except OSError as error:
        skip(prefix.rstrip(b"/") or b".", reason(error))
        return []
    for name in names:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            skip(prefix + name, reason(error))
            continue
        if stat.S_ISDIR(status.st_mode):
            found.append((name + b"/", name, status))
        elif stat.S_ISREG(status.st_mode):
            found.append((name, name, status))
        else:
            skip(prefix + name, "symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file")
    return sorted(found, key=lambda item: item[0])


def blocks(entry: Entry, block: bytearray) -> Generator[memoryview]:
    """Yield the content of a file, each time in the same memory.

    Args:
        entry: just given by `walk`.
        block: where to read to; its length is the size of a block.

    Yields:
        The filled part of ``block``. An iterator that is not exhausted must be closed.

    Raises:
        OSError: the file cannot be read, or is no longer one: it was swapped for something else meanwhile.
    """
    descriptor = os.open(entry.name, _FILE, dir_fd=entry.folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        with memoryview(block) as view:
            while count := os.readv(descriptor, [view]):
                yield view[:count]
    finally:
        os.close(descriptor)


def reason(error: OSError) -> str:
    """Why an entry is left out, in words that name no path."""
    if isinstance(error, FileNotFoundError):
        return "vanished"
    return os.strerror(error.errno).lower() if error.errno else str(error)
