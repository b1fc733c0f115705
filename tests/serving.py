"""``streaming serve`` as a process for the tests of the documentation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def serving(folder: Path, *words: str, **environment: str) -> Iterator[str]:
    """Run a server in ``folder``, and yield its URL once it accepts tasks; it must end with status 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", "serve", *words, "--log-format", "json"],
        cwd=folder,
        env={**_environment(), "PYTHONPATH": str(ROOT), "STREAMING_PORT": "0", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    draining = threading.Thread(target=process.stderr.read)
    try:
        url = _url_once_started(process.stderr)
        draining.start()
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        if draining.ident is not None:
            draining.join()
        process.stderr.close()


def _url_once_started(stderr: IO[str]) -> str:
    url, lines = "", []
    for line in stderr:
        lines.append(line)
        entry: dict[str, str] = json.loads(line) if line.startswith("{") else {}  # anything else is Python's own word
        url = entry.get("url", url)
        if entry.get("event") == "started":
            return url
    raise AssertionError(f"the server did not start:\n{''.join(lines)}")


def _environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STREAMING_")}
