"""Whether a request came in over an address that only this machine has.

Without credentials everybody who reaches the server may run tasks on it. So it answers on loopback addresses only,
whatever the process that owns the socket listens on, unless the operator says otherwise.

Owns:   the question "is this address ours alone?".
Never:  trusts a header.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from streaming.errors import Forbidden


def require_loopback(server: tuple[str, int | None] | None) -> None:
    """Refuse what did not come in over loopback or a unix socket.

    Args:
        server: the local address of the connection, from the ASGI scope.

    Raises:
        Forbidden: it can be reached from elsewhere, or nobody knows where it is.
    """
    if server is not None and (server[1] is None or is_loopback(server[0])):
        return
    raise Forbidden(
        "This server has no credentials configured and answers on loopback addresses only. "
        "STREAMING_INSECURE_PUBLIC=true opens it to everybody who can reach it."
    )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether this IP address is loopback; an IPv4 address may be written as an IPv6 one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else bool(mapped.is_loopback)
