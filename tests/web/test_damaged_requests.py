"""Requests that were damaged at random: every answer has the one shape, whoever gives it, and tells nothing of us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from typing import Any

import pytest

from streaming.web.headers import SECURITY
from streaming.web.problems import CODES, TITLES
from tests.web.ambiguous import BODY, CHUNKED, GET, HOST, POST
from tests.web.live import Live, live
from tests.web.test_head import Aborted, Site
from tests.web.test_protocol_pieces import Reader, cut

WHOLE = (
    GET + HOST + b"Accept: application/json\r\n\r\n",
    POST + b"Content-Length: 19\r\nIdempotency-Key: a\r\n\r\n" + BODY,
    POST + CHUNKED + b"\r\n13;a=b\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n",
    b"GET /tasks?status=running&limit=3&q=a%20b HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET http://localhost/tasks/" + b"0" * 32 + b"/events?wait_s=0 HTTP/1.1\r\n" + HOST + b"Last-Event-ID: 3\r\n\r\n",
    b"DELETE /tasks/" + b"0" * 32 + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PATCH /tasks/" + b"0" * 32 + b" HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /healthz HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
)

#: What is put in, or in the place of something.
BITS = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"%",
        b"%00",
        b"%zz",
        b"#",
        b"?",
        b"/",
        b"\\",
    ),
    *(
        b"\x1b[31m",
        b"\x80",
        b"\xff",
        b"\xc3\xa9",
        b"-1",
        b"0",
        b"99999999999999999999",
        b"ffffffffffffffff",
        b"e" * 9000,
    ),
    *(
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.1",
        b"HTTP/9.9",
        b"X: y\r\n" * 120,
    ),
)

#: Words of the inside: of Python, of the libraries, of our modules and classes.
INSIDE = re.compile(
    r"Traceback|File \"|line \d+, in |uvicorn|asgineer|httptools|streaming\.\w+|[a-z]Error\b|-packages|0x[0-9a-f]{6}"
)


class Closing(Aborted):
    """A wire that takes no more once it is closed, as every transport does."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed_at is None:
            super().write(data)


def damaged(chance: random.Random) -> bytes:
    """A request, or two behind each other, with some bytes changed."""
    data = b"".join(chance.choices(WHOLE, k=chance.choice((1, 1, 2))))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        until = min(len(data), at + chance.choice((0, 0, 1, 1, 2, 10)))
        data = data[:at] + chance.choice((b"", *BITS, bytes([chance.randrange(256)]))) + data[until:]
    return data[: chance.choice((len(data), len(data), chance.randrange(len(data)) + 1))]


def check_answers(written: bytes) -> list[int]:
    """Assert that these bytes are answers of ours, one behind the other; their statuses."""
    statuses = []
    while written:
        head, mark, written = written.partition(b"\r\n\r\n")
        assert mark, head
        first, *lines = head.decode("ascii").split("\r\n")
        statuses.append(int(first.split(" ")[1]))
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        body, written = written[:size], written[size:]
        if statuses[-1] == 100:
            continue
        if statuses[-1] >= 400:
            assert headers.items() >= SECURITY.items(), head
            check_problem_body(statuses[-1], headers, body)
    return statuses


def check_problem_body(status: int, headers: dict[str, str], body: bytes) -> None:
    assert headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(body)
    assert list(problem) == ["type", "title", "status", "code", "detail", "errors"]
    assert (problem["status"], problem["title"]) == (status, TITLES[status])
    assert problem["code"] in CODES
    assert not INSIDE.search(body.decode()), body


@pytest.mark.clock("virtual")
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_comes_is_answered_by_the_protocol_in_the_one_shape(seed: int) -> None:
    chance, site = random.Random(seed), Site(Reader())
    refused = 0
    for _ in range(300):
        protocol, wire = site.connect(wire=Closing())
        data = damaged(chance)
        for segment in cut(data, chance.choice((len(data), 50, len(data) // 100 + 1))):
            if not wire.is_closing():
                protocol.data_received(segment)
            await asyncio.sleep(0)
        await asyncio.sleep(60)
        statuses = check_answers(wire.written)
        assert all(status in (100, 200) for status in statuses[:-1]), "whoever is refused is not heard any more"
        refused += bool(statuses) and statuses[-1] >= 400
        protocol.connection_lost(None)
    assert refused > 100


async def exchange(here: Live, data: bytes) -> bytes:
    """All that comes back; a connection that is kept is left after a moment."""
    answer = b""
    async with here.raw() as (reader, writer):
        writer.write(data)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(1.0):
                while piece := await reader.read(65_536):
                    answer += piece
    return answer


async def test_whatever_comes_is_answered_by_the_server_in_the_one_shape() -> None:
    chance = random.Random(1000)
    async with live(header_timeout_s=0.2, body_timeout_s=0.2) as here:
        answers = await asyncio.gather(*(exchange(here, damaged(chance)) for _ in range(400)))
        assert (await here.http.get("/healthz")).status_code == 200
    seen = {status for answer in answers for status in check_answers(answer)}
    assert {200, 400, 404, 414, 431} <= seen
    assert 500 not in seen
