"""kill -9 again and again, at any moment, under load that does not pause: nobody who was told something was told wrong.

Twenty rounds on one file; ``KILL_ROUNDS=200`` makes it as many, for a night.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, running
from tests.process.witness import HABITS, STEADY, Witness, witnessed

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))

pytestmark = [pytest.mark.process, pytest.mark.timeout(60 + 3 * ROUNDS)]

SEED = 20

CLIENTS = 12

#: A kill comes at any moment of so many seconds after so many tasks have been started in the round, ...
LOAD_S, BEGUN = 0.4, 4

#: ... but in every so many rounds while the server starts, and recovers what the last one has left.
EARLY, START_S = 5, 0.2

ENDS = {"completed", "cancelled", "interrupted", "timed_out"}


class Load:
    """Clients who start, watch and cancel tasks, and do not care that their server dies all the time."""

    def __init__(self, witness: Witness, chance: random.Random) -> None:
        self._witness = witness
        self._chance = chance
        self.enough = False

    async def client(self) -> None:
        while not self.enough:
            await self._one()
            await self._witness.look()
            await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def _one(self) -> None:
        witness, chance = self._witness, self._chance
        match chance.choice(("burst", "burst", "sleeper", "tidy", "again", "short")):
            case "burst":
                n, pad_bytes = chance.choice((5, 50, 500)), chance.choice((0, 90, 2000))
                task_id = await witness.start("burst", n=n, pad_bytes=pad_bytes)
            case "again":
                task_id = await witness.start("again", n=chance.choice((10, 100, 300)))
            case "short":
                task_id = await witness.start("sleeper", {"timeout_s": 0.05})
            case type:
                task_id = await witness.start(type)
        witness.watch(task_id, STEADY, chance.choice(HABITS))
        if witness.types[task_id] in ("sleeper", "tidy") and chance.random() < 0.7:
            await asyncio.sleep(chance.uniform(0, 0.1))
            await witness.cancel(task_id)


async def test_whatever_the_moment_of_the_kill_every_client_was_told_the_truth(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port, chance) as witness:
            witness.watch_feed()
            load = Load(witness, chance)
            clients = asyncio.gather(*(load.client() for _ in range(CLIENTS)))
            for round in range(ROUNDS):
                early = round % EARLY == EARLY - 1
                async with running(tmp_path, FORKED, ready=not early, port=port) as server:
                    begun = len(witness.types) + BEGUN
                    if not early:
                        await server.until(lambda: server.ended or clients.done() or len(witness.types) >= begun)  # noqa: B023  # it is asked in this round
                    await asyncio.sleep(chance.uniform(0, START_S if early else LOAD_S))
                    assert not server.ended, "\n".join(server.lines)
                    assert not clients.done(), clients.exception()
            load.enough = True
            async with running(tmp_path, FORKED, port=port) as server:
                await clients
                for task_id, type in witness.types.items():
                    if type in ("sleeper", "tidy"):
                        await witness.cancel(task_id)
                await witness.until_read(within_s=60)
                await witness.read_again()
                await server.check_sound()
                await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
    assert set(found.statuses) == ENDS, "it was killed in the middle of all of that"
    assert sum(found.statuses.values()) > 2 * ROUNDS
    assert found.receipts > ROUNDS / 4


async def test_a_lie_is_found(tmp_path: Path) -> None:
    """The witness is worth nothing if it believes everything."""
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port) as server:
            task_id = await witness.start("burst", n=20)
            (watcher,) = witness.watch(task_id)
            feed = witness.watch_feed()
            await witness.until_read()
            await server.until(lambda: feed.has >= watcher.last)
            await server.stop()
        url = f"sqlite:///{tmp_path}/tasks.db"
        assert (await witness.judge(url)).violations == []
        truth, all_of_it = list(watcher.seen), list(feed.seen)
        for lie, named in (
            (truth[:5] + truth[6:], "reader_saw_prefix"),
            (truth[:5] + truth[4:], "reader_saw_prefix"),
            ([*truth[:5], (6, truth[5][1].replace(b'"n":4', b'"n":5')), *truth[6:]], "reader_saw_prefix"),
            (truth[:-1], "reader_saw_end"),
            ([*truth, (len(truth) + 1, b"")], "reader_saw_prefix"),
        ):
            watcher.seen = lie
            (violation, *_) = (await witness.judge(url)).violations
            assert violation.startswith(named), violation
        watcher.seen, feed.seen = truth, all_of_it[1:]
        (violation,) = (await witness.judge(url)).violations
        assert violation.startswith("reader_saw_prefix of task the feed")
        feed.seen = all_of_it
        witness.types["0" * 32] = "burst"
        assert len((await witness.judge(url)).violations) == 2, "a start that was lost"


async def test_what_a_server_finds_wrong_with_itself_is_a_failure(tmp_path: Path) -> None:
    """Nor is its own audit worth anything that never finds one, or has nothing to look at."""
    async with running(tmp_path, FORKED) as server:
        with pytest.raises(AssertionError, match="looked at nothing"):
            await server.check_sound()
        task_id = await server.start("burst", n=3)
        assert (await server.get(task_id, wait_s=20))["status"] == "completed"
        await server.check_sound()
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
            database.execute("DELETE FROM events WHERE seq = 3")
        with pytest.raises(AssertionError, match="seq_without_holes"):
            await server.check_sound()
        await server.stop()
