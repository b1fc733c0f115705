"""The keys of a terminal, one by one, beside what the loop does.

Rules of this file:

- The terminal is as it was on every way out. Ctrl-C stays Ctrl-C. Ctrl-Z does nothing: a stopped program would leave
  the terminal in a mode of its own.

Owns:   the mode of the terminal, and reading it without blocking the loop.
Uses:   cli.keystrokes (which key some bytes are).
Never:  knows what a key does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from streaming.cli.keystrokes import Keystrokes

#: The bytes of one key come together; an escape that stands alone for so long was pressed by somebody.
ESCAPE_S = 0.05

_READ_BYTES = 4096


@contextmanager
def keyboard(on_key: Callable[[str], None], fd: int | None = None) -> Iterator[None]:
    """Call ``on_key`` for each key that is pressed; to be used inside a running loop.

    Where the input is no terminal there are no keys.

    Args:
        on_key: gets a letter, or the name of a key.
        fd: the terminal; None takes the standard input.
    """
    where = _stdin() if fd is None else fd
    if where is None or not os.isatty(where):
        yield
        return
    before = termios.tcgetattr(where)
    reader = _Reader(where, on_key)
    try:
        _one_by_one(where)
        reader.open()
        yield
    finally:
        reader.close()
        _restore(where, before)


def _restore(fd: int, mode: list[Any]) -> None:
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    except termios.error as error:
        if error.args[0] != errno.EIO:  # that is how a terminal says that it is gone
            raise


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None  # it is closed, or no file


def _one_by_one(fd: int) -> None:
    """No waiting for the end of a line, no echo, no Ctrl-Z."""
    tty.setcbreak(fd, termios.TCSADRAIN)
    mode: list[Any] = termios.tcgetattr(fd)
    mode[6][termios.VSUSP] = os.fpathconf(fd, "PC_VDISABLE").to_bytes(1, "little")
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)


class _Reader:
    def __init__(self, fd: int, on_key: Callable[[str], None]) -> None:
        self._fd = fd
        self._on_key = on_key
        self._keys = Keystrokes()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._stop_timer()

    def _read(self) -> None:
        self._stop_timer()
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:
            data = b""  # the terminal is gone
        if not data:
            self._loop.remove_reader(self._fd)
        self._press(self._keys.feed(data))
        if self._keys.waiting:
            self._timer = self._loop.call_later(ESCAPE_S, lambda: self._press(self._keys.flush()))

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            self._on_key(key)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
