"""Who watches a task that is to end once nobody does.

Owns:   when the last viewer has left, and what is said of it.
Uses:   engine.hub (where it is told).
Never:  cancels a task itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.events import encode_payload, rfc3339, seconds_of


class Audience:
    """The viewers of one task.

    Args:
        hub: of the log.
        log: of the task; its policy says how long nobody may watch.
        on_absent: called with the log and a reason once nobody has watched for so long; with None when somebody has
            come back.
    """

    __slots__ = ("_hub", "_log", "_on_absent", "_timer", "_told")

    def __init__(self, hub: Hub, log: Log, on_absent: Callable[[Log, str | None], None]) -> None:
        self._hub = hub
        self._log = log
        self._on_absent = on_absent
        self._timer: asyncio.TimerHandle | None = None
        self._told = False

    def changed(self) -> None:
        """A viewer has come or left."""
        if self._log.readers:
            self._come_back()
        elif self._timer is None and not self._over():
            self._leave()

    def resume(self) -> None:
        """The last viewer has left an earlier process: the time begins anew, unless somebody has come since."""
        if not self._told:
            self.changed()

    def _leave(self) -> None:
        seconds = self._log.record.policy.cancel_unwatched_s or 0.0
        cancel_at = rfc3339(seconds_of(self._hub.now()) + seconds)
        self._hub.append(self._log, "unwatched", encode_payload({"cancel_at": cancel_at}))
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_over)

    def _come_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._told:
            self._told = False
            self._on_absent(self._log, None)

    def _time_is_over(self) -> None:
        self._timer = None
        if not self._over():
            self._told = True
            seconds = self._log.record.policy.cancel_unwatched_s
            self._on_absent(self._log, f"Nobody has watched it for {seconds:g} s")

    def _over(self) -> bool:
        return self._log.lost or self._log.dropped or self._log.window.ended or self._hub.closed
