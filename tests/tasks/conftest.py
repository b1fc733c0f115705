"""A context that remembers what its handler told, and servers that say what a test wants them to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from streaming.config import Settings
from streaming.engine.context import Deadline, Links, TaskContext, ThreadContext
from streaming.engine.registry import Registry
from streaming.errors import HandlerError, Stopped
from streaming.events import BUILT_IN_TYPES, encode_payload
from streaming.tasks.dialer import system_resolve
from streaming.tasks.fetch import http_fetch

TASK_ID = "0123456789abcdef0123456789abcdef"

#: What the requests of a task carry; a test may put something there.
TRACE: dict[str, str] = {}

NOTHING = cast(Any, None)


@dataclass
class Recorder:
    """The runner's side of a context.

    Attributes:
        told: every event in order, progress included, as type and data.
        hooks: called with type and data after an event of that type was told.
        waits: how often a handler has been held at an emit.
    """

    told: list[tuple[str, Any]] = field(default_factory=list)
    hooks: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    waits: int = 0
    _room: asyncio.Event | None = None

    def tell(self, type: str, data: object) -> int:
        assert type not in BUILT_IN_TYPES
        return self._append(type, data)

    def tell_progress(self, percent: float, message: str | None) -> int:
        assert 0 <= percent <= 100
        return self._append("progress", {"percent": percent, "message": message})

    def tell_steps(self, completed: int, total: int, current: str | None) -> int:
        assert 0 <= completed <= total
        return self._append("progress", {"steps": {"completed": completed, "total": total, "current": current}})

    def tell_log(self, level: str, message: str, fields: dict[str, Any]) -> int:
        return self._append("log", {**fields, "level": level, "message": message})

    async def room(self) -> None:
        if self._room is not None:
            self.waits += 1
            await self._room.wait()

    def enter(self, reason: str, at_most_s: float) -> object:
        return None

    async def leave(self, section: object) -> None:
        return None

    def hold(self) -> None:
        """Let emit wait until `release`."""
        self._room = asyncio.Event()

    def release(self) -> None:
        """Let emit through again."""
        assert self._room is not None
        self._room.set()

    def data(self, type: str) -> list[Any]:
        """The data of all events of a type."""
        return [data for told, data in self.told if told == type]

    def types(self) -> list[str]:
        """The types of all events but progress."""
        return [type for type, _ in self.told if type != "progress"]

    def once(self, type: str) -> asyncio.Future[Any]:
        """A future of the data of the next event of a type."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def tell(data: Any) -> None:
            if not future.done():
                future.set_result(data)

        self.hooks[type] = tell
        return future

    def _append(self, type: str, data: object) -> int:
        encode_payload(data)
        self.told.append((type, data))
        if type in self.hooks:
            self.hooks[type](data)
        return len(self.told)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ctx(recorder: Recorder) -> TaskContext:
    return TaskContext(TASK_ID, 1, {}, Deadline(lambda: 60.0), recorder, Links(NOTHING, NOTHING, TRACE.copy))


class Stop:
    """Tells a thread's handler to stop, at once or when a test says so."""

    def __init__(self) -> None:
        self.now = False
        self.checks = 0
        self.after_checks: int | None = None

    def __call__(self) -> bool:
        self.checks += 1
        return self.now or (self.after_checks is not None and self.checks > self.after_checks)


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def thread_ctx(ctx: TaskContext, stop: Stop) -> ThreadContext:
    """A thread's context whose thread is the test's own: nothing ever waits."""

    def call(function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        step = function(*args)
        try:
            step.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the recorder had to wait")

    return ThreadContext(ctx, call, stop)


@dataclass
class Server:
    """A TCP server on this machine that runs a script for each connection.

    Attributes:
        port: where it listens.
        requests: the head of every request, as text.
        gone: done once a client has closed its connection before the script ended.
    """

    port: int = 0
    requests: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Script = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
Serve = Callable[..., Coroutine[Any, Any, Server]]


def answer(body: bytes = b"", status: str = "200 OK", length: int | None = -1, **headers: str) -> Script:
    """A script that answers every request; ``length`` -1 means that of the body, None leaves the header out."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return script


def redirect(location: str, status: str = "302 Found") -> Script:
    """A script that sends every client elsewhere."""
    return answer(b"moved", status, location=location)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers; each script runs with the head of its request (none, if ``raw``)."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def start(script: Script, *, raw: bool = False, **options: Any) -> Server:
        server = Server()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            writers.append(writer)
            try:
                head = "" if raw else (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                server.requests.append(head)
                await script(head, reader, writer)
                await writer.drain()
                writer.write_eof() if writer.can_write_eof() else None
                await reader.read()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                server.gone.set()
                writer.close()

        listening = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
        servers.append(listening)
        server.port = listening.sockets[0].getsockname()[1]
        return server

    yield start
    for listening in servers:
        listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in writers:
        writer.transport.abort()


async def silence(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A script that says nothing more, and notices when the client leaves."""
    await writer.drain()
    await reader.read()


Fetch = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


async def names(host: str, port: int) -> list[str]:
    """Every name under .test is this machine; metadata.test is what its name says."""
    if host == "metadata.test":
        return ["169.254.169.254"]
    return ["127.0.0.1"] if host.endswith(".test") else await system_resolve(host, port)


@pytest.fixture
def fetch(ctx: TaskContext) -> Fetch:
    """Fetch with this machine opened; settings and times by name."""

    async def run(
        url: str,
        save_as: str | None = None,
        *,
        fetch_allow: tuple[str, ...] = ("127.0.0.0/8",),
        connect_s: float = 10.0,
        read_s: float = 10.0,
        head_s: float = 60.0,
        resolve: Any = names,
        **settings: Any,
    ) -> dict[str, Any]:
        allowed = Settings(fetch_allow=list(fetch_allow), **settings)
        task_type = Registry().add(
            http_fetch(allowed, resolve=resolve, connect_s=connect_s, read_s=read_s, head_s=head_s)
        )
        arguments = task_type.arguments({"url": url, "save_as": save_as})
        result: dict[str, Any] = await task_type.handler(ctx, **arguments)
        return result

    return run


async def failure(running: Coroutine[Any, Any, Any]) -> HandlerError:
    """What a handler fails with."""
    with pytest.raises(HandlerError) as raised:
        await running
    return raised.value


__all__ = ["Recorder", "Server", "Stop", "Stopped", "answer", "redirect", "silence"]
