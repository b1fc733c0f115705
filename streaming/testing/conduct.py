"""How a handler behaves once it was told to stop.

Rules of this file:

- Cleaning up is fine, and so is a return right away: what was done so far may be a result.
- To begin the same wait anew is fine if the handler ends as stopped after it: it had to see something through.
- Everything else that a handler does after a cancel is work, and a cancel after which it works on and returns is lost.
- Who takes the cancel back with ``uncancel()`` may go on.

Owns:   `Conduct`: where the handler and its tasks stood when they were cancelled, and where they went from there.
Uses:   testing.place (what cleans up).
Never:  stops anything itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

from streaming.testing.place import Place, place_of
from streaming.testing.verdict import Kind, Sighting

#: So many lines are named at which a handler has worked on.
LINES_MAX = 3


class Conduct:
    """What a handler has done since it was told to stop.

    Args:
        root: the task in which it runs.
        others: its other tasks that had not ended.
        now: loop time.
        in_thread: whether its work is done in a thread, for which the task only waits.
        may_decline: whether it may take the cancel back.

    Attributes:
        cleanup: where the handler stood after each of its steps.
    """

    def __init__(
        self,
        root: asyncio.Task[Any],
        others: list[asyncio.Task[Any]],
        now: float,
        *,
        in_thread: bool,
        may_decline: bool,
    ) -> None:
        self.cleanup: list[Place] = []
        self._root = root
        self._began_at = now
        self._in_thread = in_thread
        self._may_decline = may_decline
        self._stood: dict[asyncio.Task[Any], Place] = {task: place_of(task) for task in [root, *others]}
        self._at_cancel = self._stood[root]
        self._again = False
        self._declined = False
        self._worked: list[Place] = []
        self._others: dict[Place, Place] = {}
        self._over: Place | None = None

    # -- while it runs ----------------------------------------------------------------------------------------------

    def step(self, task: asyncio.Task[Any]) -> None:
        """A task of the handler has made a step."""
        if task.done():
            self._stood.pop(task, None)
            return
        if task is not self._root and not task.cancelling():
            self._stood[task] = place_of(task)
            return
        place, stood = place_of(task), self._stood.get(task)
        if task is self._root:
            self.cleanup.append(place)
            self._declined = self._declined or (self._may_decline and not task.cancelling())
        if stood is None:
            self._stood[task] = place
        elif not place.goes_on_from(stood):
            self._again = self._again or task is self._root
        elif not place.cleans_up:
            self._note_work(task, place)

    def told(self, place: Place) -> None:
        """Something was told; from where."""
        if asyncio.current_task() is self._root and not place.cleans_up:
            self._note_work(self._root, place)

    def _note_work(self, task: asyncio.Task[Any], place: Place) -> None:
        if self._declined:
            return
        if task is self._root:
            self._worked.append(place)
        else:
            self._others.setdefault(self._stood[task], place)

    def insisted(self, words: str) -> None:
        """The grace is over, and the handler is still there: it is just cancelled once more.

        Args:
            words: where it stands.
        """
        if self._over is None and not self._root.done():
            self._over = dataclasses.replace(place_of(self._root), words=words)

    # -- when it is over --------------------------------------------------------------------------------------------

    def judged(self, now: float, cancel_grace_s: float) -> Iterator[Sighting]:
        """What was wrong.

        Args:
            now: loop time at which the handler has ended, or is given up.
            cancel_grace_s: seconds that it has to clean up.
        """
        if self._declined:
            yield Sighting(Kind.DECLINED_CANCEL, self._at_cancel.words)
            return
        yield from self._own()
        for stood, place in self._others.items():
            yield Sighting(Kind.WORK_AFTER_CANCEL, place.words, f"an asyncio task of it, cancelled at {stood.words}")
        late = self._over is not None or now - self._began_at > cancel_grace_s
        if late and not self._lost:
            place = self._over or (self.cleanup[-1] if self.cleanup else self._at_cancel)
            yield Sighting(Kind.CLEANUP_OVER_LIMIT, place.words, f"{cancel_grace_s:g} s are over")

    @property
    def _lost(self) -> bool:
        """Whether the grace was over while it was at work, and not at its cleanup."""
        return self._over is not None and not self._over.cleans_up and bool(self._worked or self._again)

    def _own(self) -> Iterator[Sighting]:
        again = self._again and not self._in_thread  # there the wait is the engine's, and the thread has returned
        returned = self._root.done() and not self._root.cancelled() and self._root.exception() is None
        if self._in_thread and self._lost and self._over is not None:
            yield Sighting(Kind.SWALLOWED_CANCEL, self._over.words, "its thread has not asked whether it is to stop")
        elif self._lost or (returned and (self._worked or again)):
            yield Sighting(Kind.SWALLOWED_CANCEL, self._at_cancel.words, self._went_on())
        elif self._worked:
            yield Sighting(Kind.WORK_AFTER_CANCEL, self._worked[0].words, f"cancelled at {self._at_cancel.words}")
        if self._root.done() and not self._root.cancelled() and (error := self._root.exception()) is not None:
            yield Sighting(Kind.CLEANUP_FAILED, self._at_cancel.words, f"it raised {type(error).__name__}")

    def _went_on(self) -> str:
        lines = dict.fromkeys(place.words for place in self._worked or self.cleanup)
        return f"it went on at {', '.join(list(lines)[:LINES_MAX])}" if lines else ""
