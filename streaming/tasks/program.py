"""Run a program with everything it starts, and leave nothing of it behind.

Owns:   one process group: its start, its output, its end.
Uses:   tasks.guard (its end with the server).
Never:  knows tasks or events; uses a shell; blocks the loop.

asyncio's own subprocesses are not used, for two reasons. Before Python 3.13, waiting for one hangs while a grandchild
holds a pipe open. And they reap the process at once: from then on its number may belong to somebody else's group,
which must not be killed. Here the process stays a zombie until its group is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from streaming.tasks.background import finish, in_thread
from streaming.tasks.guard import Guard

#: Seconds between TERM and KILL.
GRACE_S = 2.0

#: Seconds of silence for which output is waited for after the program itself has ended.
LINGER_S = 2.0

#: Above this, reading pauses and the program has to wait.
BUFFER_BYTES_MAX = 65_536


class Program:
    """A program that is to be run once, in a session of its own.

    Args:
        argv: program and arguments.
        environment: all of its environment.
        grace_s: seconds between TERM and KILL.
        linger_s: seconds of silence after its end in which something it left behind may still write.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        grace_s: float = GRACE_S,
        linger_s: float = LINGER_S,
    ) -> None:
        self._argv = argv
        self._environment = environment
        self._grace_s = grace_s
        self._linger_s = linger_s
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._exit: asyncio.Future[Any] | None = None
        self._pipes: list[_Pipe] = []
        self._chunks: deque[tuple[str, bytes]] = deque()
        self._buffered_bytes = 0
        self._ending = False
        self._news: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start it; also under a cancel it is started whole or not at all.

        Raises:
            OSError: there is no such program, or it may not be run.
        """
        await finish(self._start())

    async def read(self) -> tuple[str, bytes] | None:
        """The next output: the name of its stream and some bytes; None when all is over."""
        while not self._chunks:
            if self._exited and (not self._open or self._linger_s <= 0):
                return None
            await self._change(self._linger_s if self._exited else None)
        return self.take()

    def take(self) -> tuple[str, bytes] | None:
        """The next output that is here already."""
        if not self._chunks:
            return None
        name, data = self._chunks.popleft()
        self._buffered_bytes -= len(data)
        if self._buffered_bytes < BUFFER_BYTES_MAX:
            self._each_open("resume_reading")
        return name, data

    async def end(self) -> int | None:
        """End the whole group: TERM, the grace, KILL. What has ended by itself is not waited for.

        Output that arrives meanwhile is kept up to `BUFFER_BYTES_MAX`.

        Returns:
            The exit status, a negated signal number, or None if it was never started.
        """
        if self._process is None or self._guard is None:
            return None
        self._ending = True
        self._each_open("resume_reading")  # a program that cannot write cannot end
        self._signal(self._process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace_s):
                while self._open or not self._exited:
                    await self._change(None)
        except TimeoutError:
            pass  # its time is over
        finally:
            self._signal(self._process.pid, signal.SIGKILL)
        if self._exit is not None:  # it is, unless the machine was out of threads
            await self._exit
        self._each_open("close")
        while self._open:
            await self._change(None)
        self._guard.release()
        return self._process.wait()  # it is dead: this only reaps it

    async def _start(self) -> None:
        process, self._guard = await in_thread(self._spawn)
        self._process = process
        self._exit = in_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._exit.add_done_callback(lambda _: self._wake())
        loop = asyncio.get_running_loop()
        for name, file in (("stdout", process.stdout), ("stderr", process.stderr)):
            _, pipe = await loop.connect_read_pipe(partial(_Pipe, partial(self._put, name), self._wake), file)
            self._pipes.append(pipe)

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Guard]:
        guard = Guard()
        try:
            process = subprocess.Popen(
                self._argv,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except BaseException:
            guard.release()
            raise
        guard.watch(process.pid)
        return process, guard

    @property
    def _exited(self) -> bool:
        return self._exit is not None and self._exit.done()

    @property
    def _open(self) -> bool:
        return any(not pipe.closed for pipe in self._pipes)

    def _put(self, name: str, data: bytes) -> None:
        if self._ending and self._buffered_bytes >= BUFFER_BYTES_MAX:
            return
        self._chunks.append((name, data))
        self._buffered_bytes += len(data)
        if self._buffered_bytes >= BUFFER_BYTES_MAX and not self._ending:
            self._each_open("pause_reading")
        self._wake()

    def _each_open(self, action: Literal["pause_reading", "resume_reading", "close"]) -> None:
        for pipe in self._pipes:
            if not pipe.closed:
                getattr(pipe.transport, action)()

    @staticmethod
    def _signal(group: int, number: signal.Signals) -> None:
        # Nobody is left, or nobody whom we may signal: then there is nothing but waiting for the exit.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)

    async def _change(self, limit_s: float | None) -> None:
        """Wait until something happens, or until the silence has used up the time for it."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self._news = loop.create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._news
        if limit_s is not None:
            self._linger_s -= loop.time() - started_s

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class _Pipe(asyncio.Protocol):
    """One stream of the program."""

    def __init__(self, put: Callable[[bytes], None], wake: Callable[[], None]) -> None:
        self._put = put
        self._wake = wake
        self.transport: Any = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._put(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._wake()
