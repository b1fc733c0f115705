"""Open directories below a root, so that no name and no symbolic link leads out of it.

Owns:   the descent: one name at a time, relative to the directory that is open already, never through a link.
Never:  follows a link below the root. The root itself is the operator's word, links in its own path included.

Paths that are checked first and opened later can be swapped in between; open directories cannot.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_below(root: Path, parts: Sequence[str], *, make: bool = False) -> int:
    """Open the directory ``root/part/part/...``.

    Args:
        root: where to start.
        parts: names of directories.
        make: create those that are missing.

    Returns:
        A file descriptor, which the caller closes.

    Raises:
        OSError: there is no such directory; also where a link stands in its place.
    """
    current = os.open(root, _DIRECTORY)
    for part in parts:
        parent = current
        try:
            current = open_inside(parent, part, make=make)
        finally:
            os.close(parent)
    return current


def open_inside(parent: int, name: str, *, make: bool = False) -> int:
    """Open the directory ``name`` in an open directory; see `open_below`.

    Raises:
        OSError: there is no such directory.
        ValueError: this is not the name of an entry.
    """
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} is not the name of an entry of a directory")
    if make:
        with contextlib.suppress(FileExistsError):  # as good as ours
            os.mkdir(name, dir_fd=parent)
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
