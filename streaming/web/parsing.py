"""httptools' parser of requests, for which an offer of another protocol is none.

A server may ignore ``Upgrade`` (RFC 9110, 7.8), and has to read the request as if it were not there. httptools cannot:
behind such a head it expects bytes of the other protocol, skips the body, and takes it for the next request. Every
client of Java offers h2c with every request that is not encrypted. So a new parser goes on behind the head. It is told
how long the body is, and whether the connection ends behind it, by a head of ours.

Owns:   what is parsed behind an offer.
Never:  looks at a request that offers nothing.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The headers that say where a body ends.
_FRAMING = (b"content-length", b"transfer-encoding")


class Parser:
    """What `HttpToolsProtocol` takes for its parser.

    Args:
        protocol: hears what is parsed.

    Attributes:
        repeating: what it is told just now is the head of ours; it is to look away.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self.repeating = False
        self._protocol = protocol
        self._parser = _new(protocol)

    def feed_data(self, data: bytes) -> None:
        """Parse a piece.

        Raises:
            HttpParserError: it is no HTTP.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                self._go_on()
            else:
                return

    @property
    def at_end(self) -> bool:
        """Whether the end that is told is that of the request.

        It is not where its body has been skipped, nor behind a head of ours where it has none.
        """
        framed = bool(self._framing())
        return framed if self.repeating else not (framed and self._parser.should_upgrade())

    def should_upgrade(self) -> bool:
        """Never."""
        return False

    def should_keep_alive(self) -> bool:
        """Whether the connection may be used again."""
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        """The method of the request."""
        return self._parser.get_method()

    def get_http_version(self) -> str:
        """The version of the request, as "1.1"."""
        return self._parser.get_http_version()

    def _framing(self) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in self._protocol.headers if name in _FRAMING]

    def _go_on(self) -> None:
        told = self._framing()
        if not self._parser.should_keep_alive():
            told.append((b"connection", b"close"))
        self._parser = _new(self._protocol)
        if told:
            lines = b"".join(b"%s: %s\r\n" % header for header in told)
            self.repeating = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % lines)
            self.repeating = False


def _new(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
    return parser
