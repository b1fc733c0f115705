"""Signs tokens, right ones and wrong ones, and publishes public keys."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.access.clock import NOW

SECRET = "0123456789abcdef0123456789abcdef"


@cache
def rsa_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key(name: str = "one") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    public = key.public_key()
    of_rsa = isinstance(public, rsa.RSAPublicKey)
    parts: dict[str, Any] = RSAAlgorithm.to_jwk(public, True) if of_rsa else ECAlgorithm.to_jwk(public, True)
    parts.pop("key_ops", None)
    return {**parts, **({} if kid is None else {"kid": kid}), **more}


def key_set(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Those of a token that is good at `NOW`; None leaves one out."""
    said = {"sub": "alice", "exp": NOW + 600, **more}
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", headers: Mapping[str, Any] | None = None, **more: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyJWT minds keys that are too short
        return jwt.encode(claims(**more), key, algorithm, headers=dict(headers or {}))


def raw_token(header: object, payload: object, signature: bytes = b"x") -> str:
    """Parts as they are: text is not encoded as JSON once more."""
    parts = [each if isinstance(each, str) else json.dumps(each) for each in (header, payload)]
    return ".".join(_base64(part) for part in (*(part.encode() for part in parts), signature))


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
