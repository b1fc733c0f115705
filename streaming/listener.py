"""The socket that a server listens on, and whether it may listen there.

Owns:   where nobody is served; what is asked of the kernel for each connection.
Uses:   store (whether there are API keys).
Never:  accepts a connection. What it lets pass is asked again by each request (``web.door``).
"""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

from streaming.config import Settings
from streaming.errors import InvalidSettings, StoreUnavailable
from streaming.store import open_database, open_key_store

#: What the kernel holds for a reader that does not read; the default grows to megabytes.
SEND_BUFFER_BYTES = 131_072


def listen(settings: Settings) -> socket.socket:
    """Bind and listen, so that a client that reads our log line can connect at once.

    Raises:
        InvalidSettings: the address is taken, unknown, or public although no credentials are configured.
    """
    if not (settings.loopback or settings.insecure_public or settings.credentials or _may_have_keys(settings)):
        raise InvalidSettings(
            f"No credentials are configured, so only loopback is served: {settings.host} needs an API key "
            "(streaming key create NAME), or --insecure-public for a server that is open to everybody."
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(family, address, settings)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "It is no host name"
        raise InvalidSettings(f"Cannot listen on {settings.host} port {settings.port}: {reason}.") from None


def _may_have_keys(settings: Settings) -> bool:
    """Whether the store has API keys; one that cannot be asked now may have some, and each request asks it again."""
    if settings.store_url == "memory://":
        return False
    try:
        with closing(open_database(settings)) as database:
            if database.inspect().revision is None:
                return False
        with closing(open_key_store(settings)) as keys:
            return bool(keys.all())
    except StoreUnavailable:
        return True


def _bound(family: int, address: Any, settings: Settings) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also ends readers that vanished without a word
        timeout_ms = int(settings.send_timeout_s * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
