"""What readers of streams were given, in numbers.

Owns:   how many events and bytes were sent to them, how many gaps were found for them.
Never:  is asked for each event: the pass adds up, and tells once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from streaming.events import Event


class Deliveries:
    """What was sent since the process has begun.

    Attributes:
        events: to each reader that got them.
        bytes: of them, as they were handed to connections.
        gaps: found in the store, by their reason; a page that several readers wait for counts once.
    """

    __slots__ = ("bytes", "events", "gaps")

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.gaps: Counter[str] = Counter()

    def add(self, events: int, size: int) -> None:
        """Count events, to all who got them, and their bytes."""
        self.events += events
        self.bytes += size

    def look_for_gaps(self, events: Iterable[Event]) -> None:
        """Count those that say that others are gone."""
        for event in events:
            if event.type == "gap":
                self.gaps[json.loads(event.payload)["reason"]] += 1
