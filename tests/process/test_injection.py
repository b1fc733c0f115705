"""No text of a caller becomes a header, a line of the log, or a field of a stream of its own."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, Server, running
from tests.process.test_nginx import send

pytestmark = pytest.mark.process

#: What it would be, if it became one.
FORGED = "forged"

TEXTS = [
    f"\n{FORGED}: yes",
    f"\r\n{FORGED}: yes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    f"\n\nevent: {FORGED}\ndata: {{}}\n\n",
    f"\r\rid: 9\revent: {FORGED}\r\r",
    f"\n2026-11-29T00:00:00Z [info ] {FORGED} [streaming.server]",
    f'"}}\n{{"event": "{FORGED}"}}',
    f"\x1b[2K\x1b[1A\x1b[31m{FORGED}",
    f"\x9b31m{FORGED}",
    f"\x00{FORGED}",
    f"\x85{FORGED}",
    f"\u2028{FORGED}\u2029",
    f"\u202e{FORGED}",
]

#: What a header may have in it, though no console shows it; whatever else would be no HTTP.
IN_HEADERS = [f"\x9b31m{FORGED}", f"\x85{FORGED}", f"\xa0{FORGED}", f'"{FORGED}"', f"{FORGED}\t{FORGED}"]

END = {"code": "over", "message": "the end"}

HEADERS = (
    "Accept",
    "Access-Control-Request-Method",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Origin",
    "Referer",
    "User-Agent",
    "X-Api-Key",
    "X-Forwarded-For",
    "X-User",
)

#: The same as others write it, for those who decode once too often.
IN_TARGETS = [f"%0d%0a{FORGED}:%20yes", f"%0a{FORGED}", f"%1b[31m{FORGED}", f"%00{FORGED}", f"%e2%80%a8{FORGED}"]


def head(target: str, more: dict[str, str], method: str = "GET") -> bytes:
    lines = {"Host": "localhost", "Connection": "close", **more}
    text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{text}\r\n".encode("latin-1")


async def start(server: Server, text: str) -> str:
    """A task with as much of a text as is taken; whatever is refused is left out."""
    fields: dict[str, Any] = {"type": "external", "params": {"a": text}}
    for name, value in (("tags", [text]), ("key", text), ("external_id", text)):
        answer = await server.http.post("/tasks", json={**fields, name: value})
        assert answer.status_code in (201, 422), answer.text
    answer = await server.http.post("/tasks", json=fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def report(server: Server, task_id: str, text: str) -> None:
    """Say it wherever a worker and a caller can say something."""
    place = f"/tasks/{task_id}"
    for path, value in (
        ("/events", {"type": text, "data": text}),
        ("/events", {"type": "frame", "data": {text: text}}),
        ("/input", {"data": text}),
        ("/cancel", {"reason": text[:900]}),
    ):
        assert (await server.http.post(place + path, json=value)).status_code < 500
    for report in (
        {"progress": {"percent": 1, "message": text}},
        {"steps": {"completed": 1, "total": 2, "current": text}},
        {"status": "failed", "error": {"code": "broken", "message": text}},
    ):
        assert (await server.http.patch(place, json=report)).status_code < 500


def check_stream(body: bytes) -> None:
    """Assert that every event has its three fields, once, and nothing else is there."""
    assert body.count(b"\n\n") > 2
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        if block.startswith((":", "retry:")):
            continue
        assert re.fullmatch(r"id: \d+\nevent: [a-z_]+\ndata: [^\r\n\0]+", block), ascii(block)


def check_head(answer: bytes) -> None:
    """Assert that there is one head, and that no line of it was somebody else's."""
    first, _, _ = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 ")
    for line in first.split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        assert re.fullmatch(rb"[a-z-]+", name), line
        assert FORGED.encode() not in line
        assert value.decode("ascii").isprintable(), line


def check_lines(lines: list[str], log_format: str) -> None:
    """Assert that every line is one of ours."""
    assert len(lines) > 100
    for line in lines:
        assert line.isprintable(), ascii(line)
        if log_format == "json":
            assert json.loads(line)["event"] != FORGED
        elif not line.startswith("  "):
            assert re.match(r"\d{4}-\d\d-\d\dT\S+Z \[[a-z]+\s*\] ", line), line
            assert f"] {FORGED}" not in line


async def ask_with_headers(port: int, task_id: str) -> None:
    """Say it in every header that anybody looks at, and in some that nobody does."""
    for text in IN_HEADERS:
        for name in HEADERS:
            check_head(await send(port, head(f"/tasks/{task_id}/events", {name: text})))
            check_head(await send(port, head("/tasks", {name: text, "Content-Length": "0"}, "POST")))


async def ask_with_targets(port: int, task_id: str) -> None:
    """Say it in a path and in a query."""
    for text in IN_TARGETS:
        for place in ("/", "/tasks/", f"/tasks/{task_id}/", "/tasks?", "/tasks?type=", "/events?last_event_id="):
            check_head(await send(port, head(place + text, {})))


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_what_a_caller_says_is_only_ever_quoted(log_format: str, tmp_path: Path) -> None:
    port, reserved = reserve_port()
    settings = {"port": port, "log_format": log_format, "log_level": "debug"}
    with reserved:
        async with running(tmp_path, FORKED, ready=False, **settings) as server:
            server.http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
            await server.until(lambda: server.ended or "startup complete" in "".join(server.lines))
            task_id = ""
            for text in TEXTS:
                task_id = await start(server, text)
                await report(server, task_id, text)
                await server.http.patch(f"/tasks/{task_id}", json={"status": "failed", "error": END})
                events = await server.http.get(f"/tasks/{task_id}/events")
                check_stream(events.content)
            await ask_with_headers(port, task_id)
            await ask_with_targets(port, task_id)
            server.signal(signal.SIGTERM)
            assert await server.exited() == 0
    check_lines(server.lines, log_format)
