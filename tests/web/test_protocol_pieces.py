"""A request in pieces: what counts of it, which time runs, and what is made of it, wherever it is cut.

Segments are handed to the protocol one by one, on a clock that jumps; the transport only notes what is done with it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from streaming.config import Settings
from streaming.web.protocol import ProblemProtocol, protocol_of
from streaming.web.request import Receive, Scope, Send

pytestmark = pytest.mark.clock("virtual")

HEAD_S, KEEP_ALIVE_S = 10, 60
BYTES_MAX = 1000
HEALTH = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that notes what is written, and that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed_at: float | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.closed_at is None
        self.written += data

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = now()

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """There is nobody who reads."""

    resume_reading = pause_reading


def now() -> float:
    return asyncio.get_running_loop().time()


async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, whatever else may come."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Reader:
    """An application that reads each body to its end, answers, and notes what it has read."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def connect(app: Any = hasty) -> tuple[ProblemProtocol, Wire]:
    """A connection that has just been made."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, timeout_keep_alive=KEEP_ALIVE_S)
    config.load()
    kind = protocol_of(Settings(store_url="memory://", header_timeout_s=HEAD_S, header_bytes_max=BYTES_MAX))
    protocol, wire = kind(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def feed(protocol: ProblemProtocol, *segments: bytes, pause_s: float = 1) -> None:
    """Let bytes arrive, a while apart."""
    for segment in filter(None, segments):
        protocol.data_received(segment)
        await asyncio.sleep(pause_s)


async def closed(wire: Wire, *, after_s: float) -> None:
    """Assert that it is closed so long from now, and not before."""
    expected = now() + after_s
    await asyncio.sleep(after_s - 0.5)
    assert wire.closed_at is None
    await asyncio.sleep(1)
    assert wire.closed_at == pytest.approx(expected)


# -- time -------------------------------------------------------------------------------------------------------------

LATE_BODIES = [
    (BODY, (b"ab", b"cd")),
    (BODY, (b"a", b"b", b"c", b"d")),
    (BODY + b"a", (b"b", b"cd")),
    (CHUNKED, (b"2\r\nab\r\n", b"0\r\n\r\n")),
    (CHUNKED, (b"2", b"\r\n", b"ab\r\n", b"0\r\nX: y\r\n", b"\r\n")),
]


@pytest.mark.parametrize(("head", "late"), LATE_BODIES)
async def test_the_end_of_a_late_body_ends_its_time(head: bytes, late: tuple[bytes, ...]) -> None:
    protocol, wire = connect()
    await feed(protocol, head, *late)
    assert wire.written.startswith(b"HTTP/1.1 404")
    await closed(wire, after_s=KEEP_ALIVE_S - 1)


@pytest.mark.parametrize(("head", "late"), LATE_BODIES)
async def test_a_head_behind_a_late_body_has_a_time_of_its_own(head: bytes, late: tuple[bytes, ...]) -> None:
    protocol, wire = connect()
    await feed(protocol, head, *late)
    await asyncio.sleep(HEAD_S - len(late) - 0.5)
    wire.written = b""
    protocol.data_received(HEALTH[:5])
    await asyncio.sleep(HEAD_S - 0.5)
    assert (wire.written, wire.closed_at) == (b"", None)
    await asyncio.sleep(1)
    assert wire.written.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("late", [(b"a",), (b"a", b"b")])
async def test_a_late_body_that_does_not_end_has_its_time(late: tuple[bytes, ...]) -> None:
    protocol, wire = connect()
    await feed(protocol, BODY, *late)
    await closed(wire, after_s=HEAD_S - len(late))
    assert wire.written.count(b"HTTP/1.1") == 1, "there was an answer"


async def test_a_request_behind_a_late_body_is_answered_and_its_connection_kept() -> None:
    protocol, wire = connect()
    await feed(protocol, BODY, b"ab", b"cd" + HEALTH)
    assert wire.written.count(b"HTTP/1.1 404") == 2
    await closed(wire, after_s=KEEP_ALIVE_S - 1)


# -- size -------------------------------------------------------------------------------------------------------------


def head(size: int) -> bytes:
    """A request without a body, so many bytes large."""
    begin, end = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"\r\n\r\n"
    return begin + b"x" * (size - len(begin) - len(end)) + end


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


SEGMENTS = [1, 10, 500, BYTES_MAX - 100, BYTES_MAX - 1, 10 * BYTES_MAX]


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("size", [BYTES_MAX + 1, BYTES_MAX + 100, 2 * BYTES_MAX - 200])
@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first", "kept alive"])
async def test_a_head_over_its_size_is_refused_wherever_it_is_cut(segment: int, size: int, before: bytes) -> None:
    protocol, wire = connect()
    await feed(protocol, before)
    wire.written = b""
    await feed(protocol, *cut(head(size), segment), pause_s=0.001)
    assert wire.written.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("before", [b"", b"\r\n\r\n", HEALTH, BODY + b"abcd"], ids=["first", "lines", "get", "body"])
async def test_a_head_of_just_its_size_is_served_wherever_it_is_cut(segment: int, before: bytes) -> None:
    protocol, wire = connect()
    await feed(protocol, before)
    wire.written = b""
    await feed(protocol, *cut(head(BYTES_MAX), segment), pause_s=0.001)
    assert wire.written.startswith(b"HTTP/1.1 404")


async def test_a_body_does_not_count_for_the_head_behind_it() -> None:
    """Both arrive in one segment, and the head ends in the next one."""
    app = Reader()
    protocol, wire = connect(app)
    body = b"x" * 10 * BYTES_MAX
    first, second = cut(head(BYTES_MAX - 1), BYTES_MAX // 2)
    await feed(
        protocol, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body + first, second
    )
    assert wire.written.count(b"HTTP/1.1 200") == 2
    assert app.requests == [("POST", "/", body), ("GET", "/", b"")]


# -- another protocol -------------------------------------------------------------------------------------------------

#: As every client of Java sends it with every request.
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


def offering(offer: bytes, rest: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: localhost\r\n" + offer + rest


BODIES = {
    "length": (b"Content-Length: 5\r\n\r\nabcde", b"abcde"),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", b"abcde"),
    "trailers": (b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: y\r\n\r\n", b"a"),
    "a request": (b"Content-Length: %d\r\n\r\n" % len(HEALTH) + HEALTH, HEALTH),
    "empty": (b"Content-Length: 0\r\n\r\n", b""),
    "none": (b"\r\n", b""),
}


@pytest.mark.parametrize("segment", [1, 7, 10_000])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", [OFFER, WEBSOCKET, b""], ids=["h2c", "websocket", "none"])
async def test_an_offer_of_another_protocol_changes_nothing(
    offer: bytes, body: str, segment: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A server may ignore it (RFC 9110, 7.8). Then its body is a body, and what comes behind it is the next request."""
    app = Reader()
    protocol, wire = connect(app)
    rest, expected = BODIES[body]
    requests = offering(offer, rest) * 2 + b"GET /b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await feed(protocol, *cut(requests, segment), pause_s=0.01)
    assert app.requests == [("POST", "/a", expected), ("POST", "/a", expected), ("GET", "/b", b"")]
    assert wire.written.count(b"HTTP/1.1 200") == 3
    await closed(wire, after_s=KEEP_ALIVE_S - 0.01)
    assert caplog.records == []


CLOSING, OLD = b"HTTP/1.1\r\nConnection: close\r\n", b"HTTP/1.0\r\n"


@pytest.mark.parametrize("behind", [b"\0junk", HEALTH], ids=["no HTTP", "a request"])
@pytest.mark.parametrize(
    ("last", "body"),
    [
        *((CLOSING, body) for body in ("length", "chunks", "empty", "none")),
        *((OLD, body) for body in ("length", "empty", "none")),
    ],
)
@pytest.mark.parametrize("offer", [b"Connection: upgrade\r\nUpgrade: h2c\r\n", b""], ids=["h2c", "none"])
async def test_behind_the_last_request_of_a_connection_nothing_is_read(
    offer: bytes, last: bytes, body: str, behind: bytes
) -> None:
    """It gets its answer, whatever follows."""
    app = Reader()
    protocol, wire = connect(app)
    rest, expected = BODIES[body]
    await feed(protocol, b"POST /a " + last + b"Host: localhost\r\n" + offer + rest + behind)
    assert app.requests == [("POST", "/a", expected)]
    assert wire.written.count(b"HTTP/1.1 200") == 1
    assert wire.closed_at is not None


async def test_the_body_behind_an_offer_may_come_late() -> None:
    app = Reader()
    protocol, wire = connect(app)
    rest, expected = BODIES["chunks"]
    head, chunks = offering(OFFER, rest).split(b"\r\n\r\n", 1)
    await feed(protocol, head + b"\r\n\r\n", pause_s=2 * HEAD_S)
    assert (app.requests, wire.written) == ([], b""), "the application waits for it, and has a time of its own"
    await feed(protocol, *cut(chunks, 3))
    assert app.requests == [("POST", "/a", expected)]


async def test_an_offer_in_every_request_of_a_segment() -> None:
    app = Reader()
    protocol, _ = connect(app)
    one = offering(OFFER, BODIES["length"][0])
    many = BYTES_MAX // len(one)
    await feed(protocol, one * many)
    for _ in range(20 * many):  # what waits behind a request is parsed when its turn comes
        await asyncio.sleep(0)
    assert many > 5
    assert app.requests == [("POST", "/a", b"abcde")] * many


@pytest.mark.parametrize("rest", [b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"Transfer-Encoding: gzip\r\n\r\nx"])
async def test_a_body_behind_an_offer_that_is_no_http_is_refused_once(rest: bytes) -> None:
    app = Reader()
    protocol, wire = connect(app)
    await feed(protocol, offering(OFFER, rest))
    assert wire.written.startswith(b"HTTP/1.1 400")
    assert wire.written.count(b"HTTP/1.1") == 1
    assert app.requests == []


# -- who gets an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [b"zz\r\n", b"0\r\n" + b"x" * 2 * BYTES_MAX], ids=["no HTTP", "large trailers"])
async def test_a_request_that_was_answered_gets_no_second_answer(late: bytes) -> None:
    """It would be taken for one to the next request."""
    protocol, wire = connect()
    await feed(protocol, CHUNKED, *cut(late, BYTES_MAX))
    assert wire.written.count(b"HTTP/1.1") == 1
    assert wire.closed_at is not None


async def test_lines_without_an_end_are_no_request_and_get_no_answer() -> None:
    protocol, wire = connect()
    await feed(protocol, b"\r\n" * BYTES_MAX)
    assert wire.written == b""
    assert wire.closed_at is not None


@pytest.mark.parametrize(
    "begun",
    [
        b"garbage\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_an_answer(begun: bytes) -> None:
    protocol, wire = connect()
    await feed(protocol, begun)
    assert wire.written.startswith(b"HTTP/1.1 400")
    await asyncio.sleep(HEAD_S)
    assert wire.closed_at is not None


async def test_nobody_is_told_to_go_on_once_the_request_is_refused() -> None:
    protocol, wire = connect(Reader())
    await feed(protocol, CHUNKED.replace(b"Host", b"Expect: 100-continue\r\nHost") + b"zz\r\n")
    assert wire.written.startswith(b"HTTP/1.1 400")
    assert wire.written.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(("version", "told"), [(b"1.1", 1), (b"1.0", 0)])
async def test_who_cannot_know_the_word_is_not_told_to_go_on(version: bytes, told: int) -> None:
    """RFC 9110, 10.1.1: there is no such answer in HTTP/1.0."""
    protocol, wire = connect(Reader())
    head = b"POST / HTTP/%s\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    await feed(protocol, head % version, b"{}")
    assert wire.written.count(b"100 Continue") == told
    assert wire.written.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("behind", [b"", HEALTH, HEALTH * 2], ids=["nothing", "a request", "two requests"])
async def test_each_request_of_a_connection_is_told_that_it_is_lost(behind: bytes) -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.append(scope["path"])

    protocol, _ = connect(app)
    await feed(protocol, HEALTH + behind)
    assert told == []
    protocol.connection_lost(None)
    await asyncio.sleep(1)
    assert told == ["/"]
