"""Requests that mean no good, as bytes, drawn from a number.

A request is drawn as a client may send it; then some of its parts are twisted: its path, its query, a header, what it
shows of credentials, its body, its framing, its bytes. The same number draws the same request, but for the ids of tasks
and the secrets in it, which are others on each server.

Owns:   `draw`, the twists.
Never:  sends anything; draws what an answer must not say (`tests.fuzz.leaks`): nobody would know whose words these are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from streaming.rules.fields import FIELDS, Operator
from tests.fuzz.described import all_routes

NO_ID = "0" * 32

#: Types of tasks (`tests.fuzz.handlers`), and those that are built in and can do no harm here.
TYPES = ("echo", "echo", "sleeper", "listener", "failing", "pausing", "threaded", "outside", "external", "countdown")

#: What those that are built in must not reach.
FORBIDDEN = (
    {"type": "http_fetch", "params": {"url": "http://127.0.0.1:9/"}},
    {"type": "http_fetch", "params": {"url": "http://169.254.169.254/latest/meta-data/"}},
    {"type": "http_fetch", "params": {"url": "file:///etc/passwd"}},
    {"type": "http_fetch", "params": {"url": "http://[::1]:1/", "save_as": "../../x"}},
    {"type": "checksum", "params": {"path": "/etc/passwd"}},
    {"type": "checksum", "params": {"path": "../../../../etc/passwd"}},
    {"type": "command", "params": {"name": "sh", "args": ["-c", "id"]}},
)


@dataclass
class World:
    """What a hostile client knows of a server.

    Attributes:
        good: headers that open it; the first one is of whoever has the tasks.
        wrong: headers that do not.
        ids: of tasks that there are; always as many.
        tokens: stream tokens; always as many.
    """

    good: Sequence[bytes]
    wrong: Sequence[bytes]
    ids: list[str] = field(default_factory=lambda: [NO_ID] * 8)
    tokens: list[str] = field(default_factory=lambda: ["none"] * 2)


@dataclass
class Drawn:
    """A request, or what is none.

    Attributes:
        number: that it was drawn from.
        twists: the names of what was twisted.
        pieces: what is sent, with a moment between them.
        answered: whether it has to have an answer; else the connection may just be closed.
        head: whether the answer has no body.
    """

    number: int
    twists: tuple[str, ...]
    pieces: tuple[bytes, ...]
    answered: bool
    head: bool


@dataclass
class _Parts:
    """A request that is being made."""

    method: str
    path: str
    query: str
    headers: list[bytes]
    body: bytes | None
    version: str = "HTTP/1.1"
    close: bool = True
    answered: bool = True
    framing: bytes | None = None
    pieces: int = 1
    raw: Callable[[bytes], bytes] = bytes

    def as_bytes(self) -> bytes:
        target = self.path + (f"?{self.query}" if self.query else "")
        lines = [f"{self.method} {target} {self.version}".encode(), *self.headers]
        body = self.body or b""
        if self.framing is not None:
            return self.raw(b"\r\n".join(lines) + b"\r\n" + self.framing)
        if self.body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        if self.close:
            lines.append(b"Connection: close")
        return self.raw(b"\r\n".join([*lines, b"", body]))


def draw(number: int, seed: int, world: World) -> Drawn:
    """Draw a request.

    Args:
        number: of the request.
        seed: of the run.
        world: what can be known.
    """
    chance = random.Random(f"{seed} {number}")
    if chance.random() < 0.03:
        return Drawn(number, ("noise",), (_noise(chance),), answered=False, head=False)
    parts = _usual(chance, world)
    names = chance.choices(list(TWISTS), k=chance.choice((0, 1, 1, 1, 2, 2, 3)))
    for name in names:
        TWISTS[name](parts, chance, world)
    if parts.method == "HEAD" and not parts.answered:
        parts.method = "GET"  # whoever reads the answer has to know
    data = parts.as_bytes()
    return Drawn(number, tuple(names), _cut(data, parts.pieces, chance), parts.answered, parts.method == "HEAD")


# -- a request as it should be -----------------------------------------------------------------------------------------

_ROUTES = [(method.upper(), path) for path, methods in all_routes().items() for method in sorted(methods)]
_TASK_ROUTES = [(method, path) for method, path in _ROUTES if "{id}" in path]
_ACCEPTS = ("application/json", "text/event-stream", "application/x-ndjson", "*/*", "image/png", "text/*;q=0.1")


def _usual(chance: random.Random, world: World) -> _Parts:
    method, template = chance.choice((_ROUTES, _TASK_ROUTES, [("POST", "/tasks")])[chance.randrange(3)])
    path = template.replace("{id}", chance.choice(world.ids))
    if method == "GET" and chance.random() < 0.1:
        method = "HEAD"
    headers = [b"Host: localhost", f"Accept: {chance.choice(_ACCEPTS)}".encode()]
    headers.append(world.good[0] if chance.random() < 0.5 else chance.choice(world.good))
    body = None
    if method in ("POST", "PATCH"):
        headers.append(b"Content-Type: application/json")
        body = json.dumps(_body(chance, path)).encode()
    return _Parts(method, path, _query(chance, method, path), headers, body)


def _query(chance: random.Random, method: str, path: str) -> str:
    if path in ("/tasks/cancel",) or (method, path) == ("DELETE", "/tasks"):
        return f"tag={chance.choice(('a', 'none'))}"
    if path == "/events":
        return f"tail={chance.randrange(3)}"
    if path.startswith("/tasks") and method == "GET" and chance.random() < 0.3:
        return chance.choice(("limit=3", "wait_s=0.01", "sort=-created_at", "status=running,failed", "group_by=type"))
    return ""


def _body(chance: random.Random, path: str) -> Any:
    if path == "/tasks" and chance.random() < 0.1:
        return chance.choice(FORBIDDEN)
    if path == "/tasks":
        body: dict[str, Any] = {"type": chance.choice(TYPES), "params": {}}
        if chance.random() < 0.4:
            body |= chance.choice(
                (
                    {"tags": ["a", "b"]},
                    {"priority": "high"},
                    {"timeout_s": 5},
                    {"params": {"number": chance.randrange(9)}},
                    {"retry": {"attempts": 2}},
                    {"key": "k", "if_running": "reject"},
                    {"keep_until_ack": True},
                )
            )
        return body
    last = path.rsplit("/", 1)[-1]
    known: dict[str, Any] = {
        "extend": {"timeout_s": 60},
        "input": {"data": chance.randrange(9)},
        "events": {"type": "said", "data": {"n": chance.randrange(9)}},
    }
    if last in known:
        return known[last]
    return {"progress": {"percent": chance.randrange(101)}} if len(last) == 32 else {}


# -- twists ------------------------------------------------------------------------------------------------------------

_TEXTS = (
    "",
    " ",
    "a",
    "\u0000",
    "%00",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "'; DROP TABLE tasks; --",
    "' OR '1'='1",
    '"><script>alert(1)</script>',
    "{{7*7}}${7*7}#{7*7}",
    "\r\nX-Injected: 1",
    "%0d%0aX-Injected:%201",
    "\ud83d\ude00 é \u202e \u2028 \ufeff",
    "\udfff",
    "NaN",
    "Infinity",
    "-1",
    "1e309",
    "9" * 30,
    "0x10",
    "true",
    "null",
    "[]",
    "__proto__",
    "constructor",
    "a" * 300,
    "a," * 200,
    "(" * 200,
    "%" * 50,
    "_" * 300,
    "*",
    "\\",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "0000-00-00",
    NO_ID,
    "F" * 32,
)

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    -(2**63) - 1,
    1e308,
    [],
    {},
    [[]],
    [None] * 50,
    {"": ""},
    {"a": {"b": {"c": []}}},
    {"__proto__": {"admin": True}},
    *_TEXTS,
)

#: Bodies that are no JSON, or none that is strict.
_BROKEN = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"0",
    b"nul",
    b"{}{}",
    b"{} x",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"a":NaN}',
    b'{"a":-Infinity}',
    b'{"a":1e999}',
    b'{"a":' + 5_000 * b"9" + b"}",
    b'{"type":"echo","type":"echo"}',
    b'{"type":"\\ud800"}',
    b'{"type":"\xff"}',
    b'{"type":"\x00"}',
    b'{"\\u0000":1}',
    b"[" * 10_000,
    b'{"params":' * 5_000,
    b'{"type":"echo","params":' + b"[" * 63 + b"]" * 63 + b"}",
    b'{"type":"echo","params":{"words":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}}",
    b'{"type":"echo","tags":' + json.dumps(["t"] * 5_000).encode() + b"}",
    b'{"type":"' + b"a" * 70_000 + b'"}',
    b"{" + b" " * 66_000 + b"}",
    b"{'type': 'echo'}",
    b'{"type":"echo",}',
    b"<xml/>",
    b"type=echo&params=1",
)


def _twist_path(parts: _Parts, chance: random.Random, world: World) -> None:
    text = quote(chance.choice(_TEXTS).encode("utf-8", "surrogatepass"), safe=chance.choice(("", "/%.'*()")))
    parts.path = chance.choice(
        (
            f"/tasks/{text}",
            f"/tasks/{chance.choice(world.ids)}/{text}",
            f"{parts.path}/",
            f"/{parts.path}",
            f"{parts.path}/{text}",
            f"/x/..{parts.path}",
            parts.path.upper(),
            parts.path.replace("t", "%74"),
            "/" + parts.path[1:].replace("/", "%2f"),
            f"/{text}",
            f"/tasks/{'a' * chance.choice((31, 33, 4_000))}",
            "/" * chance.randrange(1, 2_000),
            f"/{text * 20}"[:8_000],
        )
    )


def _twist_query(parts: _Parts, chance: random.Random, world: World) -> None:
    given = []
    for _ in range(chance.choice((1, 1, 2, 3, 70))):
        name = chance.choice((*_PARAMETERS, *FIELDS))
        operator = f"[{chance.choice(list(Operator))}]" if chance.random() < 0.4 else ""
        value = chance.choice((*_TEXTS, "1", "true", "a,b", "1,2", "running", *world.tokens))
        given.append(f"{name}{operator}={quote(value.encode('utf-8', 'surrogatepass'), safe=',')}")
    parts.query = "&".join(given)
    if chance.random() < 0.1:
        parts.query = chance.choice(
            ("&&&", "=", "a", "a=%zz", "a=%ff%fe", "%00=%00", "a=1;b=2", "?" * 50, "a=" + "b" * 9_000)
        )


_PARAMETERS = (
    "after", "tail", "limit", "sort", "page", "cursor", "q", "preset", "group_by", "wait_s", "until", "fields",
    "window", "type", "by", "stream_token", "follow", "task_id", "tag", "api_key", "access_token", "parent_id",
    "format", "",
)  # fmt: skip


def _twist_header(parts: _Parts, chance: random.Random, world: World) -> None:
    text = chance.choice(_TEXTS).replace("\r", "").replace("\n", "").replace("\x00", "")
    name = chance.choice(
        (
            "Accept", "Content-Type", "Last-Event-ID", "Idempotency-Key", "Origin", "X-Forwarded-For", "If-None-Match",
            "Range", "Content-Encoding", "Accept-Encoding", "X-HTTP-Method-Override", "X-Original-URL", "Forwarded",
            "X-Forwarded-Host", "Sec-Fetch-Site", "Cookie", "Te", "Prefer", "X-Request-ID", "Traceparent", "Via",
            "Access-Control-Request-Method", "Proxy-Connection", "Cache-Control", "Referer", "User-Agent", "Priority",
        )
    )  # fmt: skip
    value = chance.choice(
        (
            text,
            str(chance.randrange(-5, 10)),
            "application/json; charset=utf-16",
            'application/json; charset="',
            "application/x-www-form-urlencoded",
            "text/event-stream;q=0, */*;q=1.0001",
            ", ," * 50,
            "a/b;" * 500,
            "https://app.example.com",
            "null",
            "bytes=0-1,2-3",
            "127.0.0.1, ::1, [::1]:80, unknown, 256.1.1.1",
            "gzip",
            "x" * chance.choice((255, 256, 300, 20_000)),
        )
    )
    line = f"{name}: {value}".encode("utf-8", "surrogatepass")
    parts.headers += [line] * chance.choice((1, 1, 1, 2, 150))


def _twist_credential(parts: _Parts, chance: random.Random, world: World) -> None:
    parts.headers = [line for line in parts.headers if line not in world.good]
    if chance.random() < 0.15:
        parts.query = f"{parts.query}&stream_token={chance.choice((*world.tokens, *_QUOTED))}".lstrip("&")
    elif chance.random() < 0.9:
        parts.headers.append(chance.choice(world.wrong))


_QUOTED = tuple(quote(text.encode("utf-8", "surrogatepass")) for text in _TEXTS)


def _twist_fields(parts: _Parts, chance: random.Random, world: World) -> None:
    """A body of JSON with something in it that does not belong there."""
    name = chance.choice(
        (
            "type", "params", "tags", "priority", "timeout_s", "deadline", "retry", "key", "if_running", "parent_id",
            "idempotency_key", "not_before", "keep_until_ack", "progress", "status", "result", "error", "heartbeat",
            "events", "data", "reason", "client_seq", "total_timeout_s", "tenant", "created_by", "id", "", "__proto__",
        )
    )  # fmt: skip
    value = chance.choice(_VALUES)
    fields = {**_body(chance, parts.path), name: chance.choice((value, [value], {name: value}, {"params": value}))}
    _set_body(parts, json.dumps(fields, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass"))


def _twist_body(parts: _Parts, chance: random.Random, world: World) -> None:
    _set_body(parts, chance.choice(_BROKEN))


def _set_body(parts: _Parts, body: bytes) -> None:
    if parts.method in ("GET", "HEAD") or parts.body is None:
        parts.method = "POST"
    parts.body = body


def _twist_method(parts: _Parts, chance: random.Random, world: World) -> None:
    parts.method = chance.choice(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "SEARCH"))


def _twist_target(parts: _Parts, chance: random.Random, world: World) -> None:
    """A form of the target, a version or a Host that is none, or another one."""
    parts.answered = parts.close = False
    kind = chance.randrange(4)
    if kind == 0:
        parts.path = chance.choice(
            ("*", "http://localhost" + parts.path, "http://evil.example" + parts.path, "localhost:80", "//x/y", "/#x",
             "/a\\b", "/\u00e9", "/ tasks", "", "?", "/%", "ftp://localhost/", "http://[::1", "/" + "a" * 9_000)
        )  # fmt: skip
    elif kind == 1:
        parts.version = chance.choice(
            ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/1.", "http/1.1", "HTTP/11", "", "X")
        )
    elif kind == 2:
        host = chance.choice(
            (b"Host:", b"Host: a, b", b"Host: localhost\r\nHost: b", b"Host: [::1", b"Host: a b", b"Host : x")
        )
        parts.headers[0] = host
    else:
        parts.method = chance.choice(("get", "G\u00cbT", "GE T", "", "PRI", "A" * 500, "CONNECT", "PROPFIND", "G\x00T"))


def _twist_framing(parts: _Parts, chance: random.Random, world: World) -> None:
    """Where the body ends is said in another way, in two ways, or not at all."""
    parts.answered = False
    body = parts.body or b"{}"
    if parts.method in ("GET", "HEAD"):
        parts.method = "POST"
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    parts.framing = chance.choice(
        (
            chunked + chunk + b"0\r\n\r\n",
            chunked + chunk + b"0\r\nX-Trailer: 1\r\n\r\n",
            chunked + chunk,
            chunked + b"zz\r\n" + body,
            chunked + b"-1\r\n\r\n",
            chunked + b"ffffffffffffffff\r\n" + body,
            chunked + b"1" * 40 + b"\r\n" + body,
            chunked + b"2;x=" + b"y" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
            chunked + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
            chunked + b"2\n{}\n0\n\n",
            chunked + b"0\r\n" + b"a: b\r\n" * 2_000 + b"\r\n",
            chunked + b"0\r\n\r\n" + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk + b"0\r\n\r\n",
            b"Transfer-Encoding: xchunked\r\n\r\n" + chunk + b"0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n\r\n" + chunk + b"0\r\n\r\n",
            b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n",
            b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            b"Content-Length: 2, 2\r\n\r\n{}",
            b"Content-Length: +2\r\n\r\n{}",
            b"Content-Length: -1\r\n\r\n{}",
            b"Content-Length: 0x2\r\n\r\n{}",
            b"Content-Length: 99999999999999999999999\r\n\r\n{}",
            b"Content-Length: 100000\r\n\r\n{}",
            b"Content-Length: 500\r\n\r\n{}",
            b"Content-Length: \r\n\r\n{}",
            b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
            b"Content-Length: 2\r\nExpect: something\r\n\r\n{}",
            b"Content-Length: 0\r\n\r\n" + b"GET /tasks/count HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
            b"Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAA\r\n\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n",
            b"\r\n" + body,
            b"X: " + b"a" * 70_000 + b"\r\n\r\n",
            b"a: b\r\n" * 500 + b"\r\n",
            b" folded: 1\r\n\r\n",
            b"No-Colon\r\n\r\n",
            b": empty\r\n\r\n",
            b"Bad Name: 1\r\n\r\n",
            b"X: \x00\r\n\r\n",
            b"X: a\rb\r\n\r\n",
            b"X: a\nY: b\r\n\r\n",
            b"X: \x7f\x80\xff\r\n\r\n",
        )
    )


def _twist_bytes(parts: _Parts, chance: random.Random, world: World) -> None:
    """Whatever it is, some bytes of it are others, missing, or there twice."""
    parts.answered = False
    numbers = [chance.random() for _ in range(2 * chance.choice((1, 1, 2, 5)))]
    how, byte = chance.randrange(4), chance.randrange(256)

    def twist(data: bytes) -> bytes:
        for first, second in zip(numbers[::2], numbers[1::2], strict=True):
            begin = int(first * len(data))
            end = min(len(data), begin + 1 + int(20 * second))
            data = data[:begin] + (bytes([byte]), b"", 2 * data[begin:end], data[begin:end][::-1])[how] + data[end:]
        return data

    parts.raw = twist


def _twist_pieces(parts: _Parts, chance: random.Random, world: World) -> None:
    """It comes bit by bit."""
    parts.pieces = chance.choice((2, 3, 5))


TWISTS: dict[str, Callable[[_Parts, random.Random, World], None]] = {
    function.__name__.removeprefix("_twist_"): function
    for function in (
        _twist_path,
        _twist_query,
        _twist_header,
        _twist_credential,
        _twist_credential,
        _twist_fields,
        _twist_body,
        _twist_method,
        _twist_target,
        _twist_framing,
        _twist_bytes,
        _twist_pieces,
    )
}


def _cut(data: bytes, pieces: int, chance: random.Random) -> tuple[bytes, ...]:
    places = sorted(chance.randrange(len(data) + 1) for _ in range(pieces - 1))
    begins, ends = [0, *places], [*places, len(data)]
    return tuple(data[begin:end] for begin, end in zip(begins, ends, strict=True))


def _noise(chance: random.Random) -> bytes:
    """No HTTP at all."""
    return chance.choice(
        (
            b"",
            b"\r\n" * 50,
            b"\x00" * 100,
            bytes.fromhex("16030100f1010000ed0303") + chance.randbytes(230),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            b"SSH-2.0-OpenSSH_9.0\r\n",
            b"\x05\x01\x00",
            b"GET\r\n\r\n",
            b"GET /\r\n",
            b"GET / HTTP/1.1",
            b"A" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"a" * 100_000,
            b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            chance.randbytes(chance.randrange(1, 3_000)),
        )
    )
