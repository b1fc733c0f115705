"""All API keys that open something now: those of the settings, and those of the store as they were read last.

A request does not wait for the store where it need not. Keys are read again when they are older than ``key_cache_s``:
so long a key that was revoked elsewhere may still open. One that is not known yet has them read at once, but not more
than once a second, so that nobody can press the store with keys that are wrong.

Owns:   finding the credential of a key; whether one that was found is still good.
Uses:   access.keys (the format, the configured ones), access.remembered (what was read, and when).
Never:  opens to a key because the store cannot be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from streaming.access.keys import KIND, NO_HASH, ConfiguredKeys, is_same, read_key
from streaming.access.refusals import expired, invalid
from streaming.access.remembered import Remembered
from streaming.config import Settings
from streaming.errors import StoreUnavailable
from streaming.events import rfc3339
from streaming.rules.access import ApiKey, Credential

#: Seconds between two reads out of turn, at least, and after one that has failed.
PAUSE_S = 1.0

_WHAT = "The API key"

Load = Callable[[], Awaitable[Iterable[ApiKey]]]


class KeyRing:
    """Finds the credential of an API key.

    Args:
        configured: the keys of the settings.
        load: reads all keys of the store, revoked ones too; raises a `StreamingError` if it is away. None if the store
            has none.
        settings: ``key_cache_s``, ``key_stale_s``, ``store_wait_s``.
        ticks: seconds on a clock that only grows.
    """

    def __init__(
        self, configured: ConfiguredKeys, load: Load | None, settings: Settings, ticks: Callable[[], float]
    ) -> None:
        self._configured = configured
        self._load = load
        self._any = False
        self._stored = Remembered(
            "API keys",
            self._read,
            fresh_s=settings.key_cache_s,
            stale_s=settings.key_stale_s,
            wait_s=settings.store_wait_s,
            pause_s=PAUSE_S,
            ticks=ticks,
        )

    @property
    def configured(self) -> bool:
        """Whether there is a key, or was one once."""
        return bool(self._configured.ids) or self._any

    @property
    def was_read(self) -> bool:
        """Whether it is known what keys the store has, or had a while ago."""
        return self._load is None or self._stored.was_read

    async def find(self, text: str, now: float) -> Credential:
        """The credential of a key.

        Args:
            text: the key.
            now: seconds since 1970.

        Raises:
            Unauthenticated: it opens nothing.
            StoreUnavailable: nobody knows whether it does.
        """
        configured = self._configured.find(text)
        if configured is not None:
            return configured
        parts = read_key(text)
        if parts is None or self._load is None:
            raise invalid(_WHAT, "unknown_key")
        id, secret = parts
        return _opened(await self._key(id), secret, now)

    def good(self, credential_id: str, now: float) -> bool:
        """Whether a credential that was found once still opens.

        Args:
            credential_id: its id.
            now: seconds since 1970.
        """
        if credential_id in self._configured.ids:
            return True
        key = (self._stored.value or {}).get(credential_id.removeprefix(KIND))
        return key is not None and key.good_at(rfc3339(now))

    async def renew(self) -> None:
        """Read the keys again if they are old."""
        if self._load is not None:
            await self._stored.renew()

    async def refresh(self) -> None:
        """Read the keys now, in a read that begins after this call."""
        if self._load is not None:
            await self._stored.refresh()

    async def seek(self, credential_id: str) -> None:
        """Have read what is needed to say whether this credential is `good`.

        Args:
            credential_id: of a key, or of anything else.

        Raises:
            StoreUnavailable: nobody knows whether it is.
        """
        if self._load is None or credential_id in self._configured.ids:
            return
        if credential_id.startswith(KIND):
            await self._key(credential_id.removeprefix(KIND))
        else:
            await self._stored.renew()

    async def close(self) -> None:
        """Read nothing any more."""
        await self._stored.close()

    async def _key(self, id: str) -> ApiKey | None:
        key = (await self._known()).get(id)
        if key is None:
            await self._stored.look_again()
            key = (await self._known()).get(id)
        return key

    async def _known(self) -> dict[str, ApiKey]:
        await self._stored.renew()
        known = self._stored.value
        if known is None:
            raise StoreUnavailable("The store does not answer, so nobody knows which API keys are good.")
        return known

    async def _read(self) -> dict[str, ApiKey]:
        assert self._load is not None  # noqa: S101  # nobody reads otherwise
        keys = {key.id: key for key in await self._load()}
        self._any = self._any or bool(keys)
        return keys


def _opened(key: ApiKey | None, secret: str, now: float) -> Credential:
    # Compared first, and with something in any case: all ids that are wrong cost the same.
    same = is_same(secret, NO_HASH if key is None else key.hash)
    if key is None or not same:
        raise invalid(_WHAT, "unknown_key")
    if key.revoked_at is not None:
        raise invalid(_WHAT, "revoked_key")
    if not key.good_at(rfc3339(now)):
        raise expired(_WHAT)
    end = None if key.expires_at is None else datetime.fromisoformat(key.expires_at).timestamp()
    return Credential(key.principal, KIND + key.id, end)
