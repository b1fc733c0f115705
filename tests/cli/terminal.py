"""A command line in a real terminal: what is on it, what is typed, how wide it is, and in which mode it was left."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Sequences that move, colour and switch.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    """A pseudo-terminal with one process on it; everything that was written stays in ``raw``."""

    def __init__(self, words: list[str], *, columns: int, lines: int, environment: dict[str, str]) -> None:
        self.screen, self.other = pty.openpty()
        self.resize(columns, lines)
        self.before = self.mode()
        self.raw = ""
        self._read = 0
        self.process = subprocess.Popen(
            words,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            stdin=self.other,
            stdout=self.other,
            stderr=self.other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.other)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self.screen, keys.encode())

    def read(self, timeout_s: float = 0.0) -> bool:
        """Take what is there; False if the terminal has no other end any more."""
        if not select.select([self.screen], [], [], timeout_s)[0]:
            return True
        try:
            self.raw += os.read(self.screen, 1 << 20).decode(errors="replace")
        except OSError:  # Linux's way to say that it is gone
            return False
        return True

    def until(self, *wanted: str, timeout_s: float = 30.0) -> str:
        """Read on until all of this has come since the last call; that text without what moves and colours."""
        end = time.monotonic() + timeout_s
        while True:
            text = CONTROL.sub("", self.raw[self._read :])
            if all(each in text for each in wanted):
                self._read = len(self.raw)
                return text
            assert time.monotonic() < end, f"{wanted} never came: {text[-3000:]}"
            self.read(0.1)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Read until the process has ended; its exit status."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it goes on: {CONTROL.sub('', self.raw)[-3000:]}"
            self.read(0.05)
        self.read()
        return self.process.returncode

    @property
    def text(self) -> str:
        return CONTROL.sub("", self.raw)


@contextmanager
def terminal(*words: str, columns: int = 100, lines: int = 30, **environment: str) -> Iterator[Terminal]:
    """A command line of ours in a terminal; it does not outlive its test."""
    opened = Terminal(
        [sys.executable, "-m", "streaming.cli", *words], columns=columns, lines=lines, environment=environment
    )
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.screen)
        os.close(opened.other)
