"""A Starlette route that keeps what it is asked to do: one row and one commit for each request.

Owns:   the applications ``app``, which opens a connection for each request, as the documentation of aiosqlite has it,
        and ``kept``, whose requests share a connection, with a lock that keeps each in a transaction of its own. Their
        database is as ours is by default: WAL, synchronous normal.
Never:  runs what it has kept.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_TABLE = "CREATE TABLE tasks (id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, params TEXT NOT NULL)"
_INSERT = "INSERT INTO tasks VALUES (?, ?, 'pending', ?)"


@asynccontextmanager
async def _database(app: Starlette) -> AsyncIterator[None]:
    async with aiosqlite.connect("tasks.db") as database:
        await database.execute("PRAGMA journal_mode=WAL")
        await database.execute("PRAGMA synchronous=NORMAL")
        await database.execute(_TABLE)
        await database.commit()
        app.state.database, app.state.lock = database, asyncio.Lock()
        yield


async def _start(request: Request) -> Response:
    order = await request.json()
    task_id = uuid.uuid4().hex
    async with aiosqlite.connect("tasks.db") as database:
        await database.execute("PRAGMA synchronous=NORMAL")
        await _keep(database, task_id, order)
    return _answer(task_id, order)


async def _start_kept(request: Request) -> Response:
    order = await request.json()
    task_id = uuid.uuid4().hex
    async with request.app.state.lock:
        await _keep(request.app.state.database, task_id, order)
    return _answer(task_id, order)


async def _keep(database: aiosqlite.Connection, task_id: str, order: dict[str, Any]) -> None:
    await database.execute(_INSERT, (task_id, order["type"], str(order["params"])))
    await database.commit()


def _answer(task_id: str, order: dict[str, Any]) -> Response:
    task = {"id": task_id, "type": order["type"], "status": "pending", "params": order["params"]}
    return JSONResponse(task, status_code=201)


async def _ready(request: Request) -> Response:
    return Response()


def _application(start: Callable[[Request], Awaitable[Response]]) -> Starlette:
    routes = [Route("/tasks", start, methods=["POST"]), Route("/readyz", _ready)]
    return Starlette(routes=routes, lifespan=_database)


app = _application(_start)
kept = _application(_start_kept)
