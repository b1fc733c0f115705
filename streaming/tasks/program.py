"""Run a program with everything it starts, and leave nothing of it behind.

Owns:   one program: its start, its output, its end, its directory.
Uses:   tasks.keeper (the process that starts the program, and ends what it has started).
Never:  knows tasks or events; uses a shell; blocks the loop.

asyncio's own subprocesses are not used: before Python 3.13, waiting for one hangs while a grandchild holds a pipe open.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from streaming.tasks import keeper
from streaming.tasks.background import finish, in_thread

#: Seconds between TERM and KILL.
GRACE_S = 2.0

#: Seconds of silence for which output is waited for after the program itself has ended.
LINGER_S = 2.0

#: Above this, reading pauses and the program has to wait.
BUFFER_BYTES_MAX = 65_536

#: Python ignores them, and so would a program that it starts.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

#: Seconds of processor time after which a program is killed that has not minded its limit.
CPU_MERCY_S = 5


class Limits(NamedTuple):
    """What one process of a program may have; None is no limit of ours.

    Attributes:
        cpu_s: seconds of processor time.
        memory_bytes: bytes of address space.
        file_bytes: bytes of a file that it writes.
        files: files that are open at the same time.
    """

    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    files: int | None = None

    def as_resources(self) -> dict[str, tuple[int, int]]:
        """The soft and the hard limit of each, by its name in `resource`; a dump of the memory is never written."""
        given = {
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_CORE": 0,
        }
        mercy_s = {"RLIMIT_CPU": CPU_MERCY_S}
        return {name: (most, most + mercy_s.get(name, 0)) for name, most in given.items() if most is not None}


class Program:
    """A program that is to be run once, in a session and a directory of its own.

    Args:
        argv: program and arguments.
        environment: all of its environment, but for ``HOME`` and ``TMPDIR``, which are its directory.
        limits: for each of its processes.
        folders: where its directory is made; None is where the system keeps what is temporary.
        grace_s: seconds between TERM and KILL.
        linger_s: seconds of silence after its end in which something it left behind may still write.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        limits: Limits = Limits(),  # noqa: B008  # it cannot be changed
        folders: Path | None = None,
        grace_s: float = GRACE_S,
        linger_s: float = LINGER_S,
    ) -> None:
        self._argv = argv
        self._limits = limits
        self._environment = environment
        self._folders = folders
        self._folder = ""
        self._grace_s = grace_s
        self._linger_s = linger_s
        self._keeper: _Keeper | None = None
        self._status: int | None = None
        self._pipes: list[_Pipe] = []
        self._chunks: deque[tuple[str, bytes]] = deque()
        self._buffered_bytes = 0
        self._ending = False
        self._news: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start it; also under a cancel it is started whole or not at all.

        Raises:
            OSError: there is no such program, or it may not be run.
            ValueError: an argument cannot be one.
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
        """End it and all that it has started: TERM, the grace, KILL. What has ended by itself is not waited for.

        Output that arrives meanwhile is kept up to `BUFFER_BYTES_MAX`.

        Returns:
            The exit status, a negated signal number, or None if it was never started.
        """
        if self._keeper is None:
            return None
        self._ending = True
        self._each_open("resume_reading")  # a program that cannot write cannot end
        try:
            if self._open or not self._exited:
                self._keeper.tell(keeper.TERM)
                async with asyncio.timeout(self._grace_s):
                    while self._open or not self._exited:
                        await self._change(None)
        except TimeoutError:
            pass  # its time is over
        finally:
            self._keeper.tell(keeper.KILL)
        while not self._keeper.gone:
            await self._change(None)
        self._each_open("close")
        while self._open:
            await self._change(None)
        with contextlib.suppress(OSError, RuntimeError):  # what cannot be removed, or not without a thread, stays
            await in_thread(keeper.remove, self._folder)
        return self._keeper.status

    async def _start(self) -> None:
        pid, line, outputs = await in_thread(self._spawn)
        kept = _Keeper(pid, self._wake)
        try:
            await self._connect(kept, line, outputs)
        except BaseException:
            line.close()  # which ends it all
            for output in outputs[len(self._pipes) :]:
                output.close()
            self._each_open("close")
            await in_thread(os.waitpid, pid, 0)
            while self._open:
                await self._change(None)
            raise
        while kept.program is None and not kept.gone:
            await self._change(None)
        if kept.program is not None:
            self._keeper = kept
            return
        while self._open:
            await self._change(None)
        error = kept.error or errno.EIO
        raise OSError(error, os.strerror(error))

    async def _connect(self, kept: _Keeper, line: socket.socket, outputs: Sequence[BinaryIO]) -> None:
        loop = asyncio.get_running_loop()
        for name, output in zip(("stdout", "stderr"), outputs, strict=True):
            _, pipe = await loop.connect_read_pipe(partial(_Pipe, partial(self._put, name), self._wake), output)
            self._pipes.append(pipe)
        await loop.create_unix_connection(lambda: kept, sock=line)

    def _spawn(self) -> tuple[int, socket.socket, Sequence[BinaryIO]]:
        self._folder = os.path.join(os.path.abspath(self._folders or tempfile.gettempdir()), _folder_name())
        environment = {**self._environment, "HOME": self._folder, "TMPDIR": self._folder}
        limits = keeper.written(self._limits.as_resources())
        signals, variables = ",".join(str(int(each)) for each in _IGNORED), ",".join(environment)
        command = [sys.executable, "-I", "-S", "-X", "utf8", keeper.__file__]
        argv = [*command, limits, signals, variables, self._folder, *self._argv]
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            line, their_line = socket.socketpair()
            ours.callback(line.close)
            theirs.callback(their_line.close)
            actions = [(os.POSIX_SPAWN_DUP2, their_line.fileno(), 0)]
            outputs: list[BinaryIO] = []
            for descriptor in (1, 2):
                output, end = os.pipe()
                theirs.callback(os.close, end)
                outputs.append(ours.enter_context(os.fdopen(output, "rb", 0)))
                actions.append((os.POSIX_SPAWN_DUP2, end, descriptor))
            every = signal.valid_signals()
            pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True, setsigmask=every)
            ours.pop_all()
        return pid, line, outputs

    @property
    def _exited(self) -> bool:
        return self._keeper is not None and self._keeper.status is not None

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


def _folder_name() -> str:
    return f"streaming-command-{secrets.token_hex(8)}"


class _Keeper(asyncio.Protocol):
    """The server's side of a keeper.

    Attributes:
        program: the number of the program, once it is started.
        status: its exit status, or a negated signal number, once it has ended.
        error: why it could not be started.
        gone: whether the keeper has ended, and with it everything that it has kept.
    """

    def __init__(self, pid: int, wake: Callable[[], None]) -> None:
        self._pid = pid
        self._wake = wake
        self._transport: asyncio.Transport | None = None
        self._text = b""
        self.program: int | None = None
        self.status: int | None = None
        self.error: int | None = None
        self.gone = False

    def tell(self, order: bytes) -> None:
        """Tell the keeper to end what it keeps, also if somebody has halted it."""
        if self._transport is not None and not self.gone:
            self._transport.write(order)
            os.kill(self._pid, signal.SIGCONT)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            word, number = line.split()
            match word:
                case b"started":
                    self.program = int(number)
                case b"exited":
                    self.status = int(number)
                case _:
                    self.error = int(number)
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        if self.program is not None and self.status is None:
            # Somebody has killed the keeper. Its number was in use until now: nobody else can have it yet.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.program, signal.SIGKILL)
            self.status = -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)  # it is ending; no program can have it halted meanwhile
            os.waitpid(self._pid, 0)
        self._wake()


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
