"""Who has opened what: files, sockets, threads and processes, each with the line that did it.

The interpreter tells it to an audit hook. One is installed for ever when the first `Origins` watches, and does nothing
while none does. Of threads it tells only since Python 3.12: `threading.Thread.start` is listened to instead.

Owns:   `Origins`: what the code of one handler has opened, in its tasks and in its threads.
Uses:   testing.place (how a line is named).
Never:  opens or closes anything; notes what others in the same process open.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streaming.testing.place import lines_of, words_of

T = TypeVar("T")

_watching: Origins | None = None
_installed = False

#: Set in everything that runs for the handler under watch.
MINE: ContextVar[bool] = ContextVar("streaming_testing_mine", default=False)

#: The line that has created the task that runs: a library may open something in a task of its own.
CREATED: ContextVar[str] = ContextVar("streaming_testing_created", default="")


@contextmanager
def as_its_own() -> Iterator[None]:
    """What runs meanwhile runs for the handler, although it has not begun."""
    token = MINE.set(True)
    try:
        yield
    finally:
        MINE.reset(token)


@dataclass(slots=True)
class Origins:
    """What a handler has opened.

    Attributes:
        files: lines by path, as it was given.
        objects: sockets and `subprocess.Popen` by their identity, each with its line; they are not kept alive.
        threads: lines by thread.
    """

    files: dict[str, str] = field(default_factory=dict)
    objects: dict[int, tuple[Callable[[], Any], str]] = field(default_factory=dict)
    threads: dict[threading.Thread, str] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch; only one does at a time.

        Raises:
            RuntimeError: another one does.
        """
        global _watching
        if _watching is not None:
            raise RuntimeError("somebody watches already who opens what in this process")
        _install()
        _watching = self
        thread_class: Any = threading.Thread
        start = thread_class.start

        def noted_start(thread: threading.Thread) -> None:
            if self._is_mine():
                self.threads[thread] = _caller(2)
            start(thread)

        thread_class.start = noted_start
        try:
            yield
        finally:
            thread_class.start = start
            _watching = None

    def _is_mine(self) -> bool:
        """Whether this thread runs the handler's code right now."""
        # Asked for the current thread, `threading` would make one up for a thread that is not its own.
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]  # typeshed hides it
        return MINE.get() or thread in self.threads

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Something is about to be opened, in this thread."""
        if not self._is_mine():
            return
        place = _caller(3)
        if event == "socket.__new__":
            self._note_object(args[0], place)
        elif event in ("open", "sqlite3.connect"):
            self.files[_path(args[0])] = place
        else:
            self._note_object(sys._getframe(2).f_locals.get("self"), place)

    def _note_object(self, opened: object, place: str) -> None:
        try:
            self.objects[id(opened)] = (weakref.ref(opened), place)
        except TypeError:  # a socket without the class around it
            self.objects[id(opened)] = (lambda: None, place)

    def living(self, kind: type[T]) -> Iterator[tuple[T, str]]:
        """The objects of a kind that are still there, with their lines."""
        for reference, place in self.objects.values():
            opened = reference()
            if isinstance(opened, kind):
                yield opened, place


_EVENTS = frozenset({"socket.__new__", "open", "sqlite3.connect", "subprocess.Popen"})


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching is not None and event in _EVENTS:
        _watching.note(event, args)


def _install() -> None:
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _path(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else f"descriptor {name}"


def _caller(depth: int) -> str:
    """The line of the handler's own code that is running in this thread, without the innermost frames."""
    return words_of(lines_of(sys._getframe(depth)), CREATED.get())
