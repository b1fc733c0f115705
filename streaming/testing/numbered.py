"""Tasks, futures and async generators that are told apart by numbers, and not by their addresses.

An address differs from run to run, and with it the order in which a set is walked through. The numbers are those of
one loop, so that they are the same in every run. Each of them also knows to which simulated process it belongs.

Owns:   `SimulatedTask`, `SimulatedFuture`, `Generators`, and the context variable that says what process runs.
Never:  decides what runs, or ends anything.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio.events import Handle
from collections.abc import AsyncGenerator, Collection, Iterator
from contextvars import ContextVar
from typing import Any
from weakref import WeakValueDictionary

#: To which simulated process what runs belongs; 0 is the outside, which cannot be killed.
PROCESS: ContextVar[int] = ContextVar("process", default=0)


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number.

    Attributes:
        number: counted together with the futures of its loop.
        process: to which simulated process it belongs.
    """

    number = 0
    process = 0

    def __hash__(self) -> int:
        return self.number

    def set_name(self, value: object) -> None:
        """Take a name; None, which some versions of asyncio set, leaves the one with the number."""
        if value is not None:
            super().set_name(value)


class SimulatedFuture(asyncio.Future[Any]):
    """A future with a number.

    Attributes:
        number: counted together with the tasks of its loop.
        process: to which simulated process it belongs.
    """

    number = 0
    process = 0

    def __hash__(self) -> int:
        return self.number


def numbered_task(
    loop: asyncio.AbstractEventLoop, number: int, coroutine: Any, options: dict[str, Any]
) -> SimulatedTask:
    """Make a task; its number comes first, as it registers itself by its hash.

    Args:
        loop: of it.
        number: of it.
        coroutine: what it runs.
        options: what asyncio gives to a factory of tasks, which differs from version to version.
    """
    task = SimulatedTask.__new__(SimulatedTask)
    task.number = number
    context = options.get("context")
    task.process = PROCESS.get() if context is None else context.get(PROCESS, 0)
    # Without a name it would be the how manieth task of the whole Python process.
    options["name"] = options.get("name") or f"task-{number}"
    task.__init__(coroutine, loop=loop, **options)  # type: ignore[misc]  # its number had to come first
    return task


def task_of(handle: Handle) -> SimulatedTask | None:
    """The task whose step a handle is; None for a plain callback."""
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # typeshed hides it
    return owner if isinstance(owner, SimulatedTask) else None


def process_of(found: object) -> int:
    """The process of a task or future; what is none of ours belongs to the outside.

    What ``asyncio.gather`` returns is made by itself; it belongs to the process of what it waits for.
    """
    parts = getattr(found, "_children", None) or [found]
    return int(getattr(parts[0], "process", 0))


class Generators:
    """The async generators of a loop, in the order in which they have begun: asyncio has it from their addresses.

    Args:
        dead: processes whose generators nobody finalizes.
    """

    def __init__(self, dead: Collection[int]) -> None:
        self._dead = dead
        self._numbers = itertools.count(1)
        self._begun: WeakValueDictionary[tuple[int, int], AsyncGenerator[Any, Any]] = WeakValueDictionary()
        self._processes: dict[int, int] = {}  # by address: one that is finalized has no weak references any more

    def add(self, generator: AsyncGenerator[Any, Any]) -> None:
        """It has begun, in the process that runs."""
        self._begun[PROCESS.get(), next(self._numbers)] = generator
        self._processes[id(generator)] = PROCESS.get()

    def discard(self, generator: AsyncGenerator[Any, Any]) -> None:
        """It is being finalized; its weak reference is gone already."""
        self._processes.pop(id(generator), None)

    def clear(self) -> None:
        """Forget all."""
        self._begun.clear()

    def is_dead(self, generator: AsyncGenerator[Any, Any]) -> bool:
        """Whether it belongs to a process that was killed."""
        return self._processes.get(id(generator)) in self._dead

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __iter__(self) -> Iterator[AsyncGenerator[Any, Any]]:
        """Those that are still there, and not dead."""
        return iter([each for (process, _), each in list(self._begun.items()) if process not in self._dead])
