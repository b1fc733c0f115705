"""Handlers for processes of their own: a worker imports this module by name, so it needs little.

Owns:   handlers that return, raise, leave, and never end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from streaming import HandlerError, task


@task("p-add", run_in="process")
def add(a: int, b: int = 2) -> dict[str, int]:
    """Return a sum and the process that made it."""
    return {"sum": a + b, "pid": os.getpid()}


@task("p-forever", run_in="process")
def forever(pid_file: str) -> None:
    """Say who works, and never end."""
    Path(pid_file).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


@task("p-raise", run_in="process")
def fail() -> None:
    """Raise an ordinary exception."""
    raise KeyError("count")


@task("p-own-code", run_in="process")
def own_code() -> None:
    """Raise an error with a code of its own."""
    raise HandlerError("no_disk", "There is no disk.")


@task("p-exit", run_in="process")
def leave() -> None:
    """Try to end the process."""
    sys.exit(3)


@task("p-crash", run_in="process")
def crash() -> None:
    """End the process without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("p-strange", run_in="process")
def strange() -> object:
    """Return what cannot leave the process."""
    return lambda: None


@task("p-bound", run_in="process")
def bound() -> dict[str, object]:
    """Return what stands on each log line."""
    return structlog.contextvars.get_contextvars()


def cannot_prepare() -> None:
    """A preparation that fails."""
    raise KeyError("secret")


HANDLERS: list[Callable[..., object]] = [add, forever, fail, own_code, leave, crash, strange, bound]
