"""The bytes of a request, before there is one: limits, and what is answered without the application.

uvicorn's protocol on httptools waits for ever for the end of a head, and keeps whatever comes until then. Here a head
has a time, a size and a number of lines; who is over one of them, or sends what is no HTTP, gets the same problem as
for every other mistake, and the connection ends. `HttpToolsProtocol` has no hooks for that: the callbacks of its parser
are extended, and a test holds their names against the installed uvicorn.

Rules of this file:

- What `check_head` refuses never reaches the application: where its body ends, and what is meant, would be a guess.
- One request of a connection is answered, some wait behind it; what is behind these waits as bytes, and as few of them
  as a head may have. uvicorn parses whatever it has read at once: a task's worth of objects for each 27 bytes.
- No connection waits without a timer for bytes of a request, unless the application waits for them and has its own.
- An answer that is being sent is never written into, and no request gets a second one: then the connection just ends.

Owns:   the time, size and number of headers, the number of connections; the answer to what is no request, and to a
        request that the application could not answer; who is told that a connection is lost.
Uses:   web.parsing (offers of other protocols), web.crowd (how many come from where), web.head (what may be read in
        two ways), observe.security.
Never:  looks at what a request says.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from streaming.config import Settings, load_settings
from streaming.engine.limits import LimitName
from streaming.errors import BadRequest, HeadersTooLarge, RequestTooLate, StreamingError, UriTooLong
from streaming.observe.security import tell
from streaming.web.body import LINGER_S
from streaming.web.crowd import Crowd
from streaming.web.direct import DirectProtocol
from streaming.web.head import check_head, check_length
from streaming.web.parsing import Parser
from streaming.web.problems import TITLES, internal_problem, problem

#: Is told whenever a limit is hit.
OnLimit = Callable[[LimitName], object]

#: Bytes that are parsed before it is asked whether a request has to wait.
PIECE_BYTES = 1024

_BANNER = (b"server", b"uvicorn")

_log = structlog.get_logger(__name__)


class HeadLimits(NamedTuple):
    """What a request line with its headers may be, and how many may come at the same time.

    Attributes:
        seconds: from the first byte, or from the connection, to the empty line.
        bytes: of them, and of trailers.
        headers: lines.
        url_bytes: of the target of a request.
        connections: of this server.
    """

    seconds: float
    bytes: int
    headers: int
    url_bytes: int
    connections: int


class _Cycle(RequestResponseCycle):
    """uvicorn's, also for a request whose application has failed without an answer.

    Attributes:
        on_lost: is called when the connection is lost; see `web.transport`.
    """

    on_lost: Callable[[], object] | None = None

    async def send_500_response(self) -> None:
        """Answer with a problem instead of plain text."""
        request_id = secrets.token_hex(8)
        _log.error("a request was not answered", request_id=request_id)
        reply = internal_problem(request_id)
        headers = {**reply.headers, "content-length": str(len(reply.body)), "connection": "close"}
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": reply.status, "headers": lines})
        await self.send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _unheard(limit: LimitName) -> None:
    """Nobody counts."""


class ProblemProtocol(DirectProtocol):
    """uvicorn's protocol on httptools; see `protocol_of`."""

    limits: HeadLimits
    crowd: Crowd
    on_limit: OnLimit = staticmethod(_unheard)
    parser: Parser  # type: ignore[assignment]  # it has all that uvicorn calls

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Parser(self)
        self._cycles: list[_Cycle] = []  # the request that is being answered, and those behind it
        self._refusal: StreamingError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = self._between = self._refused = False
        self._moved = False  # the segment that is being read has brought more than a part of a head or a trailer
        self._behind = b""  # what was read, and is not parsed yet
        self._held = 0  # bytes of the segments that have brought no more: the parser may hold so many

    # -- what the transport calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Whoever connects has something to say soon, unless there are too many."""
        super().connection_made(transport)
        self.crowd.enter(self._address)
        if len(self.connections) <= self.limits.connections and self.crowd.has_room_for(self._address):
            self._expect()
            return
        self._refused = True
        self.on_limit("too_many_connections")
        tell("too_many_connections", principal=None, address=self._address)
        transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is expected, and everybody is told who may wait for something.

        uvicorn tells the last request of a connection only, and none that is still answered before it. And it leaves
        its timer alone where a connection was reset, and all that hangs on it: a storm of them would take as much
        memory as there are connections in the time of a keep-alive.
        """
        self.crowd.leave(self._address)
        self._unexpect()
        self._unset_keepalive_if_required()
        for cycle in self._cycles:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
            if cycle.on_lost is not None:
                cycle.on_lost()
        super().connection_lost(exc)
        # A connection and its requests hold each other; what came for them need not wait for the garbage collector.
        self._behind = b""
        for cycle in self._cycles:
            cycle.body = bytearray()

    def data_received(self, data: bytes) -> None:
        """Parse, unless a request has to wait already."""
        if self._refused:
            return
        if self.pipeline or self._behind:
            self._put_behind(self._behind + data)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Parse, and see to it that it leads somewhere."""
        self._moved = False
        self._unset_keepalive_if_required()
        for begin in range(0, len(data), PIECE_BYTES):
            end = begin + PIECE_BYTES
            try:
                self.parser.feed_data(data[begin:end])
            except httptools.HttpParserError:
                self._refuse(self._refusal or BadRequest("This is no HTTP request."))
            if self._over:
                return
            if self.pipeline:
                self._put_behind(data[end:])
                break
        self._held = 0 if self._moved else self._held + len(data)
        if self._held > self.limits.bytes:
            self._refuse(self._too_many_bytes())
        elif not self._answering:
            self._expect()

    def _put_behind(self, data: bytes) -> None:
        """Let bytes wait, and read no more of them for now."""
        self._behind = data
        if len(data) > self.limits.bytes:
            self._behind = b""
            self._refuse(self._too_many_bytes())
        elif data:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """An answer is over: it is the turn of what waits behind it."""
        super().on_response_complete()
        if self._behind and not self.transport.is_closing():
            self.flow.pause_reading()
            if not self.pipeline:
                self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._over or self.pipeline:
            return
        data, self._behind = self._behind, b""
        self.flow.resume_reading()
        self._read(data)

    # -- what the parser calls -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request: from here on its bytes count."""
        if self.parser.repeating:
            return
        self._in_head, self._between, self._held = True, False, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target of a request.

        Raises:
            UriTooLong: it has become too long; the parser stops.
        """
        if self.parser.repeating:
            return
        super().on_url(url)
        try:
            check_length(len(self.url), self.limits.url_bytes)
        except UriTooLong as error:
            self._refusal = error
            self.on_limit("uri_too_long")
            raise

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer is none, and is dropped: nothing here needs one, and it must not pass for a header."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The empty line: from now on the application waits for the rest.

        Raises:
            StreamingError: there are too many, or they may be read in two ways; the parser stops.
        """
        if self.parser.repeating:
            return
        self._moved = True
        version = self.parser.get_http_version()
        try:
            self._check_size()
            check_head(version, self.url, self.headers)
        except StreamingError as error:
            self._refusal = error
            raise
        if self.expect_100_continue and version != "1.1":
            self.expect_100_continue = False  # its client does not know that answer (RFC 9110, 10.1.1)
        super().on_headers_complete()
        self.cycle.__class__ = _Cycle
        self._in_head = False
        self._unexpect()
        while self._cycles and self._cycles[0].response_complete:
            del self._cycles[0]
        self._cycles.append(cast(_Cycle, self.cycle))

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request, also of one that was answered before."""
        if not self.parser.at_end:
            return
        self._moved = self._between = True
        self._unexpect()
        super().on_message_complete()

    # -- time and size -------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._refused or self.transport.is_closing()

    @property
    def _answering(self) -> bool:
        """Whether the application has a request of this connection."""
        return not getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request

    @property
    def _head_bytes(self) -> int:
        """From the first byte to the empty line, as they are sent without needless blanks."""
        request_line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
        return request_line + sum(len(name) + len(value) + 4 for name, value in self.headers) + len("\r\n")

    @property
    def _address(self) -> str | None:
        """Of whoever has connected."""
        return self.client[0] if self.client else None

    def _check_size(self) -> None:
        if len(self.headers) > self.limits.headers:
            self.on_limit("headers_too_large")
            raise HeadersTooLarge(f"The request has more than {self.limits.headers} headers.")
        if self._head_bytes > self.limits.bytes:
            raise self._too_many_bytes()

    def _too_many_bytes(self) -> HeadersTooLarge:
        self.on_limit("headers_too_large")
        return HeadersTooLarge(f"Request line and headers have more than {self.limits.bytes} bytes.")

    def _expect(self) -> None:
        """Let the time run in which a request has to come; more bytes do not make it longer."""
        if self._between:  # uvicorn has stopped its own timer for a byte that begins nothing
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif self._timer is None:
            self._timer = self.loop.call_later(self.limits.seconds, self._late)

    def _unexpect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        self.on_limit("request_timeout")
        if self._in_head:
            self._refuse(RequestTooLate(f"The headers were not complete after {self.limits.seconds:g} s."))
        else:  # not a byte came, or the rest of a body that was not needed
            self.transport.close()

    def _refuse(self, error: StreamingError) -> None:
        """Answer with a problem, and end the connection; read on for a moment, or the answer is lost on its way."""
        self._unexpect()
        self._refused = True
        tell("request_refused", principal=None, address=self._address, code=error.code)
        if self._answering:
            if self.cycle.response_started or self.pipeline or not self.cycle.more_body:
                self.transport.close()  # whatever is written now would be taken for a part of an answer, or for another
                return
            self.cycle.disconnected = True  # the rest of its body will not come: the application is told so
            self.cycle.waiting_for_100_continue = False  # and its client not to send it
            self.cycle.message_event.set()
        elif not self._in_head:
            self.transport.close()  # no request waits for an answer
            return
        reply = problem(error)
        lines = [f"HTTP/1.1 {reply.status} {TITLES[reply.status]}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = "\r\n".join([*lines, f"content-length: {len(reply.body)}", "connection: close", "", ""])
        body = b"" if self.parser.get_method() == b"HEAD" else reply.body  # which gets the head alone (RFC 9110, 9.3.2)
        self.transport.write(head.encode("ascii") + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)


def protocol_of(settings: Settings, on_limit: OnLimit = _unheard) -> type[ProblemProtocol]:
    """The protocol with the limits of a server.

    Args:
        settings: the limits.
        on_limit: is told whenever one of them is hit.
    """
    found = {"limits": _limits_of(settings), "crowd": Crowd(settings), "on_limit": staticmethod(on_limit)}
    return type("Protocol", (ProblemProtocol,), found)


class Protocol(ProblemProtocol):
    """The protocol for `uvicorn --http streaming.web.protocol:Protocol`: its limits come from the environment.

    uvicorn's own name is taken out of the answers.
    """

    def __init__(self, config: Config, server_state: ServerState, *args: Any, **kwargs: Any) -> None:
        if not hasattr(Protocol, "crowd"):
            settings = load_settings()
            Protocol.limits, Protocol.crowd = _limits_of(settings), Crowd(settings)
        for headers in (config.encoded_headers, server_state.default_headers):
            if _BANNER in headers:
                headers.remove(_BANNER)
        super().__init__(config, server_state, *args, **kwargs)


def _limits_of(settings: Settings) -> HeadLimits:
    return HeadLimits(
        settings.header_timeout_s,
        settings.header_bytes_max,
        settings.headers_max,
        settings.url_bytes_max,
        settings.max_connections,
    )
