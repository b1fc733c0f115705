"""What a server was asked by a page, and what a page was told, side by side.

Owns:   `Ear`, and the log as somebody else reads it.
Never:  changes an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streaming.web.application import Application
from streaming.web.request import Receive, Scope, Send
from tests.browser.tab import Note
from tests.web.live import Live


class Ear:
    """Goes around the application, and notes with which cursor each stream was asked for."""

    def __init__(self) -> None:
        self.cursors: list[str | None] = []

    def __call__(self, app: Application) -> Any:
        async def heard(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith("/events") and scope["method"] == "GET":
                cursor = dict(scope["headers"]).get(b"last-event-id")
                self.cursors.append(None if cursor is None else cursor.decode())
            await app(scope, receive, send)

        return heard


def url_of(here: Live) -> str:
    return f"http://127.0.0.1:{here.port}"


async def log_of(here: Live, task_id: str) -> list[tuple[str, str, str]]:
    """The whole log as somebody else reads it: (id, type, data)."""
    return [(each.id, each.event, each.data) for each in await here.all_sse(f"/tasks/{task_id}/events")]


def told(notes: Iterable[Note]) -> list[tuple[str, str, str]]:
    return [(note.id, note.type, note.data) for note in notes if note.told]
