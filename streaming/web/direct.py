"""The direct path: a stream writes to its connection itself, past the server.

``send()`` of ASGI costs a message, a coroutine and the framing of a chunk for each reader and event; the task of the
request has to be there for as long as the stream. Here the server lends its connection instead, as an extension of
ASGI: the bytes of an event with the chunk around them are made once for all readers, and go straight to the transport.
The task of the request ends when the head is sent.

The extension ``streaming.direct`` is the protocol of the connection. It is offered with each request, and taken only
where nobody stands between: a middleware that wraps ``send`` keeps seeing every byte (`web.portable`).

What is reached of uvicorn beside the ASGI messages, and held against the installed one by a test:

- of its protocol: ``cycle``, ``transport``, ``scope``, ``headers``, ``loop``, ``flow.write_paused``,
  ``flow.resume_reading``, ``pause_writing``, ``resume_writing``, ``on_response_complete``;
- of a request's cycle: ``disconnected``, which keeps it quiet while we write; ``response_complete`` and ``keep_alive``;
  ``scope``, ``body`` and ``message_event``, which nobody needs any more: an idle stream takes a quarter less.

Where one of them is missing, nothing is offered, and streams take the portable path.

Owns:   what a stream may do with a connection, and when it gets one.
Never:  knows what a stream writes, or when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streaming.web.chunks import LAST_CHUNK, chunk

#: The name of the extension in the scope of a request.
EXTENSION = "streaming.direct"

#: What a cycle must have, and the flow of a connection.
NEEDED = ("disconnected", "response_complete", "keep_alive", "scope", "body", "message_event")
NEEDED_OF_FLOW = ("write_paused", "resume_reading")

#: For whom nobody waits; each event of asyncio has a queue of its own.
_UNHEARD = asyncio.Event()


class Written(Protocol):
    """What a connection tells the stream that has it."""

    def pause(self) -> None:
        """Write no more: enough waits to be sent."""

    def resume(self) -> None:
        """Go on."""

    def lose(self) -> None:
        """The connection is over."""

    def fail(self) -> None:
        """What was written before has failed, with the exception that is being handled."""


class Connection(Protocol):
    """What a stream does with the connection that it has.

    Attributes:
        chunked: what is written has its chunk around it already.
    """

    chunked: bool

    @property
    def write(self) -> Callable[[bytes], object]:
        """Sends bytes: as many as there are, until the stream is told to pause."""

    def say(self, data: bytes) -> None:
        """Send bytes that have no chunk around them yet."""

    def closing(self) -> bool:
        """Whether the connection is over, though nobody has been told yet."""

    def finish(self) -> None:
        """End the response as a whole one."""

    def cut(self) -> None:
        """End the connection now: what waits to be sent is thrown away, and the response is seen to be broken."""

    async def carry(self) -> None:
        """Let the stream begin, and be there for as long as the task of the request is needed.

        Raises:
            Torn: the response must not be finished.
        """


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which lends its connection to streams; then it is a `Connection`."""

    chunked = True
    _stream: Written | None = None
    _lent: RequestResponseCycle | None = None

    # -- for a stream --------------------------------------------------------------------------------------------------

    def lend(self, send: object, stream: Written) -> bool:
        """Hand the rest of a response to a stream, from its head on.

        Args:
            send: what the application was called with.
            stream: it writes until `finish` or `cut`, or until it is told that the connection is lost.

        Returns:
            Whether it has the connection; not where ``send`` belongs to somebody else, or to an earlier request.
        """
        cycle = getattr(send, "__self__", None)
        if cycle is None or cycle is not self.cycle or not (_has(cycle, NEEDED) and _has(self.flow, NEEDED_OF_FLOW)):
            return False
        if cycle.disconnected or cycle.response_complete or self.transport.is_closing():
            return False
        cycle.disconnected = True  # from now on it writes nothing, and does not miss what is not written
        cycle.message_event.set()  # whoever listens beside us is told that there is nothing more to hear
        cycle.message_event = _UNHEARD
        cycle.scope = self.scope = cast(HTTPScope, {})
        self.headers = []
        cycle.body = bytearray()
        self.flow.resume_reading()  # of a body that nobody wants, or a reader that leaves would not be noticed
        self._lent, self._stream = cycle, stream
        if self.flow.write_paused:
            stream.pause()
        return True

    @property
    def write(self) -> Callable[[bytes], object]:
        """The transport's own."""
        return self.transport.write

    def say(self, data: bytes) -> None:
        """See `Connection`."""
        self.transport.write(chunk(data))

    def closing(self) -> bool:
        """See `Connection`."""
        return self.transport.is_closing()

    def finish(self) -> None:
        """See `Connection`; it may serve the next request."""
        if self._lent is None:
            return
        cycle, self._lent, self._stream = self._lent, None, None
        self.transport.write(LAST_CHUNK)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def cut(self) -> None:
        """See `Connection`."""
        self.transport.abort()

    async def carry(self) -> None:
        """See `Connection`; the task of the request is not needed."""
        if self._stream is not None and not self.flow.write_paused:
            self._stream.resume()

    # -- what the transport and the parser call ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Offer the connection with each request."""
        super().on_message_begin()
        extensions: dict[Any, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def on_body(self, body: bytes) -> None:
        """A piece of a body; nobody reads that of a request which is answered with a stream."""
        if self._lent is None or self._lent is not self.cycle:
            super().on_body(body)

    def pause_writing(self) -> None:
        """The transport has enough."""
        super().pause_writing()
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        """The transport has room again.

        The stream goes on a moment later: it may end the connection, and asyncio, which is in the middle of sending,
        would end it a second time (`asyncio.selector_events`, ``_write_ready``, also in Python 3.13).
        """
        super().resume_writing()
        if self._stream is not None:
            self.loop.call_soon(self._go_on, self._stream)

    def _go_on(self, stream: Written) -> None:
        if not self.flow.write_paused:
            stream.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is told before anybody else: uvicorn lets everybody go on who waits for room."""
        stream, self._stream = self._stream, None
        super().connection_lost(exc)
        if stream is not None:
            stream.lose()


def _has(thing: object, names: tuple[str, ...]) -> bool:
    return all(hasattr(thing, name) for name in names)
