"""Stop a runner's handler right now, instead of when the runner next looks.

Owns:   what a runner does by itself when it is asked to stop, and when it insists, done in one step.
Uses:   engine.runner (the real one; its records and events are those of a server).
Never:  interrupts a protected section.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streaming.engine.runner import Runner
from streaming.rules.lifecycle import Cause
from streaming.rules.stopping import Step, Stop


def stop(runner: Runner, cause: Cause) -> None:
    """Stop a handler; a protected section holds it back until it ends.

    Args:
        runner: its runner; the handler has been called.
        cause: somebody cancels it, its time is over, or the server stops.
    """
    if cause is Cause.CANCEL:
        runner.cancel("prove", "a cancel sweep")
        runner.release()
    elif cause is Cause.TIMEOUT and runner._handler is not None and runner._deadlines is not None:
        runner._do(Step.EXPIRE, runner._handler, runner._deadlines, runner._loop.time())
    else:
        runner.stop(cause)
    runner._deliver_what_is_due()


def deliver_again(runner: Runner, wish: Stop, handler: asyncio.Task[Any]) -> None:
    """Cancel a handler that cleans up once more, as a runner does when the grace is over."""
    runner._deliver(wish, handler, runner._loop.time())
