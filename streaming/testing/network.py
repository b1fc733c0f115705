"""The network of a simulated world: who listens where, who is connected, and what a crash does to both.

A loop with a network serves ``loop.create_server``, ``loop.create_connection`` and ``loop.getaddrinfo``, and so all
that is built on them: asyncio's streams, uvicorn's protocols, anyio and httpx.

Owns:   `SimulatedNetwork` and `SimulatedServer`.
Uses:   testing.tcp (one end of a connection), testing.transport (its asyncio side), testing.weather (what goes wrong).
Never:  opens a socket, or looks up a name.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import ipaddress
import itertools
import socket
from collections.abc import Callable, Iterable
from typing import Any

from streaming.testing.loop import PROCESS, OutsideWorld, SimulatedLoop
from streaming.testing.tcp import Address, End
from streaming.testing.transport import SimulatedSocket, SimulatedTransport
from streaming.testing.weather import CALM, Troubles, Weather

#: Whoever listens here listens everywhere.
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # nothing of it is real

#: After so many seconds a kernel gives up a connect that nobody answers: six tries, as Linux has it.
CONNECT_S = 127.0

#: The first port that is given to who does not ask for one.
PORT_MIN = 49_152

Factory = Callable[[], asyncio.BaseProtocol]


class SimulatedNetwork:
    """A network; a loop has one at most.

    Args:
        loop: gets it.
        weather: how bad it is; may be changed at any time, by `turn`.

    Attributes:
        names: addresses by host name.
        servers: who listens where.
        ends: the open ends of all connections, the oldest first.
        connects: how many connections there were.
    """

    def __init__(self, loop: SimulatedLoop, weather: Weather = CALM) -> None:
        self.names = {"localhost": "127.0.0.1"}
        self.servers: dict[Address, SimulatedServer] = {}
        self.ends: dict[End, None] = {}
        self.connects = 0
        self._loop = loop
        self._troubles = Troubles(weather, loop.choices)
        self._ports = itertools.count(PORT_MIN)
        loop.network = self

    @property
    def weather(self) -> Weather:
        """How bad it is."""
        return self._troubles.weather

    def turn(self, weather: Weather) -> None:
        """Let the weather change, for what happens from now on."""
        self._troubles.weather = weather

    # -- what a loop asks ---------------------------------------------------------------------------------------------

    async def getaddrinfo(self, host: str | bytes | None, port: str | int | None, **hints: int) -> list[Any]:
        """Look up a name; see `asyncio.loop.getaddrinfo`.

        Raises:
            socket.gaierror: it is unknown.
        """
        number = int(port or 0)
        found = self._find(host.decode() if isinstance(host, bytes) else host or "127.0.0.1")
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        address = (found, number, 0, 0) if ":" in found else (found, number)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    async def create_server(
        self, protocol_factory: Factory, host: Any = None, port: int | None = None, **options: Any
    ) -> SimulatedServer:
        """Listen; see `asyncio.loop.create_server`.

        The option ``user_timeout_s`` is what a program sets on its socket as ``TCP_USER_TIMEOUT``, in seconds.

        Raises:
            OSError: somebody listens there already.
            OutsideWorld: it is asked for something real: a socket, or TLS.
        """
        _refuse(options, ("sock", "ssl"))
        if isinstance(host, Iterable) and not isinstance(host, str):
            host = next(iter(host), None)
        address = (self._find(host) if host else "0.0.0.0", port or next(self._ports))  # noqa: S104  # as asyncio has it
        if address in self.servers:
            raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address {address!r}: in use")
        user_timeout_s = options.get("user_timeout_s")
        server = SimulatedServer(self, self._loop, protocol_factory, address, user_timeout_s)
        self.servers[address] = server
        return server

    async def create_connection(
        self, protocol_factory: Factory, host: str | None = None, port: int | None = None, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect; see `asyncio.loop.create_connection`.

        Raises:
            OSError: nobody listens there, or nobody answers.
            OutsideWorld: it is asked for something real: a socket, or TLS.
        """
        _refuse(options, ("sock", "ssl"))
        address = (self._find(host or "127.0.0.1"), port or 0)
        server = self._server_at(address)
        answer = "refused" if server is None else self._troubles.connect()
        if answer == "silent":
            await asyncio.sleep(CONNECT_S)
            raise TimeoutError(errno.ETIMEDOUT, f"Connect call failed {address!r}")
        if delay_s := self._troubles.delay_s():
            await asyncio.sleep(delay_s)
            server = self._server_at(address)
        if answer == "refused" or server is None:
            await asyncio.sleep(0)
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {address!r}")
        end = self._pair(server, address, options.get("local_addr"))
        waiter = self._loop.create_future()
        protocol = protocol_factory()
        transport = SimulatedTransport(self._loop, end, protocol, end.peer.address, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    # -- a crash ------------------------------------------------------------------------------------------------------

    def crash(self, process: int, *, silent: bool = False) -> None:
        """Do what a kernel does when a process is killed: it closes what was open.

        Args:
            process: its number, see `loop.PROCESS`.
            silent: the whole machine is gone; nobody is told, and nobody answers.
        """
        for server in [each for each in self.servers.values() if each.process == process]:
            server.close()
        for end in [each for each in self.ends if each.process == process]:
            if silent:
                end.vanish()
            else:
                end.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _find(self, host: str) -> str:
        """The address that a name stands for.

        Raises:
            socket.gaierror: it is unknown.
        """
        if host in EVERYWHERE:
            return host
        found = self.names.get(host, host)
        try:
            return str(ipaddress.ip_address(found))
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None

    def _server_at(self, address: Address) -> SimulatedServer | None:
        host, port = address
        places = ((each, port) for each in (host, *sorted(EVERYWHERE)))
        return next((self.servers[place] for place in places if place in self.servers), None)

    def _pair(self, server: SimulatedServer, address: Address, local: Address | None) -> End:
        """Two ends that are connected; the server gets one of them soon."""
        self.connects += 1
        host, port = local or (address[0], 0)
        ours = self._end((host, port or next(self._ports)), PROCESS.get(), stalls=True)
        theirs = self._end(address, server.process, stalls=False, user_timeout_s=server.user_timeout_s)
        ours.peer, theirs.peer = theirs, ours
        self._loop.call_soon(server._accept, theirs, context=server.context)
        return ours

    def _end(self, address: Address, process: int, **options: Any) -> End:
        end = End(self._loop, self._troubles, address, process, forget=self._forget, **options)
        self.ends[end] = None
        return end

    def _forget(self, end: End) -> None:
        self.ends.pop(end, None)


class SimulatedServer(asyncio.AbstractServer):
    """Somebody who listens; see `asyncio.Server`.

    Args:
        network: where.
        loop: on which it accepts.
        factory: makes a protocol for each connection.
        address: on which address of the network.
        user_timeout_s: of its connections; see `tcp.End`.

    Attributes:
        context: in which it accepts.
        process: to which simulated process it belongs.
        user_timeout_s: as given.
    """

    def __init__(
        self,
        network: SimulatedNetwork,
        loop: SimulatedLoop,
        factory: Factory,
        address: Address,
        user_timeout_s: float | None = None,
    ) -> None:
        self.context = contextvars.copy_context()
        self.process = PROCESS.get()
        self.user_timeout_s = user_timeout_s
        self._network = network
        self._loop = loop
        self._factory = factory
        self._address = address
        self._transports = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sockets(self) -> tuple[SimulatedSocket, ...]:
        """Where it listens; nowhere once it is closed."""
        return (SimulatedSocket(self._address),) if self.is_serving() else ()

    def _accept(self, end: End) -> None:
        if not self.is_serving() or end.closed:
            end.close()
            return
        try:
            protocol = self._factory()
        except BaseException:
            end.close()
            raise
        self._transports += 1
        SimulatedTransport(self._loop, end, protocol, end.peer.address, lost=self._detach)

    def _detach(self) -> None:
        self._transports -= 1
        self._wake()

    def _wake(self) -> None:
        if not self.is_serving() and not self._transports:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    def close(self) -> None:
        """Listen no more; connections go on."""
        if self.is_serving():
            del self._network.servers[self._address]
            self._wake()

    async def wait_closed(self) -> None:
        """Wait until it is closed, and all its connections are over."""
        if self.is_serving() or self._transports:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def is_serving(self) -> bool:
        """Whether it listens."""
        return self._network.servers.get(self._address) is self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """On which it accepts."""
        return self._loop

    async def start_serving(self) -> None:
        """It has begun already."""

    async def serve_forever(self) -> None:
        """Serve until this is cancelled."""
        try:
            await self._loop.create_future()
        finally:
            self.close()
            await self.wait_closed()


def _refuse(options: dict[str, Any], names: Iterable[str]) -> None:
    """What a simulated network does not have.

    Raises:
        OutsideWorld: it was asked for.
    """
    for name in names:
        if options.get(name):
            raise OutsideWorld(f"{name!r} wants something real, which a simulated network has not")
