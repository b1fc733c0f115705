"""Undo a Content-Encoding, in pieces of bounded size.

Owns:   gzip bodies, and the defence against those that unpack to far more than was sent.
Never:  counts against a limit: it gives small pieces, so that whoever counts can stop in time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from streaming.errors import HandlerError

#: What the client asks for; anything else that a server sends is refused.
ACCEPTED = "gzip"
PIECE_BYTES = 65_536

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for this format


class Inflater:
    """Unpacks one body.

    Args:
        encoding: value of the Content-Encoding header; empty or ``identity`` passes the body through.

    Raises:
        HandlerError: ``bad_response``: the encoding was not asked for.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip"):
            raise HandlerError("bad_response", f"The server sent the content encoding {name[:64]!r} unasked.")
        self._stream = zlib.decompressobj(_GZIP) if name.endswith("gzip") else None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that some bytes of the body unpack to, each at most `PIECE_BYTES` if the body is packed.

        Raises:
            HandlerError: ``bad_response``: this is not what the header says.
        """
        if self._stream is None:
            yield data
            return
        self._started = True
        try:
            piece = b""
            # A full piece may have left something behind, although all the data has been taken.
            while data or (len(piece) == PIECE_BYTES and not self._stream.eof):
                if self._stream.eof:  # gzip may have several members, one after the other
                    self._stream = zlib.decompressobj(_GZIP)
                piece = self._stream.decompress(data, PIECE_BYTES)
                yield piece
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error:
            raise HandlerError("bad_response", "The body is not packed as its Content-Encoding says.") from None

    def end(self) -> None:
        """Say that the body is complete.

        Raises:
            HandlerError: ``incomplete``: the packed data goes on.
        """
        if self._stream is not None and self._started and not self._stream.eof:
            raise HandlerError("incomplete", "The server ended the packed body before its end.")
