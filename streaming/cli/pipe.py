"""Who reads our output has left: to be known before there is something to write.

Owns:   `on_reader_gone`.
Never:  writes, or ends anything.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_reader_gone(call: Callable[[], None]) -> Iterator[None]:
    """Call once when the reader of a pipe leaves; nothing happens where the output is no pipe.

    Args:
        call: what to do then.
    """
    fd = _pipe()
    if fd is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(fd)
        call()

    # There is nothing to read at this end: it only becomes ready when the other one is closed.
    loop.add_reader(fd, gone)
    try:
        yield
    finally:
        loop.remove_reader(fd)


def _pipe() -> int | None:
    """The output, if it is a pipe."""
    try:
        fd = sys.stdout.fileno()
        return fd if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None  # it is closed, or no file
