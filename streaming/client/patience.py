"""When to try again, and when to give up.

Rules of this file:

- The pause doubles with each failure in a row, and half of it is random, so that a thousand clients do not come back
  in the same moment.
- A server that names a time (``Retry-After``, ``retry:``) is given at least that time; one that names it with its last
  word, exactly that.
- What counts for giving up is the time since the last contact, not the number of tries.

Owns:   `Patience`, the settings of one client, and `Attempts`, one series of tries.
Never:  knows what is tried.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streaming.errors import StreamingError

#: The server's ``retry:`` is obeyed within these bounds, in seconds.
RETRY_MIN_S = 0.1
RETRY_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits for what.

    Attributes:
        give_up_s: seconds that a watch goes on without any contact with the server.
        retry_s: seconds within which any other request is sent again when its answer was lost, or the server was
            busy; 0 means one try.
        silence_s: a stream that brings no byte for so many seconds is dead. Servers send one every 15 s.
        pause_first_s: the pause after a first failure, unless the server names another one.
        pause_max_s: the longest pause.
        sleep: how to wait; for tests.
        clock: what time it is, in seconds; for tests.
        chance: a random number from 0 up to 1; for tests.
    """

    give_up_s: float = 300.0
    retry_s: float = 10.0
    silence_s: float = 45.0
    pause_first_s: float = 0.5
    pause_max_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


class Attempts:
    """One series of tries at one thing.

    Args:
        patience: the client's.
        give_up_s: seconds without contact after which the series is over.
    """

    def __init__(self, patience: Patience, give_up_s: float) -> None:
        self._patience = patience
        self._give_up_s = give_up_s
        self._pause_s = patience.pause_first_s
        self._told_s: float | None = None
        self._failures = 0
        self._heard_at = patience.clock()

    def heard(self) -> None:
        """Note that the server is there."""
        self._heard_at = self._patience.clock()

    def succeeded(self) -> None:
        """Note that things go on: the next failure is the first one again."""
        self._failures = 0
        self.heard()

    def obey_retry(self, pause_s: float) -> None:
        """Take the pause after a first failure from the server."""
        self._pause_s = min(max(pause_s, RETRY_MIN_S), RETRY_MAX_S)

    def obey_parting(self, pause_s: float) -> None:
        """Take the next pause from the server, as it is: a server that stops gives each reader another one."""
        self._told_s = min(max(pause_s, RETRY_MIN_S), RETRY_MAX_S)

    async def pause(self, trouble: StreamingError) -> None:
        """Wait until it is time for the next try.

        Args:
            trouble: why the last one failed; its ``retry_after_s`` is respected.

        Raises:
            StreamingError: ``trouble`` itself, when the next try would come too late.
        """
        self._failures += 1
        longest_s = max(self._patience.pause_max_s, self._pause_s)
        window_s = min(longest_s, self._pause_s * 2 ** min(self._failures - 1, 16))
        delay_s = (trouble.retry_after_s or 0.0) + window_s * (1 + self._patience.chance()) / 2
        if self._told_s is not None:
            delay_s, self._told_s = self._told_s, None
        if self._patience.clock() + delay_s > self._heard_at + self._give_up_s:
            raise trouble
        await self._patience.sleep(delay_s)
