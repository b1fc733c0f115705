"""What a handler holds while it works.

Owns:   the handler's way to tell (emit, progress, log), its deadline, and its protected sections.
Uses:   a `Teller`, the runner's side of the conversation.
Never:  decides whether a task goes on (``engine.runner``), or knows of stores and readers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Unpack

from streaming.engine.family import Child, StartChild
from streaming.engine.mailbox import Input
from streaming.engine.options import StartOptions
from streaming.errors import Stopped

Level = Literal["debug", "info", "warning", "error"]


class Teller(Protocol):
    """The runner, as far as its handler may touch it."""

    def tell(self, type: str, data: object) -> int:
        """Append an event of the handler's own and return its seq."""

    def tell_progress(self, percent: float, message: str | None) -> int:
        """Append a progress event."""

    def tell_steps(self, completed: int, total: int, current: str | None) -> int:
        """Append a progress event that counts steps."""

    def tell_log(self, level: Level, message: str, fields: dict[str, Any]) -> int:
        """Append a log event."""

    async def room(self) -> None:
        """Wait while too much of this task is not committed yet."""

    def enter(self, reason: str, at_most_s: float) -> object:
        """Begin a protected section."""

    async def leave(self, section: object) -> None:
        """End it; a cancel that was held back is delivered now."""


@dataclass(frozen=True, slots=True)
class Links:
    """What comes from outside, and what goes there.

    Attributes:
        inputs: reads what others send into the task.
        start: starts a task under it.
        trace: what a request carries that is made now.
    """

    inputs: Callable[[], AsyncIterator[Input]]
    start: StartChild
    trace: Callable[[], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Told:
    """What `TaskContext.log` returns: await it to feel the backpressure, or leave it."""

    seq: int
    _room: Callable[[], Any]

    def __await__(self) -> Generator[Any, None, int]:
        yield from self._room().__await__()
        return self.seq


class Deadline:
    """When a task's time is over; it may be moved while the task runs.

    Args:
        remaining_s: says how many seconds are left.
    """

    __slots__ = ("_remaining_s",)

    def __init__(self, remaining_s: Callable[[], float]) -> None:
        self._remaining_s = remaining_s

    @property
    def remaining_s(self) -> float:
        """Seconds left; negative once the time is over."""
        return self._remaining_s()


class TaskContext:
    """A handler's link to its task.

    Attributes:
        task_id: id of the task.
        attempt: 1 for the first run, one more for each restart after an interruption.
        params: as the record keeps them: what the client sent, and the defaults.
        deadline: how much time is left.
    """

    __slots__ = ("_links", "_teller", "attempt", "deadline", "params", "task_id")

    def __init__(
        self, task_id: str, attempt: int, params: dict[str, Any], deadline: Deadline, teller: Teller, links: Links
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.params = params
        self.deadline = deadline
        self._teller = teller
        self._links = links

    async def emit(self, type: str, data: object = None) -> int:
        """Append an event of your own to the task's log.

        Waits only while too much of this task is not committed yet, or while the store is away.

        Args:
            type: letters, digits, ``_``, ``-`` and ``.``, at most 64; no status and no built-in type.
            data: anything with a JSON form; None becomes an empty object.

        Returns:
            The seq of the event.

        Raises:
            InvalidEvent: the type or the data cannot be an event.
            EventTooLarge: the data has more bytes than an event may have.
            TooManyEvents: the task has as many events as it may have; so says every verb that would add one.
            LogTooLarge: its events have as many bytes as they may have; likewise.
            TaskEnded: the task has ended.
        """
        await self._teller.room()
        return self._teller.tell(type, {} if data is None else data)

    async def progress(self, percent: float, message: str | None = None) -> int:
        """Report how far the task is; the record shows the last report.

        Args:
            percent: from 0 to 100.
            message: for people, at most 1,000 characters.

        Returns:
            The seq of the event.

        Raises:
            InvalidEvent: ``percent`` is no number from 0 to 100, or the message is too long.
            TaskEnded: the task has ended.
        """
        await self._teller.room()
        return self._teller.tell_progress(percent, message)

    async def steps(self, completed: int, total: int, current: str | None = None) -> int:
        """Report how many steps of several are done; the record shows the last report, in percent too.

        Args:
            completed: steps that are done.
            total: steps in all, at least 1.
            current: name of the step under way, for people, at most 1,000 characters.

        Returns:
            The seq of the ``progress`` event.

        Raises:
            InvalidEvent: they are no such numbers, or the name is too long.
            TaskEnded: the task has ended.
        """
        await self._teller.room()
        return self._teller.tell_steps(completed, total, current)

    def log(self, message: str, *, level: Level = "info", **fields: Any) -> Told:
        """Append a ``log`` event.

        Args:
            message: for people.
            level: debug, info, warning or error.
            fields: more, with a JSON form.

        Returns:
            Something to await where many lines are written, so that the handler waits for the store.

        Raises:
            InvalidEvent: a field has no JSON form, or more lines than fit wait for their commit without an await.
            TaskEnded: the task has ended.
        """
        return Told(self._teller.tell_log(level, message, fields), self._teller.room)

    def inputs(self) -> AsyncIterator[Input]:
        """What others send into the task (``POST /tasks/{id}/input``): use it with ``async for``.

        Every attempt reads all inputs of the task, from the first. It waits for more without end: leave the loop, or
        let the task be cancelled.

        Returns:
            An iterator over inputs; several may read at the same time, each of them gets all.
        """
        return self._links.inputs()

    async def start(self, type: str, params: dict[str, Any] | None = None, **options: Unpack[StartOptions]) -> Child:
        """Start another task under this one.

        It is cancelled when this attempt ends, in whichever way, does not outlive the server, and must have ended when
        this one's time is over. It gets this one's principal, and its priority unless you name another. One that you
        join by its key is somebody else's, and goes on.

        Args:
            type: name of the task type.
            params: its parameters.
            options: see `StartOptions`.

        Returns:
            The task; await its ``result()``.

        Raises:
            UnknownType: no such task type.
            InvalidParams: parameters or options are wrong.
            KeyBusy: its key is busy, and ``if_running`` is ``reject``; or a task above it holds the key.
            TooManyTasks: the queue is full, or the principal has too many tasks in it.
            TaskEnded: this attempt has ended, or its time is over.
            Draining: the server is shutting down.
            StoreUnavailable: it could not be stored, and nothing was started.
        """
        return await self._links.start(type, params or {}, options, self.deadline.remaining_s)

    def trace_headers(self) -> dict[str, str]:
        """What a request to somebody else carries, so that it belongs to the trace of the task.

        Returns:
            ``traceparent`` and maybe ``tracestate`` (W3C Trace Context); nothing if the task belongs to no trace.
        """
        return self._links.trace()

    @asynccontextmanager
    async def protected(self, reason: str, *, at_most_s: float = 5.0) -> AsyncIterator[None]:
        """Hold back a cancel, a timeout or a shutdown while a section runs that must not be torn.

        Readers are told that a cancel waits, and for what: its ``cancel_requested`` names the section. A timeout or a
        shutdown waits without a word: readers learn of it by the next status. A section that runs longer than
        ``at_most_s`` is reported in the log and loses its protection.

        Args:
            reason: shown to readers if a cancel waits or the section overruns, at most 1,000 characters.
            at_most_s: seconds.

        Raises:
            InvalidEvent: the reason is no such text, or ``at_most_s`` is no positive number.
        """
        section = self._teller.enter(reason, at_most_s)
        try:
            yield
        finally:
            await self._teller.leave(section)


class ThreadChild:
    """A task that a handler in a thread has started; see `Child`.

    Attributes:
        id: of the task.
    """

    __slots__ = ("_child", "_wait", "id")

    def __init__(self, child: Child, wait: Callable[[Callable[[], Awaitable[Any]]], Any]) -> None:
        self.id = child.id
        self._child = child
        self._wait = wait

    def result(self) -> Any:
        """See `Child.result`; blocks the thread instead of waiting, and raises `Stopped` once the task is to stop."""
        return self._wait(self._child.result)


class ThreadContext:
    """What a handler with ``run_in="thread"`` holds: the same verbs, called from its thread.

    Attributes:
        task_id: id of the task.
        attempt: 1 for the first run, one more for each restart after an interruption.
        params: as the record keeps them: what the client sent, and the defaults.
        deadline: how much time is left.
    """

    __slots__ = ("_call", "_context", "_stopping", "attempt", "deadline", "params", "task_id")

    def __init__(self, context: TaskContext, call: Callable[..., Any], stopping: Callable[[], bool]) -> None:
        self._context = context
        self._call = call
        self._stopping = stopping
        self.task_id = context.task_id
        self.attempt = context.attempt
        self.params = context.params
        self.deadline = context.deadline

    def emit(self, type: str, data: object = None) -> int:
        """See `TaskContext.emit`; blocks the thread instead of waiting."""
        return int(self._call(self._context.emit, type, data))

    def progress(self, percent: float, message: str | None = None) -> int:
        """See `TaskContext.progress`; blocks the thread instead of waiting."""
        return int(self._call(self._context.progress, percent, message))

    def steps(self, completed: int, total: int, current: str | None = None) -> int:
        """See `TaskContext.steps`; blocks the thread instead of waiting."""
        return int(self._call(self._context.steps, completed, total, current))

    def log(self, message: str, *, level: Level = "info", **fields: Any) -> int:
        """See `TaskContext.log`; blocks the thread instead of waiting."""

        async def line() -> int:
            return await self._context.log(message, level=level, **fields)

        return int(self._call(line))

    def inputs(self) -> Iterator[Input]:
        """See `TaskContext.inputs`; blocks the thread while there is none, and raises `Stopped` once it is to stop."""
        inputs = self._context.inputs()

        async def following() -> Input:
            return await anext(inputs)

        while True:
            yield self._wait(following)

    def start(self, type: str, params: dict[str, Any] | None = None, **options: Unpack[StartOptions]) -> ThreadChild:
        """See `TaskContext.start`; blocks the thread instead of waiting."""

        async def begin() -> Child:
            return await self._context.start(type, params, **options)

        return ThreadChild(self._call(begin), self._wait)

    def trace_headers(self) -> dict[str, str]:
        """See `TaskContext.trace_headers`."""
        return self._context.trace_headers()

    @property
    def stopping(self) -> bool:
        """Whether the task was cancelled, timed out or is shutting down: finish, and return or raise."""
        return self._stopping()

    def check(self) -> None:
        """Call between blocks of work: raises `Stopped` once the task is to stop."""
        if self._stopping():
            raise Stopped

    def _wait(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for what may never come. Who is told to stop before the wait begins is not woken up: it begins none."""

        async def waiting() -> Any:
            self.check()  # on the loop, where a stop is told: none can come in between
            return await function()

        return self._call(waiting)
