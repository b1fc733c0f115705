"""What becomes of a task that nobody watches any more.

Rules of this file:

- A task that asks for it is cancelled ``cancel_unwatched_s`` after its last reader has left, unless one comes back.
- A task that nobody has watched yet has no last reader: it goes on.
- Never inside a protected section: there the cancel is not even written down, so that who comes back meanwhile finds
  the task going on.

All times are seconds on one clock.

Owns:   `cancel_at`.
Never:  counts readers or cancels anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from streaming.rules.stopping import Section


def cancel_at(
    cancel_unwatched_s: float | None, *, readers: int, left_at: float | None, sections: Collection[Section]
) -> float:
    """When an unwatched task is to be cancelled; to be asked again when a reader or a section comes or goes.

    Args:
        cancel_unwatched_s: of the task's policy.
        readers: how many watch it.
        left_at: when the last one left; None if there was none yet.
        sections: the protected sections that the task is in.

    Returns:
        The time, perhaps one that has passed; infinity for never.
    """
    if cancel_unwatched_s is None or left_at is None or readers:
        return math.inf
    free_at = max((section.until for section in sections if not section.overrun), default=-math.inf)
    return max(left_at + cancel_unwatched_s, free_at)
