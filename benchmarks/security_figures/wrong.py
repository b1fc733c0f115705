"""Credentials that are wrong, of all kinds.

Owns:   `wrong_requests`.
Never:  makes one that is right, but by a miracle.
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Callable

#: A key that the server knows verifies signatures of so many bytes.
SIGNATURE_BYTES = {"HS256": 32, "RS256": 256}

_LETTERS = string.ascii_letters + string.digits


def wrong_requests(kid: str, seed: int, count: int) -> list[bytes]:
    """Requests with a wrong credential each: keys, tokens with a wrong signature, garbage.

    Args:
        kid: the id of a public key that the server knows.
        seed: the same one makes the same requests, but for the time in the tokens.
        count: how many.
    """
    chance = random.Random(seed)
    kinds: tuple[Callable[[], str], ...] = (
        lambda: _unknown_key(chance),
        lambda: f"X-API-Key: {_text(chance, 32)}",
        lambda: _signed_wrongly(chance, {"alg": "HS256", "typ": "JWT"}),
        lambda: _signed_wrongly(chance, {"alg": "RS256", "typ": "JWT", "kid": kid}),
        lambda: _garbage(chance),
    )
    return [_request(kinds[number % len(kinds)]()) for number in range(count)]


def _request(header: str) -> bytes:
    return f"GET /tasks?limit=1 HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode("latin-1")


def _unknown_key(chance: random.Random) -> str:
    """One that has the form of a key of the store."""
    id = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz234567", k=16))
    return f"Authorization: Bearer strm_{id}_{_text(chance, 43)}"


def _signed_wrongly(chance: random.Random, header: dict[str, str]) -> str:
    payload = {"sub": _text(chance, 8), "exp": int(time.time()) + 3_600}
    parts = (
        json.dumps(header).encode(),
        json.dumps(payload).encode(),
        chance.randbytes(SIGNATURE_BYTES[header["alg"]]),
    )
    return "Authorization: Bearer " + ".".join(map(_base64, parts))


def _garbage(chance: random.Random) -> str:
    return chance.choice(
        (
            f"Authorization: Basic {_text(chance, 24)}",
            f"Authorization: {_text(chance, 40)}",
            f"Authorization: Bearer {'.' * chance.randrange(1, 60)}{_text(chance, 8)}",
            f"Authorization: Bearer {_text(chance, 3_000)}",
            f"Authorization: Bearer {_text(chance, 8)}.{_text(chance, 8)}.{_text(chance, 8)}",
            f"X-API-Key: {''.join(map(chr, chance.choices(range(0xA1, 0x100), k=30)))}",
        )
    )


def _text(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_LETTERS, k=length))


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
