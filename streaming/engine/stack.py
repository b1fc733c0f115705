"""Where a handler stands: the line of code it waits on.

Owns:   reading the await chain of a task, or the frame of a thread.
Never:  keeps a frame.
"""

from __future__ import annotations

import asyncio
import sys
from types import CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any


def where(task: asyncio.Task[Any]) -> str:
    """The innermost line of the coroutines that a task awaits, as ``file.py:12 in function``.

    Lines of libraries say less than the handler's own; of a handler that is installed like one, its outermost is taken.

    The chain is followed through coroutines and generators; what is behind (a future, a task) has no line. A task that
    does not wait is running right now: then it is asked from another thread, and stands where its own thread does.
    """
    own = installed = ""
    awaited: Any = task.get_coro()
    if isinstance(awaited, CoroutineType) and awaited.cr_running:
        return where_thread(_thread_of(awaited.cr_frame))
    while awaited is not None:
        if isinstance(awaited, CoroutineType):
            frame, code, following = awaited.cr_frame, awaited.cr_code, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, code, following = awaited.gi_frame, awaited.gi_code, awaited.gi_yieldfrom
        else:
            break
        if frame is not None and not _is_library(code):
            own = _line(code, frame.f_lineno)
        elif frame is not None and _is_installed(code):
            installed = installed or _line(code, frame.f_lineno)
        awaited = following
    return own or installed or "before its first line"


def where_thread(ident: int) -> str:
    """The innermost line that a thread is executing outside of libraries, as ``file.py:12 in function``."""
    frame: FrameType | None = sys._current_frames().get(ident)
    found = frame
    while frame is not None and _is_library(frame.f_code):
        if _is_installed(frame.f_code):
            found = frame
        frame = frame.f_back
    found = frame or found
    return "nowhere: its thread is gone" if found is None else _line(found.f_code, found.f_lineno)


def _thread_of(wanted: FrameType | None) -> int:
    """The thread that is executing a frame; 0 if it has just left it."""
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and frame is not wanted:
            frame = frame.f_back
        if frame is not None:
            return ident
    return 0


def _is_library(code: CodeType) -> bool:
    """Whether code belongs to the standard library, an installed package or us: the handler's own lines say more."""
    name = code.co_filename
    return _is_installed(code) or name.startswith(("<frozen", _STDLIB, _ENGINE))


def _is_installed(code: CodeType) -> bool:
    """Whether code came with a package, other than this one's engine."""
    return "site-packages" in code.co_filename and not code.co_filename.startswith(_ENGINE)


def _line(code: CodeType, line: int) -> str:
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{line} in {code.co_name}"


_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"
_ENGINE = __file__.rsplit("/", 1)[0] + "/"
