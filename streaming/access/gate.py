"""From what a request carries to who is calling.

A request shows one credential: a key, a token, a stream token, or the word of a proxy. Which kind it is follows from
where it stands and what it looks like; a credential of one kind is never tried as another. Without any configured,
everybody is `ANONYMOUS`. As soon as there is a key in the store, and be it one that was revoked, nobody is any more.

Owns:   choosing what checks a credential; whether any is needed; whether one that opened a stream is still good.
Uses:   access.keys and access.ring (API keys), access.tokens (JWTs), access.stream_tokens, access.proxy.
Never:  takes a request that carries a wrong credential for one that carries none; knows a path or a task.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import structlog

from streaming.access import keys, proxy, tokens
from streaming.access.keys import ConfiguredKeys
from streaming.access.proxy import Proxies
from streaming.access.refusals import CHALLENGE, INVALID, invalid
from streaming.access.ring import KeyRing, Load
from streaming.access.stream_tokens import StreamTokens, parent_of
from streaming.access.tokens import Tokens
from streaming.config import Settings
from streaming.errors import StoreUnavailable, Unauthenticated
from streaming.rules.access import ANONYMOUS, Credential
from streaming.secret_files import readable_by_others

_log = structlog.get_logger(__name__)

#: RFC 6750, 2.1; RFC 9110, 11.4: the name of the scheme in any case, then blanks.
_BEARER = re.compile(r"bearer +([!-~]+)\Z", re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+\Z")

_ANONYMOUS = Credential(ANONYMOUS, "anonymous")


def _no_header(name: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request carries that may show who is calling.

    Attributes:
        authorization: all values of the header ``Authorization``.
        api_key: all values of the header ``X-API-Key``.
        stream_token: the query parameter.
        peer: address of the other end of the connection; `proxy.UNIX` for a unix socket; None if nobody knows.
        header: all values of a header, by its name in lower case.
    """

    authorization: Sequence[str] = ()
    api_key: Sequence[str] = ()
    stream_token: str | None = None
    peer: str | None = None
    header: Callable[[str], Sequence[str]] = field(default=_no_header, repr=False)


class Gate:
    """Finds out who is calling.

    Args:
        settings: who may call.
        secret: of the server, random and the same in all its processes; ``stream_token_secret`` wins.
        load: reads all API keys of the store, revoked ones too; raises a `StreamingError` if it is away. None if the
            store has none.
        clock: seconds since 1970.
        ticks: seconds on a clock that only grows.
        transport: takes the place of the network, for tests.

    Attributes:
        proxies: the reverse proxies that are trusted.

    Raises:
        InvalidSettings: they cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        secret: str,
        load: Load | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self._bytes_max = settings.token_bytes_max
        self._stream_token_s = settings.stream_token_s
        if settings.stream_token_secret is not None:
            secret = settings.stream_token_secret.get_secret_value()
        given = None if settings.api_keys is None else settings.api_keys.get_secret_value()
        self._configured = ConfiguredKeys(given or "", secret)
        self.proxies = Proxies(settings)
        self._ring = KeyRing(self._configured, load, settings, ticks)
        self._tokens = Tokens(settings, ticks, transport)
        self._stream_tokens = StreamTokens(secret)

    @property
    def configured(self) -> bool:
        """Whether a credential is needed; it is, too, until the keys of the store have been read: see `refresh`."""
        return self._any or not self._ring.was_read

    @property
    def _any(self) -> bool:
        return self._ring.configured or self._tokens.configured or self.proxies.configured

    async def identify(self, presented: Presented) -> Credential:
        """Who is calling.

        Args:
            presented: what the request carries.

        Raises:
            Unauthenticated: nothing that is good, or more than one credential.
            StoreUnavailable: nobody knows whether it is good.
        """
        now = self._clock()
        named = self.proxies.credential(presented.peer, presented.header)
        shown = len(presented.authorization) + len(presented.api_key) + (presented.stream_token is not None)
        if shown + (named is not None) > 1:
            raise Unauthenticated("A request shows one credential, and this one has more.", reason="more_than_one")
        if named is not None:
            return named
        if presented.authorization:
            return await self._bearer(presented.authorization[0], now)
        if presented.api_key:
            return await self._key(presented.api_key[0], now)
        if presented.stream_token is not None:
            return await self._stream_token(presented.stream_token, now)
        return await self._nobody()

    def still_good(self, credential: Credential, now: float) -> bool:
        """Whether a credential that was good once is good now; what was read last decides.

        Args:
            credential: from `identify`.
            now: seconds since 1970.
        """
        if credential.expires_at is not None and now >= credential.expires_at:
            return False
        return self._stands(parent_of(credential.id) or credential.id, now)

    def issue(self, credential: Credential, task_id: str) -> tuple[str, float]:
        """Make a stream token.

        Args:
            credential: asks for it; its principal sees the task.
            task_id: whose events it opens.

        Returns:
            The token, and when it is over, in seconds since 1970.

        Raises:
            Forbidden: this credential may not read tasks, or is a stream token itself.
        """
        return self._stream_tokens.issue(credential, task_id, self._stream_token_s, self._clock())

    def warn(self) -> None:
        """Write down what is weak about the credentials that are configured."""
        for name in self._configured.short:
            _log.warning(
                "a configured API key is short enough to be guessed", principal=name, characters_at_least=keys.SHORT
            )
        for variable, path in readable_by_others(os.environ):
            _log.warning("everybody on this machine may read a file with a secret", variable=variable, file=path)

    async def refresh(self) -> None:
        """Read the API keys of the store now, and fetch public keys if they are old; what is away is no error here."""
        await self._ring.refresh()
        await self._tokens.renew()

    async def renew(self) -> None:
        """Read and fetch what is old, and wait for it; as before a request."""
        await self._ring.renew()
        await self._tokens.renew()

    async def close(self) -> None:
        """Read and fetch nothing any more."""
        await self._ring.close()
        await self._tokens.close()

    async def _bearer(self, value: str, now: float) -> Credential:
        found = _BEARER.match(value)
        if found is None:
            raise Unauthenticated("Authorization must be Bearer, with a key or a token.", reason="scheme")
        self._check_size(found[1])
        if found[1].count(".") == 2 and self._configured.find(found[1]) is None:
            return await self._tokens.find(found[1], now)
        return await self._ring.find(found[1], now)

    async def _key(self, text: str, now: float) -> Credential:
        self._check_size(text)
        if not _VISIBLE.match(text):
            raise invalid("The API key", "unknown_key")
        return await self._ring.find(text, now)

    async def _stream_token(self, text: str, now: float) -> Credential:
        self._check_size(text)
        credential = self._stream_tokens.find(text, now)
        await self._ring.seek(parent_of(credential.id) or "")
        if not self.still_good(credential, now):
            raise invalid("The stream token", "parent")
        return credential

    async def _nobody(self) -> Credential:
        await self._ring.renew()
        if not self.configured:
            return _ANONYMOUS
        if not self._any:
            raise StoreUnavailable("The store does not answer, so nobody knows whether this needs a credential.")
        raise Unauthenticated(
            "This needs a credential: Authorization: Bearer with a key or a token, or X-API-Key.",
            challenge=CHALLENGE,
            reason="nothing",
        )

    def _stands(self, credential_id: str, now: float) -> bool:
        if credential_id.startswith(keys.KIND):
            return self._ring.good(credential_id, now)
        if credential_id.startswith(tokens.KIND):
            return self._tokens.configured
        if credential_id.startswith(proxy.KIND):
            return self.proxies.configured
        return credential_id == _ANONYMOUS.id and not self.configured

    def _check_size(self, text: str) -> None:
        if len(text) > self._bytes_max:
            raise Unauthenticated(
                f"A credential has at most {self._bytes_max} bytes.", challenge=INVALID, reason="too_large"
            )
