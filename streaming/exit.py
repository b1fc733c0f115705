"""The way out of the process: from the first signal to the exit, within the grace.

Signals are taken over from the server that runs us (uvicorn has installed its own before the lifespan begins). It is
told to stop only after the drain, so that its door answers 503 meanwhile, and open streams end by themselves.

Rules of this file:

- The process ends within the grace of the first signal, or of a later and shorter one, whatever blocks or is stuck.
- The exit status is 0 if everything was stored, and 1 if not.

Owns:   the signals, the order of the end, the watchdog.
Uses:   engine.coordinator (drain), web.application (last bytes).
Never:  decides how a task ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn

from streaming.config import Settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.stack import where_thread
from streaming.web.application import Application

#: A second signal leaves this many seconds.
FORCED_GRACE_S = 1.0

#: What of the grace is not for the drain, but for the last bytes of the streams and for the server that runs us.
REST_SHARE = 0.1
REST_MAX_S = 0.5

#: Once all logs have ended, streams and requests have so many seconds to end, but not more than half of the rest.
STREAMS_END_S = 2.0

#: Then what was recorded of it is sent, within so many seconds, but not more than half of the rest.
FLUSH_S = 2.0

#: Once all is stored and the streams have ended, the server that runs us has so many seconds to stop, ...
STOP_S = 2.0

#: ... and once the store is closed, whatever else still runs has so many.
HELD_UP_S = 0.5

#: The last words may take so many seconds.
TELL_S = 0.5

_log = structlog.get_logger(__name__)


class Exit:
    """The way out of one server; made in its lifespan.

    Args:
        settings: the grace.

    Attributes:
        early: a signal came before the start was complete, and has cancelled it.
    """

    def __init__(self, settings: Settings) -> None:
        self.early = False
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.current_task()
        # A signal comes in the middle of anything, and must not log as if it belonged to that.
        self._context = contextvars.copy_context()
        self._coordinator: TaskCoordinator | None = None
        self._web: Application | None = None
        self._flush: Callable[[float], Awaitable[None]] | None = None
        self._previous: dict[int, Any] = {}
        self._signals = 0
        self._exit_at = math.inf
        self._watchdogs: tuple[threading.Timer, ...] = ()
        self._leaving: asyncio.Task[None] | None = None
        self._stored = True
        self._over = False
        self._install()

    def started(
        self, coordinator: TaskCoordinator, web: Application, flush: Callable[[float], Awaitable[None]] | None = None
    ) -> None:
        """From now on there is something to drain.

        Args:
            coordinator: is drained.
            web: answers its last requests.
            flush: sends what was recorded, within a number of seconds.
        """
        self._coordinator, self._web, self._flush = coordinator, web, flush
        self._stored = False

    def on_signal(self, signum: int, frame: FrameType | None = None) -> None:
        """First signal: drain. Another one: now."""
        name = signal.Signals(signum).name
        self._signals += 1
        grace_s = self._settings.grace_s if self._signals == 1 else min(FORCED_GRACE_S, self._settings.grace_s)
        self._exit_within(grace_s)
        if not self._over:
            self._loop.call_soon_threadsafe(self._begin, signum, name, grace_s, context=self._context)

    async def drain(self) -> None:
        """Wait for the drain; begin it if no signal has."""
        if self._leaving is None:
            self._exit_at = min(self._exit_at, time.monotonic() + self._settings.grace_s)
            self._leaving = self._loop.create_task(self._leave(None), name="streaming-exit")
        await asyncio.shield(self._leaving)

    def broken(self) -> None:
        """The server ends without a drain: exit with 1 once what can clean up has done so, within the grace."""
        _log.critical(
            "the server cannot go on, and exits; its next start tells what became of its tasks",
            causes="the coordinator failed, or a task raised SystemExit or KeyboardInterrupt, which ends an event loop",
        )
        self._exit_within(self._settings.grace_s)

    def give_up(self) -> None:
        """There will be no start, though the server that runs us listens already: let it stop."""
        self._release(signal.SIGTERM)

    def done(self) -> None:
        """Everything is closed: what is left of the process (stuck handlers, threads) must not hold it."""
        self._over = True
        for signum, previous in self._previous.items():
            if _uvicorn(previous) is None:  # uvicorn puts back what it found by itself
                signal.signal(signum, previous)
        if self._watchdogs:
            self._exit_within(HELD_UP_S if self._stored else 0)
            if not self._stored:
                self._exit_now()

    # -- in order ---------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        """Take over SIGTERM and SIGINT, where this is the main thread and a server has handlers of its own."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(signum)
            if callable(previous) and previous is not signal.default_int_handler:
                self._previous[signum] = previous
                signal.signal(signum, self.on_signal)

    def _begin(self, signum: int, name: str, grace_s: float) -> None:
        _log.info("signal", signal=name, grace_s=grace_s, forced=self._signals > 1)
        if self._coordinator is not None:
            self._coordinator.diary.tell("signal", "", 0, name)
        if self._coordinator is None:
            self._give_up_start(signum)
        elif self._leaving is None:
            self._leaving = self._loop.create_task(self._leave(signum), name="streaming-exit")
        else:
            self._coordinator.hurry(self._for_drain_s())

    def _give_up_start(self, signum: int) -> None:
        if not self.early and self._starting is not None:
            self.early = True
            self._starting.cancel()
            self._release(signum)

    async def _leave(self, signum: int | None) -> None:
        assert self._coordinator is not None  # noqa: S101  # the start is complete
        assert self._web is not None  # noqa: S101  # the same
        self._stored = await self._coordinator.shutdown(self._for_drain_s()) == 0
        await self._web.end(min(STREAMS_END_S, self._left_s() / 2))
        if self._flush is not None:
            await self._flush(min(FLUSH_S, self._left_s() / 2))
        if signum is not None:
            self._exit_within(STOP_S)
            self._release(signum)

    def _release(self, signum: int) -> None:
        """Let the server that runs us stop: uvicorn without noting the signal, so that it exits with status 0."""
        previous = self._previous.get(signum)
        owner = _uvicorn(previous)
        if owner is not None:
            owner.should_exit = True
        elif previous is not None:
            previous(signum, None)

    # -- in time ----------------------------------------------------------------------------------------------------

    def _left_s(self) -> float:
        return max(0.0, self._exit_at - time.monotonic())

    def _for_drain_s(self) -> float:
        left_s = self._left_s()
        return left_s - min(REST_MAX_S, REST_SHARE * left_s)

    def _exit_within(self, seconds: float) -> None:
        """Exit in that time whatever happens, also while the loop is blocked; an earlier time set before holds."""
        self._exit_at = min(self._exit_at, time.monotonic() + seconds)
        if not self._previous:
            return  # the process is not ours
        for watchdog in self._watchdogs:
            watchdog.cancel()
        left_s = self._left_s()
        # Two, and both made now: an interpreter that is ending makes no threads. The second one does not wait for the
        # last words of the first one: stderr may be a pipe that nobody reads.
        watchdogs = (threading.Timer(left_s, self._exit_now), threading.Timer(left_s + TELL_S, self._exit_silently))
        self._watchdogs = watchdogs  # and a local name: another signal may come right here, and replace them
        for watchdog in watchdogs:
            watchdog.daemon = True
            watchdog.start()

    def _exit_now(self) -> None:
        try:
            self._tell()
        finally:
            self._exit_silently()

    def _exit_silently(self) -> None:
        os._exit(0 if self._stored else 1)

    def _tell(self) -> None:
        """Name what holds the process up."""
        if self._coordinator is not None and not self._over:
            for task_id, place in self._coordinator.places():
                _log.error("unfinished at the end of the grace", task_id=task_id, where=place)
        for thread in threading.enumerate() if self._over else ():
            if not thread.daemon and thread is not threading.main_thread():
                place = where_thread(thread.ident or 0)
                _log.warning("a thread still runs at the exit", thread=thread.name, where=place)


def _uvicorn(handler: Any) -> uvicorn.Server | None:
    """The uvicorn server whose signal handler this is."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, uvicorn.Server) else None
