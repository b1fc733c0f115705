"""How many idempotency keys of each principal are remembered.

Rules of this file:

- A key counts from before it is stored: there may be fewer of them than are counted here, but never more.
- The store is asked once for each principal, and again when its keys seem to be too many: old ones are forgotten, and
  others go with their tasks. It is not asked more often than that takes time.

Owns:   `KeyCounts`: who may use one more key.
Uses:   the journal, which has them.
Never:  knows a key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streaming.engine.journal import Journal
from streaming.engine.limits import LimitsHit
from streaming.errors import TooManyKeys
from streaming.rules.limits import Shares

#: Principals that are remembered; of others the store is asked anew.
PRINCIPALS_MAX = 1024

#: Seconds before a store is asked once more that has said that there are too many.
AGAIN_S = 60.0


@dataclass(slots=True)
class _Counted:
    """How many keys a principal has at most, and when the store was asked."""

    keys: int
    asked_at: float


class KeyCounts:
    """The keys of all principals, by number.

    Args:
        journal: where they are.
        most: so many each principal may have.
        exempt: somebody who may have as many as they like.
        limits_hit: where it is counted who has more.
    """

    def __init__(self, journal: Journal, most: int, exempt: str | None, limits_hit: LimitsHit) -> None:
        self._journal = journal
        self._most = most
        self._exempt = exempt
        self._limits_hit = limits_hit
        self._counted: OrderedDict[str, _Counted] = OrderedDict()
        self._flying = Shares()
        self._asking = asyncio.Lock()

    @asynccontextmanager
    async def one_more(self, principal: str) -> AsyncIterator[None]:
        """Store a key inside; what is raised there means that it was not.

        Args:
            principal: whose key.

        Raises:
            TooManyKeys: as many are remembered as may be.
            StoreUnavailable: the store cannot be asked.
        """
        if principal == self._exempt:
            yield
            return
        while (counted := self._counted.get(principal)) is None or self._is_old(counted):
            await self._ask(principal)
        self._counted.move_to_end(principal)
        if counted.keys >= self._most:
            self._limits_hit.hit("too_many_keys")
            raise TooManyKeys(f"At most {self._most} idempotency keys of yours are remembered, each for 24 hours.")
        counted.keys += 1
        self._flying.change(principal, 1)
        try:
            yield
        except BaseException:
            counted.keys -= 1
            raise
        finally:
            self._flying.change(principal, -1)

    def _is_old(self, counted: _Counted) -> bool:
        """Whether there may be fewer by now."""
        return counted.keys >= self._most and asyncio.get_running_loop().time() >= counted.asked_at + AGAIN_S

    async def _ask(self, principal: str) -> None:
        """Ask the store, for one after the other; no more begin meanwhile than those that are under way now give up."""
        async with self._asking:
            counted = self._counted.get(principal)
            if counted is not None and not self._is_old(counted):
                return
            flying = self._flying[principal]  # the answer may have them, or not
            stored = await self._journal.count_keys(principal, limit=self._most)
            self._counted[principal] = _Counted(stored + flying, asyncio.get_running_loop().time())
            if len(self._counted) > PRINCIPALS_MAX:
                self._counted.popitem(last=False)
