"""A handler that crawls a site with httpx, and writes its report in a section that no cancel tears.

Clients choose the URL, so the operator has to say where it may go: ``CRAWL_HOSTS=example.com,localhost:8080``.
With ``CRAWL_REPORT`` the report goes to that file as well.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import Field

from streaming import HandlerError, TaskContext, task

PAGE_BYTES_MAX = 2_000_000


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.extend(value for name, value in attrs if name == "href" and value)


@task(timeout_s=600)
async def crawl(
    ctx: TaskContext, url: str, pages_max: Annotated[int, Field(ge=1, le=1000)] = 20
) -> dict[str, dict[str, int]]:
    """Follow the links of a site, and report the status of each page."""
    start = _checked(url)
    waiting, seen, report = deque([start]), {start}, dict[str, int]()
    async with httpx.AsyncClient(timeout=10) as client:
        while waiting and len(report) < pages_max:
            page = waiting.popleft()
            status, links = await _visit(client, page)
            report[str(page)] = status
            new = [link for link in links if link.netloc == start.netloc and link not in seen]
            seen.update(new)
            waiting.extend(new)
            await ctx.emit("page", {"url": str(page), "status": status, "links": len(links)})
            await ctx.progress(100 * len(report) / min(pages_max, len(seen)), f"{len(report)} of {len(seen)} known")
    async with ctx.protected("writing the report", at_most_s=5):
        await asyncio.to_thread(_write, report)
    return {"pages": report}


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise HandlerError("bad_url", "This is not a URL.") from None
    allowed = os.environ.get("CRAWL_HOSTS", "").split(",")
    if parsed.scheme not in ("http", "https") or parsed.netloc.decode() not in allowed:
        raise HandlerError("host_not_allowed", "The operator has to name this host in CRAWL_HOSTS.")
    return parsed


async def _visit(client: httpx.AsyncClient, page: httpx.URL) -> tuple[int, list[httpx.URL]]:
    """The status of a page, and where it leads; 0 if there is no answer. Redirects are not followed."""
    body = bytearray()
    try:
        async with client.stream("GET", page) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > PAGE_BYTES_MAX:
                    break
    except httpx.HTTPError:
        return 0, []
    parser = _Links()
    if response.headers.get("content-type", "").startswith("text/html"):
        parser.feed(body.decode(errors="replace"))
    return response.status_code, [link for text in parser.found if (link := _joined(page, text)) is not None]


def _joined(page: httpx.URL, link: str) -> httpx.URL | None:
    try:
        return page.join(link).copy_with(fragment=None)
    except httpx.InvalidURL:
        return None


def _write(report: dict[str, int]) -> None:
    name = os.environ.get("CRAWL_REPORT")
    if name:
        part = Path(f"{name}.part")
        part.write_text(json.dumps(report, indent=2))
        part.replace(name)
