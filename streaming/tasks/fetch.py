"""Fetch a URL.

Owns:   the task type ``http_fetch``: its redirects, its limits, its events and its result.
Uses:   tasks.http_client (one request), tasks.dialer and tasks.address (where it may go), tasks.target (where the body
        goes), tasks.inflate (packed bodies), tasks.meter (progress).
Never:  connects by itself; trusts a name, a length or a redirect.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import task
from streaming.errors import HandlerError
from streaming.tasks.address import AllowList
from streaming.tasks.background import in_thread
from streaming.tasks.dialer import Dialer, Resolve, system_resolve
from streaming.tasks.http_client import Answer, HttpClient, check_url, tls_context
from streaming.tasks.inflate import Inflater
from streaming.tasks.meter import Meter, readable
from streaming.tasks.target import FileTarget, ResultTarget, Target, check_name

REDIRECTS_MAX = 5
CONNECT_S = 10.0
READ_S = 30.0
HEAD_S = 60.0

#: A body of unknown length is reported when it reaches this size, and each time it has doubled.
FIRST_REPORT_BYTES = 1_048_576

HEADERS_OF_INTEREST = (
    "content-type",
    "content-length",
    "content-encoding",
    "last-modified",
    "etag",
    "cache-control",
)
HEADER_LENGTH_MAX = 1000

#: Taking a piece may take no time at all, and a server may send them tiny; after so many the loop gets its turn.
PIECES_PER_TURN = 64

Url = Annotated[str, AfterValidator(check_url), Field(description="An http:// or https:// URL.")]
FileName = Annotated[str, AfterValidator(check_name), Field(description="File to save to, below the fetch directory.")]


def http_fetch(
    settings: Settings,
    *,
    resolve: Resolve = system_resolve,
    connect_s: float = CONNECT_S,
    read_s: float = READ_S,
    head_s: float = HEAD_S,
) -> Callable[..., Any]:
    """Build the handler of ``http_fetch``.

    Args:
        settings: its ``fetch_...`` and ``event_bytes_max`` are used.
        resolve: looks host names up.
        connect_s: seconds for the look-up, the connection and the TLS handshake, each.
        read_s: seconds of silence after which a server is given up.
        head_s: seconds within which an answer must have begun.

    Raises:
        InvalidSettings: an entry of ``fetch_allow`` cannot be used.
    """
    allow = AllowList(settings.fetch_allow)
    tls = functools.cache(tls_context)

    @task("http_fetch")
    async def fetch(ctx: TaskContext, url: Url, save_as: FileName | None = None) -> dict[str, Any]:
        """Download a URL into the result, or into a file below the directory that the operator has set for it.

        The requests belong to the trace of the task, if it has one.

        Emits ``redirect`` for each hop, ``response`` with the interesting headers, and progress.

        Returns:
            ``url`` (the last one), ``status``, ``bytes``, ``content_type``, ``sha256``, and ``saved_as`` or ``body``
            with its ``encoding`` (``text`` or ``base64``).
        """
        async with aclosing(_target(settings, save_as, ctx.task_id)) as target:
            await target.open()
            context = await in_thread(tls)
            async with aclosing(
                HttpClient(Dialer(allow, resolve), context, connect_s=connect_s, read_s=read_s, head_s=head_s)
            ) as client:
                last_url, answer = await _follow(ctx, client, url)
                size = await _download(ctx, answer, target, settings.fetch_bytes_max)
            return {
                "url": last_url,
                "status": answer.status,
                "bytes": size,
                "content_type": _header(answer, "content-type"),
                **await target.keep(),
            }

    return fetch


def _target(settings: Settings, save_as: str | None, task_id: str) -> Target:
    if save_as is None:
        return ResultTarget(settings.event_bytes_max)
    if settings.fetch_dir is None:
        raise HandlerError(
            "not_configured",
            "This server saves no files: the operator has to name a directory with STREAMING_FETCH_DIR. "
            "Leave save_as out to get the body in the result.",
        )
    return FileTarget(settings.fetch_dir, save_as, task_id)


async def _follow(ctx: TaskContext, client: HttpClient, url: str) -> tuple[str, Answer]:
    """Ask, and go where we are sent; the answer that is no redirect, and its URL."""
    answer = await client.get(url, ctx.trace_headers())
    for _ in range(REDIRECTS_MAX):
        if answer.redirect_to is None:
            break
        following = _checked(answer.redirect_to)
        await ctx.emit("redirect", {"from": url, "to": following, "status": answer.status})
        await answer.aclose()
        url, answer = following, await client.get(following, ctx.trace_headers())
    if answer.redirect_to is not None:
        raise HandlerError("too_many_redirects", f"After {REDIRECTS_MAX} redirects there is another one.")
    await _report(ctx, url, answer)
    return url, answer


def _checked(url: str) -> str:
    try:
        return check_url(url)
    except ValueError as error:
        raise HandlerError("bad_url", f"A redirect leads to a URL that is not followed: {error}.") from None


async def _report(ctx: TaskContext, url: str, answer: Answer) -> None:
    headers = {name: value for name in HEADERS_OF_INTEREST if (value := _header(answer, name)) is not None}
    await ctx.emit("response", {"url": url, "status": answer.status, "headers": headers, "length": _length(answer)})
    if answer.status >= 400:
        raise HandlerError("http_status", f"{url} answered {_named(answer.status)}.")


def _header(answer: Answer, name: str) -> str | None:
    value = answer.headers.get(name)
    return None if value is None else value[:HEADER_LENGTH_MAX]


def _named(status: int) -> str:
    """Status and phrase by the standard, not by the server's word."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _length(answer: Answer) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


async def _download(ctx: TaskContext, answer: Answer, target: Target, bytes_max: int) -> int:
    """Move the body to its target; the number of its bytes, unpacked."""
    inflater = Inflater(answer.headers.get("content-encoding", ""))
    arrival = _Arrival(ctx, _length(answer))
    _hold_to(bytes_max, _length(answer) or 0)
    received = size = pieces = 0
    while chunk := await answer.read():
        received += len(chunk)
        _hold_to(bytes_max, received)
        for piece in inflater.feed(chunk):
            size += len(piece)
            _hold_to(bytes_max, size)
            await target.write(piece)
            pieces += 1
            if pieces % PIECES_PER_TURN == 0:
                await asyncio.sleep(0)
        await arrival.report(received)
    inflater.end()
    return size


def _hold_to(bytes_max: int, size: int) -> None:
    if size > bytes_max:
        raise HandlerError(
            "too_large", f"The body has more than {readable(bytes_max)}, the limit of STREAMING_FETCH_BYTES_MAX."
        )


class _Arrival:
    """Reports how much of a body has arrived, at most about a hundred times."""

    def __init__(self, ctx: TaskContext, length: int | None) -> None:
        self._ctx = ctx
        self._length = length
        self._meter = Meter(length or 0)
        self._next_bytes = FIRST_REPORT_BYTES

    async def report(self, received: int) -> None:
        if self._length is None:
            if received >= self._next_bytes:
                self._next_bytes = received * 2
                await self._ctx.progress(0, f"{readable(received)} so far")
            return
        percent = self._meter.reached(received)
        if percent is not None:
            await self._ctx.progress(percent, f"{readable(received)} of {readable(self._length)}")
