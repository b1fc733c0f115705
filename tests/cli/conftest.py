"""Servers for command lines: a scripted one in a thread, and the real one for a whole session."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streaming.cli.app import app
from tests.real_server import RealServer
from tests.scripted_server import Answer, ScriptedServer, scripted


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line inside this process."""

    def run(*words: str, url: str | None = None) -> Result:
        if url is not None:
            monkeypatch.setenv("STREAMING_URL", url)
        return CliRunner().invoke(app, words)

    return run


@contextmanager
def scripted_in_a_thread(*answers: Answer) -> Iterator[ScriptedServer]:
    """A scripted server for code that owns the main thread's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = scripted(*answers)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(5)
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def script() -> Iterator[Callable[..., ScriptedServer]]:
    """Start a scripted server that gives these answers."""
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(scripted_in_a_thread(*answers))


@pytest.fixture(scope="session")
def real_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one real server for all tests that do not stop it."""
    server = RealServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server.url
    assert server.end() == 0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RealServer]:
    """A real server for a test that stops and kills it."""
    server = RealServer(tmp_path)
    server.start()
    yield server
    server.end(signal.SIGKILL)
