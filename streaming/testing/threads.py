"""Whether a thread works, or waits for somebody to give it something to do.

A thread that works may call back at any moment, so that time must pass as it really does. One that waits in the queue
of a pool, or for an answer of the loop, never calls back before somebody else has done something.

Owns:   `at_work`, and which threads a process has gained.
Never:  starts, joins or wakes a thread.
"""

from __future__ import annotations

import concurrent.futures.thread
import sys
import threading
from collections.abc import Collection
from types import FrameType

_THREADING = threading.__file__
_POOL = concurrent.futures.thread.__file__


def at_work(ident: int) -> bool:
    """Whether a thread does something by itself; False also for one that has ended."""
    frame: FrameType | None = sys._current_frames().get(ident)
    if frame is None:
        return False
    name, file = frame.f_code.co_name, frame.f_code.co_filename
    if file == _POOL and name == "_worker":
        return False
    return not (file == _THREADING and name == "wait" and _waits_for_ever(frame))


def _waits_for_ever(frame: FrameType) -> bool:
    """Whether `Condition.wait` waits without a timeout, and nobody has notified it yet."""
    seen = frame.f_locals
    if seen.get("timeout") is not None:
        return False
    waiting = getattr(seen.get("self"), "_waiters", ())
    return any(waiter is seen.get("waiter") for waiter in list(waiting))


def known() -> frozenset[threading.Thread]:
    """The threads that there are; not their numbers, which others get when they have ended."""
    return frozenset(threading.enumerate())


def gained(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """The threads that there were not before, and that are at work."""
    return [each for each in threading.enumerate() if each not in before and at_work(each.ident or 0)]
