"""When garbage is collected: what is finalized may be heard in a run, so that it must come at the same step of each.

Owns:   `collected_at_the_end`, around a run; `take_apart`, what nobody runs any more.
Never:  decides what is garbage.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

#: A run collects it after so many steps, lest a long one fills the memory.
COLLECT_STEPS = 100_000

#: Python skips most collections of all there is, too: where nearly everything is old, it takes longer than many runs.
FULL_SELDOM = 10

#: How often a coroutine is closed that goes on waiting.
CLOSINGS_MAX = 100


@contextlib.contextmanager
def collected_at_the_end() -> Iterator[None]:
    """Python collects when so much was allocated in the whole process, which is never at the same step twice."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(_generation())
        if enabled:
            gc.enable()


def take_apart(coroutine: Any) -> None:
    """Let a coroutine end, whatever it raises, and even if it goes on waiting in its cleanup."""
    for _ in range(CLOSINGS_MAX):
        with contextlib.suppress(BaseException):
            coroutine.close()
        if getattr(coroutine, "cr_frame", None) is None:
            return


def _generation() -> int:
    """The youngest holds all that the run has made; the older ones are due as seldom as Python itself has them."""
    counts, limits = gc.get_count(), gc.get_threshold()
    if counts[2] > FULL_SELDOM * limits[2]:
        return 2
    return 1 if counts[1] > limits[1] else 0
