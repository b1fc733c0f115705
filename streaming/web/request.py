"""One HTTP request, read from its ASGI scope.

asgineer's own reading loses repeated headers and blank query values, and fails on bytes that are not UTF-8.

Owns:   method, path segments, headers; the way to the connection.
Never:  raises: what is wrong with a request is for those to say who need it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Channel(Protocol):
    """asgineer's request, as far as we use it: the way to answer in pieces."""

    @property
    def scope(self) -> Scope:
        """The ASGI scope."""

    def accept(self, status: int = 200, headers: dict[str, str] | None = None) -> Coroutine[Any, Any, None]:
        """Send status and headers."""

    def send(self, data: bytes, more: bool = True) -> Coroutine[Any, Any, None]:
        """Send a piece of the body."""


class Request:
    """What a route may know of a request.

    Attributes:
        scope: as the server gave it.
        method: upper case.
        path: undecoded, for log lines.
        segments: the decoded parts between the slashes of the path; a slash inside a part was percent-encoded.
        root: the path at which the application is mounted; empty if it is at the top.
        query_string: undecoded.
        http_version: "1.1", say.
        server: (host, port) the client has connected to; (path, None) for a unix socket; None if nobody knows.
        channel: asgineer's request; set before the routes see the request.
        receive: ASGI.
        send: ASGI, as the server gave it.
        body_refused: the body was not read to its end, and will not be.
    """

    __slots__ = (
        "_headers",
        "body_refused",
        "channel",
        "http_version",
        "method",
        "path",
        "query_string",
        "receive",
        "root",
        "scope",
        "segments",
        "send",
        "server",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.root: str = scope.get("root_path", "")
        self.path = _path(scope, self.root)
        parts = self.path.split("/")[1:]
        self.segments = tuple(map(unquote, parts) if "%" in self.path else parts)
        self.query_string: bytes = scope.get("query_string", b"")
        self.http_version: str = scope.get("http_version", "1.1")
        self.server: tuple[str, int | None] | None = scope.get("server")
        self.channel: Channel
        self.receive = receive
        self.send = send
        self.body_refused = False
        self._headers = [(name.lower(), value) for name, value in scope["headers"]]

    def header(self, name: str) -> str | None:
        """A header's value, None without one; repeated ones are joined with a comma, as RFC 9110 says."""
        values = self.headers(name)
        return ", ".join(values) if values else None

    def headers(self, name: str) -> list[str]:
        """All values of a header, in order."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]


def _path(scope: Scope, root: str) -> str:
    """The undecoded path below the place where the application is mounted."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path: str = raw.decode("latin-1")
    return path.removeprefix(root)
