"""Something that many wait for, and that is fetched once for all of them.

Owns:   `Flight`: at most one fetch at a time.
Never:  knows what is fetched; ends a fetch because somebody who waits for it has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Flight:
    """Fetches, one fetch after the other.

    Args:
        fetch: raises nothing, and ends in bounded time.
    """

    def __init__(self, fetch: Callable[[], Awaitable[None]]) -> None:
        self._fetch = fetch
        self._task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether somebody fetches."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Fetch, unless somebody does; nobody waits for it."""
        if not self.under_way:
            self._task = asyncio.create_task(self._fly(), name="streaming-access")

    async def join(self) -> None:
        """Wait for the fetch that is under way, or for a new one."""
        self.start()
        await self._end()

    async def anew(self) -> None:
        """Wait for a fetch that has begun after this call; those who ask meanwhile share it."""
        if self.under_way:
            await self._end()
        await self.join()

    async def close(self) -> None:
        """End the fetch that is under way; again is fine."""
        if self._task is not None:
            self._task.cancel()
            await self._end()

    async def _fly(self) -> None:
        await self._fetch()

    async def _end(self) -> None:
        """Wait for the end of the fetch, which goes on when this caller leaves."""
        assert self._task is not None  # noqa: S101  # whoever waits has started it, or has seen it
        await asyncio.wait({self._task})
