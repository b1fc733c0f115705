# Written by `python -m tests.sync_client` from streaming/client/watching.py: change that one.
"""Follow one log to its end, across any number of connections.

Rules of this file:

- Events come out as 1, 2, 3, ...: a repeated one is dropped, a jump is an error, a gap is never passed over in silence.

Owns:   `LogReader`.
Uses:   client.reading (the connections), client.answers (what was received), rules.lifecycle (what ends a log).
Never:  touches the task: a reader that leaves changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import httpx
from httpx_sse import ServerSentEvent

from streaming.client.answers import bad_answer, event_from
from streaming.client.sync.patience import Patience
from streaming.client.sync.reading import StreamReader
from streaming.errors import LogGap, NotFound, StreamingError, TaskNotFound
from streaming.events import Event
from streaming.rules.lifecycle import TERMINAL

OnGap = Literal["raise", "yield"]


class LogReader(StreamReader[Event]):
    """Reads one task's log once; `items` ends after the terminal event.

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
        http: httpx.Client,
        url: str,
        task_id: str,
        *,
        after: int,
        on_gap: OnGap,
        patience: Patience,
    ) -> None:
        super().__init__(http, url, patience)
        self._task_id = task_id
        self._cursor = after
        self._on_gap = on_gap

    def _position(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        return ({"Last-Event-ID": str(self._cursor)} if self._cursor else {}), {}

    def _refused(self, trouble: StreamingError) -> StreamingError:
        if not isinstance(trouble, NotFound):
            return trouble
        missing = TaskNotFound(self._task_id)
        missing.__cause__ = trouble
        return missing

    def _item(self, block: ServerSentEvent) -> Event | None:
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
