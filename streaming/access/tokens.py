"""JSON Web Tokens (RFC 7519), checked as RFC 8725 asks for.

The header of a token is written by whoever sends it. It chooses between the algorithms that the operator has
configured, and by that the family of keys: HS256 has the secret, RS256 and ES256 have the public keys, and neither ever
gets a key of the other. Nothing in it says where a key comes from.

A check takes longer than the rest of most requests, so a token that was good is remembered for a short time.

Owns:   which headers are taken; remembering tokens that were good, by their hash.
Uses:   access.claims (what a token says), access.jwks (public keys), PyJWT (signatures).
Never:  keeps a token or logs one; says why one is refused, except that its time is over.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from jwt.algorithms import HMACAlgorithm

from streaming.access.claims import WHAT, read_claims
from streaming.access.jwks import Jwks, PublicKey
from streaming.access.refusals import invalid
from streaming.config import Settings
from streaming.errors import FieldError, InvalidSettings
from streaming.rules.access import Credential

#: How the id of every credential begins that a token has shown.
KIND = "jwt:"

#: Tokens that are remembered, at most, and for how many seconds.
REMEMBERED = 1024
REMEMBERED_S = 60.0

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

#: They say where a key comes from, or that the token must not be read as it stands.
_REFUSED_HEADERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"})

#: An access token, or something that does not say what it is. There are others with the same signatures: for a logout,
#: for an identity, for proving that somebody has a key.
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

_PUBLIC = frozenset({"RS256", "ES256"})

#: `access.claims` looks at all of them, with a clock that is given.
_SIGNATURE_ONLY: Any = {
    **{f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
    "enforce_minimum_key_length": True,
}


@dataclass(frozen=True, slots=True)
class _Good:
    credential: Credential
    since: float
    until: float
    generation: int


class Tokens:
    """Finds the credential of a token.

    Args:
        settings: all that begin with ``jwt_``.
        ticks: seconds on a clock that only grows.
        transport: takes the place of the network, for tests.

    Raises:
        InvalidSettings: the secret cannot be one.
    """

    def __init__(
        self, settings: Settings, ticks: Callable[[], float], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._secret = None if settings.jwt_secret is None else _secret(settings.jwt_secret.get_secret_value())
        url = settings.jwt_jwks_url
        self._jwks = None if url is None else Jwks(url, settings, ticks, transport)
        self._good: OrderedDict[bytes, _Good] = OrderedDict()

    @property
    def configured(self) -> bool:
        """Whether any token is good."""
        return self._secret is not None or self._jwks is not None

    async def find(self, token: str, now: float) -> Credential:
        """The credential of a token.

        Args:
            token: as it came.
            now: seconds since 1970.

        Raises:
            Unauthenticated: it is not good here, or not now.
            StoreUnavailable: nobody knows, since public keys cannot be fetched.
        """
        if not _FORM.match(token):
            raise invalid(WHAT, "token_form")
        await self.renew()  # with other public keys, what is remembered may be good no more
        digest = hashlib.sha256(token.encode()).digest()
        known = self._remembered(digest, now)
        if known is not None:
            return known
        algorithm, kid = self._header(token)
        key = await self._key(algorithm, kid)
        if key is None:
            raise invalid(WHAT, "unknown_signer")
        claims = read_claims(_signed(token, key, algorithm), self._settings, now)
        id = f"{KIND}{claims.principal.name}:{claims.jti or digest.hex()[:16]}"
        credential = Credential(claims.principal, id, claims.expires_at)
        self._remember(digest, credential, now)
        return credential

    async def renew(self) -> None:
        """Fetch the public keys again if they are old."""
        if self._jwks is not None:
            await self._jwks.renew()

    async def close(self) -> None:
        """Fetch nothing any more."""
        if self._jwks is not None:
            await self._jwks.close()

    def _header(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise invalid(WHAT, "token_form") from None
        algorithm, kind, kid = header.get("alg"), header.get("typ", "JWT"), header.get("kid")
        if algorithm not in ("HS256", *_PUBLIC):
            raise invalid(WHAT, "algorithm")
        if not _REFUSED_HEADERS.isdisjoint(header) or not isinstance(kid, str | None):
            raise invalid(WHAT, "header")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise invalid(WHAT, "token_type")
        return algorithm, kid

    async def _key(self, algorithm: str, kid: str | None) -> str | PublicKey | None:
        if algorithm == "HS256":
            return self._secret
        return None if self._jwks is None else await self._jwks.find(kid, algorithm)

    def _remembered(self, digest: bytes, now: float) -> Credential | None:
        found = self._good.get(digest)
        # With other public keys, its own may be gone; with a clock that was put back, its age is unknown.
        if found is None or found.generation != self._generation() or not found.since <= now < found.until:
            return None
        self._good.move_to_end(digest)
        return found.credential

    def _remember(self, digest: bytes, credential: Credential, now: float) -> None:
        end = now + REMEMBERED_S if credential.expires_at is None else min(credential.expires_at, now + REMEMBERED_S)
        self._good[digest] = _Good(credential, now, end, self._generation())
        self._good.move_to_end(digest)
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)

    def _generation(self) -> int:
        return 0 if self._jwks is None else self._jwks.generation


def _signed(token: str, key: str | PublicKey, algorithm: str) -> dict[str, Any]:
    """What a token says, once its signature is right."""
    try:
        return jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise invalid(WHAT, "signature") from None


def _secret(text: str) -> str:
    try:
        if "-----BEGIN" in text:
            raise jwt.InvalidKeyError
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(text).decode()
    except jwt.InvalidKeyError:
        message = "this is a key or a certificate for another algorithm, perhaps a public one: no secret"
        raise InvalidSettings(
            f"STREAMING_JWT_SECRET: {message}", errors=[FieldError("STREAMING_JWT_SECRET", message)]
        ) from None
