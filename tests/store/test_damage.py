"""What somebody else has damaged in a database takes nothing else with it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from streaming.engine.journal import Commit, Journal, RecordQuery
from streaming.errors import RecordDamaged
from streaming.events import DEPTH_MAX, encode_payload
from streaming.records import CancelReceipt, Change, Progress, TaskError, TaskStatus
from streaming.rules.log import gap_event
from tests.store.samples import at, event, record, start, task_id, ticks, wanted, whole_feed, whole_log

LogLines = list[dict[str, Any]]
Damage = Callable[..., None]


@pytest.fixture
def log_lines() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def damage(database_path: Path) -> Damage:
    """Does what no version of ours does."""

    def run(statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(database_path)) as other, other:
            assert other.execute(statement, values).rowcount > 0

    return run


def blamed(log_lines: LogLines) -> list[Any]:
    """What the log lines name, each line once."""
    return [line.get("seq", line["task_id"]) for line in log_lines if line["log_level"] == "error"]


# -- records -----------------------------------------------------------------------------------------------------------

#: Columns with a time of ours, or nothing.
TIMES = ("started_at", "finished_at", "heartbeat_at", "retry_at", "acked_at")

#: Column and what stands in it, as SQL.
UNREADABLE = [
    ("id", "x'00'"),
    ("id", "'short'"),
    ("type", "x'00'"),
    ("tenant", "x'00'"),
    ("traceparent", "x'00'"),
    ("tracestate", "x'00'"),
    ("status", "'foo'"),
    ("status", "x'00'"),
    ("params", "'no json'"),
    ("params", "'[]'"),
    ("params", "x'7b7d'"),
    ("params", "CAST(x'7b22ff223a317d' AS TEXT)"),
    ("params", """'{"n": NaN}'"""),
    ("params", """'{"n": -1e999}'"""),
    ("params", """'{"n": ' || replace(hex(zeroblob(5000)), '0', '1') || '}'"""),
    ("params", """'{"n": ' || replace(hex(zeroblob(50000)), '0', '[')"""),
    ("timeout_s", "'soon'"),
    ("created_at", "'yesterday'"),
    ("created_at", "x'00'"),
    ("updated_at", "x'00'"),
    ("updated_at", "'yesterday'"),
    ("created_by", "x'00'"),
    ("tags", "'red'"),
    ("tags", "x'5b5d'"),
    ("tags", "'[1]'"),
    ("tags", """'{"red": 1}'"""),
    ("attempt", "'many'"),
    ("progress", "'{}'"),
    ("progress", "'[]'"),
    ("progress", """'{"percent": "much"}'"""),
    ("progress", """'{"percent": 1, "message": 2}'"""),
    ("result", "'{'"),
    ("error", """'{"code": "a"}'"""),
    ("error", """'{"code": "a", "message": null}'"""),
    ("cancel", "'{}'"),
    ("cancel", """'{"requested_at": "", "by": "", "outcome": "odd"}'"""),
    ("cancel", """'{"requested_at": "", "by": 1, "outcome": "stopped"}'"""),
    *((column, value) for column in TIMES for value in ("x'00'", "'yesterday'", "'2026-11-01T12:00:00+00:00'")),
]


@pytest.mark.parametrize(("column", "value"), UNREADABLE)
async def test_a_record_that_cannot_be_read_is_left_out_and_named(
    sqlite: Journal, damage: Damage, log_lines: LogLines, column: str, value: str
) -> None:
    await sqlite.commit(start(1, 2, 3))
    damage(f"UPDATE tasks SET {column} = {value} WHERE id = ?", task_id(2))  # noqa: S608  # from the table above

    page = await sqlite.records(RecordQuery())

    assert sorted(found.id for found in page) == [task_id(1), task_id(3)]
    assert not page.more
    assert len(blamed(log_lines)) == 1
    if column != "id":
        assert blamed(log_lines) == [task_id(2)]
        with pytest.raises(RecordDamaged, match=task_id(2)):
            await sqlite.record(task_id(2))


@pytest.mark.parametrize(
    "change",
    ["status = 'foo'", "status = x'00'", "time = 'yesterday'", "time = x'00'", "reason = x'00'", "actor = x'00'"],
)
async def test_a_history_that_cannot_be_read_is_damage(
    sqlite: Journal, damage: Damage, log_lines: LogLines, change: str
) -> None:
    await sqlite.commit(with_history(1, 2))
    damage(f"UPDATE changes SET {change} WHERE task_id = ?", task_id(2))  # noqa: S608  # from the list above
    with pytest.raises(RecordDamaged, match=task_id(2)):
        await sqlite.changes(task_id(2))
    assert blamed(log_lines) == [task_id(2)]
    assert len(await sqlite.changes(task_id(1))) == 1


def with_history(*numbers: int) -> Commit:
    started = start(*numbers)
    changes = [Change(task_id(number), 1, TaskStatus.PENDING, at(number), "me") for number in numbers]
    return Commit(started.events, created=started.created, changes=changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("progress", Progress(3, "three")),
        ("error", TaskError("a", "b")),
        ("cancel", CancelReceipt(at(1), "ann")),
        ("result", [None, 1.5, {"a": "\ud800"}]),
        ("timeout_s", 60),
    ],
)
async def test_what_is_ours_is_never_taken_for_damage(sqlite: Journal, field: str, value: Any) -> None:
    created = record(1, last_seq=1, created_at=at(1))
    created = type(created)(**{name: getattr(created, name) for name in created.__slots__} | {field: value})
    await sqlite.commit(Commit([event(1, 1, "pending")], created=[created]))

    assert list(await sqlite.records(RecordQuery())) == [created]


async def test_a_page_goes_on_behind_any_number_of_records_that_cannot_be_read(
    sqlite: Journal, damage: Damage, log_lines: LogLines
) -> None:
    await sqlite.commit(start(*range(1, 11)))
    damage("UPDATE tasks SET params = 'x' WHERE id NOT IN (?, ?)", task_id(1), task_id(2))

    page = await sqlite.records(RecordQuery(limit=1))

    assert ([found.id for found in page], page.more) == ([task_id(2)], (at(2), task_id(2)))
    assert blamed(log_lines) == [task_id(number) for number in range(10, 2, -1)], "each once"
    last = await sqlite.records(RecordQuery(after=page.more, limit=1))
    assert ([found.id for found in last], last.more) == ([task_id(1)], None)


async def test_where_no_record_can_be_read_the_page_is_empty_and_the_last(sqlite: Journal, damage: Damage) -> None:
    await sqlite.commit(start(*range(1, 8)))
    damage("UPDATE tasks SET status = 'foo'")

    page = await sqlite.records(RecordQuery(limit=2))
    assert (list(page), page.more) == ([], None)


@pytest.mark.parametrize("value", ["'red'", "x'5b5d'", "CAST(x'5b22ff225d' AS TEXT)", "'[' || char(0)", "'[1]'"])
async def test_tags_that_cannot_be_read_stop_nobody_who_looks_for_a_tag(
    sqlite: Journal, damage: Damage, log_lines: LogLines, value: str
) -> None:
    await sqlite.commit(start(1, 2, tags=("red",)))
    damage(f"UPDATE tasks SET tags = {value} WHERE id = ?", task_id(2))  # noqa: S608  # one of those above

    assert [found.id for found in await sqlite.records(RecordQuery(wanted(tag="red")))] == [task_id(1)]
    items = await sqlite.feed_after(0, last_position=9, limit=9)
    assert [(item.position, item.tags) for item in items] == [(1, ("red",)), (2, ())]
    assert blamed(log_lines) == [task_id(2)], "it is still found, and cannot be read"


@pytest.mark.parametrize("column", ["created_by", "tenant"])
async def test_the_events_of_a_task_of_which_nobody_can_tell_whose_it_is_are_for_nobody(
    sqlite: Journal, damage: Damage, column: str
) -> None:
    await sqlite.commit(start(1, 2, created_by="ann"))
    damage(f"UPDATE tasks SET {column} = CAST(x'ff' AS TEXT) WHERE id = ?", task_id(2))  # noqa: S608  # from above

    items = await sqlite.feed_after(0, last_position=9, limit=9)
    assert [(item.position, item.created_by, item.tenant) for item in items] == [(1, "ann", None), (2, "", "")]


async def test_what_cannot_be_read_is_not_taken_up_again_after_a_crash(
    sqlite: Journal, damage: Damage, log_lines: LogLines
) -> None:
    await sqlite.commit(start(1, 2))
    damage("UPDATE tasks SET params = 'x' WHERE id = ?", task_id(1))

    assert [found.id for found in await sqlite.unfinished()] == [task_id(2)]
    assert blamed(log_lines) == [task_id(1)]


@pytest.mark.parametrize("column", ["status", "params"])
async def test_a_record_that_cannot_be_read_can_be_deleted(sqlite: Journal, damage: Damage, column: str) -> None:
    await sqlite.commit(start(1, 2))
    damage(f"UPDATE tasks SET {column} = 'x' WHERE id = ?", task_id(1))  # noqa: S608  # a column of ours

    assert await sqlite.delete(task_id(1)) is True
    assert await sqlite.record(task_id(1)) is None
    assert await whole_feed(sqlite) == [(2, event(2, 1, "pending"))]


async def test_its_task_takes_no_events_where_its_status_cannot_be_read(sqlite: Journal, damage: Damage) -> None:
    await sqlite.commit(start(1, 2))
    damage("UPDATE tasks SET status = 'foo' WHERE id = ?", task_id(1))

    committed = await sqlite.commit(Commit([event(1, 2), event(2, 2)], updated=[record(1, TaskStatus.RUNNING)]))
    assert committed.lost == {task_id(1)}
    assert await whole_log(sqlite, 2) == [event(2, 1, "pending"), event(2, 2)]


# -- events ------------------------------------------------------------------------------------------------------------

UNREADABLE_EVENTS = [
    ("type", "x'00'"),
    ("type", "''"),
    ("type", "'two words'"),
    ("type", "'a' || char(10) || 'b'"),
    ("time", "x'00'"),
    ("time", """'"quoted"'"""),
    ("payload", "'no json'"),
    ("payload", "''"),
    ("payload", "x'7b7d'"),
    ("payload", "'NaN'"),
    ("payload", "'{}' || char(10)"),
    ("payload", "'{' || char(13) || '}'"),
    ("payload", "CAST(x'7b7d00' AS TEXT)"),
    ("payload", "CAST(x'22ff22' AS TEXT)"),
]


@pytest.mark.parametrize(("column", "value"), UNREADABLE_EVENTS)
async def test_a_gap_stands_for_an_event_that_cannot_be_read(
    sqlite: Journal, damage: Damage, log_lines: LogLines, column: str, value: str
) -> None:
    await sqlite.commit(start(1))
    await sqlite.commit(Commit(ticks(1, 2, 4)))
    damage(f"UPDATE events SET {column} = {value} WHERE seq = 3")  # noqa: S608  # from the table above

    time = at(3) if column != "time" else "1970-01-01T00:00:00.000000Z"
    expected = [event(1, 1, "pending"), event(1, 2), gap_event(task_id(1), 3, 3, "damaged", time), event(1, 4)]
    assert await whole_log(sqlite, 1) == expected
    assert [found for _, found in await whole_feed(sqlite)] == expected
    assert blamed(log_lines) == [3, 3]
    assert {line["task_id"] for line in log_lines} == {task_id(1)}


@pytest.mark.parametrize(
    "payload",
    [
        encode_payload("\u2028 \x7f \U0001f600 \\u0000"),
        json.dumps("\ud800"),
        "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1),
        "1e999",
        '{"a":1,"a":2}',
        " {} ",
    ],
    ids=["text", "surrogate", "deep", "large number", "twice", "blanks"],
)
async def test_what_json_can_carry_is_never_taken_for_damage(sqlite: Journal, payload: str) -> None:
    await sqlite.commit(start(1))
    await sqlite.commit(Commit([event(1, 2, payload=payload)]))

    assert (await whole_log(sqlite, 1))[1].payload == payload
