"""What comes out of the feed.

Owns:   `FeedEvent`.
Never:  knows from where it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.events import Event


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event in the feed.

    Attributes:
        position: where it stands; to go on behind it, give it as ``after``.
        event: what has happened.
    """

    position: int
    event: Event
