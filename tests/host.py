"""What uvicorn is for the application, without its socket: a lifespan, and signal handlers of its own.

Owns:   `Host`, which starts and stops a server in the test's own loop and process, signals included.
Never:  lets the process exit; what the watchdog would have done is in `exits`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
import uvicorn

from streaming import TaskCoordinator
from streaming.server import Server
from streaming.web.application import Application

#: Seconds in which anything here happens, or never will.
SOON_S = 10.0


class Host:
    """Runs one `Server` as uvicorn does.

    Attributes:
        uvicorn: with the signal handlers that the server takes over; ``should_exit`` is how it is told to stop.
        said: the lifespan messages of the application.
        exits: the statuses with which the process would have ended at once.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.uvicorn = uvicorn.Server(uvicorn.Config(server, log_config=None))
        self.said: list[dict[str, Any]] = []
        self.exits: list[int] = []
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._lifespan: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the lifespan, and wait for what the application says to it."""
        self.begin()
        await self.until(lambda: self.said or self._task.done())
        if self._task.done():
            await self.ended()

    def begin(self) -> None:
        """Begin the lifespan."""
        self._messages.put_nowait({"type": "lifespan.startup"})
        self._lifespan = asyncio.create_task(self.server({"type": "lifespan"}, self._messages.get, self._say))

    async def stop(self) -> None:
        """End the lifespan, as uvicorn does once it has closed its door."""
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await self.ended()

    async def ended(self) -> None:
        """Wait for the end of the lifespan, and raise what it raises."""
        async with asyncio.timeout(SOON_S):
            await self._task

    def cancel(self) -> None:
        """End the lifespan as no server should."""
        self._task.cancel()

    async def ask(self, method: str, path: str) -> tuple[int, dict[str, str]]:
        """Send one request without a body; status and headers of the answer."""
        answer: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "server": ("127.0.0.1", 80),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            answer.append(dict(message))

        await self.server(scope, receive, send)
        return answer[0]["status"], {name.decode(): value.decode() for name, value in answer[0]["headers"]}

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that the application changes."""
        async with asyncio.timeout(SOON_S):
            while not condition():  # noqa: ASYNC110  # it does not tell when it changes
                await asyncio.sleep(0.001)

    async def _say(self, message: MutableMapping[str, Any]) -> None:
        self.said.append(dict(message))

    @property
    def coordinator(self) -> TaskCoordinator:
        """The running one."""
        assert isinstance(self.server._web, Application), "it has started"
        return self.server._web._site.coordinator

    @property
    def _task(self) -> asyncio.Task[None]:
        assert self._lifespan is not None
        return self._lifespan


@contextmanager
def hosting(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Have uvicorn's signal handlers installed, no exit of this process, and the logging as it was in the end."""
    host = Host(server)
    monkeypatch.setattr(os, "_exit", host.exits.append)
    with host.uvicorn.capture_signals(), logging_as_it_was():
        try:
            yield host
        finally:
            end_watchdogs()


def end_watchdogs() -> None:
    """A watchdog that outlives the patch of its test would end pytest, without a word and with status 0."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
            thread.join()


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Put back what a server has done to the logging of the whole process."""
    root = logging.getLogger()
    handlers, level, settings = list(root.handlers), root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**settings)
