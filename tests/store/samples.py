"""Records, events and commits to store."""

from __future__ import annotations

from typing import Any

from streaming.engine.journal import Commit, Committed, Journal
from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.rules.fields import Operator, Value
from streaming.rules.filters import Filter, Term


def task_id(number: int) -> str:
    return f"{number:032x}"


def at(second: int) -> str:
    return f"2026-11-01T12:{second // 60:02}:{second % 60:02}.000000Z"


def record(number: int, status: TaskStatus = TaskStatus.PENDING, **fields: Any) -> Record:
    """The record of task ``number``, created at that second unless told otherwise."""
    fields = {"created_at": at(number), "updated_at": at(number), **fields}
    return Record(task_id(number), fields.pop("type", "countdown"), status, fields.pop("params", {}), 60.0, **fields)


def event(number: int, seq: int, type: str = "tick", payload: str = "{}") -> Event:
    return Event(task_id(number), seq, type, at(seq), payload)


def start(*numbers: int, **fields: Any) -> Commit:
    """The commit that starts tasks."""
    return Commit(
        [event(number, 1, "pending") for number in numbers], created=[record(number, **fields) for number in numbers]
    )


def ticks(number: int, first: int, last: int) -> list[Event]:
    return [event(number, seq) for seq in range(first, last + 1)]


def end(number: int, seq: int, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any) -> Commit:
    """The commit that ends a task."""
    return Commit([event(number, seq, status.value)], updated=[record(number, status, **fields)])


def plain(committed: Committed | None) -> tuple[list[int], set[str]] | None:
    """What became of a commit, for comparison."""
    return None if committed is None else (list(committed.positions), set(committed.lost))


def wanted(text: str | None = None, **values: Value | tuple[Value, ...]) -> Filter:
    """The filter for records whose fields have these values, or any of several."""
    return Filter(tuple(_one_of(field, value) for field, value in values.items()), text)


def _one_of(field: str, value: Value | tuple[Value, ...]) -> Term:
    return Term(field, Operator.IN, value) if isinstance(value, tuple) else Term(field, Operator.EQ, (value,))


async def whole_log(store: Journal, number: int) -> list[Event]:
    return await store.events_after(task_id(number), 0, last_seq=1_000_000, limit=1_000_000)


async def whole_feed(store: Journal) -> list[tuple[int, Event]]:
    items = await store.feed_after(0, last_position=1_000_000, limit=1_000_000)
    return [(item.position, item.event) for item in items]
