"""Run what must not block the loop, and end what must not be torn.

Owns:   the thread for one blocking call, and the waiting that a cancel does not break off.
Never:  decides that something may be blocking or must not be torn: its callers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_thread(function: Callable[..., Result], *args: Any) -> asyncio.Future[Result]:
    """Start a blocking call in a thread of its own.

    The thread is a daemon: a disk or a name server that never answers keeps no process from exiting, which the
    threads of the loop's own pool would do.

    Args:
        function: what to call; it goes on when the future is cancelled, for nobody can stop a thread.
        args: its arguments.

    Returns:
        A future of what the function returns or raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def deliver(settle: Callable[[Any], None], outcome: object) -> None:
        if not future.done():
            settle(outcome)

    def work() -> None:
        settle: Callable[[Any], None] = future.set_result
        try:
            outcome: object = function(*args)
        except BaseException as error:
            settle, outcome = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            loop.call_soon_threadsafe(deliver, settle, outcome)

    threading.Thread(target=work, name=f"blocking {getattr(function, '__name__', '')}", daemon=True).start()
    return future


async def finish(awaitable: Awaitable[Result]) -> Result:
    """Await something to its end, however often the caller is cancelled meanwhile.

    ``asyncio.shield`` alone is not enough: its caller leaves at the first cancel, and whatever the shielded part
    still holds is used and released at the same time.

    Args:
        awaitable: for example a future of `in_thread`, or a cleanup.

    Returns:
        Its result.

    Raises:
        asyncio.CancelledError: the caller was cancelled meanwhile; raised once the awaitable has ended, before its
            own error, if it has one, which is then the cause.
    """
    inner = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.wait([inner])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if inner.cancelled() else inner.exception())
    return inner.result()
