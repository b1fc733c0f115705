"""The asyncio tasks of one handler: the one in which it runs, and all that were created from there.

Who belongs to a handler is told by the context: what a task of it creates, also in a thread or a callback, inherits it.
What the engine creates on its behalf, to run a task that it has started, say, is the engine's.

Owns:   `Kin`.
Uses:   testing.origins (the mark that is inherited), engine.calls (how the engine calls a handler).
Never:  keeps a task alive.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from streaming.engine import calls
from streaming.engine.stack import where
from streaming.testing.loop import SimulatedTask, Stepping
from streaming.testing.origins import CREATED, MINE
from streaming.testing.place import is_own, lines_of, place_of, words_of

_ENGINE = calls.__file__.rsplit("/", 1)[0] + "/"


class Kin:
    """The tasks of the first handler that runs on a loop.

    Args:
        loop: a fresh one.
        on_root: called with the handler's task and its call, before its first step.

    Attributes:
        root: the task in which the handler runs; None before it does.
    """

    def __init__(self, loop: Stepping, on_root: Callable[[SimulatedTask, calls.Call], None]) -> None:
        self.root: SimulatedTask | None = None
        self._on_root = on_root
        self._members: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
        self._make: Any = loop.get_task_factory()
        loop.set_task_factory(self._create)

    def __contains__(self, task: object) -> bool:
        return task in self._members

    def alive(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, but for the root, the oldest first."""
        alive = [task for task in self._members if not task.done() and task is not self.root]
        return sorted(alive, key=hash)

    def where(self, task: asyncio.Task[Any]) -> str:
        """The line on which a task stands; if none of its lines is the handler's, the one that has created it."""
        frames = [code for code, _ in place_of(task).lines if is_own(code)]
        return where(task) if frames else self._members.get(task, where(task))

    def _create(self, loop: Any, coroutine: Any, **options: Any) -> Any:
        context: Context = options.get("context") or copy_context()
        code = getattr(coroutine, "cr_code", None)
        first = self.root is None and code is calls.Call.run.__code__
        mine = first or (context.get(MINE, False) and not _is_engine(code))
        created = words_of(lines_of(sys._getframe(1)), CREATED.get()) if mine else ""
        if first or context.get(MINE, False):
            context = context.copy()
            context.run(MINE.set, mine)
            context.run(CREATED.set, "" if first else created)
            options["context"] = context
        task: SimulatedTask = self._make(loop, coroutine, **options)
        if mine:
            self._members[task] = created
        if first:
            self.root = task
            self._on_root(task, coroutine.cr_frame.f_locals["self"])
        return task


def _is_engine(code: Any) -> bool:
    return code is not None and code.co_filename.startswith(_ENGINE)
