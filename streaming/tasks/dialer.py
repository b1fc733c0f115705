"""Connect to checked addresses only.

Owns:   the way from a host name to an open connection: look up, judge, connect to exactly what was judged; and how
        much may come over it before an answer does.
Uses:   tasks.address (what may be reached), httpcore (what a connection looks like to the HTTP client).
Never:  looks a name up twice for one connection, or leaves a connection open behind a cancelled fetch.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

from streaming.errors import HandlerError
from streaming.tasks.address import Address, AllowList
from streaming.tasks.background import in_thread
from streaming.tasks.meter import readable

#: Looks up a host and a port, and returns IP addresses as text, the best first. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: A name with more addresses than this is tried at the first ones only.
ADDRESSES_MAX = 4

_ADVICE = "The operator can open hosts and networks with STREAMING_FETCH_ALLOW."

#: Bytes that a server may send until its answer begins; "100 Continue" can be said for ever.
HEAD_BYTES_MAX = 262_144


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver.

    It takes what ``inet_aton`` takes (``0x7f.1``, ``2130706433``, ``0``): no harm, since the answer is judged.
    """
    # As bytes: for text, Python would apply its own older IDNA rules.
    found = await in_thread(socket.getaddrinfo, host.encode("ascii"), port, 0, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialer(httpcore.AsyncNetworkBackend):
    """Opens the connections of one fetch.

    Args:
        allow: what may be reached.
        resolve: looks names up.
        connect: opens TCP connections to addresses; by default anyio's.
    """

    def __init__(self, allow: AllowList, resolve: Resolve, connect: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._allow = allow
        self._resolve = resolve
        self._backend = connect or httpcore.AnyIOBackend()
        self._streams: list[httpcore.AsyncNetworkStream] = []
        self._head_bytes: int | None = 0

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first allowed address of ``host`` that answers.

        Raises:
            HandlerError: ``dns_failed`` or ``address_not_allowed``.
            httpcore.ConnectError: no address answers.
            httpcore.ConnectTimeout: not within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time.") from None
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            share_s = None if timeout is None else timeout / len(addresses)
            try:
                stream = await self._open(address, host, port, share_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = failure or error
            else:
                self._head_bytes = 0
                return _Counted(stream, self._count)
        raise failure or httpcore.ConnectError(f"{host} has no address.")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Nothing that is fetched is behind a local socket.

        Raises:
            HandlerError: always.
        """
        raise HandlerError("address_not_allowed", "http_fetch connects by TCP only.")

    async def sleep(self, seconds: float) -> None:
        """Pause between attempts."""
        await asyncio.sleep(seconds)

    def answered(self) -> None:
        """The answer on the connection that was opened last has begun: from now on others count its bytes."""
        self._head_bytes = None

    async def aclose(self) -> None:
        """Close every connection, those in the middle of a TLS handshake included."""
        while self._streams:
            await self._streams.pop().aclose()

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            found = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, ValueError):
            raise HandlerError("dns_failed", f"The host name {host!r} cannot be resolved.") from None
        allowed = [address for address in found if self._allow.allows(host, port, address)]
        if found and not allowed:
            raise HandlerError(
                "address_not_allowed",
                f"{host}:{port} is not on the public internet, or the port is one of another protocol. {_ADVICE}",
            )
        return allowed[:ADDRESSES_MAX]

    async def _open(self, address: Address, host: str, port: int, limit_s: float | None) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(str(address), port, timeout=limit_s)
        self._streams.append(stream)
        peer = stream.get_extra_info("server_addr")
        if peer is None:
            raise httpcore.ConnectError(f"{host} hung up at once.")
        if ipaddress.ip_address(peer[0]) != address:
            raise HandlerError("address_not_allowed", f"The connection to {host}:{port} went somewhere else.")
        local = stream.get_extra_info("client_addr")
        # This machine has public addresses, too. From itself, it is reached behind its firewall.
        if (
            local is not None
            and ipaddress.ip_address(local[0]) == address
            and not self._allow.opens(host, port, address)
        ):
            raise HandlerError("address_not_allowed", f"{host}:{port} is this machine itself. {_ADVICE}")
        return stream

    def _count(self, size: int) -> None:
        if self._head_bytes is None:
            return
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            raise HandlerError("bad_response", f"The server sent {readable(self._head_bytes)} and no answer.")


class _Counted(httpcore.AsyncNetworkStream):
    """A connection that says how many bytes have arrived."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, count: Callable[[int], None]) -> None:
        self._stream = stream
        self._count = count

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's
        data = await self._stream.read(max_bytes, timeout)
        self._count(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        return _Counted(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._count)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
