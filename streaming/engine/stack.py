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

    The chain is followed through coroutines and generators; what is behind (a future, a task) has no line. A task that
    does not wait is running right now: then it is asked from another thread, and stands where its own thread does.
    """
    place = "before its first line"
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
            place = _line(code, frame.f_lineno)
        awaited = following
    return place


def where_thread(ident: int) -> str:
    """The innermost line that a thread is executing outside of libraries, as ``file.py:12 in function``."""
    frame: FrameType | None = sys._current_frames().get(ident)
    innermost = frame
    while frame is not None and _is_library(frame.f_code):
        frame = frame.f_back
    found = frame or innermost
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
    return "site-packages" in name or name.startswith(("<frozen", _STDLIB, _ENGINE))


def _line(code: CodeType, line: int) -> str:
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{line} in {code.co_name}"


_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"
_ENGINE = __file__.rsplit("/", 1)[0] + "/"
