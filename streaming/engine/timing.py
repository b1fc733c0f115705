"""Deadlines on the clock of the event loop.

Owns:   when the deadlines of a task are on this loop, the warnings of them, the wait of a task for its turn, and the
        time that a run has left.
Uses:   rules.deadlines (which there are), engine.hub (who hears of it).
Never:  ends a task.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from streaming.config import Settings
from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.events import encode_payload, rfc3339, seconds_of
from streaming.rules.deadlines import Deadlines, Due, deadlines_of, warning_data


def deadlines_now(hub: Hub, log: Log, settings: Settings, begun: float) -> Deadlines:
    """The deadlines of a task in the status that it has.

    Args:
        hub: of the log.
        log: of the task.
        settings: how long before a deadline readers are warned.
        begun: loop time at which the waiting or the run begins.
    """
    record = log.record
    return deadlines_of(
        record.status,
        record.policy,
        record.timeout_s,
        created_at=since(hub, record.created_at),
        since=begun,
        warning_s=settings.deadline_warning_s,
    )


class TimeLeft:
    """How much time a run has left.

    It does not know who runs. So nothing refers to itself through what a handler holds, and all of a run is freed with
    it, without a look for garbage.

    Attributes:
        deadlines: of the run; None before it begins.
    """

    __slots__ = ("_loop", "deadlines")

    def __init__(self) -> None:
        self.deadlines: Deadlines | None = None
        self._loop = asyncio.get_running_loop()  # a thread asks too

    def seconds(self) -> float:
        """Seconds until the run is over its time; infinity before it begins."""
        return math.inf if self.deadlines is None else self.deadlines.ends_at - self._loop.time()


def loop_time(hub: Hub, time: str) -> float:
    """When a time of a record is on the loop's clock.

    Args:
        hub: it knows the wall clock.
        time: RFC 3339.
    """
    return asyncio.get_running_loop().time() - (hub.wall() - seconds_of(time))


def since(hub: Hub, time: str) -> float:
    """When something was that has happened, on the loop's clock: not in the future, though the wall clock went back."""
    return min(asyncio.get_running_loop().time(), loop_time(hub, time))


def warn(hub: Hub, log: Log, due: Due) -> None:
    """Tell readers that a deadline is near."""
    due.warned = True
    now = asyncio.get_running_loop().time()
    at = rfc3339(seconds_of(hub.now()) + due.at - now)
    hub.append(log, "deadline_warning", encode_payload(warning_data(due, at=at, now=now)))


class Wait:
    """The deadlines of one task that waits for its turn.

    Args:
        hub: of the log.
        log: of the task.
        deadlines: those that count while it waits.
        on_expired: called with the deadline that is over.
    """

    __slots__ = ("_hub", "_log", "_on_expired", "_timer", "deadlines")

    def __init__(self, hub: Hub, log: Log, deadlines: Deadlines, on_expired: Callable[[Due], None]) -> None:
        self.deadlines = deadlines
        self._hub = hub
        self._log = log
        self._on_expired = on_expired
        self._timer: asyncio.TimerHandle | None = None
        self.arm()

    def arm(self) -> None:
        """Look at the deadlines when the next one is due."""
        self.stop()
        at = min(self.deadlines.next_due().at, self.deadlines.next_warning().warn_at)
        if at < math.inf:
            self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def stop(self) -> None:
        """The task waits no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        due = self.deadlines.next_due()
        if due.at <= now:
            self._on_expired(due)
            return
        warning = self.deadlines.next_warning()
        if warning.warn_at <= now:
            warn(self._hub, self._log, warning)
        self.arm()
