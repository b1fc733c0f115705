"""The portable path: a stream writes with the ``send()`` of ASGI, under any server.

The task of a request lasts as long as its stream, but is not woken for each event: that would cost more than the
writing. Whoever has news drives ``send()`` by hand, up to where it would wait; nearly always it is done before. Where
it waits, because the reader is slow, the task of the request takes over what has been begun.

While it is driven it runs as that task: servers and middlewares ask which task is at work, for timeouts and cancel
scopes. ``_enter_task`` and ``_leave_task`` are asyncio's documented way to lend one ("Extending asyncio").

Owns:   the response between its head and its end, as ASGI messages.
Never:  knows what a stream writes, or when.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from typing import Any

from streaming.engine.alarm import Alarm
from streaming.web.direct import Written
from streaming.web.request import Request
from streaming.web.transport import Torn, abort, is_cut

#: A send that waits, and what for.
Begun = tuple[Coroutine[Any, Any, None], Any]


class PortableConnection:
    """A `Connection` behind ``send()``; made in the task of its request.

    Args:
        request: its head has been sent.
        stream: it writes in no task, until `finish` or `cut`, or until it is told that the connection is lost.
    """

    chunked = False

    def __init__(self, request: Request, stream: Written) -> None:
        self._request = request
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._context = contextvars.copy_context()
        self._alarm = Alarm()
        self._begun: Begun | None = None  # the task of the request has not taken it over yet
        self._waits = False  # a send is not done yet
        self._whole = self._torn = False

    # -- for a stream --------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See `Connection`; the stream is told to pause if it does not go at once."""
        sending = self._request.channel.send(data)
        assert self._task is not None  # noqa: S101  # it was made in one
        _enter_task(self._loop, self._task)
        try:
            waits_for = self._context.run(sending.send, None)
        except StopIteration:
            return
        finally:
            _leave_task(self._loop, self._task)
        self._begun, self._waits = (sending, waits_for), True
        self._stream.pause()
        self._alarm.ring()

    say = write

    def closing(self) -> bool:
        """See `Connection`."""
        return is_cut(self._request.send)

    def finish(self) -> None:
        """See `Connection`."""
        self._whole = True
        self._alarm.ring()

    def cut(self) -> None:
        """See `Connection`; where there is no way to it, the response is left unfinished."""
        self._torn = True
        if not abort(self._request.send) and self._waits and self._task is not None:
            self._task.cancel()
        self._alarm.ring()

    # -- for the request -----------------------------------------------------------------------------------------------

    async def carry(self) -> None:
        """See `Connection`: until the stream has ended."""
        watcher = asyncio.create_task(self._watch(), name="streaming-watcher")
        self._loop.call_soon(self._stream.resume)
        cancelled: asyncio.CancelledError | None = None
        try:
            while not (self._whole or self._torn):
                await self._news()
                await self._take_over()
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            self._torn, self._waits = True, False
            self._stream.fail()
        finally:  # also where the process dies, and nothing can be awaited
            self._stream.lose()
            watcher.cancel()
        await asyncio.wait((watcher,))
        if self._torn:
            raise Torn
        if cancelled is not None:
            raise cancelled

    async def _news(self) -> None:
        """Wait for something to do; a cancellation may be meant for the send that has begun, as that of a timeout."""
        try:
            await self._alarm.wait()
        except asyncio.CancelledError as cancelled:
            if self._begun is None or self._task is None:
                raise
            # Once more, for the send and what it waits for; it counts as one.
            self._task.cancel(*cancelled.args)
            self._task.uncancel()

    async def _take_over(self) -> None:
        """Finish a send that waits, and let the stream go on; in a step of its own, in no task."""
        if self._begun is None:
            return
        (sending, waits_for), self._begun = self._begun, None
        await rest_of(self._context, sending, waits_for)
        self._waits = False
        self._loop.call_soon(self._stream.resume)

    async def _watch(self) -> None:
        """Tell the stream once the reader has left."""
        try:
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
        finally:
            self._whole = True  # whatever is sent now goes nowhere
            self._stream.lose()
            self._alarm.ring()


@types.coroutine
def rest_of(
    context: contextvars.Context, sending: Coroutine[Any, Any, None], waits_for: Any
) -> Generator[Any, Any, None]:
    """Await a coroutine that was driven by hand up to where it waits for something."""
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = context.run(sending.throw, error)
            else:
                waits_for = context.run(sending.send, value)
    except StopIteration:
        return
