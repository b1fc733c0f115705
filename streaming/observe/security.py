"""Who did what, from where: one line for each act that those who guard a server want to know of.

All lines come from the logger ``streaming.security``: what was refused as a warning, what was done as information. The
names of the acts are the same from version to version, see ``docs/security.md``.

Rules of this file:

- No secret is written: what looks like one is blotted out, whoever has put it there.
- Ten thousand failures a second are some lines, and their number: whoever floods the server must not fill its disk.

Owns:   the shape of such a line, how many of them there are at most.
Uses:   observe.redaction (what looks like a secret).
Never:  decides what is an act, or what is refused.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from streaming.observe.redaction import BLOTTED, blot, names_a_secret

#: Characters of one value at most.
VALUE_MAX = 200

#: Lines of one act from one address in one window; and of how many acts and addresses one window knows.
LINES_MAX, KEYS_MAX = 10, 20
WINDOW_S = 10.0

_log = structlog.get_logger("streaming.security")


def tell(
    act: str,
    *,
    principal: str | None,
    address: str | None,
    task_id: str | None = None,
    failed: bool = True,
    always: bool = False,
    source: str | None = None,
    **details: object,
) -> None:
    """Write a line.

    Args:
        act: what was done, or tried: words with underscores.
        principal: who it was; None for somebody who has not shown it.
        address: from where; None if nobody knows.
        task_id: the task that it was done to.
        failed: it was refused.
        always: it is no part of a flood, however many there are: nobody from outside can do it.
        source: what counts as one sender where there is a flood; None for the address.
        details: more about it, by name.
    """
    if not always and not _guard.admits(act, source or address):
        return
    said = {"principal": principal, "address": address, "task_id": task_id, **details}
    line = {name: _value(name, value) for name, value in said.items() if value is not None}
    (_log.warning if failed else _log.info)(act, **line)


def _value(name: str, value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    if names_a_secret(name):
        return BLOTTED
    text = str(value)[: 10 * VALUE_MAX]  # cut twice: what is looked at, and what is written
    text = blot(text)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}..."


class FloodGuard:
    """How many lines of one kind there may be; it remembers little, however many addresses there are.

    Args:
        report: is told of what was left out: the act, the address (None for many), and how many lines.
        clock: seconds, of which only differences count.
    """

    def __init__(self, report: Callable[[str, str | None, int], None], clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str | None], int] = {}
        self._until = 0.0

    def admits(self, act: str, address: str | None) -> bool:
        """Whether one more line may be written."""
        self.flush()
        with self._lock:
            if not self._counts:
                self._until = self._clock() + WINDOW_S
            key = (act, address)
            if key not in self._counts and len(self._counts) >= KEYS_MAX:
                key = (act, None)  # all further addresses together
            self._counts[key] = count = self._counts.get(key, 0) + 1
        if count == LINES_MAX + 1:
            self._wake()
        return count <= LINES_MAX

    def flush(self) -> None:
        """Report what was left out, once the window is over."""
        with self._lock:
            if not self._counts or self._clock() < self._until:
                return
            counts, self._counts = self._counts, {}
        for (act, address), count in counts.items():
            if count > LINES_MAX:
                self._report(act, address, count - LINES_MAX)

    def _wake(self) -> None:
        """See to it that this is reported, also if nothing more happens."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # a command, or a thread: it is reported with the next line
        loop.call_later(WINDOW_S, self.flush)


def _report(act: str, address: str | None, count: int) -> None:
    line: dict[str, Any] = {"act": act, "count": count, "window_s": WINDOW_S}
    _log.warning("lines_left_out", **line, **({"address": address} if address is not None else {}))


_guard = FloodGuard(_report, time.monotonic)
