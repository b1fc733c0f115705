"""The end of a process, told truthfully: finish, stop, flush.

Owns:   the phases of the drain and their times; what becomes of the running tasks, as far as that can be told.
Uses:   rules.drain (how the grace is spent), engine.forecast (when tasks may end).
Never:  knows of signals, sockets or exit statuses.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import structlog

from streaming.engine.alarm import Alarm
from streaming.engine.forecast import Forecast
from streaming.engine.hub import Hub
from streaming.engine.runner import Runner
from streaming.records import Record
from streaming.rules.drain import Outlook, Phase, outlook, plan_drain
from streaming.rules.lifecycle import Cause

#: Seconds that the forecast waits for what past runs took; the drain itself waits for nothing of that.
PAST_WAIT_S = 1.0

_log = structlog.get_logger(__name__)


class Drain:
    """Runs once; asking again waits for the same one.

    Args:
        hub: what is flushed at the end.
        forecast: when tasks may end.
        cancel_grace_s: seconds a cancelled handler has to clean up.

    Attributes:
        phase: how far it is.
        end_at: loop time at which it is over at the latest.
    """

    def __init__(self, hub: Hub, forecast: Forecast, cancel_grace_s: float) -> None:
        self.phase = Phase.NONE
        self._hub = hub
        self._forecast = forecast
        self._cancel_grace_s = cancel_grace_s
        self._alarm = Alarm()
        self._stop_at = self._abandon_at = self.end_at = math.inf
        self._task: asyncio.Task[int] | None = None

    @property
    def begun(self) -> bool:
        """Whether the doors are closed."""
        return self.phase is not Phase.NONE

    def begin(self, grace_s: float) -> None:
        """Close the doors, or shorten a drain that has begun."""
        now = asyncio.get_running_loop().time()
        plan = plan_drain(grace_s, self._cancel_grace_s)
        self._stop_at = min(self._stop_at, now + plan.finish_s)
        self._abandon_at = min(self._abandon_at, now + plan.finish_s + plan.stop_s)
        self.end_at = min(self.end_at, now + grace_s)
        self._hub.diary.tell("drain", "", 0, Phase.BEGIN.value)
        if not self.begun:
            self.phase = Phase.BEGIN
        self._hub.hurry(self.end_at)
        self._alarm.ring()

    def check(self) -> None:
        """A task has ended: maybe nothing is left to wait for."""
        self._alarm.ring()

    async def run(self, running: Mapping[str, Runner]) -> int:
        """Drain; ``running`` shrinks meanwhile.

        Returns:
            How many events could not be stored.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(running), name="streaming-drain")
        return await asyncio.shield(self._task)

    async def _run(self, running: Mapping[str, Runner]) -> int:
        _log.info("draining", running=len(running), grace_s=self._seconds_left())
        looking = asyncio.create_task(self._look_ahead(running), name="streaming-drain-forecast") if running else None
        await self._until_empty(running, lambda: self._stop_at)
        if looking is not None:
            looking.cancel()
        self._enter(Phase.STOP)
        for runner in list(running.values()):
            _log.info("stopping a task", task_id=runner.id, task_type=runner.task_type.name, where=runner.where())
            runner.stop(Cause.SHUTDOWN)
        await self._until_empty(running, lambda: self._abandon_at)
        self._enter(Phase.FLUSH)
        for runner in list(running.values()):
            runner.abandon()
        lost = await self._hub.close(self.end_at)
        if lost:
            _log.error("events could not be stored before the end", events=lost)
        await self._until_empty(running, lambda: math.inf)
        self._enter(Phase.END)
        _log.info("drained")
        return lost

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._hub.diary.tell("drain", "", 0, phase.value)

    @property
    def stops_in_s(self) -> float:
        """Seconds until the handlers that still run are stopped."""
        return max(0.0, self._stop_at - asyncio.get_running_loop().time())

    def outlooks(self, running: Mapping[str, Runner]) -> Iterator[tuple[Record, Outlook]]:
        """What becomes of each running task, as far as that can be told now."""
        for runner in list(running.values()):
            record = runner.log.snapshot()
            yield record, outlook(self._forecast.span(record), self.stops_in_s)

    async def _look_ahead(self, running: Mapping[str, Runner]) -> None:
        """Write down how many tasks come to their own end, and which ones will not."""
        await self._forecast.learn({runner.log.record.type for runner in running.values()}, PAST_WAIT_S)
        found = list(self.outlooks(running))
        counts = Counter(each for _, each in found)
        _log.info("what becomes of the running tasks", **{each.value: counts[each] for each in Outlook})
        for record, each in found:
            if each is Outlook.STOP:
                _log.info(
                    "a task will be stopped", task_id=record.id, task_type=record.type, in_s=round(self.stops_in_s, 1)
                )

    async def _until_empty(self, running: Mapping[str, Runner], until: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        while running and loop.time() < until():
            await self._alarm.wait(until())

    def _seconds_left(self) -> float:
        return round(self.end_at - asyncio.get_running_loop().time(), 1)
