"""Behind a real nginx no request gets past its rules, or into somebody else's answer, and streams come at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.nginx import PLAIN, NoNginx, documented, nginx
from tests.process.server import FORKED, SOON_S, Server, running
from tests.process.stream import open_stream
from tests.web.ambiguous import BEHIND, FRAMING, HEADS, HIDDEN, HOST, OTHER_WAYS_TO_AUDIT

pytestmark = pytest.mark.process

#: A request that is not complete for one of the two is waited for so long; then its sender is gone.
GONE_S = 0.3

CLOSE = b"Connection: close\r\n"


@asynccontextmanager
async def served(folder: Path, rules: str = PLAIN, **settings: Any) -> AsyncIterator[tuple[Server, int]]:
    """A server, and the port of the nginx in front of it."""
    async with running(folder, FORKED, **settings) as server:
        try:
            with nginx(server.port, rules) as port:
                yield server, port
        except NoNginx as reason:
            pytest.skip(str(reason))


async def send(port: int, request: bytes, patience_s: float = SOON_S) -> bytes:
    """Send bytes on a connection of their own; all that comes back until its end, or until the patience is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(request)
        async with asyncio.timeout(patience_s):
            while piece := await reader.read(65_536):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\n".encode() + HOST + CLOSE + b"\r\n"


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


# -- smuggling --------------------------------------------------------------------------------------------------------


async def test_what_is_in_doubt_is_refused_by_the_server_alone_and_ends_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path, FORKED) as server:
        for name, request in {**FRAMING, **HEADS}.items():
            answer = await send(server.port, request + BEHIND)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert statuses(answer) == [400], (name, answer)
            assert b"\r\ncontent-type: application/problem+json\r\n" in head, name
            assert b"\r\nconnection: close" in head, name
            assert json.loads(body)["code"] == "bad_request", name
        assert (await server.http.get("/tasks/count")).json()["count"] == 0
        await server.stop()


async def test_what_is_in_doubt_leaves_nothing_behind_for_the_next_request_through_nginx(tmp_path: Path) -> None:
    """Whatever nginx makes of it: the next one on its connection to the server is somebody else's."""
    async with served(tmp_path) as (server, port):
        for number, (name, request) in enumerate({**FRAMING, **HEADS}.items()):
            asked = request.replace(HOST, HOST + CLOSE, 1)
            answer = await send(port, asked, GONE_S)
            assert HIDDEN.encode() not in answer, name
            own = f"/tasks/{number:032x}"
            for target in (own, "/healthz"):
                answer = await send(port, get(target))
                assert statuses(answer) == [404 if target == own else 200], (name, answer)
                assert (own.encode().removeprefix(b"/tasks/") in answer) is (target == own), (name, answer)
        assert not [entry for entry in server.entries if entry["level"] == "error"]
        await server.stop()


async def test_requests_behind_each_other_are_answered_in_their_order(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, port):
        for at in (server.port, port):
            targets = [f"/tasks/{number:032x}" for number in range(20)]
            pipelined = b"".join(f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n" for target in targets)
            answer = await send(at, pipelined + get("/healthz"))
            assert statuses(answer) == [404] * 20 + [200]
            assert re.findall(rb"no task '([0-9a-f]{32})'", answer) == [
                target.removeprefix("/tasks/").encode() for target in targets
            ]
        await server.stop()


# -- paths ------------------------------------------------------------------------------------------------------------


async def test_no_other_way_to_write_a_path_leads_past_a_rule_of_nginx(tmp_path: Path) -> None:
    """418 is nginx, 400 both of them; what nginx lets pass is no path here."""
    async with served(tmp_path) as (server, port):
        assert statuses(await send(server.port, get("/audit"))) == [200]
        assert statuses(await send(port, get("/audit"))) == [418]
        for way in OTHER_WAYS_TO_AUDIT:
            for target in (way, way.replace("audit", "stats"), way.replace("audit", "tasks/count"), f"{way}?a=b"):
                answer = await send(port, get(target))
                assert statuses(answer) in ([400], [404], [418]), (target, answer)
        for target in ("/stats", "/tasks/count", "http://localhost/audit", "http://localhost/tasks/count"):
            assert statuses(await send(port, get(target))) == [418], target
        await server.stop()


# -- the documented configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [PLAIN, documented()], ids=["its defaults", "documented"])
async def test_a_stream_comes_through_at_once_and_as_it_is(rules: str, tmp_path: Path) -> None:
    """With the defaults of nginx only ``X-Accel-Buffering`` says so."""
    prefix = "/streaming" if "/streaming/" in rules else ""
    async with served(tmp_path, rules) as (server, port):
        task_id = await server.start("sleeper")
        through = await open_stream(port, f"{prefix}/tasks/{task_id}/events", 0)
        await server.until(lambda: b"event: running\n" in through.body)
        await server.http.post(f"/tasks/{task_id}/cancel")
        await server.until(lambda: b"event: cancelled\n" in through.body)
        direct = await server.stream(task_id)
        await server.until(lambda: b"event: cancelled\n" in direct.body)
        assert bytes(through.body) == bytes(direct.body)
        through.leave()
        direct.leave()
        await server.stop()


async def test_the_documented_configuration_answers_in_the_words_of_the_server(tmp_path: Path) -> None:
    async with served(tmp_path, documented(), body_bytes_max=100_000) as (server, port):
        answer = await send(port, get("/streaming/nothing"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert json.loads(body)["code"] == "not_found"
        assert b"x-content-type-options: nosniff" in head.lower()
        assert b"x-frame-options: deny" in head.lower()

        large = b"POST /streaming/tasks HTTP/1.1\r\n" + HOST + CLOSE + b"Content-Type: application/json\r\n"
        answer = await send(port, large + b"Content-Length: 200000\r\n\r\n" + b" " * 200_000)
        assert statuses(answer) == [413]
        assert b"body_too_large" in answer
        await server.stop()
