"""What opens a server that is fuzzed, and what looks like it and does not.

Owns:   the secrets of one server, the settings with them, a server of its public keys, headers with right and wrong
        credentials.
Never:  is the same twice: the secrets are random, so that nothing else can look like them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

KID = "fuzz"

#: Far away, and long ago.
LATER, LONG_AGO = int(time.time()) + 86_400, 1_000_000_000

NAMES = ("alice", "bob", "root")


class Secrets:
    """The secrets of one server.

    Attributes:
        keys: of principals, by name.
        planted: stands in the environment of the server, and means nothing to it.
    """

    def __init__(self) -> None:
        self.keys = {name: f"{secrets.token_urlsafe(24)}-{name}" for name in NAMES}
        self.jwt = secrets.token_urlsafe(48)
        self.stream = secrets.token_urlsafe(48)
        self.planted = secrets.token_urlsafe(24)
        self._rsa = rsa.generate_private_key(65_537, 2_048)

    @property
    def all(self) -> list[bytes]:
        """Whatever must never leave the server."""
        return [secret.encode() for secret in (*self.keys.values(), self.jwt, self.stream, self.planted)]

    def settings(self, jwks_url: str) -> dict[str, str]:
        """The environment of the server, without the prefix."""
        keys = ",".join(f"{key}:{name}{':admin' if name == 'root' else ''}" for name, key in self.keys.items())
        return {
            "API_KEYS": keys,
            "JWT_SECRET": self.jwt,
            "JWT_JWKS_URL": jwks_url,
            "STREAM_TOKEN_SECRET": self.stream,
            "PLANTED_SECRET": self.planted,
            "TRUSTED_PROXIES": "127.0.0.1",
            "PROXY_USER_HEADER": "x-forwarded-user",
            "CORS_ORIGINS": "https://app.example.com",
        }

    @contextmanager
    def published(self) -> Iterator[str]:
        """A server of the public key, and its URL."""
        body = json.dumps({"keys": [{**self._public(), "kid": KID, "use": "sig", "alg": "RS256"}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/keys"
            finally:
                server.shutdown()
                thread.join()

    def bearer(self, name: str) -> bytes:
        """The header with the key of somebody."""
        return f"Authorization: Bearer {self.keys[name]}".encode()

    def good(self) -> list[bytes]:
        """Headers that open the server."""
        claims = {"sub": "carol", "exp": LATER}
        return [
            *(self.bearer(name) for name in NAMES),
            f"x-api-key: {self.keys['bob']}".encode(),
            f"authorization: bearer   {self.keys['alice']}".encode(),
            _bearer(jwt.encode(claims, self.jwt, "HS256")),
            _bearer(jwt.encode({**claims, "scope": "tasks:read"}, self._rsa, "RS256", headers={"kid": KID})),
            b"X-Forwarded-User: dave",
        ]

    def wrong(self) -> list[bytes]:
        """Headers that open nothing, and look as if they might; where there are several, a request has all of them."""
        claims = {"sub": "root", "exp": LATER, "scope": "admin"}
        key, signed = self.keys["alice"], jwt.encode(claims, self.jwt, "HS256")
        head, body, tail = signed.split(".")
        pem = self._rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        tokens = [
            signed[:-4] + "AAAA",
            f"{head}.{_part({**claims, 'sub': 'alice'})}.{tail}",
            f"{head}.{body}.",
            f"{head}..{tail}",
            f"{_part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
            f"{_part({'alg': 'none'})}.{body}.{tail}",
            _with_mac({"alg": "HS256", "typ": "JWT"}, claims, pem),
            _with_mac({"alg": "HS256", "typ": "JWT"}, claims, b""),
            *(_with_mac({"alg": "HS256", **more}, claims, self.jwt.encode()) for more in _HEADERS),
            *(_with_mac({"alg": "HS256"}, more, self.jwt.encode()) for more in _claims()),
            jwt.encode({**claims, "exp": LONG_AGO}, self.jwt, "HS256"),
            jwt.encode(claims, self._rsa, "RS256", headers={"kid": "unknown"}),
            jwt.encode(claims, self._rsa, "RS256", headers={"kid": "../../keys"})[:-6] + "AAAAAA",
            f"strm_{'a' * 16}_{'A' * 43}",
            f"strm_{'é' * 16}_{'A' * 43}",
            f"strm_{'a' * 16}_{'A' * 42}",
            "a" * 8_193,
            "." * 3_000,
            "\u00ff" * 50,
            key + "x",
            key[:-1],
            key.upper(),
        ]
        return [
            *map(_bearer, tokens),
            b"Authorization: Basic YWxpY2U6YWxpY2U=",
            b"Authorization:",
            b"Authorization: Bearer",
            b"Authorization: Bearer \t ",
            f"Authorization: {key}".encode(),
            f"Authorization: Bearer {key} {key}".encode(),
            f"Authorization: Bearer {key}\r\nX-API-Key: {key}".encode(),
            f"Authorization: Bearer {key}\r\nAuthorization: Bearer {key}".encode(),
            f"X-API-Key: {key}\r\nX-Forwarded-User: root".encode(),
            b"X-Forwarded-User: root\r\nX-Forwarded-User: alice",
            b"X-Forwarded-User: server",
            b"X-Forwarded-User: anonymous",
            b"X-Forwarded-User: \xff\xfe",
            b"X-Forwarded-User: a b, c:d",
            b"X-Forwarded-User: " + 200 * b"n",
            b"X-API-Key: \xe2\x82\xac",
            b"Cookie: session=1",
        ]

    def _public(self) -> dict[str, Any]:
        found: dict[str, Any] = RSAAlgorithm.to_jwk(self._rsa.public_key(), as_dict=True)
        found.pop("key_ops", None)
        return found


#: Headers of a token that must not be followed, or say nothing that could be meant.
_HEADERS: tuple[dict[str, Any], ...] = (
    {"jku": "http://127.0.0.1:9/"},
    {"jwk": {"kty": "oct", "k": "AAAA"}},
    {"x5u": "http://127.0.0.1:9/"},
    {"crit": ["exp"]},
    {"kid": {"a": 1}},
    {"kid": "\u0000"},
    {"typ": 7},
    {"typ": "dpop+jwt"},
    {"zip": "DEF"},
    {"alg": ["HS256"]},
    {"alg": None},
)


#: Values of a claim that are none, or of another type.
_ODD: tuple[Any, ...] = (
    None, True, [], {}, "", "\u0000", "a\nb", 1e400, -1, 2**70, "NaN", float("nan"), [[]], "é\ud83d",
)  # fmt: skip


def _claims() -> Iterator[dict[str, Any]]:
    """Claims that are signed, and cannot be meant."""
    right: dict[str, Any] = {"sub": "alice", "exp": LATER}
    for name in ("sub", "exp", "nbf", "iat", "jti", "aud", "scope"):
        yield from ({**right, name: value} for value in _ODD)
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    yield {**right, "deep": deep}


def _with_mac(header: Any, claims: Any, secret: bytes) -> str:
    """Signed as HS256 is, whatever stands in it."""
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _bearer(token: str) -> bytes:
    return b"Authorization: Bearer " + token.encode()


def _part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
