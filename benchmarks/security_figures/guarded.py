"""Servers that ask who is calling, and what opens them.

Owns:   the secrets of a run, the settings that make credentials necessary, a server of public keys on this machine.
Uses:   benchmarks.server (the real command), streaming.access and streaming.store (a key in the store), PyJWT.
Never:  measures.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from benchmarks.server import COMMAND, Server, running
from streaming.access.keys import new_key
from streaming.config import Settings
from streaming.events import rfc3339
from streaming.rules.access import SCOPES_DEFAULT, Principal
from streaming.store import open_key_store

#: The id of the public key that the server knows.
KID = "bench"

#: Who calls.
NAME = "bench"

#: What the server signs nothing with, and what opens it; made once a run.
KEY, SECRET = secrets.token_urlsafe(32), secrets.token_urlsafe(48)

TOKEN_S = 3_600


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def with_header(request: bytes, header: str) -> bytes:
    """The same request with one more header."""
    line, rest = request.split(b"\r\n", 1)
    return b"%b\r\n%b\r\n%b" % (line, header.encode(), rest)


def bearer(token: str) -> str:
    """The header that shows a token."""
    return f"Authorization: Bearer {token}"


def api_keys(*names: str) -> str:
    """The setting with a key of each of these principals; the key of one is `key_of` it."""
    return ",".join(f"{key_of(name)}:{name}" for name in names)


def key_of(name: str) -> str:
    """Of a principal of this run."""
    return f"{KEY}-{name}"


def hs256(number: int = 0) -> str:
    """A token that is good; those of different numbers are different."""
    return jwt.encode(_claims(number), SECRET, "HS256")


def rs256(number: int = 0) -> str:
    """The same with the other signature."""
    return jwt.encode(_claims(number), rsa_key(), "RS256", headers={"kid": KID})


def _claims(number: int) -> dict[str, object]:
    return {"sub": NAME, "jti": f"token-{number}", "exp": int(time.time()) + TOKEN_S}


@asynccontextmanager
async def public_keys() -> AsyncIterator[str]:
    """A server of our public key, and its URL."""
    key = {**RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True), "kid": KID, "use": "sig", "alg": "RS256"}
    key.pop("key_ops", None)
    body = json.dumps({"keys": [key]}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"


async def stored_key(directory: Path) -> str:
    """Make a key in the store of a server that has not begun yet."""
    text, key = new_key(Principal(NAME, SCOPES_DEFAULT), created_at=rfc3339(time.time()))

    def store() -> None:
        with closing(open_key_store(Settings(store_url=f"sqlite:///{directory}/streaming.db"))) as keys:
            keys.add(key)

    await asyncio.to_thread(store)
    return text


@asynccontextmanager
async def guarded(settings: Mapping[str, object], directory: Path | None = None) -> AsyncIterator[Server]:
    """The real command with some settings.

    Args:
        settings: by their names in ``config.py``.
        directory: where its store is.
    """
    words = (f"STREAMING_{name.upper()}={value}" for name, value in settings.items())
    async with running(directory, command=("env", *words, *COMMAND)) as server:
        yield server
