"""One HTTP request, read from its ASGI scope.

asgineer's own reading loses repeated headers and blank query values, and fails on bytes that are not UTF-8.

Paths are taken literally: nothing in them is decoded, merged or resolved. No path of ours needs it, and a proxy whose
rules are about paths cannot be passed by another way to write one (``/%61udit``, ``//audit``, ``/x/../audit``).

Owns:   method, path segments, headers; the way to the connection.
Never:  raises: what is wrong with a request is for those to say who need it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Protocol

from streaming.rules.access import ANONYMOUS_NAME, Credential, Principal
from streaming.rules.trace_context import TraceContext, read_trace_context

#: Whoever calls, as long as nobody has looked.
NOBODY = Credential(Principal(ANONYMOUS_NAME, frozenset()), "none")

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
        segments: the parts between the slashes of the path, undecoded.
        root: the path at which the application is mounted; empty if it is at the top.
        query_string: undecoded.
        http_version: "1.1", say.
        server: (host, port) the client has connected to; (path, None) for a unix socket; None if nobody knows.
        client: (host, port) at the other end; None for a unix socket, or if nobody knows.
        channel: asgineer's request; set before the routes see the request.
        receive: ASGI.
        send: ASGI, as the server gave it.
        body_refused: the body was not read to its end, and will not be.
        address: where it comes from: of the client, as far as a proxy that is known tells; see `web.door`.
        credential: who is calling; set before the routes see the request.
        answer_headers: what every answer to it carries.
    """

    __slots__ = (
        "_headers",
        "address",
        "answer_headers",
        "body_refused",
        "channel",
        "client",
        "credential",
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
        self.segments = tuple(self.path.split("/")[1:])
        self.query_string: bytes = scope.get("query_string", b"")
        self.http_version: str = scope.get("http_version", "1.1")
        self.server: tuple[str, int | None] | None = scope.get("server")
        self.client: tuple[str, int] | None = scope.get("client")
        self.channel: Channel
        self.receive = receive
        self.send = send
        self.body_refused = False
        self.address = ""
        self.credential = NOBODY
        self.answer_headers: dict[str, str] = {}
        self._headers = [(name.lower(), value) for name, value in scope["headers"]]

    @property
    def target_bytes(self) -> int:
        """Bytes of path and query, for `web.head.check_length`: not every server has counted them."""
        return len(self.root) + len(self.path) + (1 + len(self.query_string) if self.query_string else 0)

    @property
    def trace(self) -> TraceContext | None:
        """Where in which trace it belongs; one that says it wrongly is in none."""
        return read_trace_context(self.headers("traceparent"), self.headers("tracestate"))

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
