"""A credential for the events of one task, to be given away in a URL.

Owns:   `StreamToken`, and how an answer becomes one.
Never:  shows it in its ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from streaming.client.answers import bad_answer


@dataclass(frozen=True, slots=True)
class StreamToken:
    """A credential for the events of one task, which may stand in a URL.

    Attributes:
        token: the credential itself.
        expires_at: when it is over, RFC 3339; so is a stream then that was opened with it.
        url: the stream of the task, with the token: for ``new EventSource(url)`` in a browser.
    """

    token: str = field(repr=False)
    expires_at: str
    url: str = field(repr=False)


def stream_token_from(document: dict[str, Any], stream: httpx.URL) -> StreamToken:
    """Read the answer that brings a token for a stream.

    Args:
        document: the answer.
        stream: the address of the stream, without a token.

    Raises:
        ServerError: code ``bad_answer``; there is none in it.
    """
    token, expires_at, url = (document.get(name) for name in ("token", "expires_at", "url"))
    if not (isinstance(token, str) and isinstance(expires_at, str) and isinstance(url, str)):
        raise bad_answer("A token for a stream was expected.")
    query = url.partition("?")[2]
    return StreamToken(token, expires_at, f"{stream.copy_with(userinfo=b'')}?{query}")
