"""A database with many records, as a month of use would leave it.

Owns:   what the records are like: types, statuses, tags, keys, words, times; and writing them into a store.
Uses:   the store's own way to write, so that every table and index is as the server would have left it.
Never:  measures.

A record of a task that has ended has three events and three changes of its status; about 1 in 250 has not ended.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, create_engine

from streaming.config import Settings
from streaming.engine.journal import Commit
from streaming.events import Event
from streaming.records import Change, Priority, Progress, Record, TaskError, TaskStatus
from streaming.store import open_database
from streaming.store.writes import write

SEED = 3
DAYS = 30
BATCH = 2_000

#: Of how many records one has not ended.
LIVE_EVERY = 250

#: Seconds after which a task is stale, by default.
STALE_S = 300

TYPES = MappingProxyType({"http_fetch": 45, "countdown": 25, "command": 15, "checksum": 10, "bench_wait": 5})
ENDS = MappingProxyType(
    {
        TaskStatus.COMPLETED: 88,
        TaskStatus.FAILED: 6,
        TaskStatus.CANCELLED: 3,
        TaskStatus.TIMED_OUT: 2,
        TaskStatus.INTERRUPTED: 1,
    }
)
PRIORITIES = MappingProxyType({Priority.LOW: 10, Priority.NORMAL: 70, Priority.HIGH: 15, Priority.URGENT: 5})
TEAMS = tuple(f"team-{number}" for number in range(100))
STAGES = MappingProxyType({"production": 70, "staging": 20, "development": 10})
PRINCIPALS = tuple(f"user-{number}" for number in range(200))
CODES = ("exception", "connect_failed", "bad_status", "too_large", "exit_status")
SITES = 5_000
CUSTOMERS = 50_000
#: A word of nearly half of the records, and one of 1 in 20,000.
COMMON_WORD, RARE_WORD, RARE_EVERY = "https", "needle", 20_000

Told = Callable[[int], None]


def fill(url: str, count: int, told: Told) -> None:
    """Write records into an empty store.

    Args:
        url: of the store.
        count: how many.
        told: called with how many were written, again and again.
    """
    database = open_database(Settings(store_url=url))
    database.open()
    try:
        made = records(count, datetime.now(UTC))
        while batch := list(islice(made, BATCH)):
            with database.writing() as connection:
                _hurry(connection)
                write(connection, _commit(batch))
            told(len(batch))
    finally:
        database.close()
    _look_over(url)


def records(count: int, now: datetime) -> Iterator[Record]:
    """Records of the last `DAYS`, oldest first; always the same but for the time."""
    chance = random.Random(SEED)
    begin, span_s = now - timedelta(days=DAYS), 86_400.0 * DAYS
    live = max(1, count // LIVE_EVERY)
    for number in range(count):
        created = begin + timedelta(seconds=span_s * (number + chance.random()) / (count + 1))
        record = _ended(chance, number, created)
        yield record if number < count - live else _live(chance, number, record, now)


def _hurry(connection: Connection) -> None:
    """Nobody is told that these are there, so none has to reach the disk at once; and what they refer to is there."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size = -1000000")
    else:
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off; SET LOCAL session_replication_role = replica")


def _look_over(url: str) -> None:
    """What autovacuum does on a PostgreSQL that has run for a while."""
    if not url.startswith("sqlite"):
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
        engine.dispose()


def _commit(batch: Sequence[Record]) -> Commit:
    told = [(record, *each) for record in batch for each in _life(record)]
    return Commit(
        [Event(record.id, seq, status, time, payload) for record, seq, status, time, payload in told],
        created=batch,
        changes=[
            Change(record.id, seq, status, time, record.created_by if seq == 1 else "server")
            for record, seq, status, time, _ in told
        ],
    )


def _life(record: Record) -> Iterator[tuple[int, TaskStatus, str, str]]:
    yield 1, TaskStatus.PENDING, record.created_at, "{}"
    if record.started_at is not None:
        yield 2, TaskStatus.RUNNING, record.started_at, '{"attempt":1}'
    if record.finished_at is not None:
        yield 3, record.status, record.finished_at, '{"result":{"bytes":4096}}'


def _ended(chance: random.Random, number: int, created: datetime) -> Record:
    started = created + timedelta(seconds=chance.expovariate(1))
    finished = started + timedelta(seconds=chance.expovariate(0.05))
    status = _one_of(chance, ENDS)
    failed = status is not TaskStatus.COMPLETED
    code = chance.choice(CODES) if status is TaskStatus.FAILED else status.value
    type_ = _one_of(chance, TYPES)
    return Record(
        id=_id(chance, created),
        type=type_,
        status=status,
        params=_params(chance, number, type_),
        timeout_s=3600.0,
        created_at=_text(created),
        updated_at=_text(finished),
        created_by=chance.choice(PRINCIPALS),
        priority=_one_of(chance, PRIORITIES),
        key=f"customer-{chance.randrange(CUSTOMERS)}" if chance.random() < 0.3 else None,
        tags=(chance.choice(TEAMS), _one_of(chance, STAGES)),
        progress=Progress(float(chance.randrange(100)) if failed else 100.0),
        result=None if failed else {"bytes": chance.randrange(1_000_000)},
        error=TaskError(code, f"It ended at step {chance.randrange(20)}.") if failed else None,
        heartbeat_at=_text(finished),
        last_seq=3,
        log_bytes=500,
        started_at=_text(started),
        finished_at=_text(finished),
    )


def _live(chance: random.Random, number: int, record: Record, now: datetime) -> Record:
    """Every fourth waits here, the others run elsewhere; of these every tenth has not been heard of for a while."""
    rest: dict[str, Any] = {"result": None, "error": None, "finished_at": None}
    if number % 4 == 0:
        waiting: dict[str, Any] = {"progress": None, "heartbeat_at": None, "started_at": None, "last_seq": 1}
        return dataclasses.replace(
            record, type="bench_wait", params={}, status=TaskStatus.PENDING, key=None, **waiting, **rest
        )
    silent_s = chance.uniform(1, 200) + STALE_S * (number % 10 == 1)
    heard = _text(now - timedelta(seconds=silent_s))
    return dataclasses.replace(
        record,
        type="external",
        status=TaskStatus.RUNNING,
        key=None,
        external_id=f"job-{number}",
        progress=Progress(float(chance.randrange(100))),
        updated_at=heard,
        heartbeat_at=heard,
        last_seq=2,
        **rest,
    )


def _params(chance: random.Random, number: int, type_: str) -> dict[str, Any]:
    if number % RARE_EVERY == RARE_EVERY // 2:
        return {"note": f"the {RARE_WORD} of {number}"}
    if type_ == "http_fetch":
        return {"url": f"{COMMON_WORD}://site-{chance.randrange(SITES)}.example/files/{chance.randrange(1_000_000)}"}
    if type_ == "countdown":
        return {"count": chance.randrange(100), "interval": 1.0}
    if type_ == "command":
        return {"name": chance.choice(("backup", "report", "import", "cleanup"))}
    return {}


def _id(chance: random.Random, created: datetime) -> str:
    """As the server makes them: they sort by time."""
    return f"{int(1000 * created.timestamp()):012x}7{chance.getrandbits(12):03x}8{chance.getrandbits(60):015x}"


def _one_of(chance: random.Random, weights: Any) -> Any:
    return chance.choices(tuple(weights), tuple(weights.values()))[0]


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
