"""One reader's response: from its subscription to its connection.

asgineer's ``accept()`` and ``send()`` carry it; one watcher on ``receive()`` learns that the reader has left. The end
of the subscription is the end of the response, a broken one never looks like it.

Owns:   the loop from `Subscription.next` to a write, and its clean-up on every path.
Uses:   web.heartbeat (keepalive, frozen readers), web.transport (cutting a connection).
Never:  touches the task: a reader that leaves changes nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import structlog

from streaming.engine.subscription import Subscription
from streaming.rules.log import Batch
from streaming.rules.sse import KEEPALIVE, RETRY, envelope
from streaming.web.heartbeat import Heartbeat
from streaming.web.reply import NDJSON, SSE, Reply, empty_reply
from streaming.web.request import Request
from streaming.web.transport import Torn, abort, is_cut

_log = structlog.get_logger(__name__)


class Form(NamedTuple):
    """How events look in one media type.

    Attributes:
        content_type: of the response.
        opening: goes in front of the first batch.
        write: a batch as bytes.
        keepalive: means nothing, wherever it stands between two batches.
    """

    content_type: str
    opening: bytes
    write: Callable[[Batch], bytes]
    keepalive: bytes


#: Characters that JSON leaves as they are, and that line readers of many languages take for line ends.
_LINE_ENDS = (("\u0085", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


def _lines(batch: Batch) -> bytes:
    text = "".join([f"{envelope(event)}\n" for event in batch.events])
    if not text.isascii():
        for line_end, escape in _LINE_ENDS:
            text = text.replace(line_end, escape)
    return text.encode()


FORMS = MappingProxyType(
    {
        SSE: Form(f"{SSE}; charset=utf-8", RETRY, lambda batch: batch.sse, KEEPALIVE),
        # A blank in front of a JSON object is part of its line, and parsers skip it. An empty line would be a line.
        NDJSON: Form(NDJSON, b"", _lines, b" "),
    }
)


async def stream(
    request: Request, subscription: Subscription, form: Form, heartbeat: Heartbeat, headers: dict[str, str]
) -> Reply | None:
    """Send a subscription to the reader until one of them ends.

    Args:
        request: whose reader it is; its body has been read, if it matters.
        subscription: closed in the end, in any case.
        form: how events look.
        heartbeat: where the stream is looked after.
        headers: more headers of the response.

    Returns:
        None once the stream was sent; a reply without events if there will be none (204), or nobody wants them (HEAD).
    """
    try:
        if subscription.finished:
            return empty_reply(204, headers)
        headers = {
            "content-type": form.content_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **headers,
        }
        if request.method == "HEAD":
            return Reply(200, headers, b"")
        await Stream(request, subscription, form, heartbeat).run(headers)
        return None
    finally:
        subscription.close()


class Stream:
    """A response that is being sent; see `stream`."""

    __slots__ = (
        "_context",
        "_form",
        "_heartbeat",
        "_request",
        "_subscription",
        "_task",
        "dropped",
        "sending",
        "wrote_at",
    )

    def __init__(self, request: Request, subscription: Subscription, form: Form, heartbeat: Heartbeat) -> None:
        self._request = request
        self._subscription = subscription
        self._form = form
        self._heartbeat = heartbeat
        self._task = asyncio.current_task()
        self._context = contextvars.copy_context()
        self.dropped = False
        self.sending = True
        self.wrote_at = 0.0

    async def run(self, headers: dict[str, str]) -> None:
        """Send everything, and finish or tear the response.

        Raises:
            Torn: the response must not be finished.
        """
        self._heartbeat.add(self)
        self.wrote_at = self._heartbeat.now
        watcher = asyncio.create_task(self._watch(), name="streaming-watcher")
        try:
            await self._request.channel.accept(200, headers)
            await self._pump()
        except asyncio.CancelledError:
            if not self.dropped:
                raise
            raise Torn from None
        except Exception:
            _log.exception("a stream broke off", path=self._request.path)
            self._tear()
        finally:
            self._heartbeat.discard(self)
            self._subscription.close()
            watcher.cancel()
            await asyncio.wait((watcher,))

    async def _pump(self) -> None:
        take, send, write = self._subscription.next, self._request.channel.send, self._form.write
        heartbeat, opening = self._heartbeat, self._form.opening
        self.sending = False
        while (batch := await take()) is not None and not is_cut(self._request.send):
            if batch.events:
                data = opening + write(batch) if opening else write(batch)
                opening = b""
            elif heartbeat.silent(self):
                data = self._form.keepalive
            else:
                continue
            del batch  # a reader that hangs in the next line holds its bytes, not its events
            self.wrote_at = heartbeat.now
            self.sending = True
            await send(data)
            self.sending = False
            del data  # nor does one that waits for the next batch

    async def _watch(self) -> None:
        """Close the subscription once the reader has left."""
        try:
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
        finally:
            self._subscription.close()

    def _tear(self) -> None:
        """Show the reader a broken response rather than an end."""
        if not abort(self._request.send):
            raise Torn

    def nudge(self) -> None:
        """Write a keepalive if nothing else is written."""
        self._subscription.nudge()

    def drop(self) -> None:
        """Cut the connection: the reader takes nothing, or the server must stop."""
        # Whoever calls this is somebody else: the line belongs to this request, and has its task id.
        self._context.run(_log.info, "a reader is cut off", path=self._request.path, frozen=self.sending)
        self.dropped = True
        self._subscription.close()
        if not abort(self._request.send) and self._task is not None:
            self._task.cancel()
