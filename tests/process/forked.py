"""A server process that starts in no time: forked from one that has imported everything.

It runs `streaming.server.run`, as ``streaming serve`` does, and can be killed twenty times in the time of one import.

Owns:   `Forked`, which looks like `asyncio.subprocess.Process` as far as our tests look.
Never:  is used where the exit of the interpreter itself is under test; that is not quite the same here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["pytest", "alembic.command", "streaming.server", "streaming.store.sqlite", "streaming.store.sql", __name__]
)


class Forked:
    """A forked server."""

    def __init__(
        self, process: ForkServerProcess, stderr: asyncio.StreamReader, transport: asyncio.ReadTransport
    ) -> None:
        self.stderr = stderr
        self._process = process
        self._transport = transport

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    async def wait(self) -> int:
        """Wait for its end; the exit status."""
        await asyncio.to_thread(self._process.join)
        self._transport.close()
        return self._process.exitcode or 0

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        self._process.kill()


async def fork(folder: Path, settings: Mapping[str, str]) -> Forked:
    """Start a server with these environment variables."""
    ours, its = _context.Pipe(duplex=False)
    process = _context.Process(target=_serve, args=(str(folder), dict(settings), its), daemon=True)
    await asyncio.to_thread(process.start)
    its.close()
    stderr = asyncio.StreamReader(limit=2**20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(os.dup(ours.fileno()), "rb")
    )
    ours.close()
    return Forked(process, stderr, transport)


def _serve(folder: str, settings: dict[str, str], stderr: Connection) -> None:
    from streaming.config import load_settings
    from streaming.server import run

    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith("STREAMING_")]:
        del os.environ[name]
    os.environ.update(settings)
    raise SystemExit(run(load_settings()))
