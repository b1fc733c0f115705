# Written by `python -m tests.sync_client` from streaming/client/reading.py: change that one.
"""Read a stream of events across any number of connections.

Rules of this file:

- A connection that ends before its time is replaced by another one that goes on behind the last event.
- Silence is not trusted: a stream without a byte for ``silence_s`` is dead (the read timeout of httpx).

Owns:   `StreamReader`: what a log and the feed have in common.
Uses:   client.answers (what was received), client.patience (when to try again).
Never:  knows what is in a block, or which one comes after which.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Generic, TypeVar, cast

import httpx
from httpx_sse import EventSource, ServerSentEvent, connect_sse

from streaming.client.answers import LOST, PASSING, bad_answer, problem, shown, unreachable
from streaming.client.sync.patience import Attempts, Patience
from streaming.errors import StreamingError

Item = TypeVar("Item")

CONNECT_S = 5.0

#: A stream that brings nothing and ends sooner than this is no sign of life.
LIVED_S = 1.0

#: What a server may ask for has no end of digits, and a float has.
_RETRY_MAX_MS = 10**9

#: The last line of a stream that ends although what is read goes on; it has fewer characters than that.
_PARTING = re.compile(r"(?:\A|[\r\n])retry: ?([0-9]{1,9})(?:\r\n|\r|\n)\Z")
_PARTING_MAX = 64


class StreamReader(ABC, Generic[Item]):
    """Reads one stream once.

    Args:
        http: the client's connections.
        url: of the event stream.
        patience: the client's.
    """

    def __init__(self, http: httpx.Client, url: str, patience: Patience) -> None:
        self._http = http
        self._url = url
        self._patience = patience
        self._attempts = Attempts(patience, patience.give_up_s)
        self._ended = False

    def items(self) -> Generator[Item, None]:
        """All that is behind the position, until the stream has ended for good."""
        while not self._ended:
            trouble: StreamingError = unreachable(self._http.base_url, EOFError("the stream ended too soon"))
            try:
                with closing(self._one_stream()) as items:
                    yield from items
            except _Passing as passing:
                trouble = passing.trouble
            except LOST as error:
                trouble = unreachable(self._http.base_url, error)
            if not self._ended:
                self._attempts.pause(trouble)

    # -- what the kinds of streams say -----------------------------------------------------------------------------

    @abstractmethod
    def _position(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Headers and query of a request that goes on where this reader stands."""

    @abstractmethod
    def _item(self, block: ServerSentEvent) -> Item | None:
        """What is in a block that has data; None if it is not new."""

    def _refused(self, trouble: StreamingError) -> StreamingError:
        """The error of a refusal that will not pass."""
        return trouble

    def _opened(self) -> None:
        """A connection is there: the server has accepted the position."""

    # -- one connection --------------------------------------------------------------------------------------------

    def _one_stream(self) -> Generator[Item, None]:
        timeout = httpx.Timeout(CONNECT_S, read=self._patience.silence_s)
        headers, query = self._position()
        with connect_sse(
            self._http, "GET", self._url, headers=dict(headers), params=dict(query), timeout=timeout
        ) as source:
            if not self._accepted(source.response):
                return
            self._opened()
            with closing(self._received(source)) as items:
                for item in items:
                    yield item
                    if self._ended:
                        return

    def _accepted(self, response: httpx.Response) -> bool:
        """Whether the answer is a stream; False for one that has ended behind the position."""
        if response.status_code == httpx.codes.NO_CONTENT:
            self._ended = True
            return False
        if response.status_code != httpx.codes.OK:
            response.read()
            trouble = problem(response)
            if response.status_code in PASSING:
                raise _Passing(trouble)
            raise self._refused(trouble)
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            raise bad_answer(f"{shown(response.url)} answered with {kind[:80]!r}, not with an event stream.")
        return True

    def _received(self, source: EventSource) -> Generator[Item, None]:
        opened_at = self._patience.clock()
        heard = _Heard(source.response)
        try:
            with closing(
                cast("Generator[ServerSentEvent, None]", EventSource(cast(httpx.Response, heard)).iter_sse())
            ) as blocks:
                for block in blocks:
                    item = self._new(block)
                    if item is not None:
                        yield item
            if (told_ms := heard.parting_ms) is not None:
                self._attempts.obey_parting(told_ms / 1000)
        finally:
            if self._patience.clock() - opened_at >= LIVED_S:
                self._attempts.heard()

    def _new(self, block: ServerSentEvent) -> Item | None:
        """What is new in a block; None if there is nothing."""
        if block.retry is not None:
            self._attempts.obey_retry(min(max(block.retry, 0), _RETRY_MAX_MS) / 1000)
        if not block.data:  # httpx-sse makes one of every blank line
            return None
        item = self._item(block)
        if item is not None:
            self._attempts.succeeded()
        return item


class _Heard:
    """The response of a stream, and its last line: the server may say there when to come back, without an event.

    Args:
        response: of httpx; of it, what httpx-sse takes.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self._response = response
        self._end = ""

    def iter_text(self) -> Generator[str, None]:
        """See `httpx.Response`."""
        for text in self._response.iter_text():
            self._end = (self._end + text)[-_PARTING_MAX:]
            yield text

    @property
    def parting_ms(self) -> int | None:
        """What the last line asks for, if it is a whole one and no event follows."""
        found = _PARTING.search(self._end)
        return None if found is None else int(found[1])


class _Passing(Exception):
    """An answer that may be another one in a moment."""

    def __init__(self, trouble: StreamingError) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
