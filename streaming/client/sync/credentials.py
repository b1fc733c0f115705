# Written by `python -m tests.sync_client` from streaming/client/credentials.py: change that one.
"""What a client shows to say who is calling: a token, and a fresh one when the server takes it no more.

Rules of this file:

- Whoever gives tokens is asked once for all requests of one moment, and once more for a request that was refused.
- A token is in no text that somebody reads, and goes to no other address than that of its server.

Owns:   the header that carries a token; when a fresh one is asked for.
Never:  quotes a token, not even one that is none.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from typing import TypeAlias

import httpx

#: A token, or what gives one that is good now.
TokenSource: TypeAlias = str | Callable[[], str]

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
        source: the token; or a function that gives one. It is called before the first
            request, and again once for a request that was answered with 401, which is then sent once more.

    Raises:
        ValueError: what was given is no token.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = None if callable(source) else checked(source)
        self._asking = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """One request, or two of them."""
        token = self._other_than(None)
        response = yield _with(token, request)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            fresh = self._other_than(token)
            if fresh != token:
                yield _with(fresh, request)

    def _other_than(self, refused: str | None) -> str:
        """The token that is good as far as is known; the refused one if there is no other."""
        with self._asking:
            if self._token is None or (self._token == refused and callable(self._source)):
                self._token = checked(self._given())
            return self._token

    def _given(self) -> object:
        return self._source() if callable(self._source) else self._source


def _with(token: str, request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
