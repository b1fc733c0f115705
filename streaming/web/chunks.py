"""Chunks: how a body without a known length is framed (RFC 9112, 7.1).

Owns:   the bytes around a piece of a body, and those of its end.
Never:  looks into a piece.
"""

from __future__ import annotations

#: Behind the last piece; without it a body is known to be cut off.
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk; ``data`` is not empty, for that would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)
