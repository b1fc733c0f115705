"""What other processes of the same user may read of this one.

A program that a task runs is of the same user as the server. Linux lets it read the environment and the memory of the
server, where the secrets are, unless the server says no.

Owns:   saying no.
Never:  keeps anything from root.
"""

from __future__ import annotations

import ctypes
import sys

#: prctl(2): whether there are core dumps of this process, and whether others of its user may look into it.
_SET_DUMPABLE = 4


def keep_private() -> bool:
    """Let no other process of this user look into this one: not at its environment or memory, nor by a debugger.

    There are no core dumps either. It holds for what is forked from this process, and not for programs that are run.

    Returns:
        Whether it holds; only Linux knows it.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0) == 0)
