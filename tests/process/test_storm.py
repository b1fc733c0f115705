"""Ten thousand reconnects in a storm: each reader gets all of it once, and the server is then as it was before."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import psutil
import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, Server, running
from tests.process.witness import Habit, Watcher, Witness, witnessed

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

RECONNECTS = 10_000

#: At the same time.
READERS = 100

#: What the memory of a server may have grown by: what its allocator keeps, and not something for each connection.
GROWN_BYTES_MAX = 8 * 2**20

#: A log of some 60 events, read in pieces: each visit ends in the middle of something.
EVENTS, PAD_BYTES = 60, 60
HASTY = (Habit(bytes_max=900), Habit(bytes_max=900, reset=True), Habit(bytes_max=90, reset=True), Habit(bytes_max=5000))


def open_files(server: Server) -> int:
    return psutil.Process(server.process.pid).num_fds()


def resident(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


async def storm(witness: Witness, reconnects: int) -> None:
    """Readers of logs that end and of one that goes on, until there were so many reconnects."""
    chance = witness.chance
    made = 0
    finished = [await witness.start("burst", n=EVENTS, pad_bytes=PAD_BYTES) for _ in range(10)]
    going_on = await witness.start("burst", pause_s=0.05)

    async def read() -> None:
        nonlocal made
        while made < reconnects:
            task_id = chance.choice((*finished, *finished, going_on))
            path = f"/tasks/{task_id}/events"
            reader = Watcher(path, lambda: witness.port, chance.choice(HASTY), random.Random(chance.random()))
            witness.watchers.setdefault(task_id, []).append(reader)
            while made < reconnects and not reader.finished and reader.connections < 30:
                await reader.visit()
                made += 1

    await asyncio.gather(*(read() for _ in range(READERS)))
    assert await witness.cancel(going_on)


async def test_a_storm_of_reconnects_costs_nobody_an_event_and_the_server_nothing(tmp_path: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port, random.Random(1)) as witness, running(tmp_path, FORKED, port=port) as server:
            await storm(witness, RECONNECTS // 20)  # so that everything is warm
            await server.until(lambda: quiet(server, witness))
            files, memory = open_files(server), resident(server)

            await storm(witness, RECONNECTS)

            await server.until(lambda: quiet(server, witness))
            assert open_files(server) <= files + 1, "what is open of the store may differ by one"
            assert resident(server) - memory < GROWN_BYTES_MAX
            await server.check_sound()
            await server.stop()
            assert [entry for entry in server.entries if entry["level"] not in ("info", "debug")] == []

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
    assert found.connections >= RECONNECTS


def quiet(server: Server, witness: Witness) -> bool:
    """Whether the server has let go of every connection that a reader had."""
    tcp = psutil.Process(server.process.pid).net_connections("tcp")
    ours = psutil.Process().net_connections("tcp")
    asking = sum(each.status == psutil.CONN_ESTABLISHED and each.raddr.port == witness.port for each in ours)
    return len([each for each in tcp if each.status != psutil.CONN_LISTEN]) <= asking
