"""Waiting on behalf of a client, as long as it is there.

Owns:   giving up a wait once nobody is left to hear of it.
Never:  is used for work that must not be stopped half-way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import asgineer

from streaming.web.request import Request
from streaming.web.transport import is_cut, when_lost

Result = TypeVar("Result")


async def while_present(request: Request, waiting: Awaitable[Result]) -> Result:
    """Wait, but not longer than the client does.

    Args:
        request: its body has been read, if it matters.
        waiting: may be cancelled at any time.

    Raises:
        DisconnectedError: the client has left.
    """
    patience = asyncio.timeout(None)
    try:
        async with patience:
            watcher = asyncio.create_task(_watch(request, patience), name="streaming-watcher")
            try:
                return await waiting
            finally:
                watcher.cancel()
    except TimeoutError:
        if patience.expired():
            raise asgineer.DisconnectedError from None
        raise


async def sleep_while_present(request: Request, until: float) -> None:
    """Wait, but not longer than the client does, and without a word to it: no byte of its body is asked for.

    Args:
        request: nothing of it need have been read. Under a server that does not tell of a lost connection
            (`web.transport`) the whole time is waited.
        until: in seconds of the event loop's clock.

    Raises:
        DisconnectedError: the client has left.
    """
    left = asyncio.Event()
    when_lost(request.send, left.set)
    if is_cut(request.send):
        left.set()
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await left.wait()
        raise asgineer.DisconnectedError


async def _watch(request: Request, patience: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(0)
