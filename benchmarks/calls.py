"""Plain requests over kept-alive connections, with as little work as possible between them.

Owns:   request bytes, a `Connection` that carries one request at a time, and one that is `Asking` once; `call_all` over
        several of them, and clients that have one each.
Never:  reads an event stream (``benchmarks.reader``).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from benchmarks.figure import Flaw

ANSWER_S = 30.0
SSE = "text/event-stream"

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and the seconds from the last byte out to the last byte in."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def get(path: str, *, accept: str = "application/json") -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()


def post_task(type: str, *, accept: str = "application/json", **params: object) -> bytes:
    """The request that starts a task; with ``accept=SSE`` the answer is its stream."""
    return with_body("POST", "/tasks", {"type": type, "params": params}, accept=accept)


def with_body(method: str, path: str, body: object, *, accept: str = "application/json") -> bytes:
    """A request that carries JSON."""
    text = json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


class Asking(asyncio.Protocol):
    """A connection that asks once, and then hears what comes.

    Args:
        request: what to send, once connected.
    """

    __slots__ = ("_request", "_transport")

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.write(self._request)

    def close(self) -> None:
        """Leave, whatever is still to come."""
        if self._transport is not None:
            self._transport.abort()


class Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = b""
        self._sent_at = 0.0

    def call(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request, and return what becomes its answer."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._sent_at = time.perf_counter()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        head_end = received.find(b"\r\n\r\n")
        length = _LENGTH.search(received, 0, head_end) if head_end >= 0 else None
        size = int(length[1]) if length else 0
        if head_end < 0 or len(received) < head_end + 4 + size:
            self._received = received
            return
        self._received = b""
        answer = Answer(int(received[9:12]), received[head_end + 4 :], time.perf_counter() - self._sent_at)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Flaw(f"the server closed a connection without an answer ({error})"))


async def connect(address: Address) -> Connection:
    """Open one connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, address.host, address.port)
    return connection


async def call_all(address: Address, requests: Sequence[bytes], *, status: int, connections: int = 32) -> list[Answer]:
    """Send all requests, one at a time on each connection.

    Args:
        address: of the server.
        requests: in any number.
        status: the status that every answer must have.
        connections: how many at the same time.

    Returns:
        The answers, in the order of the requests.

    Raises:
        Flaw: an answer has another status, or none came.
    """
    answers: list[Answer | None] = [None] * len(requests)
    numbered = iter(enumerate(requests))
    opened = await asyncio.gather(*(connect(address) for _ in range(min(connections, len(requests)))))
    try:
        await asyncio.gather(*(_work(connection, numbered, answers) for connection in opened))
    finally:
        for connection in opened:
            connection.close()
    return [_checked(answer, status) for answer in answers]


async def clients(
    address: Address, scripts: Sequence[Sequence[bytes]], *, status: int, rate: float = 0.0
) -> list[list[Answer]]:
    """Clients with a connection each, which send their requests one after the other.

    Args:
        address: of the server.
        scripts: the requests of each client.
        status: the status that every answer must have.
        rate: requests of each client per second, the clients evenly spread; without one nobody pauses.

    Returns:
        The answers of each client. With a rate their seconds count from when the request was due.

    Raises:
        Flaw: an answer has another status, or none came.
    """
    opened = await asyncio.gather(*(connect(address) for _ in scripts))
    begin_s = time.perf_counter() + 0.05
    steps = [begin_s + number / len(scripts) / rate if rate else 0.0 for number in range(len(scripts))]
    try:
        working = [_follow(*each, rate) for each in zip(opened, scripts, steps, strict=True)]
        answers = await asyncio.gather(*working)
    finally:
        for connection in opened:
            connection.close()
    return [[_checked(answer, status) for answer in each] for each in answers]


async def _follow(connection: Connection, requests: Sequence[bytes], begin_s: float, rate: float) -> list[Answer]:
    answers: list[Answer] = []
    for number, request in enumerate(requests):
        if not rate:
            answers.append(await _answer(connection, request))
            continue
        due_s = begin_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        answer = await _answer(connection, request)
        answers.append(replace(answer, seconds=time.perf_counter() - due_s))
    return answers


async def start_tasks(address: Address, requests: Sequence[bytes]) -> list[str]:
    """Start tasks, and return their ids in the order of the requests."""
    return [str(answer.json()["id"]) for answer in await call_all(address, requests, status=201)]


async def _work(connection: Connection, numbered: Iterator[tuple[int, bytes]], answers: list[Answer | None]) -> None:
    for number, request in numbered:
        answers[number] = await _answer(connection, request)


async def _answer(connection: Connection, request: bytes) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await connection.call(request)
    except TimeoutError:
        raise Flaw(f"no answer within {ANSWER_S:g} s to {request[:80]!r}") from None


def _checked(answer: Answer | None, status: int) -> Answer:
    if answer is None or answer.status != status:
        got = f"{answer.status} {answer.body[:300]!r}" if answer else "nothing"
        raise Flaw(f"an answer should have been {status}, and was {got}")
    return answer
