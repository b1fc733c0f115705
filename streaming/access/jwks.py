"""The public keys of who signs tokens, fetched from where they are published (RFC 7517).

Owns:   fetching them; which of them can be used, and for which algorithm.
Uses:   access.remembered (how old they may be), httpx.
Never:  follows a redirect, a proxy of the environment or an address in a token; takes a key for another algorithm than
        its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from streaming.access.remembered import Remembered
from streaming.config import Settings
from streaming.errors import InvalidSettings, StoreUnavailable

PublicKey = RSAPublicKey | EllipticCurvePublicKey

#: Seconds between two fetches for a key that is not known, at least, and after one that has failed.
PAUSE_S = 10.0

#: RFC 7518, 3.3.
RSA_BITS_MIN = 2048

#: By the type of the key.
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}

#: The parts of a public key; if somebody publishes a private one, the rest is not looked at.
_PARTS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}


class KeySet:
    """The keys of one document that can be used.

    Args:
        document: JSON.

    Raises:
        ValueError: it is no set of keys.
    """

    def __init__(self, document: bytes) -> None:
        self.document = document
        self._keys: dict[tuple[str, str], PublicKey] = {}
        self._by_algorithm: dict[str, list[PublicKey]] = {}
        for jwk in _listed(document):
            found = _usable(jwk)
            if found is None:
                continue
            algorithm, key = found
            self._by_algorithm.setdefault(algorithm, []).append(key)
            if "kid" in jwk:
                self._keys.setdefault((jwk["kid"], algorithm), key)

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key with this id; of a token that names none, the only one for its algorithm."""
        if kid is not None:
            return self._keys.get((kid, algorithm))
        keys = self._by_algorithm.get(algorithm, [])
        return keys[0] if len(keys) == 1 else None


class Jwks:
    """The keys at one address.

    Args:
        url: where they are.
        settings: all that begin with ``jwt_jwks_``.
        ticks: seconds on a clock that only grows.
        transport: takes the place of the network, for tests.

    Raises:
        InvalidSettings: this is no URL.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        ticks: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InvalidSettings(f"STREAMING_JWT_JWKS_URL: {error}") from None
        self._timeout_s = settings.jwt_jwks_timeout_s
        self._bytes_max = settings.jwt_jwks_bytes_max
        self._transport = transport
        # As for fetches of tasks: certifi's roots, or the operator's SSL_CERT_FILE or SSL_CERT_DIR.
        self._tls = httpx.create_ssl_context()
        #: Grows when other keys were fetched than before.
        self.generation = 0
        self._set: KeySet | None = None
        self._keys = Remembered(
            f"public keys of {self._url.host}",
            self._fetch,
            fresh_s=settings.jwt_jwks_refresh_s,
            stale_s=settings.jwt_jwks_stale_s,
            wait_s=self._timeout_s,
            pause_s=PAUSE_S,
            ticks=ticks,
        )

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key that a token names.

        Args:
            kid: its id, or None.
            algorithm: of the token.

        Raises:
            StoreUnavailable: the keys cannot be fetched, and were not for too long.
        """
        found = (await self._known()).find(kid, algorithm)
        if found is None:
            await self._keys.look_again()
            found = (await self._known()).find(kid, algorithm)
        return found

    async def renew(self) -> None:
        """Fetch the keys again if they are old."""
        await self._keys.renew()

    async def close(self) -> None:
        """Fetch nothing any more."""
        await self._keys.close()

    async def _known(self) -> KeySet:
        await self._keys.renew()
        known = self._keys.value
        if known is None:
            raise StoreUnavailable("The public keys for tokens cannot be fetched at the moment.")
        return known

    async def _fetch(self) -> KeySet:
        try:
            document = await self._get()
            if self._set is None or document != self._set.document:
                self._set = KeySet(document)
                self.generation += 1
            return self._set
        except (httpx.HTTPError, ValueError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}"[:300]) from None

    async def _get(self) -> bytes:
        client = httpx.AsyncClient(
            verify=self._tls,
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
            timeout=self._timeout_s,
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )
        async with client, client.stream("GET", self._url) as reply:
            if reply.status_code != 200:
                raise ValueError(f"the answer has status {reply.status_code}")
            document = b""
            async for chunk in reply.aiter_raw():
                document += chunk
                if len(document) > self._bytes_max:
                    raise ValueError(f"the answer has more than {self._bytes_max} bytes")
            return document


def _listed(document: bytes) -> list[Mapping[str, Any]]:
    try:
        keys = json.loads(document)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("the answer is no set of keys") from None
    if not isinstance(keys, list):
        raise ValueError("the answer is no set of keys")
    return [key for key in keys if isinstance(key, dict)]


def _usable(jwk: Mapping[str, Any]) -> tuple[str, PublicKey] | None:
    """The algorithm and the key; None if it is for something else, or too weak."""
    kind = jwk.get("kty")
    algorithm = _ALGORITHMS.get(kind) if isinstance(kind, str) else None
    if kind is None or algorithm is None or not _for_verifying(jwk, algorithm):
        return None
    parts = {name: jwk.get(name) for name in _PARTS[kind]}
    try:
        key = RSAAlgorithm.from_jwk(parts) if kind == "RSA" else ECAlgorithm.from_jwk(parts)
    except (PyJWTError, ValueError, TypeError, AttributeError):
        return None
    if isinstance(key, RSAPublicKey):
        return (algorithm, key) if key.key_size >= RSA_BITS_MIN else None
    return (algorithm, key) if isinstance(key, EllipticCurvePublicKey) and jwk["crv"] == "P-256" else None


def _for_verifying(jwk: Mapping[str, Any], algorithm: str) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        isinstance(jwk.get("kid", ""), str)
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )
