"""What a reverse proxy says of a request: who sends it, and from where.

Everybody can send such headers. They count only from an address that the operator has named; the proxy must set or
remove each of them itself, so that none comes through from its clients.

Owns:   which peers are trusted; reading their headers; the address of a client, and what is one client in it.
Never:  believes a header of somebody else, or lets its sender choose by it as which client it counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from streaming.config import Settings
from streaming.errors import FieldError, InvalidSettings, Unauthenticated
from streaming.rules.access import SCOPES_DEFAULT, Credential, Principal, Scope, known_scopes, read_name

#: The peer of a connection over a unix socket.
UNIX = "unix"

#: How the id of every credential begins that a proxy vouches for.
KIND = "proxy:"

_VARIABLE = "STREAMING_TRUSTED_PROXIES"

#: An address, perhaps with the port that some proxies write behind it.
_ADDRESS = re.compile(r"(?:(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45}))\Z")

#: The part of an IPv6 address that one customer of a network has at least.
_CUSTOMER_BITS = 64

#: How much of an IPv6 address says only that an IPv4 one follows (RFC 4291, 2.5.5.2).
_MAPPED_BITS = 96


class Proxies:
    """The reverse proxies that are trusted.

    Args:
        settings: ``trusted_proxies`` and the names of the headers.

    Raises:
        InvalidSettings: an address is wrong, or a header is named and no proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._unix = UNIX in settings.trusted_proxies
        self._networks = [_network(text) for text in settings.trusted_proxies if text != UNIX]
        self._user = settings.proxy_user_header
        self._scopes = settings.proxy_scopes_header
        self._tenant = settings.proxy_tenant_header
        self._check()

    @property
    def configured(self) -> bool:
        """Whether a proxy says who is calling."""
        return self._user is not None

    def trusts(self, peer: str | None) -> bool:
        """Whether headers from this peer count: an address, ``unix``, or None for nobody knows."""
        if peer == UNIX:
            return self._unix
        address = None if peer is None else _address(peer)
        return address is not None and any(address in network for network in self._networks)

    def credential(self, peer: str | None, header: Callable[[str], Sequence[str]]) -> Credential | None:
        """Who is calling, as the proxy says.

        Args:
            peer: the other end of the connection.
            header: all values of a header, by its name in lower case.

        Returns:
            None if it is no trusted proxy, or says nothing.

        Raises:
            Unauthenticated: what it says cannot be understood.
        """
        if self._user is None or not self.trusts(peer):
            return None
        name = _single(header(self._user))
        if name is None:
            return None
        tenant = None if self._tenant is None else _single(header(self._tenant))
        if self._tenant is not None and tenant is None:
            raise _refusal()
        try:
            principal = Principal(
                read_name(name), self._scopes_of(header), None if tenant is None else read_name(tenant)
            )
        except ValueError:
            raise _refusal() from None
        return Credential(principal, KIND + name)

    def client_address(self, peer: str | None, x_forwarded_for: Sequence[str]) -> str:
        """Where a request comes from.

        Args:
            peer: the other end of the connection.
            x_forwarded_for: all values of this header, as they came.

        Returns:
            The nearest address that is no trusted proxy: as far as those that are trusted say what can be understood.
        """
        address = _written(peer)
        hops = [hop.strip() for value in x_forwarded_for for hop in value.split(",")]
        while hops and self.trusts(address):
            found = _ADDRESS.match(hops.pop())
            hop = None if found is None else _address(found[1] or found[2] or found[3])
            if hop is None:
                break
            address = str(hop)
        return address

    def _scopes_of(self, header: Callable[[str], Sequence[str]]) -> frozenset[Scope]:
        if self._scopes is None:
            return SCOPES_DEFAULT
        # Proxies leave out a header that would be empty: nothing said is nothing allowed.
        words = re.split(r"[ ,]+", _single(header(self._scopes)) or "")
        return known_scopes(words)

    def _check(self) -> None:
        if self._user is None and (self._scopes is not None or self._tenant is not None):
            raise _wrong("STREAMING_PROXY_USER_HEADER", "must be set, too: scopes and a tenant are those of somebody")
        if self._user is not None and not (self._unix or self._networks):
            raise _wrong(_VARIABLE, "must name the proxy that sends STREAMING_PROXY_USER_HEADER")
        named = [name for name in (self._user, self._scopes, self._tenant) if name is not None]
        if len(named) != len(set(named)):
            raise _wrong("STREAMING_PROXY_USER_HEADER", "each header of a proxy has a name of its own")


@lru_cache(maxsize=1024)
def bucket(address: str) -> str:
    """What counts as one client: an IPv4 address, the /64 of an IPv6 one; any other text as it is."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), _CUSTOMER_BITS), strict=False))
    return address if found is None else str(found)


@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _written(peer: str | None) -> str:
    address = None if peer is None else _address(peer)
    return str(address or peer or "unknown")


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise _wrong(_VARIABLE, f"{text!r} is no address, network or unix") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        network = IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    if network.prefixlen == 0:
        raise _wrong(_VARIABLE, f"{text!r} is everybody: who is trusted may be anybody")
    return network


def _single(values: Sequence[str]) -> str | None:
    """The one value of a header; None if it is not there."""
    if not values:
        return None
    if len(values) > 1 or not values[0].isascii():
        raise _refusal()
    return values[0]


def _wrong(variable: str, message: str) -> InvalidSettings:
    return InvalidSettings(f"{variable}: {message}", errors=[FieldError(variable, message)])


def _refusal() -> Unauthenticated:
    return Unauthenticated("What the proxy says of the caller cannot be understood.", reason="proxy_headers")
