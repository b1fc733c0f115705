"""One reader's response: from its subscription to its connection.

asgineer's ``accept()`` sends its head. From there on a stream is no task: it is called when there is news, and when its
connection has room again, and writes until one of them has no more. The end of the subscription is the end of the
response, a broken one never looks like it.

Owns:   how events look, the loop from `Source.poll` to a write, and its clean-up on every path.
Uses:   web.direct or web.portable (the connection), web.heartbeat (keepalive, frozen readers).
Never:  touches the task: a reader that leaves changes nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple, Protocol

import structlog

from streaming.rules.log import Batch, Reading
from streaming.rules.sse import KEEPALIVE, RETRY, envelope
from streaming.web.chunks import chunk
from streaming.web.direct import EXTENSION, Connection, DirectProtocol
from streaming.web.headers import stream_headers
from streaming.web.heartbeat import Heartbeat
from streaming.web.portable import PortableConnection, rest_of
from streaming.web.reply import NDJSON, SSE, Reply, empty_reply
from streaming.web.request import Request
from streaming.web.transport import Torn, abort

_log = structlog.get_logger(__name__)


class Source(Protocol):
    """What a stream sends: a subscription, or something that behaves like one.

    Attributes:
        on_news: see `Subscription`.
        push: see `Subscription`.
    """

    on_news: Callable[[], object] | None
    push: Callable[[Batch], int] | None

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come."""

    def poll(self) -> Batch | Reading:
        """See `Subscription.poll`."""

    def sent(self, events: int, size: int) -> None:
        """See `Subscription.sent`."""

    def close(self) -> None:
        """Leave. Closing twice is allowed."""


class Form(NamedTuple):
    """How events look in one media type.

    Attributes:
        content_type: of the response.
        opening: goes in front of the first batch.
        write: a batch as bytes.
        write_chunk: the same with a chunk around it.
        keepalive: means nothing, wherever it stands between two batches.
        farewell: says that the credential of the reader is over; None if the form has no word for that.
    """

    content_type: str
    opening: bytes
    write: Callable[[Batch], bytes]
    write_chunk: Callable[[Batch], bytes]
    keepalive: bytes
    farewell: bytes | None


#: The last words to a reader whose credential has ended, or was revoked.
FAREWELL = b": unauthenticated: the credential of this stream is over\n\n"

#: Characters that JSON leaves as they are, and that line readers of many languages take for line ends.
_LINE_ENDS = (("\u0085", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


def _sse(batch: Batch) -> bytes:
    return batch.sse


def _sse_chunk(batch: Batch) -> bytes:
    return chunk(batch.sse)


def _lines(batch: Batch) -> bytes:
    text = "".join([f"{envelope(event)}\n" for event in batch.events])
    if not text.isascii():
        for line_end, escape in _LINE_ENDS:
            text = text.replace(line_end, escape)
    return text.encode()


def _lines_chunk(batch: Batch) -> bytes:
    return chunk(_lines(batch))


FORMS = MappingProxyType(
    {
        SSE: Form(f"{SSE}; charset=utf-8", RETRY, _sse, _sse_chunk, KEEPALIVE, FAREWELL),
        # A blank in front of a JSON object is part of its line, and parsers skip it. An empty line would be a line.
        NDJSON: Form(NDJSON, b"", _lines, _lines_chunk, b" ", None),
    }
)


async def stream(
    request: Request, subscription: Source, form: Form, heartbeat: Heartbeat, headers: dict[str, str]
) -> Reply | Stream:
    """Begin to send a subscription to the reader; it goes on until one of them ends.

    Args:
        request: whose reader it is; its body has been read, if it matters.
        subscription: closed in the end, in any case.
        form: how events look.
        heartbeat: where the stream is looked after.
        headers: more headers of the response.

    Returns:
        The stream, which somebody has to `Stream.carry`; a reply without events if there will be none (204), or nobody
        wants them (HEAD).
    """
    begun = False
    try:
        if subscription.finished:
            return empty_reply(204, headers)
        headers = stream_headers(form.content_type, {**headers, **request.answer_headers})
        if request.method == "HEAD":
            return Reply(200, headers, b"")
        await _Opening(request, heartbeat).accept(headers)
        begun = True
    finally:
        if not begun:
            subscription.close()
    if heartbeat.spans is None:
        return Stream(request, subscription, form, heartbeat)
    from streaming.web.traced_stream import traced  # with OpenTelemetry, which is not loaded for nothing

    return traced(heartbeat.spans, request, subscription, form, heartbeat)


class _Opening:
    """The head of a response on its way: it may have to wait behind an earlier one that the reader does not take."""

    sending = True

    def __init__(self, request: Request, heartbeat: Heartbeat) -> None:
        self._request = request
        self._heartbeat = heartbeat
        self._task = asyncio.current_task()
        self._context = contextvars.copy_context()
        self._dropped = False
        self.wrote_at = 0.0

    async def accept(self, headers: dict[str, str]) -> None:
        """Send it.

        Raises:
            Torn: it could not be sent in time.
        """
        accepting = self._request.channel.accept(200, headers)
        try:
            waits_for = self._context.run(accepting.send, None)
        except StopIteration:
            return  # as nearly always
        try:
            with self._heartbeat.head(self):
                self.wrote_at = self._heartbeat.now  # its clock goes from here on
                await rest_of(self._context, accepting, waits_for)
        except asyncio.CancelledError:
            if not self._dropped:
                raise
            raise Torn from None

    def nudge(self) -> None:
        """Nothing can be written yet."""

    def drop(self) -> None:
        """Cut the connection."""
        _tell_cut(self._context, self._request.path, frozen=True)
        self._dropped = True
        if not abort(self._request.send) and self._task is not None:
            self._task.cancel()


def _tell_cut(context: contextvars.Context, path: str, *, frozen: bool) -> None:
    """Whoever drops a stream is somebody else: the line belongs to its request, and has its task id."""
    context.run(_log.info, "a reader is cut off", path=path, frozen=frozen)


class Stream:
    """A response that is being sent; see `stream`.

    Attributes:
        credential: what it was opened with.
        sending: the connection has enough for now.
        wrote_at: the heartbeat's time of the last write.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_form",
        "_heartbeat",
        "_opened",
        "_over",
        "_path",
        "_subscription",
        "_write",
        "_write_batch",
        "credential",
        "sending",
        "wrote_at",
    )

    def __init__(self, request: Request, subscription: Source, form: Form, heartbeat: Heartbeat) -> None:
        self._subscription = subscription
        self._form = form
        self._heartbeat = heartbeat
        self._path = request.path
        self._context = contextvars.copy_context()
        self._opened = not form.opening
        self._over = False
        self.sending = False
        self.credential = request.credential
        heartbeat.add(self)
        self.wrote_at = heartbeat.now
        self._connection = connection = _connection(request, self)
        self._write = connection.write
        self._write_batch = form.write_chunk if connection.chunked else form.write
        subscription.on_news = self.pump
        subscription.push = self.push

    async def carry(self) -> None:
        """Begin, and be there for as long as the connection needs the task of the request.

        Raises:
            Torn: the response must not be finished.
        """
        await self._connection.carry()

    def pump(self) -> None:
        """Write what is there, as far as the connection takes it."""
        subscription = self._subscription
        try:
            while not (self.sending or self._over):
                found = subscription.poll()
                if found is Reading.WAIT:
                    return
                if not isinstance(found, Batch):
                    self._finish()
                elif self._connection.closing():
                    self.lose()
                else:
                    self._send(found)
        except Exception:
            self.fail()

    def push(self, batch: Batch) -> int:
        """Write what comes next, unless the connection has enough; the short way for what nearly always happens.

        Returns:
            How many bytes were written.
        """
        if self.sending or not self._opened:
            return 0
        self.wrote_at = self._heartbeat.now
        try:
            data = batch.as_bytes(self._write_batch)
            self._write(data)
        except Exception:
            self.fail()
            return 0
        return len(data)

    def _send(self, batch: Batch) -> None:
        self.wrote_at = self._heartbeat.now
        if self._opened:
            data = batch.as_bytes(self._write_batch)
            self._write(data)
        else:
            self._opened = True
            data = self._form.opening + batch.as_bytes(self._form.write)
            self._connection.say(data)
        self._subscription.sent(len(batch.events), len(data))

    # -- what the heartbeat says ---------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Write a keepalive."""
        self.wrote_at = self._heartbeat.now
        try:
            self._connection.say(self._form.keepalive)
        except Exception:
            self.fail()

    def drop(self) -> None:
        """Cut the connection: the reader takes nothing, or the server must stop."""
        _tell_cut(self._context, self._path, frozen=self.sending)
        self._leave()
        self._connection.cut()

    def expire(self) -> None:
        """End the response, and say why; a form that has no word for that is seen to break off."""
        if self._over:
            return
        self._context.run(_log.info, "a reader's credential is over", path=self._path)
        self._leave()
        if self._form.farewell is None or self.sending:
            self._connection.cut()
            return
        try:
            self._connection.say(self._form.farewell)
            self._connection.finish()
        except Exception:
            self.fail()

    # -- what the connection says --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Write no more: enough waits to be sent."""
        self.sending = True

    def resume(self) -> None:
        """Go on."""
        self.sending = False
        self.pump()

    def lose(self) -> None:
        """The connection is over."""
        self._leave()

    def fail(self) -> None:
        """Show the reader a broken response rather than an end."""
        self._context.run(_log.exception, "a stream broke off", path=self._path)
        self._leave()
        self._connection.cut()

    def _finish(self) -> None:
        # A form that says in the beginning when to come back can say so in the end.
        words = b"" if self._subscription.finished or not self._form.opening else self._heartbeat.parting.words()
        self._leave()
        if words:
            self._connection.say(words)
        self._connection.finish()

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            self._subscription.on_news = self._subscription.push = None
            self._subscription.close()
            self._heartbeat.discard(self)


def _connection(request: Request, stream: Stream) -> Connection:
    """The connection itself, where the server lends it and nobody stands between; else the way through ``send()``."""
    protocol = (request.scope.get("extensions") or {}).get(EXTENSION)
    if isinstance(protocol, DirectProtocol) and protocol.lend(request.send, stream):
        return protocol
    return PortableConnection(request, stream)
