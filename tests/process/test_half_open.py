"""A network that swallows everything: nobody waits for who is not there, and who comes back misses nothing."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import reserve_port
from tests.process.server import FORKED, Server, running
from tests.process.witness import witnessed
from tests.proxy import Proxy

pytestmark = pytest.mark.process

LIMITS: dict[str, Any] = {"keepalive_s": 0.2, "send_timeout_s": 0.5, "header_timeout_s": 0.5}

#: One instruction of a packet filter: nothing of what comes in is taken, not even its acknowledgements.
TAKE_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
SO_ATTACH_FILTER = 26


def connections(server: Server) -> int:
    """How many the server has; the client of the test keeps one of its own."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(each.status != psutil.CONN_LISTEN for each in found)


def unplug(connection: socket.socket) -> None:
    """Take the cable out: the kernel throws away all that comes for this connection, and the peer hears nothing."""
    program = struct.pack("HP", 1, ctypes.addressof(TAKE_NOTHING))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


async def test_a_reader_whose_cable_was_pulled_is_let_go_though_hardly_anything_is_sent(tmp_path: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            task_id = await witness.start("sleeper")
            (reader,) = witness.watch(task_id)
            await server.until(lambda: reader.has == 2)
            assert (connections(server), reader.stream is not None) == (2, True)
            assert reader.stream is not None
            held = reader.stream
            unplug(held.socket)
            await server.until(lambda: connections(server) == 1)
            assert not held.over, "it does not know yet"

            held.leave()
            await server.until(lambda: reader.connections == 2)
            await witness.cancel(task_id)
            await witness.until_read()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []


@pytest.mark.parametrize("directions", [("answers",), ("requests", "answers")], ids=["answers", "both directions"])
async def test_a_reader_behind_a_proxy_that_swallows_is_let_go_and_goes_on_elsewhere(
    directions: tuple[str, ...], tmp_path: Path
) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **LIMITS) as server:
            with Proxy(port) as proxy:
                task_id = await witness.start("burst", n=4000, pad_bytes=4000)
                (honest,), (lost,) = witness.watch(task_id), witness.watch(task_id, port=proxy.port)
                await server.until(lambda: lost.has > 20)
                proxy.stall(*directions)
                assert (await witness.until_ended(task_id))["status"] == "completed", "nobody waits for the dead"
                await server.until(lambda: honest.finished and connections(server) == 1)
                assert (lost.finished, lost.connections, proxy.open) == (False, 1, 1), "it does not know yet"

                lost.port = lambda: port
                proxy.cut()
                await witness.until_read()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
    assert (found.readers, found.seen) == (2, 2 * 4003)


async def test_requests_that_get_lost_hold_no_connection_and_disturb_no_stream(tmp_path: Path) -> None:
    """Only one direction is dead: what the server says arrives, what clients say does not."""
    port, reserved = reserve_port()
    limits = {**LIMITS, "header_timeout_s": 3.0}  # all of them are to be seen open at once, also on a slow machine
    with reserved:
        async with witnessed(port) as witness, running(tmp_path, FORKED, port=port, **limits) as server:
            with Proxy(port) as proxy:
                task_id = await witness.start("burst", n=200, pad_bytes=100, pause_s=0.005)
                (reader,) = witness.watch(task_id, port=proxy.port)
                await server.until(lambda: reader.has > 20)
                proxy.stall("requests")
                opened = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(20)]
                for _, writer in opened:
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await asyncio.to_thread(proxy.wait_until_held, 20)
                assert connections(server) >= 20
                await witness.until_ended(task_id)
                for each, writer in opened:
                    assert await each.read() == b"", "closed without a word: no request came"
                    writer.close()
                await server.until(lambda: reader.has == 203)
                assert reader.connections == 1
                reader.port = lambda: port
                proxy.resume()
                await witness.until_read()
            await server.check_sound()
            await server.stop()

        found = await witness.judge(f"sqlite:///{tmp_path}/tasks.db")
    assert found.violations == []
