"""What all runners of a coordinator share.

Owns:   nothing but the place where it is kept together.
Never:  does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from streaming.config import Settings
from streaming.engine.family import Host
from streaming.engine.hub import Hub
from streaming.engine.processes import Processes


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all runners of a coordinator share.

    Attributes:
        hub: where they tell what happens.
        settings: the limits.
        threads: how many handlers run in threads.
        processes: where handlers run that need a process of their own.
        host: starts the tasks that a handler starts.
        chance: a random number, 0 <= chance < 1, for the pauses between attempts.
    """

    hub: Hub
    settings: Settings
    threads: anyio.CapacityLimiter
    processes: Processes
    host: Host
    chance: Callable[[], float]
