"""When running tasks may end, for whoever shows them.

Rules of this file:

- An answer never waits. What past runs took is read beside it, and is part of the answers after that.
- What is known of a type grows old, and is read again when somebody asks: so it follows the runs that complete.

Owns:   what past runs of the types took that somebody has asked for lately.
Uses:   rules.eta (the arithmetic).
Never:  asks the store for each task, or keeps more than `TYPES_MAX` types.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from streaming.errors import StoreUnavailable
from streaming.events import rfc3339, seconds_of
from streaming.records import Eta, Record, TaskStatus
from streaming.rules.eta import eta

#: Runs of a type that count: the newest.
RUNS_MAX = 100

#: Types that something is known of, at most; the one that nobody has asked for longest is forgotten.
TYPES_MAX = 1000

#: Types that are read at the same time: others want the store too.
READS_MAX = 2

#: Seconds after which the past of a type is read again.
FRESH_S = 10.0

#: No end is said to be further away: a thousand years.
LATEST_S = 365_000 * 86_400.0

_log = structlog.get_logger(__name__)

#: Reads what past runs of a type took, in seconds: the newest, at most so many.
Durations = Callable[[str, int], Awaitable[Sequence[float]]]


@dataclass(slots=True)
class _Past:
    """What is known of a type, and until which time on the loop's clock it is not read again."""

    durations: Sequence[float] = ()
    fresh_until: float = 0.0


class Forecast:
    """Says when tasks may end.

    Args:
        durations: reads what past runs took.
        now: the time, RFC 3339.
    """

    def __init__(self, durations: Durations, now: Callable[[], str]) -> None:
        self._durations = durations
        self._now = now
        self._past: OrderedDict[str, _Past] = OrderedDict()
        self._reads: dict[str, asyncio.Task[None]] = {}

    def eta(self, record: Record) -> Eta | None:
        """When a task may end; None unless it runs, and something is known."""
        span, now_s = self.span(record), seconds_of(self._now())
        if span is None:
            return None
        earliest, latest = (rfc3339(now_s + min(seconds, LATEST_S)) for seconds in span)
        return Eta(earliest, latest)

    def span(self, record: Record) -> tuple[float, float] | None:
        """The same in seconds from now, at the least and at the most."""
        if record.status is not TaskStatus.RUNNING or record.started_at is None:
            return None
        percent = None if record.progress is None else record.progress.percent
        return eta(seconds_of(self._now()), seconds_of(record.started_at), percent, self._past_of(record.type))

    def past(self, type: str) -> Sequence[float]:
        """Seconds that past runs of a type took, as far as that is known now."""
        return self._past_of(type)

    async def learn(self, types: Iterable[str], within_s: float) -> None:
        """Wait until what past runs of some types took is known, if it can be read.

        Args:
            types: of tasks.
            within_s: seconds to wait at most.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        for type in types:
            self._past_of(type)
            if (read := self._reads.get(type)) is not None:
                await asyncio.wait({read}, timeout=max(0.0, until - loop.time()))

    def close(self) -> None:
        """Read no more."""
        for read in self._reads.values():
            read.cancel()

    def _past_of(self, type: str) -> Sequence[float]:
        past = self._past.setdefault(type, _Past())
        self._past.move_to_end(type)
        while len(self._past) > TYPES_MAX:
            self._past.popitem(last=False)
        loop = asyncio.get_running_loop()
        if loop.time() >= past.fresh_until and type not in self._reads and len(self._reads) < READS_MAX:
            past.fresh_until = loop.time() + FRESH_S
            read = self._reads[type] = loop.create_task(self._read(type, past), name="streaming-forecast")
            read.add_done_callback(lambda _: self._reads.pop(type))
        return past.durations

    async def _read(self, type: str, past: _Past) -> None:
        try:
            past.durations = tuple(await self._durations(type, RUNS_MAX))
        except StoreUnavailable as problem:
            _log.warning("what past runs took cannot be read", task_type=type, reason=problem.detail)
