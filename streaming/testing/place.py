"""Where a task waits, and whether it cleans up there.

Cleaning up is what runs in a ``finally``, in an ``except`` that catches a cancel, in ``__aexit__`` or in ``aclose``;
one frame of the chain of awaits that is in such a place is enough.

Owns:   `Place`: the chain of awaits of a task, read frame by frame; the parts of a source file that clean up.
Uses:   engine.stack (how a line is named).
Never:  keeps a frame.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import linecache
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from streaming.engine.calls import Call
from streaming.engine.stack import where

#: What is called only to clean up.
_CLEANERS = frozenset({"__aexit__", "aclose"})

#: Names of classes; an ``except`` that has only others of these does not catch a cancel.
_CATCHES = frozenset({"BaseException", "CancelledError", "BaseExceptionGroup"})

#: Awaitables that hide a generator or a coroutine, which only the garbage collector can see.
_WRAPPERS = frozenset({"async_generator_asend", "async_generator_athrow", "coroutine_wrapper"})

#: A chain of awaits that is longer is cut.
DEPTH_MAX = 500

Line = tuple[CodeType, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands.

    Attributes:
        lines: code and line of each frame, the outermost first; what is equal is the same place.
        words: the line that says most, as ``file.py:12 in function``.
    """

    lines: tuple[Line, ...]
    words: str

    @property
    def cleans_up(self) -> bool:
        """Whether any frame is where things are cleaned up."""
        return any(_cleans_up(code, line) for code, line in self.lines)

    def goes_on_from(self, other: Place) -> bool:
        """Whether a task that was at the other place has got further, in the first frame in which they differ.

        A wait that is begun anew on the same line, until what it waits for has ended, is no progress.
        """
        return self.lines != other.lines


def place_of(task: asyncio.Task[Any]) -> Place:
    """Where a task waits."""
    return Place(tuple(_awaited(task.get_coro())), where(task))


def place_of_caller(depth: int = 1) -> Place:
    """Where the code that is running stands, without the innermost frames.

    Args:
        depth: how many frames to leave out.
    """
    lines = lines_of(sys._getframe(depth + 1))
    return Place(lines, words_of(lines))


def own_place_of_thread(ident: int) -> str:
    """The innermost of the handler's own lines that a thread is executing; empty if it is none."""
    lines = [line for line in lines_of(sys._current_frames().get(ident)) if is_own(line[0])]
    return words_of(lines) if lines else ""


def lines_of(frame: FrameType | None) -> tuple[Line, ...]:
    """A frame and its callers, the outermost first; what has called the handler, or runs the loop, is left out."""
    lines: list[Line] = []
    while frame is not None and frame.f_code not in _OUTERMOST:
        lines.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(lines))


def words_of(lines: Sequence[Line], else_words: str = "") -> str:
    """The innermost line that is the handler's own, else these words; of a handler that is installed, the outermost."""
    own = [line for line in lines if is_own(line[0])]
    if not own and else_words:
        return else_words
    chosen = own[-1] if own else next((line for line in lines if "site-packages" in line[0].co_filename), None)
    if chosen is None:
        return "nowhere that is the handler's"
    code, number = chosen
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{number} in {code.co_name}"


def is_own(code: CodeType) -> bool:
    """Whether code is the handler's: not of the standard library, an installed package, the engine or this one."""
    name = code.co_filename
    return not ("site-packages" in name or name.startswith(("<frozen", _STDLIB, _ENGINE, _HERE)))


def _awaited(awaited: Any) -> Iterator[Line]:
    for _ in range(DEPTH_MAX):
        if isinstance(awaited, CoroutineType):
            frame, code, following = awaited.cr_frame, awaited.cr_code, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, code, following = awaited.gi_frame, awaited.gi_code, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, code, following = awaited.ag_frame, awaited.ag_code, awaited.ag_await
        elif type(awaited).__name__ in _WRAPPERS:
            awaited = _hidden_in(awaited)
            continue
        else:
            return
        if frame is not None:
            yield code, frame.f_lineno
        awaited = following


def _hidden_in(wrapper: object) -> object:
    kinds = (CoroutineType, GeneratorType, AsyncGeneratorType)
    return next((each for each in gc.get_referents(wrapper) if isinstance(each, kinds)), None)


# -- the parts of a file that clean up ---------------------------------------------------------------------------------


def _cleans_up(code: CodeType, line: int) -> bool:
    if code.co_name in _CLEANERS:
        return True
    return any(first <= line <= last for first, last in _cleanups(code.co_filename))


@cache
def _cleanups(file: str) -> tuple[tuple[int, int], ...]:
    """First and last lines of all that cleans up in a file; nothing if there is no source."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    found: list[tuple[int, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar):
            found += [_lines(handler.body) for handler in node.handlers if _catches(handler.type)]
            found += [_lines(node.finalbody)] if node.finalbody else []
    return tuple(found)


def _lines(body: Sequence[ast.stmt]) -> tuple[int, int]:
    return body[0].lineno, max(statement.end_lineno or statement.lineno for statement in body)


def _catches(caught: ast.expr | None) -> bool:
    """Whether an ``except`` may catch a cancel: a bare one does, and what is no plain name may."""
    if isinstance(caught, ast.Tuple):
        return any(_catches(each) for each in caught.elts)
    if isinstance(caught, ast.Name | ast.Attribute):
        name = caught.id if isinstance(caught, ast.Name) else caught.attr
        return name in _CATCHES
    return True


#: Who calls a handler, and who runs a step of one of its tasks: those further out are not the handler's.
_OUTERMOST = frozenset({Call.run.__code__, asyncio.Handle._run.__code__})

_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"
_HERE = __file__.rsplit("/", 1)[0] + "/"
_ENGINE = _HERE.replace("/testing/", "/engine/")
