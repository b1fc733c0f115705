"""A store with API keys, which may be away."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from streaming.access.keys import new_key
from streaming.errors import StoreUnavailable
from streaming.events import rfc3339
from streaming.rules.access import SCOPES_DEFAULT, ApiKey, Principal
from tests.access.clock import NOW


class StoredKeys:
    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.reads = 0
        self.away = False
        self.slow: asyncio.Event | None = None

    async def load(self) -> list[ApiKey]:
        self.reads += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise StoreUnavailable("away")
        return list(self.keys.values())

    def add(self, name: str = "alice", expires_at: float | None = None) -> str:
        """Make a key, and keep what is to be remembered of it."""
        end = None if expires_at is None else rfc3339(expires_at)
        text, key = new_key(Principal(name, SCOPES_DEFAULT), created_at=rfc3339(NOW), expires_at=end)
        self.keys[key.id] = key
        return text

    def change(self, text: str, **changes: Any) -> None:
        id = text.split("_")[1]
        self.keys[id] = dataclasses.replace(self.keys[id], **changes)
