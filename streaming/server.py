"""The composition root: one ASGI application, from the environment to the last byte.

``uvicorn streaming.server:app`` and ``streaming serve`` run the same `Server`.

Owns:   what is plugged into what; the lifespan.
Uses:   everything below.
Never:  decides about a task or a request.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack
from types import FrameType

import structlog
import uuid_utils
import uvicorn

from streaming import heap
from streaming.access.gate import Gate
from streaming.config import Settings, load_settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.journal import Journal
from streaming.engine.limits import LimitName
from streaming.engine.registry import Registry
from streaming.engine.retention import Sweeper, policy_of
from streaming.engine.worker import fill_standard_streams
from streaming.errors import Draining, StoreUnreachable, StreamingError
from streaming.exit import Exit
from streaming.listener import listen
from streaming.observe.logs import configure, silence_requests
from streaming.observe.metrics import Metrics
from streaming.observe.stall import Watchdog
from streaming.observe.tracing import Tracing, open_tracing
from streaming.privacy import keep_private
from streaming.store import open_store
from streaming.tasks import built_in
from streaming.web.application import Application
from streaming.web.problems import problem
from streaming.web.protocol import Protocol, protocol_of
from streaming.web.request import Receive, Scope, Send
from streaming.web.status import warnings
from streaming.web.waiting import Waiting

#: Above the keep-alive time of the usual proxies (60 to 75 s), so that it is never us who closes first.
KEEP_ALIVE_S = 80

#: Pauses between the tries to reach a store that is away at the start: twice as long each time.
AWAY_FIRST_S = 0.5
AWAY_MAX_S = 5.0

#: A start that takes longer answers requests meanwhile: that it lives, and is not ready.
LISTEN_AFTER_S = 2.0

#: Seconds after which a thread lets another one go on that waits; Python's own are five times as many. A commit waits
#: several times in its thread, and all readers wait for it.
SWITCH_S = 0.001

_log = structlog.get_logger(__name__)


class Server:
    """The ASGI application, and the life around it.

    Args:
        settings: None reads the environment when the server starts. Whoever gives them reports `failure` as well.

    Attributes:
        failure: why it did not start.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.failure: StreamingError | None = None
        self._settings = settings
        self._web: Application | Waiting | None = None
        self._exit: Exit | None = None
        self._tracing = Tracing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._web is None:
            await _closed(scope, send)
        else:
            await self._web(scope, receive, send)

    def limit_hit(self, name: LimitName) -> None:
        """Count a limit that was hit below the application."""
        if isinstance(self._web, Application):
            self._web.limits_hit.count(name)  # the protocol tells of it

    def shutdown_handler(self, signum: int, frame: FrameType | None = None) -> None:
        """Drain, and let the server exit; a second call forces it. Made for `signal.signal`."""
        if self._exit is not None:
            self._exit.on_signal(signum, frame)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = self._settings or load_settings()
        except StreamingError as failure:
            await self._refuse(failure, send)
            return
        configure(settings)
        self._exit = way_out = Exit(settings)
        startup = _Startup(send)
        try:
            self._tracing = open_tracing(settings, time.time)
            await self._live(settings, way_out, receive, startup)
        except asyncio.CancelledError:
            if not way_out.early:
                raise
            # A signal has stopped the start. The server that runs us stops by itself, if it thinks that we have begun.
            await startup.complete()
            await receive()
        except Exception as failure:
            if isinstance(self._web, Application):
                raise
            if not startup.completed:
                await self._refuse(failure, send)
                return
            self._give_up(failure, way_out)
            await receive()
        finally:
            way_out.done()
            self._exit = self._web = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _refuse(self, failure: Exception, send: Send) -> None:
        """Do not start, and say why: in one line, unless it is a bug."""
        if isinstance(failure, StreamingError):
            self.failure = failure
            message = failure.detail if self._settings is None else ""
        else:
            _log.error("the server could not start", exc_info=failure)
            message = ""
        await send({"type": "lifespan.startup.failed", "message": message})

    def _give_up(self, failure: Exception, way_out: Exit) -> None:
        """The store has come, and cannot be used: end what listens already."""
        known = isinstance(failure, StreamingError)
        self.failure = failure if isinstance(failure, StreamingError) else StreamingError("The server failed.")
        _log.error("the server could not start", reason=str(failure), exc_info=None if known else failure)
        way_out.give_up()

    async def _live(self, settings: Settings, way_out: Exit, receive: Receive, startup: _Startup) -> None:
        registry, policy = load_registry(settings), policy_of(settings)
        Gate(settings, secret=secrets.token_urlsafe(32))  # what it cannot use is refused before anything is opened
        if unknown := sorted(settings.type_limits.keys() - {each.name for each in registry}):
            _log.warning("STREAMING_TYPE_LIMITS has task types that are not registered", task_types=unknown)
        if settings.commands and not keep_private():
            _log.warning("the programs that STREAMING_COMMANDS names may read the secrets of this process")
        metrics = Metrics(settings, registry, time.monotonic) if settings.metrics else None
        async with AsyncExitStack() as stack:
            begun = await self._begin(stack, settings, registry, metrics, receive, startup)
            if begun is None:
                return
            coordinator, journal = begun
            stack.enter_context(Watchdog(settings.stall_s, coordinator.stalls))
            if metrics is not None:
                metrics.lag.start()
                stack.callback(metrics.lag.stop)
            gate = await _gate(stack, settings, journal)
            Protocol.on_limit = staticmethod(self.limit_hit)  # for a server of somebody else that has taken it
            self._web = web = Application(coordinator, settings, lambda: journal.circuit, gate, metrics)
            web.heartbeat.spans = self._tracing.streams
            way_out.started(coordinator, web, self._tracing.flush)
            await stack.enter_async_context(
                Sweeper(journal, policy, settings, coordinator.now, stopped=lambda: coordinator.draining)
            )
            _log.info("started", store=settings.store_url.split(":", 1)[0], task_types=len(list(registry)))
            await startup.complete()
            try:
                await receive()
            except BaseException:
                way_out.broken()
                raise
            await way_out.drain()

    async def _begin(
        self,
        stack: AsyncExitStack,
        settings: Settings,
        registry: Registry,
        metrics: Metrics | None,
        receive: Receive,
        startup: _Startup,
    ) -> tuple[TaskCoordinator, Journal] | None:
        """Open the store, and take up its tasks; while nobody answers there, listen, say so, and try again.

        Returns:
            None if the server is to stop meanwhile.
        """
        pause_s = AWAY_FIRST_S
        while True:
            listening = asyncio.create_task(self._listen(settings, startup, after_s=LISTEN_AFTER_S))
            try:
                return await _try_to_begin(stack, settings, registry, self._tracing, metrics)
            except StoreUnreachable as away:
                _log.warning("the store cannot be reached, and is tried again", reason=away.detail, pause_s=pause_s)
            finally:
                listening.cancel()
                await asyncio.wait({listening})
            await self._listen(settings, startup)
            if await _told_to_stop(receive, pause_s):
                return None
            pause_s = min(2 * pause_s, AWAY_MAX_S)

    async def _listen(self, settings: Settings, startup: _Startup, *, after_s: float = 0) -> None:
        """Answer requests, although there is no store to answer from."""
        await asyncio.sleep(after_s)
        self._web = self._web or Waiting(settings)
        await startup.complete()


class _Startup:
    """The answer to the server that runs us: that we have begun, once."""

    def __init__(self, send: Send) -> None:
        self.completed = False
        self._send = send

    async def complete(self) -> None:
        """From now on requests come."""
        if not self.completed:
            self.completed = True
            await self._send({"type": "lifespan.startup.complete"})


async def _try_to_begin(
    stack: AsyncExitStack, settings: Settings, registry: Registry, tracing: Tracing, metrics: Metrics | None
) -> tuple[TaskCoordinator, Journal]:
    """Nothing is left of a try that fails."""
    async with AsyncExitStack() as trial:
        journal = open_store(settings)
        await journal.open()
        trial.push_async_callback(journal.close)
        coordinator = TaskCoordinator(
            registry,
            journal,
            settings,
            wall=time.time,
            new_id=_new_id,
            chance=random.random,
            prepare_worker=tracing.prepare_worker(settings),
            tracer=tracing.tracer,
        )
        if metrics is not None:
            metrics.watch(coordinator.parts)  # what becomes of tasks of before is counted as well
        await trial.enter_async_context(coordinator)
        stack.push_async_exit(trial.pop_all())
        return coordinator, journal


async def _gate(stack: AsyncExitStack, settings: Settings, journal: Journal) -> Gate:
    """What knows credentials: those of the settings, and those of the store."""
    secret = await journal.secret("server", secrets.token_urlsafe(32))
    gate = Gate(settings, secret=secret, load=journal.api_keys)
    stack.push_async_callback(gate.close)
    gate.warn()
    await gate.refresh()
    for warning in warnings(settings, gate.configured):
        _log.warning(warning)
    return gate


async def _told_to_stop(receive: Receive, within_s: float) -> bool:
    """Whether the server that runs us says so in that time."""
    try:
        async with asyncio.timeout(within_s):
            await receive()
    except TimeoutError:
        return False
    return True


async def _closed(scope: Scope, send: Send) -> None:
    """Answer a request that came while the start was given up, or before any."""
    silence_requests()  # uvicorn would write it with its query
    if scope["type"] == "http":
        reply = problem(Draining())
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def _new_id() -> str:
    """Ids that sort by time keep new rows together in a store."""
    return uuid_utils.uuid7().hex


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
    fill_standard_streams()
    configure(settings)
    heap.share_one()
    sys.setswitchinterval(SWITCH_S)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)  # uvicorn and our lifespan take over, and give them back
    with heap.loading():
        open_store(settings)  # for what it imports: the server opens a store of its own
        open_tracing(settings, time.time)  # the same
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    _log.info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server = Server(settings)
    config = uvicorn.Config(
        server,
        http=protocol_of(settings, server.limit_hit),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    try:
        with listener:
            uvicorn.Server(config).run(sockets=[listener])
    except SystemExit:  # the way in which uvicorn says that the application has not started
        if server.failure is None:
            raise
        raise server.failure from None
    if server.failure is not None:  # it had to wait for its store, and could not use it
        raise server.failure
    return 0


def _leave(signum: int, frame: FrameType | None) -> None:
    """A signal before the server runs, or after it: no task can be lost.

    An exception could be: whatever is being imported, or collected, may swallow it.
    """
    os._exit(0)


app = Server()


def shutdown_handler(signum: int, frame: FrameType | None = None) -> None:
    """Drain `app` and let its process exit with status 0; a second call forces it.

    It is installed for SIGTERM and SIGINT when the server starts; call it yourself to stop from inside.

    Args:
        signum: the signal's number.
        frame: ignored; `signal.signal` passes it.
    """
    app.shutdown_handler(signum, frame)
