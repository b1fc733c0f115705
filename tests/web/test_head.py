"""What may be read in two ways is refused once, the connection ends, and nothing that hides in it is a request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from streaming.config import Settings
from streaming.errors import BadRequest, UriTooLong
from streaming.observe import security
from streaming.observe.security import FloodGuard
from streaming.web.body import LINGER_S
from streaming.web.head import check_head, check_length
from streaming.web.headers import SECURITY
from streaming.web.protocol import PIECE_BYTES, ProblemProtocol, Protocol, protocol_of
from streaming.web.request import Receive, Scope, Send
from tests.web.ambiguous import BEHIND, BODY, CHUNKED, FRAMING, GET, HEADS, HIDDEN, HOST, POST
from tests.web.test_protocol_pieces import Reader, Wire, closed, cut, feed, hasty

pytestmark = pytest.mark.clock("virtual")

URL_MAX = 100


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a guard against floods of its own."""
    monkeypatch.setattr(security, "_guard", FloodGuard(security._report, lambda: 0.0))


class Aborted(Wire):
    """A wire that can be cut, and comes from somewhere."""

    def abort(self) -> None:
        self.close()

    address = "10.1.2.3"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.address, 4711) if name == "peername" else default


class Site:
    """A server without sockets: what its protocols have in common."""

    def __init__(self, app: Any = hasty, **settings: Any) -> None:
        self.limits: list[str] = []
        self.state = ServerState()
        self.config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
        self.config.load()
        self.kind = protocol_of(Settings(store_url="memory://", **settings), self.limits.append)

    def connect(
        self, address: str = "10.1.2.3", *, wire: Aborted | None = None, kind: type[ProblemProtocol] | None = None
    ) -> tuple[ProblemProtocol, Aborted]:
        protocol = (kind or self.kind)(self.config, self.state, {}, asyncio.get_running_loop())
        wire = wire or Aborted()
        wire.address = address
        protocol.connection_made(wire)
        return protocol, wire


def problem_in(wire: Wire) -> dict[str, Any]:
    """The one answer on a wire, which is a problem and the last."""
    head, _, body = wire.written.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.items() >= SECURITY.items()
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body), "nothing comes behind it"
    found: dict[str, Any] = json.loads(body)
    assert status == f"HTTP/1.1 {found['status']} {found['title']}"
    return found


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [1, 100_000])
@pytest.mark.parametrize("request_bytes", [*FRAMING.values(), *HEADS.values()], ids=[*FRAMING, *HEADS])
async def test_what_is_in_doubt_is_refused_once_and_nothing_behind_it_is_read(
    request_bytes: bytes, segment: int
) -> None:
    app = Reader()
    site = Site(app)
    protocol, wire = site.connect()
    await feed(protocol, *cut(request_bytes + BEHIND, segment), pause_s=0.001)

    found = problem_in(wire)
    assert (found["status"], found["code"]) == (400, "bad_request")
    assert app.requests == []
    await asyncio.sleep(LINGER_S + 1)
    assert wire.closed_at is not None


@pytest.mark.parametrize("size", [b"FFFFFFFFFFFFFFFF\r\n", b"7FFFFFFFFFFFFFFF\r\n"], ids=["unsigned", "signed"])
async def test_a_chunk_of_the_largest_size_hides_nothing(size: bytes) -> None:
    """It is a body without an end: the application has a limit and a time for that."""
    app = Reader()
    protocol, wire = Site(app).connect()
    await feed(protocol, POST + CHUNKED + b"\r\n" + size + BODY + b"\r\n0\r\n\r\n" + BEHIND)

    assert (wire.written, app.requests) == (b"", [])


async def test_a_second_request_on_the_connection_is_refused_in_the_same_way() -> None:
    app = Reader()
    protocol, wire = Site(app).connect()
    await feed(protocol, GET + HOST + b"\r\n")
    wire.written = b""
    await feed(protocol, FRAMING["CL.TE"] + BEHIND)

    assert problem_in(wire)["status"] == 400
    assert app.requests == [("GET", "/healthz", b"")]


# -- what is taken ----------------------------------------------------------------------------------------------------

TAKEN = {
    "chunks": POST + CHUNKED + b"\r\n13\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunks in capitals": POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n13\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunks between blanks": POST + b"Transfer-Encoding: \t chunked \r\n\r\n13\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk with zeros": POST + CHUNKED + b"\r\n000013\r\n" + BODY + b"\r\n000\r\n\r\n",
    "chunk with an extension": POST + CHUNKED + b'\r\n13;a=b;c="d"\r\n' + BODY + b"\r\n0\r\n\r\n",
    "trailers": POST + CHUNKED + b"\r\n13\r\n" + BODY + b"\r\n0\r\nX: 5\r\n\r\n",
    "length": POST + b"Content-Length: 19\r\n\r\n" + BODY,
    "length with zeros": POST + b"Content-Length: 0019\r\n\r\n" + BODY,
    "underscores": POST + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nContent-Length: 19\r\n\r\n" + BODY,
    "an expectation": POST + b"Expect: 100-continue\r\nContent-Length: 19\r\n\r\n" + BODY,
    "another expectation": POST + b"Expect: rain\r\nContent-Length: 19\r\n\r\n" + BODY,
    "the host in the target": POST.replace(b" /tasks", b" http://LOCALHOST/tasks")
    + b"Content-Length: 19\r\n\r\n"
    + BODY,
}


@pytest.mark.parametrize("segment", [1, 100_000])
@pytest.mark.parametrize("request_bytes", TAKEN.values(), ids=TAKEN)
async def test_what_is_beyond_doubt_is_taken_and_so_is_what_comes_behind_it(request_bytes: bytes, segment: int) -> None:
    app = Reader()
    protocol, wire = Site(app).connect()
    await feed(protocol, *cut(request_bytes + BEHIND, segment), pause_s=0.001)

    assert app.requests == [("POST", "/tasks", BODY), ("GET", HIDDEN, b"")]
    assert wire.written.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("keep_alive", [b"Connection: keep-alive\r\n", b"Connection: close\r\n", b""])
@pytest.mark.parametrize("host", [HOST, b""])
async def test_http_1_0_has_one_request_on_a_connection_and_need_not_name_a_host(
    keep_alive: bytes, host: bytes
) -> None:
    app = Reader()
    protocol, wire = Site(app).connect()
    await feed(protocol, GET.replace(b"1.1", b"1.0") + keep_alive + host + b"\r\n" + BEHIND)

    assert app.requests == [("GET", "/healthz", b"")]
    assert wire.written.count(b"HTTP/1.1 200") == 1
    assert wire.closed_at is not None


@pytest.mark.parametrize("host", [b"", b"a_b.example", b"[::1]", b"[::1]:8000", b"127.0.0.1:8000", b"a:", b"a,b"])
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: bytes) -> None:
    check_head("1.1", b"/", [(b"host", host)])


@pytest.mark.parametrize("host", [b"a b", b"[::1", b"a:b", b"a/b", b"a?b", b"a#b", b"\xff", b"a@b"])
def test_whatever_else_stands_there_is_no_host(host: bytes) -> None:
    with pytest.raises(BadRequest, match="Host"):
        check_head("1.1", b"/", [(b"host", host)])


def test_two_codings_are_never_taken() -> None:
    """The parser refuses them too; where it does not, we do."""
    check_head("1.1", b"/", [(b"host", b"x"), (b"transfer-encoding", b"chunked")])
    with pytest.raises(BadRequest, match="Transfer-Encoding"):
        check_head("1.1", b"/", [(b"host", b"x"), *[(b"transfer-encoding", b"chunked")] * 2])


def test_the_query_may_have_bytes_as_they_are() -> None:
    check_head("1.1", '/tasks?q=é\\d"<>^`{|}?/'.encode(), [(b"host", b"x")])


# -- how long a target may be -----------------------------------------------------------------------------------------


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def test_a_target_has_a_length() -> None:
    check_length(URL_MAX, URL_MAX)
    with pytest.raises(UriTooLong, match="more than 100 bytes"):
        check_length(URL_MAX + 1, URL_MAX)


@pytest.mark.parametrize("segment", [1, 10, 100_000])
@pytest.mark.parametrize("kind", ["/{}", "/?{}", "/a?b#{}"], ids=["path", "query", "fragment"])
async def test_a_target_of_just_its_length_is_served_and_one_more_byte_is_414(kind: str, segment: int) -> None:
    padding = URL_MAX - len(kind.format(""))
    for more, status in ((0, 400 if "#" in kind else 404), (1, 414)):
        site = Site(url_bytes_max=URL_MAX)
        protocol, wire = site.connect()
        await feed(protocol, *cut(get(kind.format("x" * (padding + more))), segment), pause_s=0.001)
        assert wire.written.startswith(f"HTTP/1.1 {status} ".encode())
        if status == 414:
            assert problem_in(wire)["code"] == "uri_too_long"
        assert site.limits == ["uri_too_long"] * more


async def test_a_target_that_never_ends_is_refused_as_soon_as_it_is_too_long() -> None:
    site = Site(url_bytes_max=URL_MAX)
    protocol, wire = site.connect()
    await feed(protocol, b"GET /" + b"x" * URL_MAX)

    assert problem_in(wire)["status"] == 414


# -- who is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "pause_s", "code", "limits"),
    [
        (HEADS["fragment"], 1, "bad_request", []),
        (get("/" + "x" * 10_000), 1, "uri_too_long", ["uri_too_long"]),
        (GET + HOST + b"X: y\r\n" * 200 + b"\r\n", 1, "headers_too_large", ["headers_too_large"]),
        (GET + HOST + b"X: " + b"y" * 100_000, 1, "headers_too_large", ["headers_too_large"]),
        (GET, 20, "request_timeout", ["request_timeout"]),
    ],
    ids=["doubt", "target", "headers", "bytes", "time"],
)
async def test_a_refusal_is_counted_and_told_with_the_address(
    sent: bytes, pause_s: float, code: str, limits: list[str]
) -> None:
    site = Site()
    protocol, wire = site.connect()
    with capture_logs() as lines:
        await feed(protocol, sent, pause_s=pause_s)

    assert problem_in(wire)["code"] == code
    assert site.limits == limits
    assert lines == [{"event": "request_refused", "log_level": "warning", "address": "10.1.2.3", "code": code}]


async def test_one_connection_more_than_there_may_be_ends_at_once_and_the_others_go_on() -> None:
    site = Site(max_connections=2)
    first, second = site.connect(), site.connect()
    with capture_logs() as lines:
        late, its_wire = site.connect()
    assert (its_wire.written, its_wire.closed_at is not None) == (b"", True)
    assert site.limits == ["too_many_connections"]
    assert [(line["event"], line["address"]) for line in lines] == [("too_many_connections", "10.1.2.3")]
    await feed(late, get("/"))
    assert its_wire.written == b""
    late.connection_lost(None)

    for protocol, wire in (first, second):
        await feed(protocol, get("/"))
        assert wire.written.startswith(b"HTTP/1.1 404")
    first[0].connection_lost(None)
    protocol, wire = site.connect()
    await feed(protocol, get("/"))
    assert wire.written.startswith(b"HTTP/1.1 404"), "there is room again"


async def test_an_address_has_as_many_connections_as_one_may_have_and_others_still_come() -> None:
    site = Site(address_connections_max=2)
    held = [site.connect() for _ in range(2)]
    late, its_wire = site.connect()
    assert (its_wire.written, its_wire.closed_at is not None) == (b"", True)
    assert site.limits == ["too_many_connections"]
    late.connection_lost(None)

    other, wire = site.connect("10.1.2.4")
    await feed(other, get("/"))
    assert wire.written.startswith(b"HTTP/1.1 404")
    held[0][0].connection_lost(None)
    again, wire = site.connect()
    await feed(again, get("/"))
    assert wire.written.startswith(b"HTTP/1.1 404"), "there is room again"
    for protocol in (held[1][0], other, again):
        protocol.connection_lost(None)
    assert len(site.kind.crowd) == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.9.8.7"])
async def test_this_machine_and_proxies_bring_the_connections_of_many(address: str) -> None:
    site = Site(address_connections_max=1, trusted_proxies="10.9.8.7")
    for _ in range(3):
        protocol, wire = site.connect(address)
        await feed(protocol, get("/"))
        assert wire.written.startswith(b"HTTP/1.1 404")
    assert site.limits == []


async def test_a_storm_of_connections_is_some_lines() -> None:
    site = Site(max_connections=1)
    site.connect()
    with capture_logs() as lines:
        for _ in range(1000):
            late, _ = site.connect()
            late.connection_lost(None)

    assert len(lines) == security.LINES_MAX
    assert len(site.limits) == 1000


async def test_who_says_nothing_is_counted_when_its_time_is_over() -> None:
    site = Site(header_timeout_s=10)
    _, wire = site.connect()
    await closed(wire, after_s=10)

    assert (wire.written, site.limits) == (b"", ["request_timeout"])


# -- an application that fails ----------------------------------------------------------------------------------------


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("secret words")


async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing."""


@pytest.mark.parametrize("app", [raises, says_nothing])
async def test_an_application_that_does_not_answer_is_a_problem_and_no_text_of_the_server(app: Any) -> None:
    protocol, wire = Site(app).connect()
    await feed(protocol, get("/"))

    found = problem_in(wire)
    assert (found["status"], found["code"]) == (500, "internal")
    assert b"secret" not in wire.written


# -- what comes behind a request --------------------------------------------------------------------------------------


def reading_is_paused(protocol: ProblemProtocol) -> bool:
    return protocol.flow.read_paused


async def test_what_is_behind_a_request_that_waits_is_not_even_parsed() -> None:
    """uvicorn makes objects of ten kilobytes out of each 27 bytes, all that it has read at once."""
    site = Site()
    protocol, wire = site.connect()
    many = 1000
    protocol.data_received(get("/") * many)

    assert 0 < len(protocol.pipeline) <= PIECE_BYTES // len(get("/")) + 1
    assert reading_is_paused(protocol)
    for _ in range(20 * many):
        if wire.written.count(b"HTTP/1.1 404") == many:
            break
        await asyncio.sleep(0)
        assert len(protocol.pipeline) <= PIECE_BYTES // len(get("/")) + 1
    assert wire.written.count(b"HTTP/1.1 404") == many, "each has its answer, all the same"
    assert not reading_is_paused(protocol)
    protocol.connection_lost(None)


async def test_the_end_of_a_request_may_come_while_others_wait() -> None:
    site = Site()
    protocol, wire = site.connect()
    late = get("/late")
    protocol.data_received(get("/") * 100 + late[:10])
    protocol.data_received(late[10:])
    for _ in range(2000):
        await asyncio.sleep(0)

    assert wire.written.count(b"HTTP/1.1 404") == 101
    protocol.connection_lost(None)


@pytest.mark.parametrize(("beyond", "ends"), [(0, False), (1, True)])
async def test_so_many_bytes_may_wait_and_one_more_ends_the_connection(beyond: int, ends: bool) -> None:
    site = Site(header_bytes_max=10_000)
    protocol, wire = site.connect()
    protocol.data_received((get("/") * PIECE_BYTES)[: PIECE_BYTES + 10_000 + beyond])

    assert (wire.closed_at is not None) is ends
    assert site.limits == ["headers_too_large"] * ends
    protocol.connection_lost(None)


@pytest.mark.parametrize("headers", [b"", b"A: b\r\n" * 101])
async def test_who_asks_for_a_head_gets_no_body_with_a_refusal(headers: bytes) -> None:
    site = Site()
    protocol, wire = site.connect()
    target = b"/" if headers else b"/" + b"x" * 9000
    await feed(protocol, b"HEAD " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
    head, _, body = wire.written.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 431" if headers else b"HTTP/1.1 414")
    assert b"content-length: 0" not in head
    assert body == b""


# -- for uvicorn ------------------------------------------------------------------------------------------------------


async def test_uvicorn_does_not_name_itself_with_our_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "limits", protocol_of(Settings(store_url="memory://")).limits, raising=False)
    site = Site()
    assert (b"server", b"uvicorn") in site.config.encoded_headers
    site.config.encoded_headers.append((b"x-ours", b"stays"))
    site.state.default_headers = [(b"date", b"today"), *site.config.encoded_headers]
    protocol, wire = site.connect(kind=Protocol)
    await feed(protocol, get("/"))

    assert b"server: " not in wire.written
    assert b"date: today\r\nx-ours: stays\r\n" in wire.written
    assert site.config.encoded_headers == [(b"x-ours", b"stays")]
