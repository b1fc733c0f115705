from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest
import uvloop

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import Registry
from streaming.errors import HandlerError, InvalidSettings
from streaming.tasks import built_in
from tests.tasks.conftest import Recorder


def test_every_type_is_there_although_nothing_is_configured() -> None:
    types = {task_type.name: task_type for task_type in Registry(built_in(Settings()))}
    assert sorted(types) == ["checksum", "command", "countdown", "external", "http_fetch"]
    assert types["checksum"].run_in == "thread"
    assert all(task_type.description.endswith(".") for task_type in types.values())
    assert all(task_type.schema()["type"] == "object" for task_type in types.values())


def test_each_server_has_its_own() -> None:
    """Two servers in one process may allow different things."""
    first, second = Registry(built_in(Settings())), Registry(built_in(Settings(commands={"a": "true"})))
    assert first.get("command").handler is not second.get("command").handler


@pytest.mark.parametrize(
    "settings",
    [{"fetch_allow": ["no such/thing"]}, {"commands": {"it": {"argv": ["ls", "{a}"], "params": {"a": "("}}}}],
)
def test_a_setting_that_cannot_be_used_stops_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        built_in(Settings(**settings))


@pytest.mark.parametrize("name", ["fetch", "command"])
def test_the_same_under_uvloop(name: str, ctx: TaskContext, recorder: Recorder) -> None:
    """Whose pipes and sockets are of its own making."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def fetch() -> Any:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            handler = Registry(built_in(Settings(fetch_allow=["127.0.0.1"]))).get("http_fetch").handler
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            return (await handler(ctx, url))["body"]

    async def command() -> Any:
        handler = Registry(built_in(Settings(commands={"it": "sh -c 'echo hello; sleep 1000'"}))).get("command").handler
        first = recorder.once("stdout")
        task = asyncio.create_task(handler(ctx, "it"))
        line = (await first)["line"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return line

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run({"fetch": fetch, "command": command}[name]()) == "hello"


async def test_what_is_not_configured_refuses_and_names_the_setting(ctx: TaskContext, tmp_path: Path) -> None:
    registry = Registry(built_in(Settings()))
    with pytest.raises(HandlerError, match="STREAMING_COMMANDS"):
        await registry.get("command").handler(ctx, "x")
    with pytest.raises(HandlerError, match="STREAMING_FETCH_DIR"):
        await registry.get("http_fetch").handler(ctx, "http://example.com/", "file")
    with pytest.raises(HandlerError, match="STREAMING_CHECKSUM_ROOTS"):
        registry.get("checksum").handler(ctx, str(tmp_path))


def test_only_one_module_knows_the_http_client() -> None:
    """So that it could be swapped there; the dialer knows its network interface, as a plug knows its socket."""
    folder = Path(importlib.import_module("streaming.tasks").__path__[0])
    users = {path.name for path in folder.glob("*.py") if "import httpx" in path.read_text()}
    assert users == {"http_client.py"}
