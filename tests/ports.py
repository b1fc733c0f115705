"""A port that stays the same while the server that listens on it comes and goes."""

from __future__ import annotations

import socket
import sys


def reserve_port() -> tuple[int, socket.socket]:
    """A free port on 127.0.0.1, and the socket to close at the end.

    Nobody who asks for just any port gets this one meanwhile; a server that names it does, with ``SO_REUSEADDR``.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port: int = reserved.getsockname()[1]
    if sys.platform != "linux":
        reserved.close()  # elsewhere two sockets cannot have the same port
    return port, reserved
