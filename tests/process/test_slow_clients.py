"""Clients that trickle, never finish or never read: they are cut off, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, SOON_S, Server, running
from tests.process.witness import STEADY, Witness, witnessed
from tests.proxy import Proxy

pytestmark = pytest.mark.process

LIMITS: dict[str, Any] = {
    "header_timeout_s": 1.0,
    "body_timeout_s": 1.0,
    "send_timeout_s": 1.0,
    "keepalive_s": 0.4,
}

#: Of each kind.
SLOW = 20
NEVER_READ = 100

#: What an honest reader may have to wait for an event, on a machine that is busy with tests.
P99_S = 1.0

GET = b"GET /tasks HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Slow(NamedTuple):
    """What is sent at once, the status of the answer (None without one), and what comes now and then."""

    begun: bytes
    status: int | None
    piece: bytes = b"x"


TRICKLES = {
    "nothing at all": Slow(b"", None, b""),
    "empty lines": Slow(b"", None, b"\r\n"),
    "a method that never ends": Slow(b"G", 408, b""),
    "a target that never ends": Slow(b"GET /", 408),
    "a header that never ends": Slow(GET + b"X-Slow: ", 408),
    "headers that never end": Slow(GET + b"X-A: b\r\n" * 20, 408, b"X: y\r\n"),
    "a body that never ends": Slow(POST + b"Content-Length: 100000\r\n\r\n{", 408),
    "a chunk that never ends": Slow(POST + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{", 408),
    "chunks of a byte that never end": Slow(POST + b"Transfer-Encoding: chunked\r\n\r\n", 408, b"1\r\n{\r\n"),
    "an extension that never ends": Slow(POST + b"Transfer-Encoding: chunked\r\n\r\n1;", 408),
    "trailers that never end": Slow(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", 408, b"X: y\r\n"),
    "a body that nobody asked for": Slow(
        b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 100000\r\n\r\n", 200
    ),
}


async def trickle(port: int, slow: Slow) -> bytes:
    """Send a piece now and then, until the other side has had enough; what it has said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(slow.begun)
        async with asyncio.timeout(SOON_S):
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            answer += await reader.read(1000)
                    writer.write(slow.piece)
    finally:
        writer.close()
    return answer


@asynccontextmanager
async def honest(witness: Witness) -> AsyncIterator[list[float]]:
    """Somebody whose events come every few milliseconds; how late each of them is in the end."""
    task_id = await witness.start("burst", pause_s=0.005)
    (watcher,) = witness.watch(task_id)
    gaps: list[float] = []

    async def note() -> None:
        last, has = time.monotonic(), watcher.has
        while True:
            await asyncio.sleep(0.001)
            if watcher.has > has:
                now, has = time.monotonic(), watcher.has
                gaps.append(now - last)
                last = now

    noting = asyncio.create_task(note())
    try:
        yield gaps
    finally:
        noting.cancel()
    await witness.cancel(task_id)
    assert watcher.connections == 1, "it was never disturbed"


def check_gaps(gaps: list[float]) -> None:
    assert len(gaps) > 50
    assert sorted(gaps)[int(0.99 * len(gaps))] < P99_S


async def test_slow_lorises_are_cut_off_and_honest_readers_are_not_kept_waiting(tmp_path: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            await witness.look()
            before = psutil.Process(server.process.pid).num_fds()
            async with honest(witness) as gaps:
                names = [name for name in TRICKLES for _ in range(SLOW)]
                answers = await asyncio.gather(*(trickle(port, TRICKLES[name]) for name in names))
            check_gaps(gaps)
            for name, answer in zip(names, answers, strict=True):
                expected = b"" if (status := TRICKLES[name].status) is None else b"HTTP/1.1 %d " % status
                assert answer.startswith(expected), (name, answer)
                assert answer.count(b"HTTP/1.1") == (status is not None), (name, answer)
            await witness.until_read()
            await server.until(lambda: psutil.Process(server.process.pid).num_fds() <= before + 1)
            await server.check_sound()
            await server.stop()
            assert [entry for entry in server.entries if entry["level"] == "error"] == []

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []


async def test_a_hundred_readers_that_never_read_cost_honest_ones_nothing(tmp_path: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            task_id = await witness.start("burst", n=2000, pad_bytes=8000)
            memory = resident(server)
            dead = [never_read(port, f"/tasks/{task_id}/events") for _ in range(NEVER_READ // 2)]
            dead += [never_read(port, "/events?last_event_id=0") for _ in range(NEVER_READ // 2)]
            witness.watch(task_id, STEADY, STEADY, STEADY)
            await witness.until_read()
            peak = resident(server)
            await server.until(lambda: connections(server) <= 1)
            assert peak - memory < 100 * 2**20, "a batch and a buffer of the kernel for each, and no queue"
            assert [each.connections for each in witness.watchers[task_id]] == [2, 2, 2], "and one for 204"
            for each in dead:
                each.close()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []


def never_read(port: int, path: str, accept: str = "text/event-stream") -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
    return client


def connections(server: Server) -> int:
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def resident(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


async def test_answers_that_nobody_takes_hold_no_connection(tmp_path: Path) -> None:
    """No stream, but a page of a megabyte: it stands in the buffer of the connection."""
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            task_id = await witness.start("burst", n=400, pad_bytes=8000)
            await witness.until_ended(task_id)
            dead = [never_read(port, f"/tasks/{task_id}/events?limit=1000", "application/json") for _ in range(30)]
            await server.until(lambda: connections(server) > 30)
            await server.until(lambda: connections(server) <= 1)
            for each in dead:
                each.close()
            await server.check_sound()
            await server.stop()


# -- a proxy that collects ----------------------------------------------------------------------------------------


async def test_a_proxy_that_collects_bytes_delays_events_and_breaks_nothing(tmp_path: Path) -> None:
    """As nginx with its defaults in front of a server whose X-Accel-Buffering it ignores."""
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            with Proxy(port, collect_bytes=65_536, collect_s=1.5) as proxy:
                quiet, busy = await witness.start("sleeper"), await witness.start("burst", n=3000, pad_bytes=90)
                (patient,) = witness.watch(quiet, port=proxy.port)
                witness.watch(busy, STEADY, STEADY, port=proxy.port)
                await witness.until_ended(busy)
                assert patient.has == 0, "its events wait in the proxy"
                await server.until(lambda: patient.has == 2)
                assert patient.stream is not None
                heard = bytes(patient.stream.body)
                await server.until(lambda: patient.stream and len(patient.stream.body) > len(heard))
                assert set(bytes(patient.stream.body[len(heard) :]).split(b"\n")) == {b": keepalive", b""}
                await witness.cancel(quiet)
                await witness.until_read()
                assert patient.connections == 2, "a stream that is late is not taken for a dead one"
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
