"""The log of one task in memory, while anybody uses it.

Owns:   what is known of it: its window, its record as written and as committed, its readers, what waits for its commit.
Never:  numbers or stores an event, or wakes anybody (``engine.hub``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streaming.errors import TaskEnded
from streaming.events import Event
from streaming.records import Record, changed
from streaming.rules.log import LogWindow

if TYPE_CHECKING:
    from streaming.engine.audience import Audience
    from streaming.engine.subscription import Subscription

#: What an event that waits for its commit takes besides its payload, about, in bytes.
EVENT_BYTES = 256


class Log:
    """The log of one task, while anybody uses it.

    Attributes:
        window: its newest events.
        record: the task as it is to be, maybe not committed yet.
        visible: the task as it was committed last.
        lost: somebody else has ended, removed or continued the task in the store; nothing more can be written here.
        dropped: nothing more is to be written.
        heartbeat_at: when its handler, or its worker elsewhere, was heard of last.
        bytes: of all its events.
        audience: told when a reader comes or leaves.
    """

    __slots__ = (
        "audience",
        "backlog_bytes",
        "backlog_events",
        "bytes",
        "dropped",
        "heartbeat_at",
        "lost",
        "on_lost",
        "readers",
        "record",
        "visible",
        "window",
    )

    def __init__(self, record: Record, window: LogWindow) -> None:
        self.record = record
        self.visible = record
        self.window = window
        self.readers: dict[Subscription, None] = {}  # a set in the order of coming, and smaller while it is empty
        self.lost = False
        self.dropped = False
        self.heartbeat_at = record.heartbeat_at
        self.bytes = record.log_bytes
        self.audience: Audience | None = None
        self.on_lost: Callable[[], None] | None = None
        self.backlog_events = 0
        self.backlog_bytes = 0

    def check_open(self) -> None:
        """Refuse what would be counted, and never stored.

        Raises:
            TaskEnded: it takes no more events.
        """
        if self.dropped:
            raise TaskEnded(f"Task {self.record.id} takes no more events.")

    @property
    def waiting(self) -> list[Event]:
        """The events that wait for their commit."""
        committed = self.window.committed
        return [event for event, _ in self.window.kept[committed + 1 - self.window.first :]]

    def recount(self) -> None:
        """Put right what waits for its commit, and what the window takes."""
        waiting = self.waiting
        self.backlog_events = len(waiting)
        self.backlog_bytes = sum(map(size_of, waiting))
        self.window.recount()

    def heard(self, **changes: Any) -> Record:
        """The record with some changes, and with what the log knows of itself."""
        return changed(self.record, heartbeat_at=self.heartbeat_at, log_bytes=self.bytes, **changes)

    def snapshot(self) -> Record:
        """The committed record, as fresh as the last committed event."""
        return changed(
            self.visible, last_seq=self.window.committed, heartbeat_at=self.heartbeat_at, log_bytes=self.bytes
        )


def size_of(event: Event) -> int:
    """What an event that waits for its commit takes, about, in bytes."""
    return len(event.payload) + EVENT_BYTES
