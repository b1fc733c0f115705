"""A server without its store is alive, says so, and promises nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from streaming.config import Settings
from streaming.web.waiting import Waiting

HERE = ("127.0.0.1", 8000)
NOTHING: Mapping[str, str] = MappingProxyType({})


async def ask(
    method: str, path: str, server: tuple[str, int] = HERE, asked: Mapping[str, str] = NOTHING, **settings: Any
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads a body here")

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in asked.items()],
        "server": server, "http_version": "1.1",
    }  # fmt: skip
    await Waiting(Settings(store_url="postgresql+psycopg://me:secret@there/tasks", **settings))(scope, receive, send)
    begin, body = sent
    headers = {name.decode(): value.decode() for name, value in begin["headers"]}
    return begin["status"], headers, body["body"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_is_alive(method: str) -> None:
    status, headers, body = await ask(method, "/healthz")

    assert status == 200
    assert headers["content-length"] == str(len((await ask("GET", "/healthz"))[2]))
    assert body == b"" if method == "HEAD" else json.loads(body) == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/readyz"), ("POST", "/tasks"), ("GET", "/events"), ("POST", "/healthz"), ("GET", "/")]
)
async def test_everything_else_is_503_with_a_time_to_come_again(method: str, path: str) -> None:
    status, headers, body = await ask(method, path)

    assert (status, headers["content-type"]) == (503, "application/problem+json")
    assert int(headers["retry-after"]) > 0
    assert json.loads(body)["code"] == "store_unavailable"
    assert b"secret" not in body
    assert b"there/" not in body


async def test_from_elsewhere_it_is_403_unless_it_is_public() -> None:
    assert (await ask("GET", "/tasks", ("10.1.2.3", 80)))[0] == 403
    assert (await ask("GET", "/healthz", ("10.1.2.3", 80)))[0] == 200  # whoever restarts it if it does not live
    for open_to_others in ({"insecure_public": True}, {"api_keys": "a-key-of-enough-letters:anna"}):
        assert (await ask("GET", "/tasks", ("10.1.2.3", 80), **open_to_others))[0] == 503


async def test_a_page_that_may_call_can_read_that_it_is_away() -> None:
    page = {"origin": "https://app.example", "access-control-request-method": "POST"}
    status, headers, body = await ask("OPTIONS", "/tasks", asked=page, cors_origins=["https://app.example"])
    assert (status, body, headers["access-control-max-age"]) == (204, b"", "600")
    assert "content-length" not in headers

    status, headers, _ = await ask("GET", "/tasks", asked=page, cors_origins=["https://app.example"])
    assert (status, headers["access-control-allow-origin"]) == (503, "https://app.example")

    status, headers, _ = await ask("OPTIONS", "/tasks", asked=page)
    assert status == 503
    assert not [name for name in headers if name.startswith("access-control")]


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await Waiting(Settings())({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
