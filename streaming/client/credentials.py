"""What a client shows to say who is calling: a token, and a fresh one when the server takes it no more.

Rules of this file:

- Whoever gives tokens is asked once for all requests of one moment, and once more for a request that was refused.
- A token is in no text that somebody reads, and goes to no other address than that of its server.

Owns:   the header that carries a token; when a fresh one is asked for.
Never:  quotes a token, not even one that is none.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import httpx

#: A token, or what gives one that is good now.
TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str]]

#: What a header can carry as one word. RFC 6750 allows less, but an API key may be any of this.
_FORM = re.compile(r"[!-~]+\Z")


def checked(token: object) -> str:
    """A token, if it is one.

    Raises:
        ValueError: it is not; the message does not say what it is.
    """
    if isinstance(token, str) and _FORM.match(token):
        return token
    raise ValueError("a token is one word of ASCII that can be seen: no blank, no end of a line, and not nothing")


class Bearer(httpx.Auth):
    """Shows a token with every request (RFC 6750, 2.1).

    Args:
        source: the token; or a function, perhaps a coroutine function, that gives one. It is called before the first
            request, and again once for a request that was answered with 401, which is then sent once more.

    Raises:
        ValueError: what was given is no token.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = None if callable(source) else checked(source)
        self._asking = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """One request, or two of them."""
        token = await self._other_than(None)
        response = yield _with(token, request)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            fresh = await self._other_than(token)
            if fresh != token:
                yield _with(fresh, request)

    async def _other_than(self, refused: str | None) -> str:
        """The token that is good as far as is known; the refused one if there is no other."""
        async with self._asking:
            if self._token is None or (self._token == refused and callable(self._source)):
                self._token = checked(await self._given())
            return self._token

    async def _given(self) -> object:
        given = self._source() if callable(self._source) else self._source
        return await given if inspect.isawaitable(given) else given


def _with(token: str, request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
