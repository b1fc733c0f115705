"""The memory of a process that is ours.

Owns:   what the garbage collector and the C library are told about it.
Never:  touches a process that somebody else has started: that is for its owner.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_M_ARENA_MAX = -8


@contextmanager
def loading() -> Iterator[None]:
    """Import much inside: no garbage is looked for meanwhile, and never again in what has been loaded.

    Modules stay as long as the process, and to look through them again and again takes a quarter of the CPU of a
    server's start.

    Source: ``gc.freeze``, and its use at Instagram ("Copy-on-write friendly Python garbage collection", 2017).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def share_one() -> None:
    """Let all threads allocate from one heap: glibc's heap for each thread keeps what was freed in it.

    Source: mallopt(3), ``M_ARENA_MAX``. The threads take turns anyhow, for the interpreter's lock.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such thing
        mallopt(_M_ARENA_MAX, 1)
