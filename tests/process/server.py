"""A server as a process of its own, in each of the ways in which people run it.

Owns:   start and end of the process, what it said on stderr, requests to it.
Never:  waits without a bound; leaves a process behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

from tests.process.forked import Forked, fork
from tests.process.stream import Stream, open_stream

#: Seconds in which anything in these tests happens, or never will; starting takes long on a busy machine.
SOON_S = 20.0

#: How often something is looked at that does not tell when it changes.
POLL_S = 0.005

ROOT = Path(__file__).parent.parent.parent
HANDLERS = "tests.process.handlers"

_BIN = Path(sysconfig.get_path("scripts"))
_SERVE = (str(_BIN / "streaming"), "serve", "--port", "0")
_SERVE_WITHOUT_UVLOOP = (
    *(sys.executable, "-c", "import sys; sys.modules['uvloop'] = None; from streaming.cli import main; main()"),
    *_SERVE[1:],
)
_UVICORN = (str(_BIN / "uvicorn"), "streaming.server:app", "--port", "0")

#: The ways to run a server, by name. What takes uvloop if it is there runs once without it: it is an extra.
WAYS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "streaming serve": _SERVE,
        "streaming serve, without uvloop": _SERVE_WITHOUT_UVLOOP,
        "uvicorn --loop asyncio": (*_UVICORN, "--loop", "asyncio"),
        "uvicorn --loop uvloop": (*_UVICORN, "--loop", "uvloop"),
        "uvicorn --workers 1 --loop uvloop": (*_UVICORN, "--workers", "1", "--loop", "uvloop"),
        "uvicorn with our protocol": (*_UVICORN, "--loop", "asyncio", "--http", "streaming.web.protocol:Protocol"),
    }
)

#: Those whose event loop is that of asyncio.
ON_ASYNCIO = frozenset({"streaming serve, without uvloop", "uvicorn --loop asyncio", "uvicorn with our protocol"})

FORKED = "forked"

#: What uvicorn says before our log takes over.
_BEFORE_OURS = re.compile(r"INFO:     (Started server process \[\d+\]|Waiting for application startup\.)$")

_URL = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")


class Server:
    """A running server process; see `running`."""

    def __init__(self, process: Process | Forked) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0
        self.http = httpx.AsyncClient(timeout=SOON_S, limits=httpx.Limits(max_connections=None), trust_env=False)
        self._reading = asyncio.create_task(self._read())

    # -- what it says ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))

    def pause_reading(self) -> None:
        """Let its stderr fill up."""
        self._reading.cancel()

    def go_on_reading(self) -> None:
        """Read what is there, after a pause."""
        self._reading = asyncio.create_task(self._read())

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Its log lines; whatever else is on stderr, a traceback for example, fails here."""
        return [json.loads(line) for line in self.lines if not _BEFORE_OURS.match(line)]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines with this event."""
        return [entry for entry in self.entries if entry["event"] == event]

    async def until_said(self, event: str) -> dict[str, Any]:
        """Wait for a log line."""
        await self.until(lambda: self.said(event) or self.ended)
        return self.said(event)[0]

    async def until(self, condition: Callable[[], object], within_s: float = SOON_S) -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110  # a process does not tell when it changes
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError("\n".join(["it did not come so far:", *self.lines[-50:]])) from None

    async def workers(self, count: int) -> list[int]:
        """Wait until so many of its worker processes are in the handler ``computes``; their ids."""
        found: list[int] = []

        def at_work() -> bool:
            found[:] = [
                child.pid for child in psutil.Process(self.process.pid).children() if _catches_sigusr1(child.pid)
            ]
            return len(found) == count

        await self.until(at_work)
        return found

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.returncode is not None

    @property
    def on_uvloop(self) -> bool:
        """Whether its event loop is uvloop, as opposed to that of asyncio."""
        return "/uvloop/" in Path(f"/proc/{self.process.pid}/maps").read_text()

    @property
    def gone(self) -> bool:
        """Whether the process is no more, or a zombie, although its pipe has not been read to the end."""
        try:
            return psutil.Process(self.process.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    # -- its end --------------------------------------------------------------------------------------------------

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    async def exited(self, within_s: float = SOON_S) -> int:
        """Wait for the exit, and for all that it said; the exit status."""
        try:
            async with asyncio.timeout(within_s):
                status = await self.process.wait()
        except TimeoutError:
            raise AssertionError("\n".join(["it has not exited:", *self.lines[-50:]])) from None
        await self._reading
        return status

    async def stop(self) -> None:
        """Stop it as it should be stopped, and see that it was."""
        self.signal(signal.SIGTERM)
        assert await self.exited() == 0
        raised = [entry for entry in self.entries if "exception" in entry]
        assert not raised, "\n".join(f"{entry['event']}\n{entry['exception']}" for entry in raised)

    async def kill(self) -> None:
        """End it as a crash would; having ended before is fine."""
        if not self.ended:
            self.process.kill()
        await self.process.wait()
        await self._reading

    # -- asking it ------------------------------------------------------------------------------------------------

    async def start(self, type: str, **params: Any) -> str:
        """Start a task and return its id."""
        answer = await self.http.post("/tasks", json={"type": type, "params": params})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def get(self, task_id: str, wait_s: float = 0) -> dict[str, Any]:
        """The task."""
        answer = await self.http.get(f"/tasks/{task_id}", params={"wait_s": wait_s})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def check_sound(self) -> None:
        """See that the server finds nothing wrong with itself; while its store is away it is asked again."""
        async with asyncio.timeout(SOON_S):
            while _is_away(answer := await self.http.get("/audit")):  # noqa: ASYNC110  # it asks
                await asyncio.sleep(POLL_S)
        assert answer.status_code == 200, answer.text
        audit = answer.json()
        assert (audit["found"], audit["violations"]) == (0, []), audit["violations"]
        assert audit["checked"]["live"] + audit["checked"]["ended"] > 0, "it has looked at nothing"

    async def running(self, type: str, **params: Any) -> str:
        """Start a task, and return its id once its handler is at work."""
        task_id = await self.start(type, **params)
        stream = await self.stream(task_id)
        await stream.until(lambda: b"event: running\n" in stream.body)
        stream.leave()
        return task_id

    async def stream(self, task_id: str, after: int = 0) -> Stream:
        """A reader of a task's log; it reads on by itself."""
        return await self.open(f"/tasks/{task_id}/events", after)

    async def open(self, path: str, after: int = 0) -> Stream:
        """A reader of any stream."""
        return await open_stream(self.port, path, after)


@asynccontextmanager
async def running(
    folder: Path, way: str | Sequence[str] = "streaming serve", *, ready: bool = True, **settings: object
) -> AsyncIterator[Server]:
    """Run a server with the handlers of ``tests.process.handlers`` on a SQLite file, and kill it at the end.

    Args:
        folder: its working directory.
        way: one of `WAYS`, or `FORKED`, which starts in no time, or a command line.
        ready: wait until it answers.
        settings: by name, without STREAMING_ and in lower case.
    """
    server = Server(await _spawn(folder, way, settings))
    try:
        if ready:
            await answering(server)
        yield server
    finally:
        await server.kill()
        await server.http.aclose()


async def _spawn(folder: Path, way: str | Sequence[str], settings: Mapping[str, object]) -> Process | Forked:
    given = {"tasks": HANDLERS, "store_url": "sqlite:///tasks.db", "log_format": "json", **settings}
    variables = {f"STREAMING_{name.upper()}": str(value) for name, value in given.items()}
    if way == FORKED:
        return await fork(folder, {"STREAMING_PORT": "0", **variables})
    words = WAYS[way] if isinstance(way, str) else way
    # What is said on the command line wins over the setting.
    asked = words if "port" not in settings else [*words, "--port", str(settings["port"])]
    return await asyncio.create_subprocess_exec(
        *asked,
        cwd=folder,
        env={**_environment(), **variables},
        stderr=PIPE,
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMING_")}
    return {**inherited, "PYTHONPATH": str(ROOT)}


async def answering(server: Server) -> None:
    """Wait until a server has said where it is, and that it has started."""
    started = "Application startup complete."
    await server.until(lambda: server.ended or (server.said(started) and _port(server)))
    assert not server.ended, "\n".join(server.lines)
    server.port = _port(server)
    server.http.base_url = httpx.URL(f"http://127.0.0.1:{server.port}")


def _is_away(answer: httpx.Response) -> bool:
    """Whether a server has answered that its store does not."""
    return answer.status_code == 503 and answer.json()["code"] == "store_unavailable"


def _catches_sigusr1(pid: int) -> bool:
    (caught,) = re.findall(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)


def _port(server: Server) -> int:
    found = [match for line in server.lines if (match := _URL.search(line))]
    return int(found[0][1]) if found else 0
