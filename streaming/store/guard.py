"""A breaker in front of a database that others can take away.

Owns:   which failures count, and the words for a store that is left alone.
Uses:   rules.breaker.
Never:  hides an answer: what a database that answers refuses is its answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from streaming.errors import StoreUnreachable
from streaming.rules.breaker import Breaker, Circuit

FAILURES_MAX = 3
PAUSE_S = 0.5
PAUSE_MAX_S = 2.0

_log = structlog.get_logger(__name__)


class Guard:
    """The breaker of one database, for all threads.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._breaker = Breaker(failures_max=FAILURES_MAX, pause_s=PAUSE_S, pause_max_s=PAUSE_MAX_S)
        self._lock = threading.Lock()

    @property
    def circuit(self) -> Circuit:
        """Whether the database is asked at all."""
        return self._breaker.circuit

    def check(self) -> None:
        """Refuse a question at once while the database is left alone; the one that may try is let through.

        Raises:
            StoreUnreachable: it is not asked.
        """
        with self._lock:
            now = self._clock()
            if self._breaker.may_try(now):
                return
            wait_s = self._breaker.wait_s(now)
        raise StoreUnreachable("The store is away; it is not asked before the next try.", retry_after_s=wait_s)

    def let_through(self) -> None:
        """As `check`, for what has pauses of its own: it is never refused, and may be the one that tries."""
        with self._lock:
            self._breaker.may_try(self._clock())

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note whether what is asked inside was answered."""
        try:
            yield
        except StoreUnreachable:
            self._tell(self._breaker.failed)
            raise
        except BaseException:
            self._tell(self._breaker.succeeded)  # it has answered
            raise
        self._tell(self._breaker.succeeded)

    def _tell(self, note: Callable[[float], None]) -> None:
        with self._lock:
            before = self._breaker.circuit
            note(self._clock())
            after = self._breaker.circuit
        if before is not after:
            _log.warning("the circuit breaker of the store has changed", was=before.value, now=after.value)
