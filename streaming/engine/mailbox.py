"""What others send into a running task.

Owns:   the inputs of one task, in the order of its log; who waits for one.
Uses:   engine.hub (where they are written), engine.journal (where they are read).
Never:  holds their data: an input is an event, and is read from the store once it is there.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog

from streaming.config import Settings
from streaming.engine.hub import Hub
from streaming.engine.limits import check_fits
from streaming.engine.log import Log
from streaming.errors import InvalidParams, StoreUnavailable, TooManyInputs
from streaming.events import DEPTH_MAX, Event, encode_payload

INPUT = "input"

#: Seconds until a store is asked again that could not be read.
RETRY_S = 1.0

_PAGE = 512

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Input:
    """Something that was sent into a task.

    Attributes:
        seq: of its event.
        by: the principal who sent it.
        data: any JSON value.
    """

    seq: int
    by: str
    data: Any


class Mailbox:
    """The inputs of one task, as long as it is live.

    Args:
        hub: of the log.
        log: of the task.
        settings: how many there may be, and how large.
    """

    __slots__ = ("_hub", "_log", "_resumed_at", "_seqs", "_settings", "_waiters")

    def __init__(self, hub: Hub, log: Log, settings: Settings) -> None:
        self._hub = hub
        self._log = log
        self._settings = settings
        self._resumed_at = log.window.last  # what came before is only in the store
        self._seqs: list[int] = []
        self._waiters: dict[asyncio.Future[None], None] = {}

    async def room(self, within_s: float) -> None:
        """Wait until the store takes more: what is refused here is not kept, and may be sent again.

        Args:
            within_s: seconds to wait at most.

        Raises:
            StoreUnavailable: the store is away, or too slow, for so long.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._hub.room(self._log)
        except TimeoutError:
            raise StoreUnavailable("The store is away, or too slow; nothing was sent.") from None

    def put(self, data: object, by: str) -> Event:
        """Write an input into the log.

        Raises:
            InvalidParams: it is too large, or nested too deeply.
            TooManyInputs: there are as many as may be.
            TooManyEvents: the log has as many events as it may have.
            LogTooLarge: it has as many bytes as it may have.
            TaskEnded: the log has its terminal event.
        """
        if len(self._seqs) >= self._settings.inputs_max:
            self._hub.limits_hit.hit("too_many_inputs")
            raise TooManyInputs(f"The task has {self._settings.inputs_max} inputs already; more are not possible.")
        payload = self._payload(data, by)
        check_fits(self._log, self._settings, self._hub.limits_hit, events=1, size=len(payload))
        event = self._hub.append(self._log, INPUT, payload)
        self._seqs.append(event.seq)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        return event

    def _payload(self, data: object, by: str) -> str:
        try:
            payload = encode_payload({"by": by, "data": data}, depth_max=DEPTH_MAX)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParams(f"The input cannot be stored: {error}.") from None
        if (size := len(payload.encode())) > (most := self._settings.event_bytes_max):
            self._hub.limits_hit.hit("input_too_large")
            raise InvalidParams(f"The input has {size} bytes; at most {most} are possible.")
        return payload

    async def read(self) -> AsyncIterator[Input]:
        """All inputs of the task from the first, each once it is stored; waits for more without end."""
        seq = 0
        async for event in self._resumed():
            seq = event.seq
            yield _input(event)
        while True:
            place = bisect_right(self._seqs, seq)
            if place == len(self._seqs):
                await self._more()
                continue
            seq = self._seqs[place]
            await self._hub.committed()
            for event in await self._stored(seq - 1, seq):
                if event.type == INPUT:  # and not a gap, where somebody has damaged it
                    yield _input(event)

    async def _more(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    async def _resumed(self) -> AsyncIterator[Event]:
        """The inputs that another process has written."""
        seq = 1  # the first event is never one
        while seq < self._resumed_at and (page := await self._stored(seq, self._resumed_at)):
            for event in page:
                if event.type == INPUT:
                    yield event
            seq = page[-1].seq

    async def _stored(self, seq: int, last_seq: int) -> list[Event]:
        """The next events of the log; a store that is away is waited for."""
        while True:
            try:
                return await self._hub.journal.events_after(self._log.record.id, seq, last_seq=last_seq, limit=_PAGE)
            except StoreUnavailable as problem:
                _log.warning("a handler waits for its inputs", task_id=self._log.record.id, reason=problem.detail)
                await asyncio.sleep(RETRY_S)


def _input(event: Event) -> Input:
    return Input(event.seq, event.data["by"], event.data["data"])
