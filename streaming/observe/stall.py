"""The watchdog of the event loop: a thread that names whoever blocks it, while it is blocked.

The loop stamps a number at intervals, and a thread looks whether it goes on. It costs the loop one timer a period, and
nothing for each event.

Owns:   the thread, the log line of a stall, and what is said of it once the loop goes on.
Uses:   rules.stall (whether it is blocked), engine.stack (where), engine.calls (whose handler it is),
        engine.stalls (who hears of it).
Never:  stops or interrupts anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from types import TracebackType
from typing import Self

import structlog

from streaming.engine.calls import handler_of
from streaming.engine.stack import running_lines
from streaming.engine.stalls import Stalls
from streaming.rules.stall import Report, Watch

_log = structlog.get_logger(__name__)


class Watchdog:
    """Watches the running loop, as ``with Watchdog(...)`` on it.

    Args:
        stall_s: the shortest stall that counts; 0 watches nothing.
        stalls: where they are noted.
    """

    def __init__(self, stall_s: float, stalls: Stalls) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stalls = stalls
        self._watch = Watch(stall_s)
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._beats = 0
        self._beaten_at = 0.0
        self._thread = threading.Thread(target=self._run, name="streaming-watchdog", daemon=True) if stall_s else None

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._beat()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._beats += 1
        self._beaten_at = time.monotonic()
        # In a context of its own: it is not to speak for whoever has started the server.
        self._timer = self._loop.call_later(self._watch.period_s, self._beat, context=contextvars.Context())

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.wait(self._watch.period_s):
            report = self._watch.look(time.monotonic(), self._beats, time.process_time())
            if report is not None:
                self._tell(report)

    def _tell(self, report: Report) -> None:
        """Say who it is. The loop may go on in any moment: what was found is of the moment in which it is looked at."""
        task = asyncio.current_task(self._loop)
        task_id = None if task is None else handler_of(task)
        where, lines = running_lines(task, self._loop_thread)
        _log.warning(
            "the event loop is blocked",
            task_id=task_id,
            task_type=self._stalls.type_of(task_id),
            where=where,
            seconds=round(report.seconds, 3),
            left_out=report.left_out or None,
            stack=lines,
        )
        if report.first:
            self._when_it_goes_on(task_id, where, self._beaten_at)

    def _when_it_goes_on(self, task_id: str | None, where: str, since: float) -> None:
        try:
            self._loop.call_soon_threadsafe(self._over, task_id, where, since, context=contextvars.Context())
        except RuntimeError:
            _log.info("the event loop was closed while it was blocked", where=where)

    # -- on the loop ---------------------------------------------------------------------------------------------------

    def _over(self, task_id: str | None, where: str, since: float) -> None:
        seconds = time.monotonic() - since
        _log.info("the event loop goes on", task_id=task_id, where=where, seconds=round(seconds, 3))
        self._stalls.note(task_id, where, seconds)
