"""The worker processes: how many there are, which of them waits for work, and which one has died.

Rules of this file:

- A worker that dies before its handler has begun is replaced, and nobody notices. It may have died long ago.
- A worker that dies later takes its task with it: nothing is called twice.
- Whoever is stopped while a worker works for it goes on only when the worker is dead.

Owns:   the processes, from their start to their end.
Uses:   engine.worker (what they do, and the language of the pipes).
Never:  knows of tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio

from streaming.engine import worker

#: Between the end of a worker and that of its pipe, whichever is noticed first, there are at most so many seconds; what
#: it has forked may hold the pipe open for longer.
LINGER_S = 1.0

_STDIN, _STDOUT = 0, 1


class WorkerLost(Exception):
    """A worker has died before it had answered."""


class Processes:
    """The workers of one coordinator.

    Args:
        limit: how many may work at once.
        prepare: called in each of them before its first handler; can be pickled.

    Attributes:
        places: who works, and who waits for a place.
    """

    def __init__(self, limit: int, prepare: Callable[[], object] | None = None) -> None:
        self.places = anyio.CapacityLimiter(limit)
        self._prepare = prepare
        self._alive: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._closed = False

    async def run(
        self,
        handler: Callable[..., Any],
        arguments: dict[str, Any],
        scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> Any:
        """Call a handler in a worker. A cancel kills the worker.

        Args:
            handler: a function that can be imported by its name.
            arguments: what it is called with.
            scope: makes what the call is made in, over there; can be pickled.

        Returns:
            What the handler returns.

        Raises:
            WorkerLost: the worker has died while the handler was running, or could not even begin.
            Unprepared: the worker could not be prepared.
            BaseException: whatever the handler raises.
        """
        request = worker.request(handler, arguments, scope=scope, prepare=self._prepare)
        async with self.places:
            answer = await self._ask(request)
        return worker.result(answer)

    async def close(self) -> None:
        """End all workers. Who is in `run` still, is told that his is lost."""
        self._closed = True
        self._idle.clear()
        for each in list(self._alive):
            await self._end(each)

    async def _ask(self, request: bytes) -> bytes:
        while self._idle:
            chosen = self._idle.pop()
            try:
                return await self._call(chosen, request)
            except WorkerLost:
                if chosen.begun:
                    raise
        if self._closed:
            raise WorkerLost
        return await self._call(await self._start(), request)

    async def _start(self) -> _Worker:
        started = await _start()
        self._alive.add(started)
        if self._closed:
            await self._end(started)
            raise WorkerLost
        return started

    async def _call(self, chosen: _Worker, request: bytes) -> bytes:
        try:
            answer = await chosen.call(request)
        except WorkerLost:
            await self._end(chosen, LINGER_S)
            raise
        except BaseException:
            await self._end(chosen)
            raise
        self._idle.append(chosen)
        return answer

    async def _end(self, chosen: _Worker, patience_s: float = 0.0) -> None:
        try:
            await chosen.end(patience_s)
        finally:  # also when the caller is cancelled meanwhile
            self._alive.discard(chosen)


async def _start() -> _Worker:
    """Start a worker.

    Raises:
        OSError: there is no room for another process.
    """
    loop = asyncio.get_running_loop()
    # -u: what a handler prints is not lost with it. -P: nothing is imported from the folder of that file.
    _, started = await loop.subprocess_exec(_Worker, sys.executable, "-u", "-P", worker.__file__, stderr=None)
    return started


class _Worker(asyncio.SubprocessProtocol):
    """The server's side of one worker.

    Attributes:
        begun: whether the handler of the last call was called.
    """

    def __init__(self) -> None:
        self.begun = False
        self._answers = asyncio.StreamReader()
        self._exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._answers.feed_data(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == _STDOUT:
            self._answers.feed_eof()

    def process_exited(self) -> None:
        self._exited.set_result(None)
        asyncio.get_running_loop().call_later(LINGER_S, self._answers.feed_eof)

    async def call(self, request: bytes) -> bytes:
        """Send a request, and wait for its answer.

        Raises:
            WorkerLost: the worker has died; `begun` says when.
        """
        self.begun = False
        stdin = self._transport.get_pipe_transport(_STDIN)
        if stdin.is_closing():
            raise WorkerLost
        stdin.write(request)
        try:
            await self._answers.readexactly(len(worker.BEGUN))
            self.begun = True
            size = int.from_bytes(await self._answers.readexactly(worker.SIZE_BYTES))
            return await self._answers.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise WorkerLost from error

    async def end(self, patience_s: float = 0.0) -> None:
        """Kill it, and wait until it is dead, however often the caller is cancelled meanwhile: it takes no time.

        Args:
            patience_s: for one that is about to be dead by itself. Who signals a dead process may take its end away
                from asyncio, which then complains.
        """
        patience: float | None = patience_s
        cancelled: asyncio.CancelledError | None = None
        while not self._exited.done():
            try:
                await asyncio.wait({self._exited}, timeout=patience)
            except asyncio.CancelledError as error:
                cancelled = error
            if not self._exited.done():
                self._kill()
            patience = None
        self._transport.close()
        if cancelled is not None:
            raise cancelled

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it is dead already
            self._transport.kill()
