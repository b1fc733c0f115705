"""An ASGI server that is none of uvicorn's: its ``send`` does what a test says.

Owns:   `Exchange`, one request in a task of its own, and how often that task is woken; `SENDS`, ways to send.
Never:  opens a socket, or knows what is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from streaming.web.request import Message, Scope

#: What happens in a send before its message is out.
Way = Callable[[], Awaitable[object]]

SOMEBODY: contextvars.ContextVar[str] = contextvars.ContextVar("somebody", default="nobody")


async def never_waits() -> None:
    """As most servers do nearly always."""


async def waits_a_step() -> None:
    await asyncio.sleep(0)


async def waits_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_later(0.001, future.set_result, None)
    await future


async def waits_for_another_task() -> None:
    await asyncio.create_task(asyncio.sleep(0.001))


async def waits_again_and_again() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)


async def has_a_time_limit() -> None:
    async with asyncio.timeout(60):
        await asyncio.sleep(0.001)


async def has_a_time_limit_and_does_not_wait() -> None:
    async with asyncio.timeout(60):
        await never_waits()


async def is_too_late_for_its_own_limit() -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)


async def is_too_late_at_once() -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.sleep(60)


async def has_a_scope_of_anyio() -> None:
    with anyio.CancelScope():
        await anyio.lowlevel.checkpoint()


async def has_a_scope_of_anyio_and_does_not_wait() -> None:
    with anyio.CancelScope(shield=True):
        await never_waits()


async def is_cut_short_by_anyio() -> None:
    with anyio.move_on_after(0.001):
        await anyio.sleep(60)


async def is_cut_short_by_anyio_at_once() -> None:
    with anyio.move_on_after(0):
        await anyio.sleep(60)


async def has_a_task_group_of_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)


async def is_known_by_a_name_meanwhile() -> None:
    named = SOMEBODY.set("a sender")
    try:
        await asyncio.sleep(0.001)
        assert SOMEBODY.get() == "a sender"
    finally:
        SOMEBODY.reset(named)


async def is_known_by_a_name_and_does_not_wait() -> None:
    named = SOMEBODY.set("a sender")
    SOMEBODY.reset(named)


SENDS: tuple[Way, ...] = (
    never_waits,
    waits_a_step,
    waits_for_a_future,
    waits_for_another_task,
    waits_again_and_again,
    has_a_time_limit,
    has_a_time_limit_and_does_not_wait,
    is_too_late_for_its_own_limit,
    is_too_late_at_once,
    has_a_scope_of_anyio,
    has_a_scope_of_anyio_and_does_not_wait,
    is_cut_short_by_anyio,
    is_cut_short_by_anyio_at_once,
    has_a_task_group_of_anyio,
    is_known_by_a_name_meanwhile,
    is_known_by_a_name_and_does_not_wait,
)


class Exchange:
    """One request and its answer.

    Args:
        way: what each send does first.

    Attributes:
        way: as given, or as it is from now on.
        messages: what was sent.
        senders: the task and the name in each send, before and behind what it waits for.
        woken: how often the task of the request has had a step.
    """

    task: asyncio.Task[None]

    def __init__(self, way: Way = never_waits) -> None:
        self.way = way
        self.messages: list[Message] = []
        self.senders: list[tuple[asyncio.Task[Any] | None, str]] = []
        self.woken = 0
        self._asked = False
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        """The request without a body, and then the end of the connection."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Note a message."""
        self._note()
        await self.way()
        self._note()
        self.messages.append(message)

    def leave(self) -> None:
        """The client is gone."""
        self._left.set()

    def run(self, answering: Coroutine[Any, Any, None]) -> None:
        """Begin to answer."""
        self.task = asyncio.create_task(self._counted(answering))

    async def _counted(self, answering: Coroutine[Any, Any, None]) -> None:
        SOMEBODY.set("the request")
        await self._steps(answering)

    @types.coroutine
    def _steps(self, answering: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        result, error = None, None
        while True:
            self.woken += 1
            try:
                waits_for = answering.throw(error) if error is not None else answering.send(result)
            except StopIteration:
                return
            try:
                result, error = (yield waits_for), None
            except BaseException as thrown:
                result, error = None, thrown

    def _note(self) -> None:
        self.senders.append((asyncio.current_task(), SOMEBODY.get()))

    @property
    def body(self) -> bytes:
        """What was sent of it."""
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def complete(self) -> bool:
        """Whether the client knows that it has all."""
        return bool(self.messages) and self.messages[-1].get("more_body") is False


@asynccontextmanager
async def asked(app: Any, path: str, way: Way = never_waits, **more: Any) -> AsyncIterator[Exchange]:
    """Ask an application; in the end the client leaves, if it has not got all."""
    exchange = Exchange(way)
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 80),
        **more,
    }
    exchange.run(app(scope, exchange.receive, exchange.send))
    try:
        yield exchange
    finally:
        exchange.leave()
        await asyncio.wait({exchange.task}, timeout=10)
