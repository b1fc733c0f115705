"""The composition root: one ASGI application, from the environment to the last byte.

``uvicorn streaming.server:app`` and ``streaming serve`` run the same `Server`.

Owns:   what is plugged into what; the lifespan; the signals; the end of the process.
Uses:   everything below.
Never:  decides about a task or a request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import structlog
import uuid_utils
import uvicorn

from streaming.config import Settings, load_settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.journal import Journal
from streaming.engine.registry import Registry
from streaming.errors import Draining, InvalidSettings, StoreUnavailable, StreamingError
from streaming.observe.logs import configure
from streaming.store import open_store
from streaming.tasks import built_in
from streaming.web.application import Application
from streaming.web.request import Receive, Scope, Send

#: A second signal leaves this many seconds.
FORCED_GRACE_S = 1.0

#: Open streams get this many seconds to send their last event once all logs have ended.
STREAMS_END_S = 1.0

#: Above the keep-alive time of the usual proxies (60 to 75 s), so that it is never us who closes first.
KEEP_ALIVE_S = 80

#: What the kernel holds for a reader that does not read; the default grows to megabytes.
SEND_BUFFER_BYTES = 131_072

_log = structlog.get_logger(__name__)


class Server:
    """The ASGI application, and the life around it.

    Args:
        settings: None reads the environment when the server starts.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.failure: StreamingError | None = None
        self._settings = settings
        self._web: Application | None = None
        self._exit: Exit | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._web is None:
            raise Draining  # no server sends requests outside of the lifespan
        else:
            await self._web(scope, receive, send)

    def shutdown_handler(self, signum: int, frame: FrameType | None = None) -> None:
        """Drain, and let the server exit; a second call forces it. Made for `signal.signal`."""
        if self._exit is not None:
            self._exit.on_signal(signum, frame)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = self._settings or load_settings()
            configure(settings)
            registry = load_registry(settings)
            journal = open_store(settings)
            await journal.open()
        except StreamingError as failure:
            await self._fail(failure, send)
            return
        try:
            await self._serve(settings, registry, journal, receive, send)
        except StoreUnavailable as failure:
            await self._fail(failure, send)  # while it recovered: once it serves, the store may come and go
            return
        finally:
            await journal.close()
            if self._exit is not None:
                self._exit.done()
        await send({"type": "lifespan.shutdown.complete"})

    async def _fail(self, failure: StreamingError, send: Send) -> None:
        self.failure = failure
        await send({"type": "lifespan.startup.failed", "message": failure.detail})

    async def _serve(
        self, settings: Settings, registry: Registry, journal: Journal, receive: Receive, send: Send
    ) -> None:
        coordinator = TaskCoordinator(registry, journal, settings, wall=time.time, new_id=_new_id)
        async with coordinator:
            self._web = Application(coordinator, settings)
            self._exit = Exit(coordinator, self._web, settings)
            self._exit.install()
            _log.info("started", store=settings.store_url.split(":", 1)[0], task_types=len(list(registry)))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._exit.drain()


def _new_id() -> str:
    """Ids that sort by time keep new rows together in a store."""
    return uuid_utils.uuid7().hex


class Exit:
    """The way out: from the first signal to the exit of the process, within the grace.

    Signals are taken over from the server that runs us (uvicorn has installed its own before the lifespan begins).
    It is told to stop only after the drain, so that its door answers 503 meanwhile, and open streams end themselves.

    Args:
        coordinator: what is drained.
        web: whose streams and requests end after it.
        settings: the grace.
    """

    def __init__(self, coordinator: TaskCoordinator, web: Application, settings: Settings) -> None:
        self._coordinator = coordinator
        self._web = web
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._previous: dict[int, Any] = {}
        self._signals = 0
        self._watchdog: threading.Timer | None = None
        self._draining: asyncio.Task[None] | None = None
        self._flushed = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT, where this is the main thread and a server has handlers of its own."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(signum)
            if callable(previous) and previous is not signal.default_int_handler:
                self._previous[signum] = previous
                signal.signal(signum, self.on_signal)

    def on_signal(self, signum: int, frame: FrameType | None = None) -> None:
        """First signal: drain. Another one: now."""
        self._signals += 1
        grace_s = self._settings.grace_s if self._signals == 1 else min(FORCED_GRACE_S, self._settings.grace_s)
        self._watch(grace_s)
        self._loop.call_soon_threadsafe(self._begin, signum, grace_s)

    def _begin(self, signum: int, grace_s: float) -> None:
        name = signal.Signals(signum).name
        _log.info("signal", signal=name, grace_s=grace_s, forced=self._signals > 1)
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(signum, grace_s), name="streaming-exit")
        else:
            self._coordinator.hurry(grace_s)

    async def _drain(self, signum: int, grace_s: float) -> None:
        await self._coordinator.shutdown(grace_s)
        await self._web.end(STREAMS_END_S)
        self._release(signum)

    async def drain(self) -> None:
        """Wait for the drain; begin it if no signal has."""
        if self._draining is None:
            await self._coordinator.shutdown()
            await self._web.end(STREAMS_END_S)
        else:
            await asyncio.shield(self._draining)

    def _release(self, signum: int) -> None:
        """Let the server that runs us stop: uvicorn without noting the signal, so that it exits with status 0."""
        previous = self._previous.get(signum)
        owner = getattr(previous, "__self__", None)
        if isinstance(owner, uvicorn.Server):
            owner.should_exit = True
        elif previous is not None:
            previous(signum, None)

    def done(self) -> None:
        """Everything is stored: what is left of the process (stuck handlers, threads) must not hold it."""
        self._flushed = True
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)
        if self._watchdog is not None:
            self._watch(min(0.5, FORCED_GRACE_S))

    def _watch(self, grace_s: float) -> None:
        """Exit after ``grace_s`` whatever happens, also while the loop is blocked."""
        if not self._previous:
            return  # the process is not ours
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = threading.Timer(grace_s, self._exit_now)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _exit_now(self) -> None:
        if not self._flushed:
            for task_id, place in self._coordinator.places():
                _log.error("unfinished at the end of the grace", task_id=task_id, where=place)
        os._exit(0 if self._flushed else 1)


def load_registry(settings: Settings) -> Registry:
    """The built-in task types and those of the modules in ``STREAMING_TASKS``.

    Raises:
        InvalidTaskType: a module cannot be imported or used.
    """
    registry = Registry(built_in(settings))
    for module_name in settings.tasks:
        registry.load(module_name)
    return registry


def run(settings: Settings) -> int:
    """Serve until a signal; the process is ours.

    Args:
        settings: the configuration.

    Returns:
        The exit status.

    Raises:
        InvalidSettings: the address cannot be listened on, or is public without a word.
        StreamingError: the server could not start; the message is for people.
    """
    configure(settings)
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    _log.info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server = Server(settings)
    config = uvicorn.Config(
        server,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    uvicorn.Server(config).run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    return 0


def listen(settings: Settings) -> socket.socket:
    """Bind and listen, so that a client that reads our log line can connect at once.

    Raises:
        InvalidSettings: the address is taken, unknown, or public although no credentials are configured.
    """
    if not settings.loopback and not settings.insecure_public:
        raise InvalidSettings(
            f"No credentials are configured, so only loopback is served: {settings.host} needs --insecure-public "
            "or STREAMING_INSECURE_PUBLIC=true."
        )
    if not settings.loopback:
        _log.warning("everybody who reaches this address may start, watch and cancel tasks", host=settings.host)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(family, address, settings)
    except OSError as error:
        raise InvalidSettings(f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}.") from None


def _bound(family: int, address: Any, settings: Settings) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also ends readers that vanished without a word
        timeout_ms = int(settings.send_timeout_s * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


app = Server()


def shutdown_handler(signum: int, frame: FrameType | None = None) -> None:
    """Drain `app` and let its process exit with status 0; a second call forces it.

    It is installed for SIGTERM and SIGINT when the server starts; call it yourself to stop from inside.

    Args:
        signum: the signal's number.
        frame: ignored; `signal.signal` passes it.
    """
    app.shutdown_handler(signum, frame)
