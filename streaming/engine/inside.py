"""What is to be seen of a runner from outside.

Owns:   nothing but the form in which it is handed over.
Never:  does anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from streaming.rules.deadlines import Deadlines
from streaming.rules.stopping import Section, Stop
from streaming.rules.waits import Stack


class Inside(NamedTuple):
    """One attempt of a task, as it is just now.

    Attributes:
        stack: of its handler; None before it has begun.
        waiter: what its handler waits for; None where that says nothing, in threads and processes.
        stop: what it is to be stopped for.
        sections: its protected sections.
        deadlines: of the run; None before it begins.
    """

    stack: Stack | None
    waiter: asyncio.Future[Any] | None
    stop: Stop | None
    sections: Sequence[Section]
    deadlines: Deadlines | None
