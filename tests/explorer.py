"""A loop that runs the same program in another order for every seed, and the same order for the same seed.

What may be permuted is what nobody may rely on: which of several ready tasks runs first, how long a ready task has to
wait for its turn, and whether a timer fires before it. Plain callbacks (of futures and timers) keep their order.

Owns:   `ExploringLoop`.
Never:  knows what it runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from asyncio.events import Handle
from collections import deque
from collections.abc import Iterable
from typing import Any

from tests.virtual import VirtualLoop

#: How often a ready task has to let the others go first.
DEFER = 0.2

#: How often a timer fires although somebody is ready, and how many seconds it may be away: a step takes no longer.
JUMP = 0.05
JUMP_MAX_S = 0.05


class ExploringLoop(VirtualLoop):
    """A virtual loop that permutes the steps of tasks.

    Args:
        seed: which order.
    """

    _ready: deque[Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._numbers: dict[asyncio.Task[Any], int] = {}
        self._trace = hashlib.sha256()
        self.steps = 0

    @property
    def trace(self) -> str:
        """What ran in which order, in short: the same for the same order."""
        return self._trace.hexdigest()

    def _run_once(self) -> None:
        deferred = self._permute()
        super()._run_once()  # type: ignore[misc]  # asyncio's own step, which typeshed does not show
        self._ready.extendleft(reversed(deferred))

    def _permute(self) -> list[Handle]:
        """Put the ready tasks into another order, and take out those that have to wait."""
        handles = list(self._ready)
        slots = [index for index, handle in enumerate(handles) if _task_of(handle) is not None]
        steps = [handles[index] for index in slots]
        self._random.shuffle(steps)
        waiting = [step for step in steps if self._random.random() < DEFER]
        if len(waiting) == len(handles):
            waiting = waiting[1:]
        if self._random.random() < JUMP:
            self._jump()
        for index, step in zip(slots, steps, strict=True):
            handles[index] = step
        held = set(map(id, waiting))
        self._ready.clear()
        self._ready.extend(handle for handle in handles if id(handle) not in held)
        self._note(step for step in steps if id(step) not in held)
        return waiting

    def _jump(self) -> None:
        """Let the next timer fire now."""
        when = self._scheduled[0].when() if self._scheduled else self.time()
        if self.time() < when <= self.time() + JUMP_MAX_S:
            self._jumping.now = when

    def _note(self, steps: Iterable[Handle]) -> None:
        for step in steps:
            task = _task_of(step)
            if task is not None:
                number = self._numbers.setdefault(task, len(self._numbers))
                self._trace.update(number.to_bytes(4, "big"))
                self.steps += 1


def _task_of(handle: Handle) -> asyncio.Task[Any] | None:
    """The task whose step a handle is; None for a plain callback."""
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # typeshed hides it
    return owner if isinstance(owner, asyncio.Task) else None
