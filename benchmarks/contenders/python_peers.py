"""The peers that Python has: each on uvicorn with uvloop and httptools, without an access log.

Owns:   how they are started, and their versions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from benchmarks.contenders.contender import OPTIONS, Contender


def _on_uvicorn(module: str, name: str = "app") -> Callable[[], Sequence[str]]:
    return lambda: (sys.executable, "-m", "uvicorn", f"benchmarks.contenders.{module}:{name}", *OPTIONS)


def _versions(*packages: str) -> Callable[[], dict[str, str]]:
    return lambda: {package: version(package) for package in packages}


SSE_STARLETTE = Contender(
    "sse-starlette",
    "EventSourceResponse over a queue for each reader",
    _on_uvicorn("sse_starlette_app"),
    versions=_versions("sse-starlette", "starlette"),
)
STARLETTE = Contender(
    "starlette",
    "StreamingResponse over a queue for each reader, frames made once",
    _on_uvicorn("starlette_app"),
    versions=_versions("starlette"),
)
FASTAPI = Contender(
    "fastapi",
    "fastapi.sse: a path operation that yields out of a queue for each reader",
    _on_uvicorn("fastapi_app"),
    versions=_versions("fastapi"),
)
UVICORN = Contender(
    "uvicorn",
    "an ASGI application without a framework: frames made once, a queue and a task for each reader",
    _on_uvicorn("asgi_app"),
)
PROTOCOL = Contender(
    "protocol",
    "asyncio.Protocol on uvloop: frames made once, written to every connection",
    lambda: (sys.executable, "-m", "benchmarks.contenders.protocol_server"),
)
AIOSQLITE = Contender(
    "starlette-aiosqlite",
    "a Starlette route that commits one row for each request, on a connection of its own; runs nothing",
    _on_uvicorn("aiosqlite_app"),
    durable=True,
    versions=_versions("aiosqlite"),
)
AIOSQLITE_KEPT = Contender(
    "starlette-aiosqlite-kept",
    "the same on one connection for all, behind a lock",
    _on_uvicorn("aiosqlite_app", "kept"),
    durable=True,
)
