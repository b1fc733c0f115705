"""The same Idempotency-Key starts one task, however many ask and however often.

Source: draft-ietf-httpapi-idempotency-key-header.

Owns:   which keys are being looked up or stored right now.
Uses:   the journal, which remembers keys for 24 hours; engine.keys (who may use one more).
Never:  starts anything itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from streaming.engine.journal import Journal
from streaming.engine.keys import KeyCounts
from streaming.errors import IdempotencyMismatch, StoreUnavailable
from streaming.events import rfc3339
from streaming.records import IdempotencyKey, Record

KEPT = timedelta(hours=24)
SWEEP_EVERY = timedelta(hours=1)


class Once:
    """Serialises starts that carry the same key.

    Args:
        journal: where keys are remembered.
        wait_s: seconds that a start is waited for.
        counts: how many keys there are.
    """

    def __init__(self, journal: Journal, wait_s: float, counts: KeyCounts) -> None:
        self._journal = journal
        self._wait_s = wait_s
        self._counts = counts
        self._sweep_due = ""
        self._flights: dict[tuple[str, str], asyncio.Task[tuple[str, bool]]] = {}

    def __len__(self) -> int:
        """How many starts with a key are under way."""
        return len(self._flights)

    async def start(
        self, wanted: IdempotencyKey, create: Callable[[IdempotencyKey], Awaitable[tuple[Record, bool]]]
    ) -> tuple[str, bool]:
        """Start a task unless the key has started one.

        Args:
            wanted: the key, without a task yet.
            create: starts the task and stores the key with it; or says which one it joins. It ends when it is known
                what has become of that, however long it takes: until then nobody else may start under this key.

        Returns:
            The task's id, and whether it is new.

        Raises:
            IdempotencyMismatch: the key stands for another request.
            TooManyKeys: it is one more than the principal may use.
            StoreUnavailable: it takes too long to wait for; it goes on.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._start(wanted, create)
        except TimeoutError:
            raise StoreUnavailable(
                "The store does not answer; whether the task is started shows when it does."
            ) from None

    async def _start(
        self, wanted: IdempotencyKey, create: Callable[[IdempotencyKey], Awaitable[tuple[Record, bool]]]
    ) -> tuple[str, bool]:
        name = (wanted.principal, wanted.key)
        while (other := self._flights.get(name)) is not None:
            await asyncio.wait({other})
        # A task of its own: a caller that leaves must not end the lookup that others wait for.
        flight = asyncio.create_task(self._fly(wanted, create), name="streaming-once")
        self._flights[name] = flight
        flight.add_done_callback(lambda done: self._land(name, done))
        return await asyncio.shield(flight)

    async def _fly(
        self, wanted: IdempotencyKey, create: Callable[[IdempotencyKey], Awaitable[tuple[Record, bool]]]
    ) -> tuple[str, bool]:
        known = await self._journal.key(wanted.principal, wanted.key, created_after=_earlier(wanted.created_at, KEPT))
        if known is None:
            await self._sweep(wanted.created_at)
            async with self._counts.one_more(wanted.principal):
                record, created = await create(wanted)
            return record.id, created
        if known.fingerprint != wanted.fingerprint:
            raise IdempotencyMismatch(
                f"Idempotency-Key {wanted.key[:64]!r} was used with another body; use a new key for a new task."
            )
        return known.task_id, False

    async def _sweep(self, now: str) -> None:
        """Let the journal forget old keys, once in a while: there can be no more of them than starts with a key."""
        if now >= self._sweep_due:
            await self._journal.forget_keys(created_before=_earlier(now, KEPT))
            self._sweep_due = _earlier(now, -SWEEP_EVERY)

    def _land(self, name: tuple[str, str], flight: asyncio.Task[tuple[str, bool]]) -> None:
        self._flights.pop(name, None)
        if not flight.cancelled():
            flight.exception()  # seen, also when its caller has left


def _earlier(time: str, by: timedelta) -> str:
    return rfc3339((datetime.fromisoformat(time) - by).timestamp())
