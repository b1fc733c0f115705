"""What one commit holds, and who waits for it.

Owns:   the order in which things were submitted; what is left when new records are withdrawn.
Never:  writes it (``engine.committer``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from streaming.engine.journal import Commit
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record

#: Told once whether a new record was stored (None) or why not.
OnCreated = Callable[[StoreUnavailable | None], None]


@dataclass(slots=True)
class Batch:
    """What the next transaction will hold, in the order of submission."""

    events: list[Event] = field(default_factory=list)
    created: dict[str, tuple[Record, IdempotencyKey | None, OnCreated]] = field(default_factory=dict)
    updated: dict[str, Record] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    keys: list[IdempotencyKey] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self.created or self.waiters)

    def records(self) -> list[Record]:
        """Each record as it is to be."""
        return [*(record for record, _, _ in self.created.values()), *self.updated.values()]

    def as_commit(self) -> Commit:
        """The transaction."""
        return Commit(
            events=self.events,
            created=[record for record, _, _ in self.created.values()],
            updated=list(self.updated.values()),
            keys=[*(key for _, key, _ in self.created.values() if key is not None), *self.keys],
            changes=self.changes,
        )

    def withdraw_created(self, problem: StoreUnavailable) -> None:
        """Take out the new records, and tell those who wait for them that nothing was started."""
        self.events = [event for event in self.events if event.task_id not in self.created]
        self.changes = [change for change in self.changes if change.task_id not in self.created]
        withdrawn, self.created = self.created, {}
        for _, _, on_created in withdrawn.values():
            on_created(problem)

    def settle(self, problem: StoreUnavailable | None) -> None:
        """Tell everybody who waits that it is stored, or why not."""
        self.settle_created(problem)
        self.wake(problem)

    def settle_created(self, problem: StoreUnavailable | None) -> None:
        """Tell those who have created something."""
        for _, _, on_created in self.created.values():
            on_created(problem)

    def wake(self, problem: StoreUnavailable | None) -> None:
        """Tell the others."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None) if problem is None else waiter.set_exception(problem)
