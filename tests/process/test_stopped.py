"""SIGSTOP and SIGCONT, as a debugger or the snapshot of a virtual machine does it: time jumps, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import select
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, ROOT, SOON_S, Server, running
from tests.process.witness import CRASHING, SLOW, STEADY, Witness, witnessed

pytestmark = pytest.mark.process

#: Longer than the limits of the server below.
STOPPED_S = 2.5
LIMITS: dict[str, Any] = {"keepalive_s": 0.4, "send_timeout_s": 1.0, "header_timeout_s": 1.0, "store_wait_s": 1.0}


async def stopped(server: Server, seconds: float) -> None:
    """Stop a server, and let it go on."""
    server.signal(signal.SIGSTOP)
    await server.until(lambda: psutil.Process(server.process.pid).status() == psutil.STATUS_STOPPED)
    await asyncio.sleep(seconds)
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize("way", [FORKED, "streaming serve, without uvloop"])
async def test_a_server_that_stood_still_goes_on_as_if_it_had_not(way: str, tmp_path: Path) -> None:
    """Times that are over meanwhile are over, everything else goes on; and no reader is blamed for the pause."""
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, way, port=port, **LIMITS) as server:
            witness.watch_feed()
            busy = [await witness.start("burst", n=4000, pad_bytes=500) for _ in range(2)]
            quiet, late = await witness.start("sleeper"), await witness.start("sleeper", {"timeout_s": 1})
            silent = await witness.start("sleeper", {"heartbeat_timeout_s": 1})
            for task_id in (*busy, quiet, late, silent):
                witness.watch(task_id, STEADY, STEADY, CRASHING)
            (watcher, *_) = witness.watch(quiet)
            await server.until(lambda: all(each.has > 100 for id in busy for each in witness.watchers[id][:2]))
            asking = asyncio.create_task(witness.http.get(f"/tasks/{quiet}", params={"wait_s": 0.5}))

            await stopped(server, STOPPED_S)

            began_at = time.monotonic()
            assert (await asking).json()["status"] == "running"
            starting = await witness.start("burst", n=3)
            assert (await witness.until_ended(starting))["status"] == "completed"
            assert (await witness.until_ended(late))["status"] == "timed_out"
            assert (await witness.until_ended(silent))["error"]["code"] == "heartbeat_timeout"
            assert time.monotonic() - began_at < STOPPED_S, "nothing is put off by the time of the pause"
            assert watcher.stream is not None
            heard = len(watcher.stream.body)
            await server.until(lambda: watcher.stream and watcher.stream.body.count(b": keepalive\n", heard) >= 2)
            await witness.cancel(quiet)
            await witness.until_read()
            assert [each.connections for id in busy for each in witness.watchers[id][:2]] == [2] * 4, "and one for 204"
            await witness.read_again()
            await server.check_sound()
            await server.stop()
            assert server.said("a reader is cut off") == []

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
    assert found.statuses == {"completed": 3, "timed_out": 2, "cancelled": 1}


@pytest.mark.parametrize("way", [FORKED, "streaming serve, without uvloop"])
async def test_a_reader_that_was_behind_is_not_blamed_for_the_pause(way: str, tmp_path: Path) -> None:
    """Its buffer is full when the server is stopped, and it is taken in meanwhile: who stands still is the server."""
    async with running(tmp_path, way, **{**LIMITS, "send_timeout_s": 2.0}) as server:
        task_id = await server.start("burst", n=1000, pad_bytes=8000)
        assert (await server.get(task_id, wait_s=20))["status"] == "completed"
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the buffers of both sides are full soon
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        client.setblocking(False)
        await server.until(lambda: select.select([client], [], [], 0)[0])
        for _ in range(20):
            await server.get(task_id)  # between any two of them the stream goes on, until the buffers are full
        received = asyncio.create_task(read_all(client))

        await stopped(server, 3.0)

        assert (await received).endswith(b"\r\n0\r\n\r\n"), "the whole answer"
        await server.check_sound()
        await server.stop()
        assert server.said("a reader is cut off") == []


async def read_all(client: socket.socket) -> bytes:
    """All that comes, until the other side ends the connection."""
    loop, received = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(SOON_S):
        while data := await loop.sock_recv(client, 65_536):
            received += data
    client.close()
    return bytes(received)


async def test_a_server_that_is_stopped_again_and_again_under_load_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(3)
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port, chance) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            witness.watch_feed()
            working = asyncio.gather(*(_work(witness, chance) for _ in range(6)))
            for _ in range(8):
                await asyncio.sleep(chance.uniform(0, 0.1))
                await stopped(server, chance.uniform(0, 0.3))
            await working
            await witness.until_read()
            await witness.read_again()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
    assert found.receipts == 6


async def _work(witness: Witness, chance: random.Random) -> None:
    for _ in range(3):
        witness.watch(await witness.start("burst", n=chance.choice((10, 1000)), pad_bytes=90), STEADY, SLOW, CRASHING)
        await asyncio.sleep(chance.uniform(0, 0.2))
    task_id = await witness.start("sleeper")
    witness.watch(task_id, STEADY, CRASHING)
    await witness.cancel(task_id)


def connections(server: Server) -> int:
    """How many the server has, but for that on which the test itself asks."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    ours = {each.laddr.port for each in psutil.Process().net_connections("tcp")}
    return sum(each.status == psutil.CONN_ESTABLISHED and each.raddr.port not in ours for each in found)


#: A client of the product as a process: it writes each event on a line.
WATCHING = """
import asyncio, sys
from streaming.client import Client

async def main():
    async with Client(sys.argv[1]) as client:
        async for event in client.watch(sys.argv[2]):
            print(event.seq, event.type, flush=True)

asyncio.run(main())
"""


async def test_a_client_that_stood_still_is_dropped_and_goes_on_where_it_was(tmp_path: Path) -> None:
    async with running(tmp_path, FORKED, **LIMITS) as server:
        task_id = await server.start("burst", n=5000, pad_bytes=4000)
        url = f"http://127.0.0.1:{server.port}"
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WATCHING, url, task_id, stdout=PIPE, cwd=ROOT
        )
        try:
            assert client.stdout is not None
            seen = [await client.stdout.readline() for _ in range(50)]
            client.send_signal(signal.SIGSTOP)
            await server.until(lambda: connections(server) == 0)
            assert (await server.get(task_id, wait_s=20))["status"] == "completed", "nobody waits for it"
            client.send_signal(signal.SIGCONT)
            async with asyncio.timeout(SOON_S):
                seen += (await client.stdout.read()).splitlines()
                assert await client.wait() == 0
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert [int(line.split()[0]) for line in seen] == list(range(1, 5_004))
        assert seen[-1].split()[1] == b"completed"
        await server.check_sound()
        await server.stop()
