"""A server of our own, as a process: started, asked for its address, stopped.

Owns:   `ServerProcess`.
Never:  leaves the process behind, whatever happens to us short of SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from streaming.errors import ServerUnreachable

#: The server's own grace, and how long we wait for the exit before we kill.
GRACE_S = 5
STOP_S = GRACE_S + 3

_LINES_KEPT = 50


class ServerProcess:
    """A running ``streaming serve``.

    Args:
        process: with its stderr in a pipe, which carries the log as JSON lines.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read_log())
        self.last_lines: deque[str] = deque(maxlen=_LINES_KEPT)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def url(self) -> str:
        """Its address, once it listens.

        Raises:
            ServerUnreachable: it has ended instead; the message has its last words.
        """
        return await asyncio.shield(self._url)

    async def ended(self) -> int:
        """Wait for its end; the exit status."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to stop (SIGTERM), insist after `STOP_S`, and return the exit status."""
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
        return await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, signum: int) -> None:
        """Not with ``Process.send_signal``: it may fetch the exit status before the loop does, which then has none."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def forget(self) -> None:
        """Read no more; the process has ended."""
        self._reading.cancel()
        self._url.cancel()

    async def _read_log(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  # it was started with a pipe
        async for line in self._process.stderr:
            self.last_lines.append(line.decode(errors="replace").rstrip())
            url = _address_in(line)
            if url and not self._url.done():
                self._url.set_result(url)
        if not self._url.done():
            last_words = " ".join(self.last_lines) or "it said nothing"
            self._url.set_exception(ServerUnreachable(f"The server did not start: {last_words}"))


@asynccontextmanager
async def serving(
    folder: Path, options: Mapping[str, str], settings: Mapping[str, str]
) -> AsyncGenerator[ServerProcess, None]:
    """Run ``streaming serve`` on a free port, and stop it at the end.

    Args:
        folder: its working directory.
        options: of the command line.
        settings: environment variables; no other ``STREAMING_...`` reaches it.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMING_")}
    words = [word for option in options.items() for word in option]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streaming.cli", "serve", "--port", "0", "--log-format", "json", *words),
        cwd=folder,
        env={**inherited, **settings},
        stderr=PIPE,
        start_new_session=True,  # a Ctrl-C at our terminal is for us, not for it
    )
    server = ServerProcess(process)
    try:
        yield server
    finally:
        try:
            await server.stop()
        finally:
            server.kill()
            server.forget()


def _address_in(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("url") if isinstance(entry, dict) and entry.get("event") == "listening" else None
