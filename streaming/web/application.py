"""The ASGI application: the outermost layer over asgineer.

Rules of this file:

- Nothing that goes wrong below leaves as text of an exception, as a page of the server, or as a clean end that is none.
- Whoever may not come in is refused before anything else is looked at.

Owns:   the error boundary, the refusal of what is not HTTP, HEAD, the requests that are being answered.
Uses:   web.routes (everything that is not an error), web.door (who may come in).
Never:  answers lifespan scopes: they belong to whoever plugs the server together.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping

import asgineer
import structlog

from streaming.access.gate import Gate
from streaming.config import Settings
from streaming.engine.alarm import Alarm
from streaming.engine.coordinator import TaskCoordinator
from streaming.errors import Forbidden, StreamingError
from streaming.observe.metrics import Metrics, Web
from streaming.observe.overview import Overview
from streaming.observe.tally import OTHER
from streaming.rules.breaker import Circuit
from streaming.web.body import linger
from streaming.web.cors import cors_headers, preflight
from streaming.web.door import Door, tell_limit
from streaming.web.expiry import Expiry
from streaming.web.heartbeat import Heartbeat
from streaming.web.parting import Parting
from streaming.web.problems import INTERNAL, LIMITS, internal_problem, problem, status_of
from streaming.web.reply import Reply
from streaming.web.request import Channel, Receive, Request, Scope, Send
from streaming.web.routes import respond
from streaming.web.site import Site
from streaming.web.stream import Stream
from streaming.web.transport import Torn, abort

_REQUEST = "streaming.request"

#: Methods that are counted by their name (RFC 9110, 9; RFC 5789); all others are counted together.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})

_log = structlog.get_logger(__name__)


class Application:
    """The ASGI application of one server.

    Args:
        coordinator: runs the tasks; entered before the first request and left after the last one.
        settings: the limits.
        gate: knows credentials; None makes one of what the settings say, without a store.
        circuit: the state of the breaker in front of the store; None where there is no breaker.
        metrics: count already; None makes some if the settings say so.
        chance: a random number, 0 <= chance < 1, for when readers are to come back.

    Attributes:
        heartbeat: the open streams.
        limits_hit: how often each limit was hit.
    """

    def __init__(
        self,
        coordinator: TaskCoordinator,
        settings: Settings,
        circuit: Callable[[], Circuit | None] = lambda: None,
        gate: Gate | None = None,
        metrics: Metrics | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._answered: Counter[tuple[str, ...]] = Counter()
        self._requests: dict[Request, None] = {}  # in the order of their coming
        self._all_over = Alarm()
        self._log = _log.bind()  # once: most of its lines are written to nowhere
        gate = gate or Gate(settings, secret=secrets.token_urlsafe(32))
        self.heartbeat = Heartbeat(
            streams_max=settings.max_streams,
            principal_max=settings.principal_streams_max,
            keepalive_s=settings.keepalive_s,
            send_timeout_s=settings.send_timeout_s,
            expiry=Expiry(gate, time.time, settings.key_cache_s),
            parting=Parting(settings.reconnect_spread_s, chance),
            on_last=self._ring,
        )
        self.limits_hit = coordinator.limits_hit
        self.limits_hit.on_hit = tell_limit
        door = Door(settings, gate, self.limits_hit, time.monotonic, time.time)
        if metrics is None and settings.metrics:
            metrics = Metrics(settings, coordinator.registry, time.monotonic)
        if metrics is not None:
            metrics.watch(coordinator.parts)
            metrics.serve(Web(lambda: self.heartbeat.open, self._answered, door.refused, coordinator.stalls))
        overview = Overview(coordinator.parts, metrics)
        self._site = Site(coordinator, settings, self.heartbeat, circuit, coordinator.forecast, door, metrics, overview)
        self._asgineer = asgineer.to_asgi(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def end(self, within_s: float) -> int:
        """Wait until every request is answered and every stream has ended, and cut off those that take longer.

        Args:
            within_s: seconds to wait.

        Returns:
            How many had to be cut off.
        """
        for ending in tuple(self._site.endings):
            ending()
        until = asyncio.get_running_loop().time() + within_s
        while self._busy and asyncio.get_running_loop().time() < until:
            await self._all_over.wait(until)
        late = list(self._requests)
        streams = self.heartbeat.abort_all()
        self._site.forecast.close()
        for request in late:
            abort(request.send)
        return len(late) + streams

    @property
    def _busy(self) -> bool:
        return bool(self._requests or self.heartbeat.open)

    def _ring(self) -> None:
        if not self._busy:
            self._all_over.ring()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn begins with a request that was queued on its connection in the context of the one before.
        structlog.contextvars.unbind_contextvars("task_id")
        request = scope[_REQUEST] = Request(scope, receive, send)
        self._requests[request] = None
        try:
            await self._asgineer(scope, receive, send)
        except Torn:
            return
        finally:
            self._requests.pop(request, None)
            self._ring()

    async def _answer(self, channel: Channel) -> Reply | None:
        """What asgineer calls: it sends the reply, or finishes the response that was sent in pieces."""
        request: Request = channel.scope.pop(_REQUEST)
        request.channel = channel
        reply = await self._reply(request)
        status = reply.status if isinstance(reply, Reply) else 200
        self._answered[request.method if request.method in METHODS else OTHER, str(status)] += 1
        self._log.debug("request", method=request.method, path=request.path[:200], status=status)
        if isinstance(reply, Stream):
            self._requests.pop(request, None)  # from now on the heartbeat looks after it
            await reply.carry()
            return None
        if request.body_refused:
            await _refuse(request, reply)
            return None
        return _without_body(reply) if request.method == "HEAD" else reply

    async def _reply(self, request: Request) -> Reply | Stream:
        try:
            request.answer_headers.update(cors_headers(self._site.settings, request))
            reply = preflight(self._site.settings, request) or await respond(self._site, request)
        except asgineer.DisconnectedError:
            raise
        except StreamingError as error:
            reply = _internal(request) if status_of(error) is INTERNAL else self._refusal(request, error)
        except Exception:
            reply = _internal(request)
        return _with_headers(reply, request.answer_headers) if isinstance(reply, Reply) else reply

    def _refusal(self, request: Request, error: StreamingError) -> Reply:
        """Answer with a problem, and see to it that it is counted, and told to those who guard the server."""
        if isinstance(error, Forbidden):
            self._site.door.tell("forbidden", request, reason=error.detail)
        elif (name := LIMITS.get(type(error))) is not None:
            self.limits_hit.hit(name)
        return problem(error)


def _with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return reply._replace(headers={**reply.headers, **headers}) if headers else reply


def _internal(request: Request) -> Reply:
    """Report what was raised to the log, and nothing of it to the client."""
    request_id = secrets.token_hex(8)
    _log.exception("a request failed", request_id=request_id, method=request.method, path=request.path[:200])
    return internal_problem(request_id)


def _without_body(reply: Reply) -> Reply:
    """What HEAD gets: the headers that GET would get."""
    length = {"content-length": str(len(reply.body))} if reply.body else {}
    return Reply(reply.status, {**reply.headers, **length}, b"")


async def _refuse(request: Request, reply: Reply) -> None:
    """Answer while the body is still coming in, and end the connection after it."""
    headers = {**reply.headers, "content-length": str(len(reply.body)), "connection": "close"}
    await request.channel.accept(reply.status, headers)
    await request.channel.send(reply.body)
    await linger(request)
