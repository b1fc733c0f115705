"""Whatever is real is refused by a simulated loop, with a word about what to do; an open one has it."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from streaming.testing.choices import Choices, Trace
from streaming.testing.loop import SimulatedLoop, Stepping, run
from streaming.testing.open_loop import OpenLoop
from streaming.testing.order import Fifo
from streaming.testing.outside import REFUSED, OutsideWorld

ALL = [name for names in REFUSED.values() for name in names]

#: What a loop does without anything real, or with its network.
SIMULATED = frozenset(
    {
        "call_at",
        "call_exception_handler",
        "call_later",
        "call_soon",
        "call_soon_threadsafe",
        "close",
        "create_connection",
        "create_future",
        "create_server",
        "create_task",
        "default_exception_handler",
        "get_debug",
        "get_exception_handler",
        "get_task_factory",
        "getaddrinfo",
        "is_closed",
        "is_running",
        "run_forever",
        "run_in_executor",
        "run_until_complete",
        "set_debug",
        "set_default_executor",
        "set_exception_handler",
        "set_task_factory",
        "shutdown_asyncgens",
        "shutdown_default_executor",
        "stop",
        "time",
    }
)


def simulated() -> SimulatedLoop:
    return SimulatedLoop(Choices(0, Fifo(), Trace()))


def loop_of_this() -> Any:
    return asyncio.get_running_loop()


async def a_program() -> None:
    await asyncio.create_subprocess_exec(sys.executable, "-c", "")


async def a_shell() -> None:
    await asyncio.create_subprocess_shell("true")


async def a_unix_connection() -> None:
    await asyncio.open_unix_connection("/tmp/nobody")  # noqa: S108  # nobody is to be there


async def a_unix_server() -> None:
    await asyncio.start_unix_server(lambda reader, writer: None, "/tmp/nobody")  # noqa: S108  # the same


async def a_datagram() -> None:
    await loop_of_this().create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))


async def a_signal() -> None:
    loop_of_this().add_signal_handler(signal.SIGTERM, int)


async def no_signal() -> None:
    loop_of_this().remove_signal_handler(signal.SIGTERM)


async def a_pipe_to_read() -> None:
    await loop_of_this().connect_read_pipe(asyncio.Protocol, sys.stdin)


async def a_pipe_to_write() -> None:
    await loop_of_this().connect_write_pipe(asyncio.BaseProtocol, sys.stdout)


async def a_file_to_watch() -> None:
    with socket.socket() as real:
        loop_of_this().add_reader(real, int)


async def a_socket_to_connect() -> None:
    with socket.socket() as real:
        await loop_of_this().sock_connect(real, ("127.0.0.1", 1))


async def a_name() -> None:
    await loop_of_this().getnameinfo(("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (a_program, "subprocess_exec wants a process, .*OpenLoop"),
        (a_shell, "subprocess_shell wants a process, .*OpenLoop"),
        (a_unix_connection, r"create_unix_connection wants a Unix socket, .*world\.network"),
        (a_unix_server, r"create_unix_server wants a Unix socket, .*world\.network"),
        (a_datagram, "create_datagram_endpoint wants UDP, "),
        (a_signal, "add_signal_handler wants a signal, "),
        (no_signal, "remove_signal_handler wants a signal, "),
        (a_pipe_to_read, "connect_read_pipe wants a pipe, "),
        (a_pipe_to_write, "connect_write_pipe wants a pipe, "),
        (a_file_to_watch, "add_reader wants a file descriptor, "),
        (a_socket_to_connect, "sock_connect wants a real socket, "),
        (a_name, "getnameinfo wants a real name server, "),
    ],
)
def test_what_is_real_is_refused_by_its_name(what: Callable[[], Coroutine[Any, Any, None]], words: str) -> None:
    with pytest.raises(OutsideWorld, match=f"^{words}"):
        run(simulated(), what())


@pytest.mark.parametrize("name", ALL)
def test_each_call_that_is_refused_is_one_of_asyncio_and_says_why(name: str) -> None:
    loop = simulated()
    assert hasattr(asyncio.AbstractEventLoop, name)

    with pytest.raises(OutsideWorld, match=f"^{name} wants .*, which a simulated run has not: "):
        getattr(loop, name)()
    loop.close()

    assert "OutsideWorld" in str(inspect.getdoc(getattr(SimulatedLoop, name)))


def test_there_is_no_call_of_which_nobody_knows_whether_it_is_real() -> None:
    """A new version of asyncio may have one more."""
    calls = {name for name, value in vars(asyncio.AbstractEventLoop).items() if inspect.isroutine(value)}

    assert {name for name in calls if not name.startswith("_")} - {*ALL} == SIMULATED


def test_an_open_loop_has_what_is_real() -> None:
    async def program() -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(4711)", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        return process.returncode, said

    assert not [name for name in ALL if getattr(OpenLoop, name) is getattr(SimulatedLoop, name)]
    assert run(cast(Stepping, OpenLoop(Choices(0, Fifo(), Trace()))), program()) == (0, b"4711\n")
