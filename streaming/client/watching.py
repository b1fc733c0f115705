"""Follow one log to its end, across any number of connections.

Rules of this file:

- Events come out as 1, 2, 3, ...: a repeated one is dropped, a jump is an error, a gap is never passed over in silence.
- A connection that ends before the terminal event is replaced by another one that goes on behind the last event.
- Silence is not trusted: a stream without a byte for ``silence_s`` is dead (the read timeout of httpx).

Owns:   `LogReader`.
Uses:   client.answers (what was received), client.patience (when to try again), rules.lifecycle (what ends a log).
Never:  touches the task: a reader that leaves changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

import httpx
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from streaming.client.answers import LOST, PASSING, bad_answer, event_from, problem, shown, unreachable
from streaming.client.patience import Attempts, Patience
from streaming.errors import LogGap, NotFound, StreamingError, TaskNotFound
from streaming.events import Event
from streaming.rules.lifecycle import TERMINAL

OnGap = Literal["raise", "yield"]

CONNECT_S = 5.0

#: A stream that brings nothing and ends sooner than this is no sign of life.
LIVED_S = 1.0

#: What a server may ask for has no end of digits, and a float has.
_RETRY_MAX_MS = 10**9


class LogReader:
    """Reads one task's log once.

    Args:
        http: the client's connections.
        url: of the event stream.
        task_id: whose log.
        after: seq of the last event that is known already.
        on_gap: whether missing events raise `LogGap`, or come out as the ``gap`` event that announces them.
        patience: the client's.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        task_id: str,
        *,
        after: int,
        on_gap: OnGap,
        patience: Patience,
    ) -> None:
        self._http = http
        self._url = url
        self._task_id = task_id
        self._cursor = after
        self._on_gap = on_gap
        self._patience = patience
        self._attempts = Attempts(patience, patience.give_up_s)
        self._ended = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events behind the cursor; ends after the terminal one."""
        while not self._ended:
            trouble: StreamingError = unreachable(self._http.base_url, EOFError("the stream ended too soon"))
            try:
                async with aclosing(self._one_stream()) as events:
                    async for event in events:
                        yield event
            except _Passing as passing:
                trouble = passing.trouble
            except LOST as error:
                trouble = unreachable(self._http.base_url, error)
            if not self._ended:
                await self._attempts.pause(trouble)

    async def _one_stream(self) -> AsyncGenerator[Event, None]:
        timeout = httpx.Timeout(CONNECT_S, read=self._patience.silence_s)
        headers = {"Last-Event-ID": str(self._cursor)} if self._cursor else {}
        async with aconnect_sse(self._http, "GET", self._url, headers=headers, timeout=timeout) as source:
            if not await self._opened(source.response):
                return
            async with aclosing(self._received(source)) as events:
                async for event in events:
                    yield event
                    if self._ended:
                        return

    async def _opened(self, response: httpx.Response) -> bool:
        """Whether the answer is a stream; False for a log that has ended behind the cursor."""
        if response.status_code == httpx.codes.NO_CONTENT:
            self._ended = True
            return False
        if response.status_code != httpx.codes.OK:
            await response.aread()
            trouble = problem(response)
            if isinstance(trouble, NotFound):
                raise TaskNotFound(self._task_id) from trouble
            if response.status_code in PASSING:
                raise _Passing(trouble)
            raise trouble
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            raise bad_answer(f"{shown(response.url)} answered with {kind[:80]!r}, not with an event stream.")
        return True

    async def _received(self, source: EventSource) -> AsyncGenerator[Event, None]:
        opened_at = self._patience.clock()
        try:
            async with aclosing(source.aiter_sse()) as blocks:
                async for block in blocks:
                    event = self._accepted(block)
                    if event is not None:
                        yield event
        finally:
            if self._patience.clock() - opened_at >= LIVED_S:
                self._attempts.heard()

    def _accepted(self, block: ServerSentEvent) -> Event | None:
        """The event in a block; None if there is none, or not a new one."""
        if block.retry is not None:
            self._attempts.obey_retry(min(max(block.retry, 0), _RETRY_MAX_MS) / 1000)
        if not block.data:  # httpx-sse makes one of every blank line
            return None
        event = event_from(block.data)
        if event.task_id != self._task_id:
            raise bad_answer(f"An event of task {event.task_id[:64]!r} is in the log of task {self._task_id!r}.")
        first = self._first_missing(event) if event.type == "gap" else event.seq
        if event.seq <= self._cursor:
            return None
        if first > self._cursor + 1:
            raise bad_answer(
                f"In the log of task {self._task_id} event {self._cursor} was followed by {first}: "
                "the server has lost events and does not say so."
            )
        self._cursor = event.seq
        self._ended = event.type in TERMINAL
        self._attempts.succeeded()
        return event

    def _first_missing(self, event: Event) -> int:
        """Where a gap begins.

        Raises:
            LogGap: events are missing that this reader has not seen, and that is not what it wants to go on with.
        """
        data = event.data
        try:
            first, last, reason = int(data["from"]), int(data["to"]), str(data["reason"])
        except (KeyError, TypeError, ValueError) as error:
            raise bad_answer(f"A gap must say from where to where it goes, not {event.payload[:80]}.") from error
        if last != event.seq:
            raise bad_answer(f"A gap that ends at {last} must not have the id {event.seq}.")
        if self._on_gap == "raise" and last > self._cursor:
            raise LogGap(self._task_id, max(first, self._cursor + 1), last, reason)
        return first


class _Passing(Exception):
    """An answer that may be another one in a moment."""

    def __init__(self, trouble: StreamingError) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
