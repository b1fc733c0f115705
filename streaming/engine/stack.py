"""Where a handler stands: the lines of code it waits on, and what is behind the last of them.

The chain is followed through coroutines, generators and asynchronous generators, and from there into the asyncio tasks
that are awaited: one task, those of a gather, of a TaskGroup, of a wait or under a shield. What is behind a task that
is told of by a callback of somebody's own cannot be found.

Owns:   reading the await chain of a task, or the frames of a thread.
Uses:   rules.waits (what the frames mean).
Never:  keeps a frame, or tells a local value: of library code a few variables are read that say what is waited for.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType, MappingProxyType
from typing import Any, NamedTuple

from streaming.rules.waits import Frame, Stack, Wait, wait_of

#: Of the tasks behind a handler so many are followed, and so deep.
TASKS_MAX, DEPTH_MAX = 50, 8

#: Frames of one chain that are told of, the innermost ones.
FRAMES_MAX = 50

#: What stands between a coroutine and a generator, and names it to nobody but the collector of garbage; see `_inside`.
_WRAPPERS = frozenset({"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"})

#: Where library code keeps the tasks that it waits for.
_TASKS_IN = MappingProxyType(
    {
        "asyncio/taskgroups.py:TaskGroup.__aexit__": ("self", "_tasks"),
        "asyncio/taskgroups.py:TaskGroup._aexit": ("self", "_tasks"),
        "_backends/_asyncio.py:TaskGroup.__aexit__": ("self", "_tasks"),
        "asyncio/tasks.py:_wait": ("fs", None),
        "asyncio/tasks.py:wait_for": ("fut", None),
    }
)

_SLEEP, _CHILD = "asyncio/tasks.py:sleep", "engine/family.py:Child.result"


class _Link(NamedTuple):
    """One frame of a chain, as long as it is looked at."""

    frame: FrameType
    code: CodeType
    line: int


def where(task: asyncio.Task[Any]) -> str:
    """The innermost line of the coroutines that a task awaits, as ``file.py:12 in function``.

    Lines of libraries say less than the handler's own; of a handler that is installed like one, its outermost is taken.

    A task that does not wait is running right now: then it is asked from another thread, and stands where its own
    thread does.
    """
    coroutine: Any = task.get_coro()
    if _is_running(coroutine):
        return _innermost(_run_by(coroutine, _thread_of(coroutine.cr_frame)))
    return _place(_chain(coroutine)) or "before its first line"


def where_thread(ident: int) -> str:
    """The innermost line that a thread is executing outside of libraries, as ``file.py:12 in function``."""
    return _innermost(_frames_of(ident))


def running_lines(task: asyncio.Task[Any] | None, ident: int) -> tuple[str, str]:
    """Where the loop's thread stands just now, and its lines as a traceback shows them; called from another thread.

    Args:
        task: that the loop runs: what has called it is left out. None for a callback.
        ident: of the loop's thread.
    """
    links = _frames_of(ident) if task is None else _run_by(task.get_coro(), ident)
    lines = traceback.StackSummary.extract((link.frame, link.line) for link in links)
    return _innermost(links), "".join(lines.format()).rstrip()


def stack_of(task: asyncio.Task[Any]) -> Stack:
    """The whole chain of a task that is not running right now, and of the tasks that it waits for.

    Args:
        task: of this loop.
    """
    return _Walk().stack(task, DEPTH_MAX)


def stack_of_thread(ident: int) -> Stack:
    """What a thread is executing; what called the handler in it is left out."""
    return Stack(_told(_without_caller(_frames_of(ident))), Wait.THREAD_CODE)


def waiter_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """The future that a task waits for; None while it does not wait."""
    waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
    return waiter


class _Walk:
    """Follows a task into those that it waits for: each once, and not too many."""

    def __init__(self) -> None:
        self._seen: set[asyncio.Future[Any]] = set()

    def stack(self, task: asyncio.Task[Any], depth: int) -> Stack:
        self._seen.add(task)
        coroutine: Any = task.get_coro()
        links = _without_caller(_chain(coroutine))
        awaited = waiter_of(task)
        behind = [found for found in _tasks_behind(links, awaited) if found not in self._seen and not found.done()]
        branches: list[Stack] = []
        for each in behind:
            if depth > 0 and len(self._seen) < TASKS_MAX and each not in self._seen:
                branches.append(self.stack(each, depth - 1))
        frames = _told(links)
        begun = not (
            isinstance(coroutine, CoroutineType) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        )
        wait = wait_of(frames, waits=awaited is not None, begun=begun, tasks=len(behind))
        until, task_id = _details(links, wait)
        return Stack(
            frames[-FRAMES_MAX:],
            wait,
            name=_name(links, coroutine),
            until=until,
            task_id=task_id,
            branches=tuple(branches),
            more=len(behind) - len(branches),
        )


def _tasks_behind(links: Sequence[_Link], awaited: asyncio.Future[Any] | None) -> list[asyncio.Task[Any]]:
    """The asyncio tasks that a chain waits for, in the order of their beginning as far as that can be told."""
    found: dict[asyncio.Task[Any], None] = dict.fromkeys(_tasks_of(awaited))
    for frame, code, _ in reversed(links):
        if (place := _TASKS_IN.get(_key(code))) is not None:
            variable, attribute = place
            value = frame.f_locals.get(variable)
            held = value if attribute is None else getattr(value, attribute, None)
            several = held if isinstance(held, Iterable) and not isinstance(held, asyncio.Future) else (held,)
            found.update(dict.fromkeys(task for each in several for task in _tasks_of(each)))
        if not _is_library(code):
            break
    return sorted(found, key=lambda task: (len(task.get_name()), task.get_name()))


def _tasks_of(awaited: object) -> Iterator[asyncio.Task[Any]]:
    """A task; or those behind a future of ``gather`` or ``shield``."""
    if isinstance(awaited, asyncio.Task):
        yield awaited
    elif isinstance(awaited, asyncio.Future):
        for child in getattr(awaited, "_children", ()):
            yield from _tasks_of(child)
        for callback, *_ in getattr(awaited, "_callbacks", None) or ():
            if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
                for cell in callback.__closure__ or ():
                    if isinstance(cell.cell_contents, asyncio.Task):
                        yield cell.cell_contents


def _details(links: Sequence[_Link], wait: Wait) -> tuple[float | None, str | None]:
    """Until when it sleeps, on the loop's clock; and the child task that it waits for."""
    until = task_id = None
    for frame, code, _ in reversed(links):
        if not _is_library(code):
            break
        key = _key(code)
        if key == _SLEEP and wait is Wait.SLEEP and (timer := frame.f_locals.get("h")) is not None:
            until = timer.when()
        elif key == _CHILD and wait is Wait.CHILD:
            task_id = frame.f_locals["self"].id
    return until, task_id


def _chain(awaited: Any) -> list[_Link]:
    """The frames behind an awaitable, the outermost first."""
    links: list[_Link] = []
    while awaited is not None:
        if isinstance(awaited, CoroutineType):
            frame, code, following = awaited.cr_frame, awaited.cr_code, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, code, following = awaited.gi_frame, awaited.gi_code, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, code, following = awaited.ag_frame, awaited.ag_code, awaited.ag_await
        elif type(awaited).__name__ in _WRAPPERS:
            awaited = _inside(awaited)
            continue
        else:
            break
        if frame is not None:
            links.append(_Link(frame, code, frame.f_lineno or code.co_firstlineno))
        awaited = following
    return links


def _inside(wrapper: object) -> object:
    """What one step of an asynchronous generator, or a coroutine's ``__await__``, is of: the first thing it holds."""
    return next(iter(gc.get_referents(wrapper)), None)


def _frames_of(ident: int) -> list[_Link]:
    """What a thread is executing, the outermost frame first."""
    links: list[_Link] = []
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None:
        links.append(_Link(frame, frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno))
        frame = frame.f_back
    return links[::-1]


def _thread_of(wanted: FrameType | None) -> int:
    """The thread that is executing a frame; 0 if it has just left it."""
    for ident in list(sys._current_frames()):
        if any(link.frame is wanted for link in _frames_of(ident)):
            return ident
    return 0


def _run_by(coroutine: Any, ident: int) -> list[_Link]:
    """What a thread is executing, from a running coroutine on; all of it if that has just ended."""
    links, outermost = _frames_of(ident), getattr(coroutine, "cr_frame", None)
    first = next((number for number, link in enumerate(links) if link.frame is outermost), 0)
    return _without_caller(links[first:])


def _innermost(links: Sequence[_Link]) -> str:
    """The line to be named of a thread."""
    return (_place(links) or _line(links[-1])) if links else "nowhere: its thread is gone"


def _is_running(coroutine: Any) -> bool:
    return isinstance(coroutine, CoroutineType) and coroutine.cr_running


def _without_caller(links: list[_Link]) -> list[_Link]:
    """Without what calls the handler: everything up to our own lines that come first."""
    last = max((number for number, link in enumerate(links) if _key(link.code) in _CALLERS), default=-1)
    return links[last + 1 :]


def _told(links: Iterable[_Link]) -> tuple[Frame, ...]:
    return tuple(Frame(_line(link), _key(link.code), own=not _is_library(link.code)) for link in links)


def _place(links: Sequence[_Link]) -> str | None:
    """The innermost line that is the handler's own, or the outermost that is installed."""
    own = next((link for link in reversed(links) if not _is_library(link.code)), None)
    found = own or next((link for link in links if _is_installed(link.code)), None)
    return None if found is None else _line(found)


def _name(links: Sequence[_Link], coroutine: Any) -> str:
    """The first function of a task that is its own; never the task's own name, which may have a value in it."""
    own = next((link.code.co_name for link in links if not _is_library(link.code)), None)
    return own or str(getattr(coroutine, "__name__", type(coroutine).__name__))


def _is_library(code: CodeType) -> bool:
    """Whether code belongs to the standard library, an installed package or us: the handler's own lines say more."""
    name = code.co_filename
    return _is_installed(code) or name.startswith(("<frozen", _STDLIB, _ENGINE))


def _is_installed(code: CodeType) -> bool:
    """Whether code came with a package, other than this one's engine."""
    return "site-packages" in code.co_filename and not code.co_filename.startswith(_ENGINE)


def _line(link: _Link) -> str:
    return f"{link.code.co_filename.rsplit('/', 1)[-1]}:{link.line} in {link.code.co_name}"


def _key(code: CodeType) -> str:
    """By which `rules.waits` knows library code: its folder, its file and its function."""
    return f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_qualname}"


_STDLIB = asyncio.__file__.rsplit("/asyncio/", 1)[0] + "/"
_ENGINE = __file__.rsplit("/", 1)[0] + "/"

#: What calls a handler, in each of the ways.
_CALLERS = frozenset(
    f"engine/calls.py:Call.{name}" for name in ("run", "_in_loop", "_in_thread", "_in_process", "_enter_thread")
)
