"""What a handler says, and what it protects: the other side of its context.

Owns:   the checks of events before they are appended, and the protected sections of one handler.
Uses:   engine.hub, engine.limits (of a log).
Never:  stops a handler (``engine.runner``).
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Any, get_args

import structlog

from streaming.config import Settings
from streaming.engine.context import Level
from streaming.engine.hub import Hub
from streaming.engine.limits import check_fits
from streaming.engine.log import Log
from streaming.errors import EventTooLarge, InvalidEvent, TaskEnded
from streaming.events import Event, encode_payload
from streaming.records import Progress, Steps
from streaming.rules.reporting import payload_from, progress_from, progress_of, steps_from
from streaming.rules.sse import check_type
from streaming.rules.stopping import Section

SECTION_REASON_MAX = 1000

#: Seconds after which a record that has not changed says anew when its handler was heard of.
HEARTBEAT_STORED_S = 10.0

_LEVELS = get_args(Level)

_log = structlog.get_logger(__name__)


def _nothing_held_back() -> bool:
    return False


class LogTeller:
    """Appends to one log what a handler says.

    Args:
        hub: where the log is.
        log: the task's.
        settings: the limits.
        on_enter: called when a protected section has begun.
        on_leave: called when one has ended; says whether the handler was cancelled by that.
    """

    def __init__(
        self, hub: Hub, log: Log, settings: Settings, on_enter: Callable[[], None], on_leave: Callable[[], bool]
    ) -> None:
        self.sections: list[Section] = []
        self._hub = hub
        self._log = log
        self._settings = settings
        self._events_max = settings.events_max
        self._log_bytes_max = settings.log_bytes_max
        self._on_enter = on_enter
        self._on_leave = on_leave
        self._loop = asyncio.get_running_loop()
        self._heard_at: float | None = None
        self._stored_at = self._loop.time()
        self._blocked = 0
        self._closed = False

    def begin(self) -> None:
        """The handler begins, and so does its silence."""
        self._heard_at = self._loop.time()

    def news(self) -> float | None:
        """When the handler was heard of since that was asked last; one that waits to tell something is not silent."""
        heard_at, self._heard_at = self._heard_at, None
        return self._loop.time() if self._blocked else heard_at

    def close(self) -> None:
        """The attempt has ended: what its handler has left behind tells nothing in the next one."""
        self._closed = True
        self._on_leave = _nothing_held_back  # who was told belongs to the attempt, and is not kept by what is left

    def tell(self, type: str, data: object) -> int:
        """Append an event of the handler's own."""
        self._check_open()
        check_type(type)
        return self._heard(self._hub.append(self._log, type, self._payload(type, data)))

    def tell_progress(self, percent: object, message: object) -> int:
        """Append a progress event, and show it in the record."""
        self._check_open()
        return self._report(progress_from(percent, message))

    def tell_steps(self, completed: object, total: object, current: object) -> int:
        """Append a progress event that counts steps."""
        self._check_open()
        steps = steps_from(completed, total, current)
        return self._report(progress_of(steps), steps)

    def _report(self, progress: Progress, steps: Steps | None = None) -> int:
        data = dataclasses.asdict(progress)
        changes: dict[str, Any] = {"progress": progress}
        if steps is not None:
            data["steps"] = dataclasses.asdict(steps)
            changes["steps"] = steps
        self._payload("progress", data)
        now = self._log.heartbeat_at = self._hub.now()
        return self._heard(self._hub.append_with(self._log, "progress", data, now, **changes))

    def tell_log(self, level: Level, message: str, fields: dict[str, Any]) -> int:
        """Append a log event."""
        self._check_open()
        if level not in _LEVELS:
            raise InvalidEvent(f"A level is {', '.join(_LEVELS)}; not {level!r:.64}.")
        if self._hub.crowded(self._log):
            self._hub.limits_hit.hit("too_many_lines", self._log.record.created_by)
            raise InvalidEvent("More log lines wait for their commit than fit: await ctx.log(...).")
        payload = self._payload("log", {**fields, "level": level, "message": message})
        return self._heard(self._hub.append(self._log, "log", payload))

    def _heard(self, event: Event) -> int:
        """The handler has given a sign of life; the record has it now and then, whatever the handler speaks of."""
        now = self._heard_at = self._loop.time()
        self._log.heartbeat_at = event.time
        if now >= self._stored_at + HEARTBEAT_STORED_S:
            self._stored_at = now
            self._hub.amend(self._log)
        return event.seq

    def _check_open(self) -> None:
        """The numbering of events is not made for threads, and an attempt has an end."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise InvalidEvent(
                "The context belongs to its event loop: a handler with run_in='thread' gets one for threads."
            )
        if self._closed:
            raise TaskEnded(f"The attempt of task {self._log.record.id} has ended, and tells nothing more.")

    async def room(self) -> None:
        """Wait while too much of the task is not committed yet."""
        if self._hub.full(self._log):
            self._blocked += 1
            try:
                await self._hub.room(self._log)
            finally:
                self._blocked -= 1
                self._heard_at = self._loop.time()

    def enter(self, reason: object, at_most_s: float) -> Section:
        """Begin a protected section."""
        if not 0 < at_most_s < math.inf:
            raise InvalidEvent(f"at_most_s is a positive number of seconds, not {at_most_s!r:.64}.")
        if not isinstance(reason, str) or len(reason) > SECTION_REASON_MAX:
            raise InvalidEvent(
                f"The reason of a protected section is a text of at most {SECTION_REASON_MAX} characters."
            )
        self._json("protected", reason)  # who cancels is told it, and must not be the one who finds it unfit
        section = Section(reason, asyncio.get_running_loop().time() + at_most_s)
        self.sections.append(section)
        self._hub.tracer.section(self._log.record.id, section.reason, begun=True)
        self._on_enter()
        return section

    async def leave(self, section: object) -> None:
        """End a protected section; what it has held back arrives here and now."""
        for ended in [each for each in self.sections if each is section]:
            self._hub.tracer.section(self._log.record.id, ended.reason, begun=False)
        self.sections = [other for other in self.sections if other is not section]
        if self._on_leave():
            await asyncio.sleep(0)

    def held_by(self) -> str | None:
        """The reason of a section that holds a stop back."""
        return next((section.reason for section in self.sections if not section.overrun), None)

    def report_overruns(self, now: float) -> None:
        """Take the protection from sections that last too long, and say so."""
        for section in self.sections:
            if not section.overrun and section.until <= now:
                section.overrun = True
                _log.warning("a protected section overran", task_id=self._log.record.id, section=section.reason)
                if not self._log.lost:
                    message = f"The protected section {section.reason!r} overran and is protected no more."
                    line = {"section": section.reason, "level": "warning", "message": message}
                    self._hub.append(self._log, "log", encode_payload(line))  # ours: the handler's limits do not hold

    def _payload(self, type: str, data: object) -> str:
        """The JSON text of an event that fits into the log; with each of the server's there is a little less room."""
        payload, log = self._json(type, data), self._log
        if log.window.last >= self._events_max or log.bytes + len(payload) > self._log_bytes_max:
            check_fits(log, self._settings, self._hub.limits_hit, events=1, size=len(payload))
        return payload

    def _json(self, type: str, data: object) -> str:
        try:
            return payload_from(type, data, self._settings.event_bytes_max)
        except EventTooLarge:
            self._hub.limits_hit.hit("event_too_large", self._log.record.created_by)
            raise
