"""A real server for tests: uvicorn on a free port in the test's own loop, with a real coordinator.

What a server refuses its client of in any test must be described: each problem is held against ``/openapi.json``.

Owns:   `Live` (server, client, raw connections), and `Puppet` (a handler that does what the test says).
Never:  waits without a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from httpx_sse import ServerSentEvent, aconnect_sse

from streaming import Registry, TaskContext, TaskCoordinator, task
from streaming.access.gate import Gate
from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.store import open_store
from streaming.web.application import Application
from streaming.web.openapi.document import describe
from streaming.web.problems import CONTENT_TYPE
from streaming.web.protocol import protocol_of
from tests.fuzz.described import Description

#: Seconds in which anything in a test happens, or never will.
SOON_S = 10.0

#: Made once: loading certificates takes longer than a whole test.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@task
async def count(ctx: TaskContext, n: int = 3) -> int:
    """Emit ``n`` ticks."""
    for number in range(1, n + 1):
        await ctx.emit("tick", {"n": number})
    return n


@task
async def sleeper() -> None:
    """Sleep until it is cancelled."""
    await asyncio.get_running_loop().create_future()


class Puppet:
    """A handler that does what the test says, when the test says it."""

    def __init__(self) -> None:
        self._orders: dict[str, asyncio.Queue[Callable[[TaskContext], Any]]] = {}

        @task("puppet")
        async def run(ctx: TaskContext) -> Any:
            orders = self.orders(ctx.task_id)
            while True:
                done = await (await orders.get())(ctx)
                if done is not None:
                    return done

        self.handler = run

    def orders(self, task_id: str) -> asyncio.Queue[Callable[[TaskContext], Any]]:
        return self._orders.setdefault(task_id, asyncio.Queue())

    def emit(self, task_id: str, type: str = "tick", data: object = None) -> None:
        async def order(ctx: TaskContext) -> None:
            await ctx.emit(type, data)

        self.orders(task_id).put_nowait(order)

    def report(self, task_id: str, percent: float, message: str) -> None:
        async def order(ctx: TaskContext) -> None:
            await ctx.progress(percent, message)

        self.orders(task_id).put_nowait(order)

    def finish(self, task_id: str, result: str = "done") -> None:
        async def order(ctx: TaskContext) -> str:
            return result

        self.orders(task_id).put_nowait(order)


@dataclass
class Live:
    """A running server."""

    app: Application
    coordinator: TaskCoordinator
    journal: Journal
    settings: Settings
    puppet: Puppet
    server: uvicorn.Server
    port: int
    http: httpx.AsyncClient
    asgi: Any = field(default=None)

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def start(self, type: str = "puppet", **fields: Any) -> str:
        """Start a task and return its id."""
        answer = await self.http.post("/tasks", json={"type": type, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task once it is terminal."""
        answer = await self.http.get(f"/tasks/{task_id}", params={"wait_s": SOON_S})
        assert answer.json()["finished_at"], answer.text
        return dict(answer.json())

    async def counted(self, n: int = 3, **fields: Any) -> str:
        """A task that has ended after ``n`` ticks: its log has n + 3 events."""
        task_id = await self.start("count", params={"n": n}, **fields)
        await self.ended(task_id)
        return task_id

    # -- streams --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def sse(
        self, path: str, method: str = "GET", **request: Any
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        """Open a stream."""
        async with aconnect_sse(self.http, method, path, **request) as source:
            assert source.response.status_code == 200, await source.response.aread()
            yield source.aiter_sse()

    async def all_sse(self, path: str, **request: Any) -> list[ServerSentEvent]:
        """A stream to its end."""
        async with self.sse(path, **request) as events:
            return [event async for event in events]

    # -- below HTTP -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**26)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def exchange(self, *pieces: bytes) -> RawAnswer:
        """Send bytes on a connection of their own, and read one answer."""
        async with self.raw() as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            return await read_answer(reader)

    @contextlib.contextmanager
    def frozen(self, path: str) -> Iterator[socket.socket]:
        """A client that asks for a stream and never reads, with the smallest of buffers."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            client.connect(("127.0.0.1", self.port))
            client.setblocking(False)
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            yield client
        finally:
            client.close()

    # -- what is left ---------------------------------------------------------------------------------------------

    @property
    def readers(self) -> int:
        """Subscriptions that the engine still wakes."""
        hub = self.coordinator._hub
        return len(hub.feed_readers) + sum(len(log.readers) for log in hub._logs.values())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until something holds."""
        async with asyncio.timeout(SOON_S):
            while not condition():  # noqa: ASYNC110  # what is waited for does not tell when it changes
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Wait until no stream, no subscription and no watcher is left."""
        await self.until(lambda: self.app.heartbeat.open == 0 and self.readers == 0 and not watchers())
        assert self.app.heartbeat._timer is None


@cache
def described() -> Description:
    """What each operation may answer; the limits and the task types of no server in particular."""
    return Description(describe(Settings(store_url="memory://"), []))


async def _check_described(response: httpx.Response) -> None:
    """Hold a problem against the codes that its operation is said to answer with."""
    request = response.request
    operation = described().operation(request.method, request.url.path)
    if operation is None or response.headers.get("content-type") != CONTENT_TYPE:
        return
    code = json.loads(await response.aread())["code"]
    answer = described().at(operation)["responses"].get(str(response.status_code), {})
    assert code in answer.get("x-codes", ()), f"{operation} is not said to answer {response.status_code} {code}"


def watchers() -> list[asyncio.Task[Any]]:
    """The tasks that wait for readers to leave."""
    return [each for each in asyncio.all_tasks() if each.get_name() == "streaming-watcher"]


@dataclass
class RawAnswer:
    """An answer, read without an HTTP library's help."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def read_head(reader: asyncio.StreamReader) -> RawAnswer:
    """Status and headers."""
    async with asyncio.timeout(SOON_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return RawAnswer(int(head[0].split()[1]), headers, b"")


async def read_answer(reader: asyncio.StreamReader) -> RawAnswer:
    """A whole answer that has a length."""
    answer = await read_head(reader)
    async with asyncio.timeout(SOON_S):
        answer.body = await reader.readexactly(int(answer.headers.get("content-length", 0)))
    return answer


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of a chunked body: one write of the server."""
    async with asyncio.timeout(SOON_S):
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size + 2)
    return data[:-2]


@asynccontextmanager
async def live(
    handlers: Iterable[Callable[..., Any]] = (),
    *,
    journal: Journal | None = None,
    host: str = "127.0.0.1",
    wrap: Callable[[Application], Any] = lambda app: app,
    certificate: Path | None = None,
    gate: Gate | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Run a server.

    Args:
        handlers: more task types than count, sleeper and puppet.
        journal: the store; else a memory store.
        host: address to listen on.
        wrap: goes around the application.
        certificate: a file with a certificate and its key, for a server that speaks TLS.
        gate: what knows credentials; else what the settings say.
        settings: of the server.
    """
    configured = Settings(**{"store_url": "memory://", "grace_s": 0.2, **settings})
    puppet, numbers = Puppet(), itertools.count(1)
    store = journal or open_store(configured)
    loop = asyncio.get_running_loop()
    coordinator = TaskCoordinator(
        Registry([count, sleeper, puppet.handler, *handlers]),
        store,
        configured,
        wall=lambda: 1e9 + loop.time(),
        new_id=lambda: f"{next(numbers):032x}",
        chance=lambda: 0.5,
    )
    await store.open()
    async with coordinator:
        app = Application(coordinator, configured, gate=gate)
        asgi = wrap(app)
        # asyncio turns Nagle off only where the protocol is named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        server = await _serve(asgi, listener, configured, certificate)
        client = httpx.AsyncClient(
            base_url=f"{'http' if certificate is None else 'https'}://{host}:{port}",
            timeout=SOON_S,
            limits=httpx.Limits(max_connections=None),
            verify=NO_TLS if certificate is None else ssl.create_default_context(cafile=certificate),
            event_hooks={"response": [_check_described]},
        )
        here = Live(app, coordinator, store, configured, puppet, server, port, client, asgi)
        try:
            yield here
        finally:
            await client.aclose()
            await coordinator.shutdown()
            await app.end(1.0)
            await _stop(here)
    await store.close()


async def _serve(asgi: Any, listener: socket.socket, settings: Settings, certificate: Path | None) -> uvicorn.Server:
    """What `uvicorn.Server.serve` does, without its signals and its ticks of a tenth of a second."""
    http = protocol_of(settings)
    tls: dict[str, Any] = {} if certificate is None else {"ssl_certfile": certificate, "ssl_keyfile": certificate}
    config = uvicorn.Config(asgi, http=http, ws="none", lifespan="off", log_config=None, access_log=False, **tls)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    return server


async def _stop(here: Live) -> None:
    state = here.server.server_state
    for server in here.server.servers:
        server.close()
    for connection in list(state.connections):
        connection.shutdown()
    await here.until(lambda: not state.connections and not state.tasks)
