"""A server that says exactly what a test tells it to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from streaming.events import Event, encode_payload
from streaming.records import Record, TaskStatus
from streaming.rules.sse import frame

TASK_ID = "0123456789abcdef0123456789abcdef"
TIME = "2026-11-01T12:00:00.000000Z"

#: How a connection goes on after its bytes: closed, torn inside a chunk, or left open without a word.
Then = Literal["close", "tear", "hold"]


@dataclass(frozen=True)
class Answer:
    """Bytes for one request: with ``at``, for targets that have it in them; with a gate, not before it opens."""

    raw: bytes
    then: Then = "close"
    gate: asyncio.Event | None = None
    at: str = ""


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    """Gives its answers one by one; the last one that fits again and again."""

    answers: list[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            asked = await _request(reader)
            answer = self._next(asked.target)
            self.asked.append(asked)
            self.changed.set()
            if answer.gate is not None:
                await answer.gate.wait()
            writer.write(answer.raw)
            await writer.drain()
            if answer.then == "hold":
                await reader.read()  # until the client leaves
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left in the middle: some of our clients do
        finally:
            writer.close()

    def _next(self, target: str) -> Answer:
        named = [answer for answer in self.answers if answer.at and answer.at in target]
        fitting = named or [answer for answer in self.answers if not answer.at]
        if len(fitting) > 1:
            self.answers.remove(fitting[0])
        return fitting[0]


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncGenerator[ScriptedServer, None]:
    """Run a scripted server on a free port."""
    script = ScriptedServer(list(answers))
    server = await asyncio.start_server(script.serve_one, "127.0.0.1", 0, backlog=512)
    host, port = server.sockets[0].getsockname()
    script.url = f"http://{host}:{port}"
    try:
        yield script
    finally:
        server.close()
        for connection in script.connections:
            connection.close()
        await server.wait_closed()


# -- answers ---------------------------------------------------------------------------------------------------------


def said(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A complete answer; headers by keyword, ``_`` for ``-``."""
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Answer("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def said_json(document: object, status: int = 200, **headers: str) -> Answer:
    return said(status, json.dumps(document).encode(), content_type="application/json", **headers)


def refused(status: int, code: str, detail: str = "No.", *, errors: object = None, **headers: str) -> Answer:
    """A problem body."""
    body = {"type": "about:blank", "title": "No", "status": status, "code": code, "detail": detail}
    if errors is not None:
        body["errors"] = errors
    return said_json(body, status, **headers)


def streamed(*parts: bytes, then: Then = "close", content_type: str = "text/event-stream; charset=utf-8") -> Answer:
    """An event stream of these blocks; ``tear`` cuts it in the middle of the last one."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n"
    body = b"".join(parts)
    if then == "tear":
        half = body[: len(body) - len(parts[-1]) // 2]
        return Answer(f"{head}transfer-encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + half, "close")
    return Answer(f"{head}\r\n".encode() + body, then)


LOST = Answer(b"")
ENDED = said(204)


# -- what is in them ---------------------------------------------------------------------------------------------------


def event(seq: int, type: str = "tick", data: object = None, *, task_id: str = TASK_ID) -> Event:
    return Event(task_id, seq, type, TIME, encode_payload({} if data is None else data))


def block(seq: int, type: str = "tick", data: object = None) -> bytes:
    return frame(event(seq, type, data))


def record(status: TaskStatus = TaskStatus.RUNNING, **fields: Any) -> Record:
    known: dict[str, Any] = {
        "id": TASK_ID,
        "type": "countdown",
        "params": {"count": 3},
        "timeout_s": 60.0,
        "created_at": TIME,
        "updated_at": TIME,
    }
    return Record(status=status, **{**known, **fields})
