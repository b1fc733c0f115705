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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from streaming.testing.loop import PROCESS, SimulatedLoop
from streaming.testing.outside import OutsideWorld
from streaming.testing.tcp import Address, End
from streaming.testing.transport import SimulatedSocket, SimulatedTransport
from streaming.testing.weather import FAIR, Troubles, Weather

#: Whoever listens here listens everywhere.
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # nothing of it is real

#: After so many seconds a kernel gives up a connect that nobody answers: six tries, as Linux has it.
CONNECT_S = 127.0

#: The first port that is given to who does not ask for one.
PORT_MIN = 49_152

#: Options of asyncio that make no difference here, and those that want TLS or a socket.
HARMLESS = frozenset({"family", "flags", "proto", "backlog", "reuse_address", "reuse_port", "keep_alive"})
HARMLESS_TO_CONNECT = frozenset({"family", "flags", "proto", "happy_eyeballs_delay", "interleave"})
REAL = frozenset({"sock", "ssl", "ssl_handshake_timeout", "ssl_shutdown_timeout", "server_hostname"})

Factory = Callable[[], asyncio.BaseProtocol]


class SimulatedNetwork:
    """A network; a loop has one at most.

    Args:
        loop: gets it.
        weather: how bad it is; may be changed at any time, by `turn`.

    Attributes:
        names: addresses by host name.
        servers: to whom an address belongs; it may not listen yet.
        ends: the open ends of all connections, the oldest first.

    Raises:
        RuntimeError: the loop has a network already.
        TypeError: the weather is none.
    """

    def __init__(self, loop: SimulatedLoop, weather: Weather = FAIR) -> None:
        if loop.network is not None:
            raise RuntimeError("this loop has a network already, which is world.network in a scenario: use that one")
        self.names = {"localhost": "127.0.0.1"}
        self.servers: dict[Address, SimulatedServer] = {}
        self.ends: dict[End, None] = {}
        self._loop = loop
        self._troubles = Troubles(weather, loop.choices)
        self._ports = itertools.count(PORT_MIN)
        self._silent: set[Address] = set()
        loop.network = self

    @property
    def weather(self) -> Weather:
        """How bad it is."""
        return self._troubles.weather

    def turn(self, weather: Weather) -> None:
        """Let the weather change, for what happens from now on.

        Raises:
            TypeError: it is no weather.
        """
        self._troubles.turn(weather)

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
        self,
        protocol_factory: Factory,
        host: str | Iterable[str] | None = None,
        port: int | None = None,
        *,
        start_serving: bool = True,
        user_timeout_s: float | None = None,
        **options: Any,
    ) -> SimulatedServer:
        """Listen; see `asyncio.loop.create_server`.

        Args:
            protocol_factory: makes a protocol for each connection.
            host: where; all of them, if there are several, and everywhere without one.
            port: of each of them; without one each gets a port of its own.
            start_serving: whether it listens at once; otherwise the address is taken, and nobody listens yet.
            user_timeout_s: what a program sets on its socket as ``TCP_USER_TIMEOUT``, in seconds.
            options: those of asyncio; one that would make no difference here makes none.

        Raises:
            OSError: somebody listens there already.
            OutsideWorld: it is asked for something real: a socket, or TLS.
            TypeError: there is no such option.
        """
        _check_options("create_server", options, HARMLESS)
        hosts = [host] if isinstance(host, str) or host is None else host
        found = dict.fromkeys(self._find(each) if each else "0.0.0.0" for each in hosts)  # noqa: S104  # as asyncio has it
        addresses = tuple((each, port or next(self._ports)) for each in found)
        for address in addresses:
            if address in self.servers:
                raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address {address!r}: in use")
        server = SimulatedServer(self, self._loop, protocol_factory, addresses, user_timeout_s)
        self.servers |= dict.fromkeys(addresses, server)
        self._silent.difference_update(addresses)
        if start_serving:
            await server.start_serving()
        return server

    async def create_connection(
        self,
        protocol_factory: Factory,
        host: str | None = None,
        port: int | None = None,
        *,
        local_addr: Address | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect; see `asyncio.loop.create_connection`.

        Raises:
            OSError: nobody listens there, or nobody answers.
            OutsideWorld: it is asked for something real: a socket, or TLS.
            TypeError: there is no such option.
        """
        _check_options("create_connection", options, HARMLESS_TO_CONNECT)
        address = (self._find(host or "127.0.0.1"), port or 0)
        server = await self._reach(address)
        end = self._pair(server, address, local_addr)
        waiter = self._loop.create_future()
        protocol = protocol_factory()
        transport = SimulatedTransport(self._loop, end, protocol, end.peer.address, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _reach(self, address: Address) -> SimulatedServer:
        """Who listens there, once a connect has got so far.

        Raises:
            OSError: nobody listens there, or nobody answers.
        """
        server = self._server_at(address)
        answer = "silent" if self._is_silent(address) else "refused" if server is None else self._troubles.connect()
        if answer == "silent":
            await asyncio.sleep(CONNECT_S)
            raise TimeoutError(errno.ETIMEDOUT, f"Connect call failed {address!r}")
        if delay_s := self._troubles.delay_s():
            await asyncio.sleep(delay_s)
            server = self._server_at(address)
        if answer == "refused" or server is None:
            await asyncio.sleep(0)
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {address!r}")
        return server

    # -- a crash ------------------------------------------------------------------------------------------------------

    def crash(self, process: int, *, silent: bool = False) -> None:
        """Do what a kernel does when a process is killed: it closes what was open.

        Args:
            process: its number, see `loop.PROCESS`.
            silent: its machine is gone with it: nobody is told, and nobody answers, also no later connect, until
                somebody else listens at its addresses.
        """
        for address, server in [place for place in self.servers.items() if place[1].process == process]:
            server.close()
            if silent:
                self._silent.add(address)
        for end in [each for each in self.ends if each.process == process]:
            if end.owner is not None:
                end.owner.bury()
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
        found = (self.servers[place] for place in _places(address) if place in self.servers)
        return next((server for server in found if server.is_serving()), None)

    def _is_silent(self, address: Address) -> bool:
        """Whether the machine is gone, and nobody else has its address."""
        gone = any(place in self._silent for place in _places(address))
        return gone and not any(place in self.servers for place in _places(address))

    def _pair(self, server: SimulatedServer, address: Address, local: Address | None) -> End:
        """Two ends that are connected; the server gets one of them soon."""
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
        addresses: on which addresses of the network.
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
        addresses: Sequence[Address],
        user_timeout_s: float | None = None,
    ) -> None:
        self.context = contextvars.copy_context()
        self.process = PROCESS.get()
        self.user_timeout_s = user_timeout_s
        self._network = network
        self._loop = loop
        self._factory = factory
        self._addresses = addresses
        self._serving = self._closed = False
        self._transports = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None

    @property
    def sockets(self) -> tuple[SimulatedSocket, ...]:
        """Where it listens, or is going to; nowhere once it is closed."""
        return () if self._closed else tuple(SimulatedSocket(address) for address in self._addresses)

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
        if self._closed and not self._transports:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    def close(self) -> None:
        """Listen no more; connections go on."""
        if not self._closed:
            self._closed, self._serving = True, False
            for address in self._addresses:
                del self._network.servers[address]
            if self._forever is not None:
                self._forever.cancel()
            self._wake()

    async def wait_closed(self) -> None:
        """Wait until it is closed, and all its connections are over."""
        if not self._closed or self._transports:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def is_serving(self) -> bool:
        """Whether it listens."""
        return self._serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """On which it accepts."""
        return self._loop

    async def start_serving(self) -> None:
        """Listen, if it does not yet.

        Raises:
            RuntimeError: it is closed.
        """
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self._serving = True

    async def serve_forever(self) -> None:
        """Serve until this is cancelled, or the server is closed, which cancels it.

        Raises:
            RuntimeError: it is closed already, or somebody else is serving for ever.
        """
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        finally:
            self._forever = None
            self.close()
            await self.wait_closed()


def _places(address: Address) -> Iterator[Address]:
    """At which addresses somebody may listen who is reached at this one."""
    host, port = address
    return ((each, port) for each in (host, *sorted(EVERYWHERE)))


def _check_options(call: str, options: dict[str, Any], harmless: Collection[str]) -> None:
    """Look whether something is asked for that a simulated network does not have.

    Raises:
        OutsideWorld: a socket, or TLS.
        TypeError: what asyncio does not have either, or what would make a difference.
    """
    for name, value in options.items():
        if name in REAL:
            if value is not None and value is not False:
                raise OutsideWorld(f"{call}({name}=...) wants something real, which a simulated network has not")
        elif name not in harmless:
            raise TypeError(f"{call} of a simulated network has no option {name!r}")
