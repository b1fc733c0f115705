"""The tasks of ``streaming top`` between two answers of the server: what events say of them, and how many come.

Rules of this file:

- An event changes what it says itself. Which tasks there are, and in which order, only the server knows.

Owns:   `after_event`, `stale`, `matches`, and `Rate`.
Never:  asks a server or reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streaming.events import Event
from streaming.records import Progress, Record, TaskStatus

_STATUSES = frozenset(status.value for status in TaskStatus)

#: The rate of events is that of the last seconds.
WINDOW_S = 10.0


def after_event(record: Record, event: Event) -> Record:
    """A task after one of its events; as it was if that says nothing of what is shown, or is an old one."""
    if event.seq <= record.last_seq:
        return record
    record = replace(record, last_seq=event.seq, updated_at=event.time)
    data: Any = event.data
    if event.type in _STATUSES:
        return replace(record, status=TaskStatus(event.type), attempt=_attempt(record, data))
    if event.type == "progress" and isinstance(data, Mapping) and isinstance(data.get("percent"), int | float):
        message = data.get("message")
        return replace(record, progress=Progress(float(data["percent"]), None if message is None else str(message)))
    return record


def _attempt(record: Record, data: Any) -> int:
    attempt = data.get("attempt") if isinstance(data, Mapping) else None
    return attempt if isinstance(attempt, int) else record.attempt


def stale(known: Mapping[str, Record], event: Event) -> bool:
    """Whether the list may be another one after an event: a task is new, or has another status."""
    return event.task_id not in known or event.type in _STATUSES


def matches(record: Record, search: str) -> bool:
    """Whether a task has all of these words in what is shown of it."""
    progress = record.progress.message if record.progress is not None else ""
    error = record.error.message if record.error is not None else ""
    shown = (record.id, record.type, record.status.value, record.created_by, *record.tags, progress or "", error)
    text = " ".join(shown).casefold()
    return all(word in text for word in search.casefold().split())


class Rate:
    """How many events come in a second."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=100_000)

    def count(self, now_s: float) -> None:
        """Note an event."""
        self._seen.append(now_s)

    def per_s(self, now_s: float) -> float:
        """The rate of the last seconds."""
        while self._seen and self._seen[0] <= now_s - WINDOW_S:
            self._seen.popleft()
        return len(self._seen) / WINDOW_S
