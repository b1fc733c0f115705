"""Why a task is still running: what is to be seen of it, collected in one step of the event loop.

Owns:   who looks where; what was seen at the look before, so that a wait is known to be the same.
Uses:   engine.runner, engine.turns and engine.external (what each knows), engine.forecast (what past runs took),
        rules.why (what is made of it).
Never:  changes anything, or waits.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import OrderedDict
from typing import Any

from streaming.engine.external import External
from streaming.engine.forecast import LATEST_S, Forecast
from streaming.engine.inside import Inside
from streaming.engine.lookup import LiveTask
from streaming.engine.parts import Parts
from streaming.engine.runner import Runner
from streaming.events import rfc3339, seconds_of
from streaming.records import Record, TaskStatus
from streaming.rules.deadlines import Deadlines, Limit
from streaming.rules.lifecycle import Cause
from streaming.rules.stopping import Section, Stop
from streaming.rules.why import Hindrance, Protection, Seen, Stopping, Turn

#: Tasks of which the last look is remembered, at most.
LOOKS_MAX = 1000

#: Seconds that an answer waits for what past runs took.
PAST_WAIT_S = 1.0


class Explainer:
    """Looks at the tasks of one instance.

    Args:
        parts: of the instance.
        forecast: knows what past runs took.
    """

    def __init__(self, parts: Parts, forecast: Forecast) -> None:
        self._parts = parts
        self._forecast = forecast
        self._looks: OrderedDict[str, tuple[weakref.ref[asyncio.Future[Any]], str]] = OrderedDict()

    def look(self, record: Record, task: LiveTask | None) -> Seen:
        """What is to be seen of a task now.

        Args:
            record: as it was committed.
            task: the same, if it is live here.
        """
        loop_now, now = asyncio.get_running_loop().time(), self._parts.hub.now()
        seen: dict[str, Any] = {}
        if isinstance(task, External):
            seen = self._external(task, loop_now)
        elif isinstance(task, Runner) and self._parts.turns.is_waiting(task):
            turn, deadlines = self._parts.turns.turn(task)
            seen = {"turn": turn, "deadlines": self._times(deadlines)}
        elif isinstance(task, Runner):
            seen = self._running(task, now, loop_now)
        return Seen(
            record,
            now,
            loop_now,
            children=self._children(record.id),
            past=self._forecast.past(record.type),
            eta=self._forecast.eta(record),
            **seen,
        )

    def _running(self, runner: Runner, now: str, loop_now: float) -> dict[str, Any]:
        inside = runner.inside()
        return {
            "stack": inside.stack,
            "unmoved_since": self._unmoved(runner.id, inside, now),
            "stopping": _stopping(inside.stop, loop_now),
            "protections": tuple(_protection(section, loop_now) for section in inside.sections),
            "deadlines": self._times(inside.deadlines),
        }

    def _external(self, task: External, loop_now: float) -> dict[str, Any]:
        record, cancel = task.log.record, task.log.record.cancel
        stopping = None
        if record.to_be_cancelled and cancel is not None:
            told_s = None if cancel.delivered_at is None else self._ago(cancel.delivered_at)
            stopping = Stopping(Cause.CANCEL, told_s, int(told_s is not None))
        holder = task.holder if record.status is TaskStatus.PENDING else None
        limits = {limit: at for limit, at in task.limits() if at < math.inf}
        return {
            "external": True,
            "silent_s": max(0.0, loop_now - task.heard_at),
            "turn": None if holder is None else Turn(Hindrance.KEY, self._parts.turns.line.ahead(task.id), holder),
            "stopping": stopping,
            "deadlines": tuple((limit, self._at(at)) for limit, at in limits.items()),
        }

    def _unmoved(self, task_id: str, inside: Inside, now: str) -> str | None:
        """Since when it is known to wait for the same future, which is awaited once only; None at the first look."""
        before, since = self._looks.pop(task_id, (None, now))
        if inside.waiter is None:
            return None
        same = before is not None and before() is inside.waiter
        self._looks[task_id] = (weakref.ref(inside.waiter), since if same else now)
        while len(self._looks) > LOOKS_MAX:
            self._looks.popitem(last=False)
        return since if same else None

    def _children(self, task_id: str) -> tuple[tuple[str, str, TaskStatus], ...]:
        records = [self._parts.tasks[child].log.visible for child in self._parts.family.of(task_id)]
        return tuple((record.id, record.type, record.status) for record in records)

    def _times(self, deadlines: Deadlines | None) -> tuple[tuple[Limit, str], ...]:
        if deadlines is None:
            return ()
        return tuple((due.limit, self._at(due.at)) for due in deadlines.dues if due.at < math.inf)

    def _at(self, loop_time: float) -> str:
        left_s = loop_time - asyncio.get_running_loop().time()
        return rfc3339(self._parts.hub.wall() + min(left_s, LATEST_S))

    def _ago(self, time: str) -> float:
        return max(0.0, self._parts.hub.wall() - seconds_of(time))


def _stopping(stop: Stop | None, now: float) -> Stopping | None:
    if stop is None:
        return None
    told_s = None if stop.delivered_at is None else now - stop.delivered_at
    return Stopping(stop.cause, told_s, stop.deliveries)


def _protection(section: Section, now: float) -> Protection:
    return Protection(section.reason, 0.0 if section.overrun else max(0.0, section.until - now))
