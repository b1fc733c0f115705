"""The real web application on a simulated network: uvicorn's connections, our protocol, our routes; and who visits it.

Owns:   `SimulatedSite`, the part of a server process that speaks HTTP, and `Visit`, one connection of a client to it.
Never:  opens a socket, takes a signal, or waits for the real clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from streaming.config import Settings
from streaming.exit import STOP_S, STREAMS_END_S
from streaming.server import KEEP_ALIVE_S
from streaming.testing.instance import Instance
from streaming.testing.network import SimulatedNetwork, SimulatedServer
from streaming.web.application import Application
from streaming.web.protocol import ProblemProtocol, protocol_of
from streaming.web.request import Message, Receive, Scope, Send

HOST, PORT = "127.0.0.1", 8000

#: A client that hears nothing for so many seconds gives up; keepalives come more often.
SILENCE_S = 45.0

#: What a client reads ahead; it stops to read from its connection at twice of that.
AHEAD_BYTES = 1024


class Complaints(logging.Logger):
    """uvicorn's log: what it says there as an error is one of ours.

    Attributes:
        errors: what it said.
    """

    def __init__(self) -> None:
        super().__init__("uvicorn.error", logging.ERROR)
        self.errors: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        self.errors.append(record.getMessage().strip() + ("" if raised is None else f" {raised!r}"))


class Between:
    """Somebody who stands between the server and the application, as a middleware does: streams get no connection.

    Args:
        send: the server's.
        waits: it waits a step before it passes on what is sent.
    """

    def __init__(self, send: Any, waits: bool) -> None:
        self.transport = send.__self__.transport
        self._send = send
        self._waits = waits

    async def send(self, message: Message) -> None:
        """Pass it on."""
        if self._waits:
            await asyncio.sleep(0)
        await self._send(message)


class SimulatedSite:
    """What an instance needs to speak HTTP.

    Args:
        network: where it is reached.
        instance: whose tasks it shows; it is up.
        settings: the limits.
        path: of its streams: ``direct``, ``portable``, or ``waiting``, which is portable and waits in each send.

    Attributes:
        application: the real one.
        draining: whether it was told to stop.
        state: uvicorn's: open connections and running requests.
        complaints: what uvicorn has said that it should not have to.
    """

    application: Application

    def __init__(self, network: SimulatedNetwork, instance: Instance, settings: Settings, path: str = "direct") -> None:
        self._path = path
        self.draining = False
        self.state = ServerState()
        self.complaints = Complaints()
        self._network = network
        self._instance = instance
        self._settings = settings
        self._server: SimulatedServer | None = None

    async def open(self) -> None:
        """Listen, as a part of the instance: what it begins ends with it."""
        await self._instance.ask(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        # Chance is the world's: the same run says the same bytes.
        self.application = Application(self._instance.coordinator, self._settings, chance=lambda: 0.5)
        config = uvicorn.Config(
            self.application if self._path == "direct" else self._between,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        speaks = self._watched(protocol_of(self._settings))

        def connected() -> ProblemProtocol:
            protocol = speaks(config, self.state, {}, loop)
            protocol.logger = self.complaints
            return protocol

        self._server = await self._network.create_server(
            connected, HOST, PORT, user_timeout_s=self._settings.send_timeout_s
        )

    def _watched(self, protocol: type[ProblemProtocol]) -> type[ProblemProtocol]:
        """The protocol, watched: who has enough gets nothing more, and who is gone keeps no stream.

        Memory would have no bound else.
        """
        errors, streams = self.complaints.errors, self.application.heartbeat._streams

        class Watched(protocol):  # type: ignore[valid-type, misc]  # made for the settings of this site
            def connection_made(self, transport: Any) -> None:
                write = transport.write

                def watched(data: bytes) -> None:
                    if self.flow.write_paused:
                        errors.append("bytes are written to a connection that has enough")
                    write(data)

                transport.write = watched
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                stream = self._stream
                super().connection_lost(exc)
                if stream in streams:
                    errors.append("a connection is lost, and its stream is still open")

        return Watched

    async def _between(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.application(scope, receive, Between(send, self._path == "waiting").send)

    async def drain(self) -> None:
        """The order of `streaming.exit`: tasks, streams, and then the server that runs us.

        Raises:
            Killed: the instance was killed meanwhile.
        """
        self.draining = True
        await self._instance.ask(self._drain())

    async def _drain(self) -> None:
        await self._instance.coordinator.shutdown()
        await self.application.end(STREAMS_END_S)
        server = self._server
        assert server is not None
        server.close()
        for connection in self._connections():
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await server.wait_closed()
        for connection in self._connections():  # the process exits, and its kernel closes them
            connection.transport.abort()
        await server.wait_closed()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks)

    def _connections(self) -> list[Any]:
        """In their order: uvicorn keeps them in a set, which has none."""
        return sorted(self.state.connections, key=lambda each: each.client)

    @property
    def closed(self) -> bool:
        """Whether nothing new may be taken in any more."""
        return self.draining and self._instance.coordinator.draining

    def bury(self) -> None:
        """The instance was killed: the timer of its streams, which belongs to nobody, is not to run for ever."""
        timer = self.application.heartbeat._timer
        if timer is not None:
            timer.cancel()

    def leftovers(self) -> dict[str, object]:
        """What should be empty after a drain, and is not."""
        tables = {
            "connections": self.state.connections,
            "requests of uvicorn": self.state.tasks,
            "requests": self.application._requests,
            "streams": self.application.heartbeat._streams,
            "places": self.application.heartbeat.open,
            "timer": self.application.heartbeat._timer,
            "ends": [each for each in self._network.ends if each.process == self._instance.number],
        }
        return {name: table for name, table in tables.items() if table}


class Lost(ConnectionError):
    """No answer came, or not all of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer.

    Attributes:
        status: its status.
        headers: by name in lower case.
    """

    status: int
    headers: dict[str, str]

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.headers.get("transfer-encoding") == "chunked"


class Visit:
    """One connection of a client; it speaks HTTP/1.1, and takes nothing that is not right to the byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def begin(cls) -> Visit:
        """Connect.

        Raises:
            Lost: nobody is there.
        """
        try:
            async with asyncio.timeout(SILENCE_S):
                return cls(*await asyncio.open_connection(HOST, PORT, limit=AHEAD_BYTES))
        except OSError as error:  # TimeoutError is one
            raise Lost(repr(error)) from error

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Head:
        """Send a request, and read the beginning of its answer.

        Raises:
            Lost: there is none.
        """
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{PORT}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await self._read(self._reader.readuntil(b"\r\n\r\n"))).decode("ascii")
        first, *rest = head[:-4].split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", head
        return Head(int(status), dict(_header(line) for line in rest))

    async def body(self, head: Head) -> bytes:
        """The rest of the answer.

        Raises:
            Lost: it does not come, or not all of it.
        """
        if head.chunked:
            return b"".join([chunk async for chunk in self.chunks()])
        return await self._read(self._reader.readexactly(int(head.headers.get("content-length", "0"))))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a body, until the one that says that it is complete.

        Raises:
            Lost: it breaks off.
        """
        while True:
            line = await self._read(self._reader.readuntil(b"\r\n"))
            size = int(line, 16)
            chunk = await self._read(self._reader.readexactly(size + 2))
            assert chunk[-2:] == b"\r\n", chunk[-20:]
            if not size:
                return
            yield chunk[:-2]

    async def _read(self, reading: Any) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_S):
                data: bytes = await reading
                return data
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Lost(repr(error)) from error

    def leave(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(": ")
    assert colon, line
    return name.lower(), value
