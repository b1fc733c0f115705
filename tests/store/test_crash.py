"""What was acknowledged is there after kill -9, and nothing is half there after a full disk."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from streaming.config import Settings
from streaming.engine.journal import Commit, Journal
from streaming.errors import StoreUnavailable
from streaming.records import TaskStatus
from streaming.store import open_store
from tests.store.conftest import MakeStore
from tests.store.samples import event, record, start, task_id, ticks, whole_feed, whole_log

pytestmark = pytest.mark.process

BATCH = 7
TASKS = 3


@contextmanager
def child(target: Callable[[str, Connection], None], url: str) -> Iterator[tuple[int, Connection]]:
    """Another process that uses the database; killed at the end if it still runs."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(url, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    yield process.pid, ours
    process.kill()
    process.join()
    process.close()


async def opened(url: str) -> Journal:
    store = open_store(Settings(store_url=url))
    await store.open()
    return store


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def write_for_ever(url: str, pipe: Connection) -> None:
    """In the child: commit batches over some tasks, and acknowledge each one only once it is stored."""

    async def write() -> None:
        store = await opened(url)
        if not await store.unfinished():
            await store.commit(start(*range(TASKS)))
        live = await store.unfinished()
        seqs = {found.id: found.last_seq for found in live}
        while True:
            for number in range(TASKS):
                last = seqs[task_id(number)] + BATCH
                batch = ticks(number, last - BATCH + 1, last)
                done = await store.commit(Commit(batch, updated=[record(number, TaskStatus.RUNNING, attempt=last)]))
                seqs[task_id(number)] = last
                pipe.send({at: (number, item.seq) for at, item in zip(done.positions, batch, strict=True)})

    asyncio.run(write())


def what_is_left(pipe: Connection) -> Iterator[dict[int, tuple[int, int]]]:
    """What the child had still sent before its end; of the last message there may be a part only."""
    with suppress(EOFError, OSError):
        while True:
            yield pipe.recv()


@pytest.mark.parametrize("cut", [0, 2, 4, 7])
def test_a_message_that_the_kill_has_cut_is_none(cut: int) -> None:
    """In its head of four bytes, behind it, or in what it says."""
    ours, theirs = get_context("spawn").Pipe()
    theirs.send({1: (0, 1)})
    os.write(theirs.fileno(), b"\x00\x00\x00\x64half"[:cut])
    theirs.close()

    assert list(what_is_left(ours)) == [{1: (0, 1)}]
    ours.close()


@pytest.fixture
def sqlite_url(database_path: Path) -> str:
    return f"sqlite:///{database_path}"


@pytest.mark.parametrize("database", ["sqlite_url", "our_database"])
async def test_every_acknowledged_commit_survives_kill_9_and_none_is_half_there(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(database)
    chance = random.Random(9)
    acknowledged: dict[int, tuple[int, int]] = {}  # position: (task, seq)
    for _ in range(3):
        with child(write_for_ever, url) as (pid, pipe):
            for _ in range(chance.randrange(1, 150)):
                acknowledged |= pipe.recv()
            os.kill(pid, signal.SIGKILL)
            for more in what_is_left(pipe):
                acknowledged |= more

        store = await opened(url)
        feed = {position: (int(item.task_id, 16), item.seq) for position, item in await whole_feed(store)}
        assert list(feed) == list(range(1, len(feed) + 1))
        assert feed | acknowledged == feed
        for found in await store.unfinished():
            log = await whole_log(store, int(found.id, 16))
            assert [item.seq for item in log] == list(range(1, found.last_seq + 1))
            assert (found.last_seq - 1) % BATCH == 0
            assert found.attempt == (found.last_seq if found.last_seq > 1 else 1)  # record and events agree
        await store.close()


def open_and_wait(url: str, pipe: Connection) -> None:
    """In the child: hold the database."""

    async def wait() -> None:
        await opened(url)
        pipe.send("open")
        await asyncio.Event().wait()

    asyncio.run(wait())


async def test_another_instance_is_refused_by_name_until_it_is_gone(
    make_sqlite: MakeStore, database_path: Path, sqlite_url: str
) -> None:
    store = make_sqlite()
    with child(open_and_wait, sqlite_url) as (pid, pipe):
        assert pipe.recv() == "open"
        with pytest.raises(StoreUnavailable, match=f"in use by process {pid}, which holds {database_path}.lock"):
            await store.open()
    await store.open()
    await store.close()


# -- a full disk -------------------------------------------------------------------------------------------------------


def fill_the_disk(url: str, pipe: Connection) -> None:
    """In the child: write until files may not grow any more, then let them grow again."""

    async def write() -> None:
        store = await opened(url)
        await store.commit(start(1))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        seq = 1
        refused = ""
        while not refused:
            batch = Commit([event(1, seq + n, payload=f'"{"x" * 20_000}"') for n in range(1, 4)])
            try:
                await store.commit(batch)
                seq += 3
            except StoreUnavailable as error:
                refused = error.detail
                assert await store.outcome(batch) is None
        log = [item.seq for item in await whole_log(store, 1)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await store.commit(Commit([event(1, seq + 1)]))
        after = [item.seq for item in await whole_log(store, 1)]
        await store.close()
        pipe.send((refused, seq, log, after))

    asyncio.run(write())


async def test_a_full_disk_stores_nothing_by_halves_and_passes(make_sqlite: MakeStore, sqlite_url: str) -> None:
    with child(fill_the_disk, sqlite_url) as (_, pipe):
        refused, seq, log, after = pipe.recv()

    assert refused in {
        "The store cannot be written: its disk is full.",
        "The store cannot be written: its disk does not work, or has no room left.",
    }
    assert seq > 4
    assert log == list(range(1, seq + 1))
    assert after == list(range(1, seq + 2))
    store = make_sqlite()
    await store.open()
    assert [item.seq for item in await whole_log(store, 1)] == after
    await store.close()
