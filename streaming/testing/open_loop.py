"""The stepping loop with the real world behind it: files, sockets, threads and processes.

Rules of this file:

- While something real may still happen, time passes as it does in reality.
- As soon as nothing real can happen, the next timer is due.
- Patience with something real that does not happen has an end: then the next timer is due as well.

What is real may come earlier or later in each run; everything else is in the order that the choices say.

Owns:   `OpenLoop`.
Uses:   testing.loop (the steps), testing.threads (which thread may call back).
Never:  decides what runs next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from streaming.testing.choices import Choices
from streaming.testing.loop import Deadlock, Endless, Stepping
from streaming.testing.threads import gained, known

T = TypeVar("T")

#: Real seconds without news from outside after which nothing is expected any more.
PATIENCE_S = 10.0

#: How often it is looked again whether anything real is left: a thread may end without a word.
LOOK_S = 0.02

#: Who has no timer and waits for nothing real gets so many seconds all the same, before it is said that it hangs.
LAST_CHANCE_S = 0.05


#: What a thread needs to begin with what it was given.
BEGIN_S = 0.001


class OpenLoop(Stepping, asyncio.SelectorEventLoop):
    """A loop on which time is virtual, unless something real is under way.

    Args:
        choices: decides which ready task runs next.
        patience_s: real seconds that something real may take without any news.

    Attributes:
        patience_s: as given.
        on_hang: called when a run does not come to an end, as long as everybody stands where it does.
        waited_s: real seconds spent waiting so far.
    """

    _selector: Any

    def __init__(self, choices: Choices, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(choices)
        self.patience_s = patience_s
        self.on_hang: Callable[[], None] | None = None
        self.waited_s = 0.0
        self._silent_s = 0.0
        self._left = 0
        self._calls = 0
        self._threads = known()
        self._idle_files = len(self._selector.get_map())

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # typeshed's is generic in its own way
        """Call a function in a thread, which is waited for in real time."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._calls += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, future: asyncio.Future[Any]) -> None:
        self._calls -= 1

    @property
    def outstanding(self) -> bool:
        """Whether something real may still happen: a file that is watched, a thread at work, a process that runs.

        A process is one of these two, as asyncio waits for it.
        """
        return self._calls > 0 or len(self._selector.get_map()) > self._idle_files or bool(gained(self._threads))

    def _run_once(self) -> None:
        """One step; news from outside comes in once in a round, as in asyncio."""
        if self._left <= 0 and self._ready:
            self._look(0)
            self._left = len(self._ready)
        self._left -= 1
        try:
            super()._run_once()
        except (Deadlock, Endless):
            if self.on_hang is not None:
                self.on_hang()
            raise

    def _wait(self) -> None:
        """Nothing may run: wait for news from outside, or move the time on to the next timer.

        Raises:
            Deadlock: there is neither.
        """
        self._left = 0
        self._fire()
        if self._somebody_may_run:
            return
        if self._silent_s < self.patience_s and self.outstanding:
            due_s = self._scheduled[0].when() - self._now if self._scheduled else LOOK_S
            self._now += self._look(min(LOOK_S, due_s))
            return
        self._look(0)  # a thread may have called back before it was seen that it is done
        if not self._somebody_may_run:
            self._move_on()

    @property
    def _somebody_may_run(self) -> bool:
        places, _ = self._candidates()
        return bool(places)

    def let_threads_begin(self) -> None:
        """Let threads at work have a moment without this one: what was given to them just now has begun then."""
        if gained(self._threads):
            time.sleep(BEGIN_S)

    def wait_really(self, seconds: float) -> None:
        """Let real time pass, whatever is ready: for what the loop does not know of."""
        self._now += self._look(seconds)

    def _move_on(self) -> None:
        try:
            super()._wait()
        except Deadlock:
            self._look(LAST_CHANCE_S)
            if not self._somebody_may_run:
                raise

    def _look(self, seconds: float) -> float:
        """Take news from outside in, and wait for it at most so long; the seconds that has taken."""
        begun = time.monotonic()
        news = self._selector.select(seconds)
        taken = time.monotonic() - begun if seconds else 0.0
        self.waited_s += taken
        self._silent_s = 0.0 if news else self._silent_s + taken
        self._process_events(news)
        return taken

    def _process_events(self, event_list: Any) -> None:
        super()._process_events(event_list)  # type: ignore[misc]  # typeshed hides it
