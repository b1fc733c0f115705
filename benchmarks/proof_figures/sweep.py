"""What a sweep takes.

A sweep makes loops of its own, and this process has one already: so it runs in another process, by the command line, as
anybody would run it.

Owns:   the sweep of ``http_fetch`` against a server on this machine: its awaits, its runs, its seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from typing import Any

from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values

BODY = b"x" * 100_000


async def measure(scale: Scale) -> Values:
    """One sweep of a download into a file."""
    del scale  # how many runs there are follows from the handler
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            verdict = await _sweep(f"http://127.0.0.1:{port}/", folder)
    if verdict["findings"]:
        raise Flaw(f"http_fetch does not hold: {verdict['findings'][0]}")
    return {"seconds": verdict["seconds"], "awaits": verdict["points"], "runs": verdict["runs"]}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # it is cancelled at each of its awaits
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(BODY))
        writer.write(BODY)
    writer.close()


async def _sweep(url: str, folder: str) -> dict[str, Any]:
    settings = {"STREAMING_FETCH_ALLOW": "127.0.0.1", "STREAMING_FETCH_DIR": folder}
    command = [sys.executable, "-m", "streaming.cli", "prove", "http_fetch", f"url={url}", "save_as=body", "-o", "json"]
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | settings, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await process.communicate()
    if process.returncode not in (0, 1):
        raise Flaw(f"the sweep has failed: {complained.decode()[-500:]}")
    verdict: dict[str, Any] = json.loads(said)
    return verdict


FIGURE = Figure(
    "sweep",
    "a cancel sweep of http_fetch, 100 kB into a file, from a server on the same two cores",
    (
        Metric("seconds", "time", "s", Goal("<", 5)),
        Metric("awaits", "awaits", ""),
        Metric("runs", "runs", ""),
    ),
    measure,
)
