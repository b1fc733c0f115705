"""Requests that two readers may understand in two ways, and such as may not be sent at all.

Owns:   the requests, by what is wrong with them; where they hide a second one, it asks for `HIDDEN`.
Never:  says what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HOST = b"Host: localhost\r\n"
POST = b"POST /tasks HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"

#: What is hidden in another request, or stands behind it.
HIDDEN = "/tasks/" + "bad" * 10 + "00"
BEHIND = f"GET {HIDDEN} HTTP/1.1\r\n".encode() + HOST + b"\r\n"

CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b'{"type": "sleeper"}'
CHUNKS = b"13\r\n" + BODY + b"\r\n0\r\n\r\n"


def _two_lengths(length: bytes, coding: bytes) -> bytes:
    """For whoever believes the length the second request begins in the middle of the chunks, or behind them."""
    return POST + length + coding + b"\r\n0\r\n\r\n" + BEHIND


def _coded(coding: bytes) -> bytes:
    return POST + coding + b"\r\n" + CHUNKS


def _chunk(first: bytes, rest: bytes = b"\r\n0\r\n\r\n") -> bytes:
    return POST + CHUNKED + b"\r\n" + first + BODY + rest


_LENGTH = b"Content-Length: %d\r\n"

#: Where the body ends is in doubt.
FRAMING: Mapping[str, bytes] = MappingProxyType(
    {
        "CL.TE": _two_lengths(_LENGTH % (5 + len(BEHIND)), CHUNKED),
        "CL.TE, short": _two_lengths(b"Content-Length: 5\r\n", CHUNKED),
        "TE.CL": _two_lengths(CHUNKED, _LENGTH % 5),
        "CL 0 and TE": _two_lengths(b"Content-Length: 0\r\n", CHUNKED),
        "TE.TE": _coded(CHUNKED + b"Transfer-Encoding: identity\r\n"),
        "TE.TE, the other way round": _coded(b"Transfer-Encoding: identity\r\n" + CHUNKED),
        "TE twice": _coded(CHUNKED * 2),
        "TE twice in one": _coded(b"Transfer-Encoding: chunked, chunked\r\n"),
        "TE and CL with an offer": _two_lengths(
            b"Connection: upgrade\r\nUpgrade: h2c\r\n" + _LENGTH % (5 + len(BEHIND)), CHUNKED
        ),
        "TE chunked, identity": _coded(b"Transfer-Encoding: chunked, identity\r\n"),
        "TE identity, chunked": _coded(b"Transfer-Encoding: identity, chunked\r\n"),
        "TE gzip, chunked": _coded(b"Transfer-Encoding: gzip, chunked\r\n"),
        "TE gzip": _coded(b"Transfer-Encoding: gzip\r\n"),
        "TE xchunked": _coded(b"Transfer-Encoding: xchunked\r\n"),
        "TE quoted": _coded(b'Transfer-Encoding: "chunked"\r\n'),
        "TE with a parameter": _coded(b"Transfer-Encoding: chunked;q=1\r\n"),
        "TE with a comma": _coded(b"Transfer-Encoding: ,chunked\r\n"),
        "TE empty": _coded(b"Transfer-Encoding:\r\n"),
        "TE with a vertical tab": _coded(b"Transfer-Encoding: \x0bchunked\r\n"),
        "TE with NUL": _coded(b"Transfer-Encoding: chunked\0\r\n"),
        "TE with a bare CR": _coded(b"Transfer-Encoding: chunked\r \r\n"),
        "TE, blank in front of the colon": _coded(b"Transfer-Encoding : chunked\r\n"),
        "TE, blank in front": _coded(b" Transfer-Encoding: chunked\r\n"),
        "TE on a folded line": _coded(b"Transfer-Encoding:\r\n chunked\r\n"),
        "TE behind a bare LF": _coded(b"X: y\nTransfer-Encoding: chunked\r\n"),
        "TE in HTTP/1.0": _coded(CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0"),
        "CL twice": POST + b"Content-Length: 19\r\nContent-Length: 5\r\n\r\n" + BODY,
        "CL twice, the same": POST + b"Content-Length: 19\r\n" * 2 + b"\r\n" + BODY,
        "CL as a list": POST + b"Content-Length: 19, 19\r\n\r\n" + BODY,
        "CL with a plus": POST + b"Content-Length: +19\r\n\r\n" + BODY,
        "CL below zero": POST + b"Content-Length: -1\r\n\r\n" + BODY,
        "CL in hex": POST + b"Content-Length: 0x13\r\n\r\n" + BODY,
        "CL with a blank": POST + b"Content-Length: 1 9\r\n\r\n" + BODY,
        "CL empty": POST + b"Content-Length:\r\n\r\n" + BODY,
        "CL beyond 64 bits": POST + b"Content-Length: 18446744073709551635\r\n\r\n" + BODY,
        "CL, blank in front of the colon": POST + b"Content-Length : 19\r\n\r\n" + BODY,
        "CL on a folded line": POST + b"Content-Length:\r\n 19\r\n\r\n" + BODY,
        "chunk beyond 64 bits": _chunk(b"10000000000000013\r\n"),
        "chunk with 0x": _chunk(b"0x13\r\n"),
        "chunk with a plus": _chunk(b"+13\r\n"),
        "chunk below zero": _chunk(b"-13\r\n"),
        "chunk, blank in front": _chunk(b" 13\r\n"),
        "chunk, blank behind": _chunk(b"13 \r\n"),
        "chunk without a size": _chunk(b"\r\n"),
        "chunk, size behind a bare LF": _chunk(b"13\n"),
        "chunk, size behind a bare CR": _chunk(b"13\r"),
        "chunk, extension behind a bare LF": _chunk(b"13;a\n"),
        "chunk, extension with NUL": _chunk(b"13;a\0\r\n"),
        "chunk, data behind a bare LF": _chunk(b"13\r\n", b"\n0\r\n\r\n"),
        "chunk longer than its size": _chunk(b"13\r\n", b"x\r\n0\r\n\r\n"),
        "CL in a trailer": _chunk(b"13\r\n", b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
        "the end behind a bare LF": _chunk(b"13\r\n", b"\r\n0\n\n"),
    }
)

#: What is meant is in doubt, or it is no HTTP.
HEADS: Mapping[str, bytes] = MappingProxyType(
    {
        "bare LF": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        "bare LF behind a header": GET + b"Host: localhost\nX: y\r\n\r\n",
        "bare LF at the end": GET + HOST + b"\n",
        "bare CR": GET + b"Host: localhost\rX: y\r\n\r\n",
        "folded line": GET + HOST + b"X: y\r\n z\r\n\r\n",
        "folded first line": GET + b" X: y\r\n" + HOST + b"\r\n",
        "NUL in a value": GET + HOST + b"X: a\0b\r\n\r\n",
        "NUL in a name": GET + HOST + b"X\0: a\r\n\r\n",
        "control character": GET + HOST + b"X: a\x01b\r\n\r\n",
        "header without a name": GET + HOST + b": a\r\n\r\n",
        "header without a colon": GET + HOST + b"X\r\n\r\n",
        "blank in front of the colon": GET + HOST + b"X : a\r\n\r\n",
        "no Host": GET + b"\r\n",
        "two Hosts": GET + HOST + HOST + b"\r\n",
        "two other Hosts": GET + HOST + b"Host: evil.example\r\n\r\n",
        "Host with a blank": GET + b"Host: localhost evil\r\n\r\n",
        "Host with a path": GET + b"Host: localhost/audit\r\n\r\n",
        "Host with a user": GET + b"Host: me@localhost\r\n\r\n",
        "two Hosts in HTTP/1.0": GET.replace(b"1.1", b"1.0") + HOST * 2 + b"\r\n",
        "HTTP/0.9 without a version": b"GET /healthz\r\n\r\n",
        "HTTP/0.9": GET.replace(b"1.1", b"0.9") + b"\r\n",
        "HTTP/1.2": GET.replace(b"1.1", b"1.2") + HOST + b"\r\n",
        "HTTP/2.0": GET.replace(b"1.1", b"2.0") + HOST + b"\r\n",
        "http/1.1": GET.replace(b"HTTP", b"http") + HOST + b"\r\n",
        "unknown method": GET.replace(b"GET", b"get") + HOST + b"\r\n",
        "tabs": GET.replace(b" ", b"\t") + HOST + b"\r\n",
        "fragment": b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n",
        "fragment with a query": b"GET /healthz#?x HTTP/1.1\r\n" + HOST + b"\r\n",
        "fragment behind a query": b"GET /healthz?#x HTTP/1.1\r\n" + HOST + b"\r\n",
        "backslash": b"GET /x\\..\\healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "backslash in front": b"GET \\healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "bytes of UTF-8 in the path": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
        "overlong UTF-8 in the path": b"GET /\xc0\xae\xc0\xae/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "NUL in the path": b"GET /healthz\0 HTTP/1.1\r\n" + HOST + b"\r\n",
        "star": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        "star with GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
        "an authority": b"GET localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        "an authority with CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        "no slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "only a query": b"GET ?/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "another host in the target": b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "a user in the target": b"GET http://me@localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "another scheme in the target": b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        "a host without a path": b"GET http://localhost HTTP/1.1\r\n" + HOST + b"\r\n",
    }
)

#: Paths that mean ``/audit`` to a reader who decodes, merges or resolves.
OTHER_WAYS_TO_AUDIT = (
    "//audit",
    "/audit/",
    "/audit//",
    "/./audit",
    "/audit/.",
    "/x/../audit",
    "/tasks/../audit",
    "/../audit",
    "/..;/audit",
    "/tasks/..;/audit",
    "/audit;x=y",
    "/;/audit",
    "/%61udit",
    "/%61%75%64%69%74",
    "/%2561udit",
    "/%2e/audit",
    "/x/%2e%2e/audit",
    "/x/%2E%2E/audit",
    "/x%2f..%2faudit",
    "/%2faudit",
    "/audit%2f",
    "/audit%00",
    "/audit%00.html",
    "/audit%20",
    "/audit%0a",
    "/audit%23",
    "/audit%3f",
    "/%5caudit",
    "/x/%5c..%5caudit",
    "/x/%c0%ae%c0%ae/audit",
    "/x%c0%af..%c0%afaudit",
    "/x/%u002e%u002e/audit",
    "/AUDIT",
    "/audit.json",
    "/.audit",
)
