"""The client without asyncio, behind the face of the one with it: so that one suite of tests is for both.

Each call goes to a thread. What a test gives the client to wait with is awaited on the loop of the test.

Owns:   `Twin`.
Never:  does anything that the client should do itself.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from typing import Any, Self

from streaming.client import Patience as AsyncPatience
from streaming.client.sync import Client, ExternalTask, Patience

#: As many streams as a test has open at once.
THREADS_MAX = 128


class Twin:
    """Looks like `streaming.client.Client`, and is `streaming.client.sync.Client`."""

    def __init__(self, url: str, *, patience: AsyncPatience | None = None, token: Any = None, **more: Any) -> None:
        told = None if patience is None else self._patience(patience)
        given = partial(self._token, token) if callable(token) else token
        self._behind: Any = Client(url, patience=told, token=given, **more)
        self._threads = ThreadPoolExecutor(THREADS_MAX)
        self._loop = asyncio.new_event_loop()  # none, until something is asked
        self._loop.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._call(self._behind.close)
        self._threads.shutdown(wait=False)

    def __getattr__(self, name: str) -> Any:
        return self._facade(getattr(self._behind, name))

    def _facade(self, value: Any) -> Any:
        if inspect.isgeneratorfunction(value):
            return lambda *args, **options: self._each(value(*args, **options))
        return partial(self._call, value) if inspect.ismethod(value) else value

    async def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._loop = asyncio.get_running_loop()
        found = await self._loop.run_in_executor(self._threads, partial(function, *args, **options))
        return Worker(self, found) if isinstance(found, ExternalTask) else found

    async def _each(self, generator: Generator[Any, None, None]) -> AsyncGenerator[Any, None]:
        end = object()
        try:
            while (item := await self._call(next, generator, end)) is not end:
                yield item
        finally:
            await self._call(generator.close)

    # -- what the test has given -----------------------------------------------------------------------------------

    def _patience(self, patience: AsyncPatience) -> Patience:
        given = {field.name: getattr(patience, field.name) for field in fields(patience)}
        return Patience(**{**given, "sleep": lambda seconds: self._awaited(patience.sleep(seconds))})

    def _token(self, source: Callable[[], Any]) -> Any:
        async def ask() -> Any:
            given = source()
            return await given if inspect.isawaitable(given) else given

        return self._awaited(ask())

    def _awaited(self, doing: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await doing

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()


class Worker:
    """An external task of a `Twin`."""

    def __init__(self, twin: Twin, behind: ExternalTask) -> None:
        self._twin = twin
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return self._twin._facade(getattr(self._behind, name))
