"""Which addresses may be fetched from.

Owns:   the table of networks that are not the public internet, of ports that belong to other protocols, and the
        operator's openings in them.
Never:  resolves a name or connects: it judges the address that a connection goes to, never the spelling of a name.

``ipaddress`` has flags for this, but their meaning changed between patch releases of Python; a table says the same
everywhere. IPv6 is closed except for global unicast, so that a new special range is refused before anybody knows it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from streaming.errors import FieldError, InvalidSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: IANA special-purpose registries, and what cloud providers serve their machines' secrets from.
NOT_PUBLIC = _networks(
    "0.0.0.0/8",  # this host; Linux connects to 0.0.0.0 as to loopback
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba's metadata
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's metadata, in a public range
    "169.254.0.0/16",  # link-local; 169.254.169.254 is everybody's metadata
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle's metadata
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
    "2001::/23",  # protocol assignments; Teredo hides an IPv4 address in its own way
    "2001:db8::/32",  # documentation
    "3fff::/20",  # documentation
)

#: Where machines of clouds and of containers get their secrets. Neither a name nor a wider network opens these.
METADATA = _networks(
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fe80::a9fe:a9fe/128",
)

#: Ports of other protocols, which a request could be made to speak: the "bad ports" of the Fetch standard.
OTHER_PROTOCOLS = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110}
    | {111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531}
    | {532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060}
    | {5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

#: Of an ISATAP address, the half before its IPv4 address; the bit that is left out says whether that is a global one.
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")
_ENTRY = re.compile(r"(\[(?P<bracketed>[^\]]+)\]|(?P<plain>[^:\s]+))(:(?P<port>\d{1,5}))?\Z")


def unwrap(address: Address) -> Address:
    """The IPv4 address inside a mapped, 6to4, NAT64 or ISATAP address; any other address as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64 or int(address) >> 32 & _ISATAP_MASK == _ISATAP:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    target = unwrap(address)
    if isinstance(target, ipaddress.IPv6Address) and target not in GLOBAL_UNICAST:
        return False
    return not any(target in network for network in NOT_PUBLIC if network.version == target.version)


@dataclass(frozen=True, slots=True)
class Opening:
    """One entry of ``STREAMING_FETCH_ALLOW``: a host or a network, on one port or on all of them."""

    host: str | None
    network: Network | None
    port: int | None

    def covers(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection to ``address``, which ``host`` resolved to, goes through this opening."""
        if self.port not in (None, port):
            return False
        secret = _metadata(unwrap(address))
        if self.network is None:
            return self.host == host and secret is None
        if secret is not None and not _lies_in(self.network, secret):
            return False
        return any(
            candidate in self.network
            for candidate in (address, unwrap(address))
            if candidate.version == self.network.version
        )


class AllowList:
    """The public internet, and what the operator has opened besides.

    Args:
        entries: hosts, ``host:port``, addresses or networks; an IPv6 address with a port stands in brackets.

    Raises:
        InvalidSettings: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._openings = tuple(_opening(entry) for entry in entries)

    def allows(self, host: str, port: int, address: Address) -> bool:
        """Whether http_fetch may connect.

        Args:
            host: the name in the URL, in lower case and without a dot at its end.
            port: TCP port.
            address: what the name resolved to, and what will be connected to.
        """
        public = is_public(address) and port not in OTHER_PROTOCOLS
        return public or self.opens(host, port, address)

    def opens(self, host: str, port: int, address: Address) -> bool:
        """Whether the operator has opened this, public or not; see `allows`."""
        return any(opening.covers(host, port, address) for opening in self._openings)


def _metadata(address: Address) -> Network | None:
    return next((network for network in METADATA if network.version == address.version and address in network), None)


def _lies_in(inner: Network, outer: Network) -> bool:
    """Whether one network is a part of the other; an IPv4 network that is written in IPv6 is a part of none."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # the same version


def _opening(entry: str) -> Opening:
    network = _network(entry)
    if network is not None:
        return Opening(None, network, None)
    match = _ENTRY.match(entry)
    if match is None:
        raise _wrong(entry)
    port = None if match["port"] is None else int(match["port"])
    host = (match["bracketed"] or match["plain"]).lower().removesuffix(".")
    network = _network(host)
    if (network is None and not _HOST.match(host)) or (port is not None and not 0 < port <= 65535):
        raise _wrong(entry)
    return Opening(None if network else host, network, port)


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _wrong(entry: str) -> InvalidSettings:
    message = (
        f"{entry!r} is no host, host:port, address or network; write names in ASCII (xn--...), "
        "and an IPv6 address with a port as [::1]:8000"
    )
    return InvalidSettings(f"STREAMING_FETCH_ALLOW: {message}", errors=[FieldError("STREAMING_FETCH_ALLOW", message)])
