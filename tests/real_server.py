"""The real server as a real process, to be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

HANDLERS = '''
import asyncio
from streaming import TaskContext, task

@task
async def stubborn(ctx: TaskContext) -> str:
    """Takes no notice of a cancel for a while."""
    for _ in range(1000):
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            await ctx.emit("ignored")
    return "at last"

@task
async def broken(ctx: TaskContext, why: str = "so it is") -> None:
    """Fails."""
    raise ValueError(why)

@task(on_interrupt="restart", attempts_max=50)
async def patient(ctx: TaskContext, count: int = 200) -> int:
    """Counts again after each interruption."""
    for number in range(count):
        await ctx.emit("step", {"attempt": ctx.attempt, "number": number})
        await asyncio.sleep(0.005)
    return count
'''


class RealServer:
    """``streaming serve`` as a process, on a SQLite file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self._draining = threading.Thread()
        self.url = ""
        (folder / "handlers.py").write_text(HANDLERS)

    def start(self) -> None:
        words = ["serve", "handlers", "--port", self._port, "--store", "sqlite:///tasks.db", "--log-format", "json"]
        self._process = command(*words, folder=self._folder)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            entry = json.loads(line)
            if entry["event"] == "listening":
                self.url = entry["url"]
                self._port = self.url.rpartition(":")[2]
                break
        else:
            raise AssertionError("the server did not start")
        self._draining = threading.Thread(target=self._process.stderr.read)
        self._draining.start()

    def end(self, signum: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(signum)
        status = self._process.wait(20)
        self._draining.join()
        self._process.communicate()
        return status

    def forget(self) -> None:
        """Between an end and a start: lose the database."""
        for path in self._folder.glob("tasks.db*"):
            path.unlink()


def command(*words: str, folder: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start a command line as a process, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
