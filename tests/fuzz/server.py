"""A server as a process of its own, to be fuzzed.

Owns:   its start, its small limits, its end, and what it said meanwhile.
Never:  leaves a process behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parent.parent.parent

#: So small that they are met, and that nothing has to be waited for.
LIMITS = {
    "WAIT_MAX_S": "0.02",
    "KEEPALIVE_S": "0.02",
    "CANCEL_GRACE_S": "0.5",
    "GRACE_S": "2",
    "TIMEOUT_MAX_S": "100000",
    "MAX_RUNNING": "60",
    "MAX_PENDING": "60",
    "MAX_EXTERNAL": "60",
    "PAGE_MAX": "50",
    "BULK_MAX": "20",
    "INPUTS_MAX": "5",
    "REPORT_EVENTS_MAX": "20",
    "EVENT_BYTES_MAX": "4096",
    "BODY_BYTES_MAX": "65536",
    "MEMORY_TASKS_MAX": "2000",
    "FILTER_VALUES_MAX": "10",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "info",
}


class Served:
    """A running server.

    Attributes:
        url: where it is.
        entries: its log lines so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.entries: list[dict[str, Any]] = []
        self.url = ""
        for line in process.stderr:
            self.entries.append(json.loads(line))
            if self.entries[-1]["event"] == "listening":
                self.url = self.entries[-1]["url"]
                break
        assert self.url, f"it did not start: {self.entries}"
        self._reading = threading.Thread(target=self._read, args=(process.stderr,))
        self._reading.start()

    def _read(self, lines: Iterator[str]) -> None:
        self.entries += map(json.loads, lines)

    def end(self) -> int:
        """End it as an operator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reading.join()
        return status

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What its log calls an error."""
        return [entry for entry in self.entries if entry.get("level") in ("error", "critical")]


@contextmanager
def serving(
    folder: Path, store_url: str = "memory://", settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Served]:
    """Run a server with the handlers of `tests.fuzz.handlers`.

    Args:
        folder: its working directory.
        store_url: what keeps its tasks.
        settings: more of its environment, and other limits, without the prefix.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMING_")}
    limits = {f"STREAMING_{name}": value for name, value in {**LIMITS, **settings}.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", "serve", "tests.fuzz.handlers", "--port", "0", "--store", store_url],
        cwd=folder,
        env={**inherited, **limits, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Served(process)
        finally:
            process.kill()
