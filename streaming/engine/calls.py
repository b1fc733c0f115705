"""How a handler is called: on the loop, in a thread, or in a process.

Owns:   the three ways, and what a cancel means in each of them; whose handler an asyncio task belongs to.
Uses:   engine.processes (the worker processes).
Never:  decides about the task (``engine.runner``): a call returns, raises, or is cancelled.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import structlog

from streaming.engine.context import TaskContext, ThreadContext
from streaming.engine.processes import Processes, WorkerLost
from streaming.engine.registry import TaskType
from streaming.engine.stack import stack_of, stack_of_thread, waiter_of, where, where_thread
from streaming.engine.tracer import Tracer
from streaming.engine.worker import Unprepared
from streaming.errors import HandlerError, Stopped, TaskEnded
from streaming.records import Record
from streaming.rules.waits import Stack, Wait

_log = structlog.get_logger(__name__)


#: How the asyncio task of a handler is called, before the id of its task.
NAME = "streaming-handler-"

#: The task whose handler runs: also in the asyncio tasks that the handler makes.
HANDLER: ContextVar[str] = ContextVar("streaming_handler")


def handler_of(task: asyncio.Task[Any]) -> str | None:
    """The id of the task whose handler an asyncio task belongs to; callable from any thread.

    On Python 3.11, which tells nobody the context of a task, only that of the handler itself is known.
    """
    if (name := task.get_name()).startswith(NAME):
        return name.removeprefix(NAME)
    context: Any = getattr(task, "get_context", dict)()
    found: str | None = context.get(HANDLER)
    return found


class Call:
    """One call of a handler.

    Args:
        task_type: which handler, and where it runs.
        context: what it holds.
        threads: limits how many threads run at once.
        processes: where handlers run that need a process of their own.
        tracer: makes what the handler is called in.
        record: of the task.
    """

    __slots__ = ("_bridge", "_context", "_processes", "_record", "_task_type", "_thread", "_threads", "_tracer")

    def __init__(
        self,
        task_type: TaskType,
        context: TaskContext,
        threads: anyio.CapacityLimiter,
        processes: Processes,
        tracer: Tracer,
        record: Record,
    ) -> None:
        self._task_type = task_type
        self._context = context
        self._threads = threads
        self._processes = processes
        self._tracer = tracer
        self._record = record
        self._bridge: _Bridge | None = None
        self._thread: int | None = None

    async def run(self) -> Any:
        """Call the handler, and return what it returns.

        Raises:
            HandlerError: it tried to end the whole process, or its own process was killed.
            CancelledError: it was stopped, or its task has ended without it.
            BaseException: whatever it raises.
        """
        HANDLER.set(self._context.task_id)
        way = {"loop": self._in_loop, "thread": self._in_thread, "process": self._in_process}[self._task_type.run_in]
        try:
            with self._tracer.around(self._record.id):
                return await way(self._task_type.arguments(self._context.params))
        except (SystemExit, KeyboardInterrupt) as error:
            raise _exit(error) from error
        except TaskEnded as error:  # it was left behind, and still speaks: nobody is to hear of it
            raise asyncio.CancelledError from error

    def where(self, task: asyncio.Task[Any]) -> str:
        """The line on which the handler stands; ``task`` runs this call."""
        if self._task_type.run_in == "process":
            return "in a process of its own"
        return where(task) if self._thread is None else where_thread(self._thread)

    def stack(self, task: asyncio.Task[Any] | None) -> Stack | None:
        """The lines on which the handler stands, and what it waits for.

        Args:
            task: runs this call, and waits; None before it does.
        """
        if task is None:
            return None
        if task.done():
            return Stack((), Wait.STORE)  # its end is being stored
        if self._task_type.run_in == "loop":
            return stack_of(task)
        if self._task_type.run_in == "process":
            return Stack((), stack_of(task).wait)
        if self._thread is None:
            return Stack((), Wait.THREAD_PLACE)
        found, waiting = stack_of_thread(self._thread), None if self._bridge is None else self._bridge.waiting
        return found if waiting is None else dataclasses.replace(stack_of(waiting), frames=found.frames)

    def waiter(self, task: asyncio.Task[Any] | None) -> asyncio.Future[Any] | None:
        """What the handler waits for; None where that says nothing of it, in a thread and in a process."""
        return None if task is None or self._task_type.run_in != "loop" else waiter_of(task)

    async def _in_loop(self, arguments: dict[str, Any]) -> Any:
        return await self._task_type.handler(**self._with(self._context, arguments))

    async def _in_thread(self, arguments: dict[str, Any]) -> Any:
        """A thread cannot be cancelled: it is told, and waited for."""
        bridge = self._bridge = _Bridge()
        context = ThreadContext(self._context, bridge.call, bridge.stopping.is_set)
        handler = functools.partial(self._task_type.handler, **self._with(context, arguments))
        thread = asyncio.create_task(
            anyio.to_thread.run_sync(self._enter_thread, handler, bridge.stopping, limiter=self._threads),
            name="streaming-thread",
        )
        while not thread.done():
            try:
                await asyncio.wait({thread})
            except asyncio.CancelledError:
                bridge.stop()
                if self._thread is None:
                    thread.cancel()  # it waits for its turn; should it begin just now, it sees that it is to stop
        try:
            return thread.result()
        except Stopped:
            raise asyncio.CancelledError from None

    async def _in_process(self, arguments: dict[str, Any]) -> Any:
        """A cancel kills the process."""
        try:
            return await self._processes.run(self._task_type.handler, arguments, self._tracer.in_worker(self._record))
        except WorkerLost as error:
            message = "The handler's process ended without a word; maybe it was killed."
            raise HandlerError("handler_process", message) from error
        except Unprepared as error:
            _log.error("a worker process could not be prepared", exc_info=error)
            message = "The handler's process could not be prepared; the server's log lines say why."
            raise HandlerError("handler_process", message) from error

    def _enter_thread(self, handler: Callable[[], Any], stopping: threading.Event) -> Any:
        self._thread = threading.get_ident()
        try:
            if stopping.is_set():
                raise Stopped
            return handler()
        except (SystemExit, KeyboardInterrupt) as error:  # on its way through a task it would end the loop
            raise _exit(error) from error
        finally:
            self._thread = None

    def _with(self, context: object, arguments: dict[str, Any]) -> dict[str, Any]:
        name = self._task_type.context_name
        return arguments if name is None else {**arguments, name: context}


class _Bridge:
    """A thread's way into the loop, which ends where the thread waits once it is to stop."""

    __slots__ = ("_waiting", "stopping")

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._waiting: set[asyncio.Task[Any]] = set()

    @property
    def waiting(self) -> asyncio.Task[Any] | None:
        """On the loop: what the thread waits for there."""
        return next(iter(self._waiting), None)

    def stop(self) -> None:
        """On the loop: tell the thread, and let it wait no longer, for a store that is away, say."""
        self.stopping.set()
        for task in self._waiting:
            task.cancel()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """In the thread: call a coroutine function on the loop, and wait for it.

        Raises:
            Stopped: the thread was told to stop meanwhile.
        """
        return anyio.from_thread.run(self._wait, function, *args)

    async def _wait(self, function: Callable[..., Any], *args: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # coroutines run in tasks
        self._waiting.add(task)
        try:
            return await function(*args)
        except asyncio.CancelledError:
            raise Stopped from None
        finally:
            self._waiting.discard(task)


def _exit(error: BaseException) -> HandlerError:
    return HandlerError("handler_exit", f"The handler raised {type(error).__name__}.")


def end_of(handler: asyncio.Task[Any]) -> tuple[BaseException | None, Any]:
    """What a handler that is done has raised, or returned."""
    if handler.cancelled():
        return asyncio.CancelledError(), None
    raised = handler.exception()
    return (raised, None) if raised is not None else (None, handler.result())
