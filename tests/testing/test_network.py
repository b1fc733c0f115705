"""A simulated connection does to a protocol what a real one does, and worse only where the weather says so."""

from __future__ import annotations

import asyncio
import contextvars
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

from streaming.testing.choices import Choices, Trace
from streaming.testing.faults import STORMY
from streaming.testing.loop import PROCESS, Deadlock, SimulatedLoop, run
from streaming.testing.network import CONNECT_S, SimulatedNetwork
from streaming.testing.order import Fifo
from streaming.testing.outside import OutsideWorld
from streaming.testing.transport import SimulatedTransport
from streaming.testing.weather import FAIR, FOUL, Weather

MANY = 8 * 1024 * 1024

Program: TypeAlias = Callable[["Pair"], Coroutine[Any, Any, None]]


class Side(asyncio.Protocol):
    """One side of a connection: it notes what it is called with.

    Attributes:
        log: the calls, bytes that follow each other as one.
        keeps_open: whether the connection goes on behind the end of the other side.
        fails: the name of the call that raises.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.log: list[str | bytes] = []
        self.keeps_open = False
        self.fails = ""
        self.echoes = False
        self._news = asyncio.Event()

    def _note(self, what: str | bytes) -> None:
        if isinstance(what, bytes) and self.log and isinstance(self.log[-1], bytes):
            self.log[-1] += what
        else:
            self.log.append(what)
        self._news.set()
        if isinstance(what, str) and what == self.fails:
            raise ValueError("no luck")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        if self.fails == "data":
            raise ValueError("no luck")
        self._note(data)
        if self.echoes:
            self.transport.write(data)

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keeps_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost" if exc is None else f"lost: {type(exc).__name__}")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    @property
    def received(self) -> bytes:
        return b"".join(each for each in self.log if isinstance(each, bytes))

    @property
    def calls(self) -> list[str]:
        return [each for each in self.log if isinstance(each, str)]

    @property
    def over(self) -> bool:
        return any(call.startswith("lost") for call in self.calls)

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()


class Pair:
    """A client and a server that are connected."""

    def __init__(self) -> None:
        self.client, self.server = Side(), Side()
        self.failures: list[str] = []

    async def play(self, program: Program) -> tuple[list[str | bytes], list[str | bytes], list[str]]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context["message"]))
        listening = await loop.create_server(lambda: self.server, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()[:2]
        await loop.create_connection(lambda: self.client, host, port)
        await self.server.until(lambda: self.server.log)
        await program(self)
        for side in (self.client, self.server):
            if not side.over:
                side.transport.abort()
            await side.until(lambda side=side: side.over)  # type: ignore[misc]  # it is a Side
        listening.close()
        return self.client.log, self.server.log, self.failures


async def echo(pair: Pair) -> None:
    pair.server.echoes = True
    pair.client.transport.write(b"one ")
    pair.client.transport.writelines([b"two", bytearray(b" "), memoryview(b"three")])
    await pair.client.until(lambda: len(pair.client.received) == 13)
    pair.client.transport.close()
    await pair.server.until(lambda: pair.server.over)


async def half_close(pair: Pair) -> None:
    pair.server.keeps_open = True
    pair.client.transport.write(b"question")
    pair.client.transport.write_eof()
    await pair.server.until(lambda: "eof" in pair.server.log)
    pair.server.transport.write(b"answer")
    pair.server.transport.close()
    await pair.client.until(lambda: pair.client.over)
    await pair.server.until(lambda: pair.server.over)


async def close_sends_what_is_buffered(pair: Pair) -> None:
    pair.server.transport.write(b"x" * MANY)
    pair.server.transport.close()
    assert pair.server.transport.is_closing()
    await pair.client.until(lambda: pair.client.over)
    await pair.server.until(lambda: pair.server.over)


async def write_eof_comes_behind_what_is_buffered(pair: Pair) -> None:
    pair.client.keeps_open = True
    pair.server.transport.write(b"x" * MANY)
    pair.server.transport.write_eof()
    await pair.client.until(lambda: "eof" in pair.client.log)
    pair.client.transport.write(b"thanks")
    pair.client.transport.close()
    await pair.server.until(lambda: pair.server.over)


async def back_pressure(pair: Pair) -> None:
    pair.client.transport.pause_reading()
    assert not pair.client.transport.is_reading()
    pair.server.transport.write(b"x" * MANY)
    assert pair.server.calls == ["made", "pause"]
    assert 0 < pair.server.transport.get_write_buffer_size() < MANY
    pair.client.transport.resume_reading()
    await pair.server.until(lambda: "resume" in pair.server.calls)
    await pair.client.until(lambda: len(pair.client.received) == MANY)
    assert pair.server.transport.get_write_buffer_size() == 0


async def tight_limits(pair: Pair) -> None:
    pair.server.transport.set_write_buffer_limits(0)
    pair.client.transport.pause_reading()
    while "pause" not in pair.server.calls:
        pair.server.transport.write(b"x" * 65_536)
    pair.client.transport.resume_reading()
    await pair.server.until(lambda: "resume" in pair.server.calls)


async def a_reader_that_pauses_hears_the_end_later(pair: Pair) -> None:
    pair.client.transport.pause_reading()
    pair.server.transport.write(b"last words")
    pair.server.transport.close()
    await pair.server.until(lambda: pair.server.over)
    assert pair.client.log == ["made"]
    pair.client.transport.resume_reading()
    await pair.client.until(lambda: pair.client.over)


async def abort_of_one_who_has_read_all(pair: Pair) -> None:
    pair.server.transport.write(b"all")
    await pair.client.until(lambda: pair.client.received)
    pair.client.transport.abort()
    await pair.server.until(lambda: pair.server.over)


async def close_with_unread_bytes_is_a_reset(pair: Pair) -> None:
    pair.client.transport.pause_reading()
    pair.server.transport.write(b"never read")
    pair.client.transport.write(b"x")
    await pair.server.until(lambda: pair.server.received)  # by now ours are there too
    pair.client.transport.close()
    await pair.server.until(lambda: pair.server.over)


async def bytes_for_one_who_has_left(pair: Pair) -> None:
    pair.server.keeps_open = True
    pair.client.transport.close()
    await pair.server.until(lambda: "eof" in pair.server.log)
    await pair.client.until(lambda: pair.client.over)
    while not pair.server.over:
        pair.server.transport.write(b"are you there?")
        await asyncio.sleep(0)


async def close_while_the_other_side_writes(pair: Pair) -> None:
    pair.client.transport.pause_reading()
    pair.server.transport.write(b"x" * MANY)
    pair.client.transport.abort()
    await pair.server.until(lambda: pair.server.over)


async def abort_drops_what_is_buffered(pair: Pair) -> None:
    pair.client.transport.pause_reading()
    pair.server.transport.write(b"x" * MANY)
    pair.server.transport.abort()
    assert pair.server.transport.get_write_buffer_size() == 0
    await pair.server.until(lambda: pair.server.over)
    pair.client.transport.resume_reading()
    await pair.client.until(lambda: pair.client.over)
    assert len(pair.client.received) < MANY


async def a_protocol_that_fails_loses_its_connection(pair: Pair) -> None:
    pair.server.fails = "data"
    pair.client.transport.write(b"bad luck")
    await pair.server.until(lambda: pair.server.over)
    await pair.client.until(lambda: pair.client.over)


async def a_protocol_that_fails_at_the_end(pair: Pair) -> None:
    pair.server.fails = "eof"
    pair.client.transport.write_eof()
    await pair.server.until(lambda: pair.server.over)
    await pair.client.until(lambda: pair.client.over)


async def a_protocol_that_fails_when_it_has_to_wait(pair: Pair) -> None:
    pair.server.fails = "pause"
    pair.client.transport.pause_reading()
    pair.server.transport.write(b"x" * MANY)


async def misuse(pair: Pair) -> None:
    with pytest.raises(TypeError):
        pair.client.transport.write("text")  # type: ignore[arg-type]  # that is the mistake
    pair.client.transport.write_eof()
    pair.client.transport.write_eof()
    with pytest.raises(RuntimeError):
        pair.client.transport.write(b"too late")
    assert pair.client.transport.can_write_eof()
    await pair.server.until(lambda: pair.server.over)
    await pair.client.until(lambda: pair.client.over)


async def what_comes_after_the_end_is_dropped(pair: Pair) -> None:
    pair.client.transport.close()
    for _ in range(3):
        pair.client.transport.close()
        pair.client.transport.abort()
        pair.client.transport.write(b"?")
        pair.client.transport.pause_reading()
        pair.client.transport.resume_reading()
    await pair.client.until(lambda: pair.client.over)
    await pair.server.until(lambda: pair.server.over)


async def another_protocol(pair: Pair) -> None:
    other = Side()
    other.transport = pair.server.transport
    pair.server.transport.set_protocol(other)
    assert pair.server.transport.get_protocol() is other
    pair.client.transport.write(b"hello")
    await other.until(lambda: other.received)
    pair.server.transport.set_protocol(pair.server)


PROGRAMS: dict[Program, tuple[list[str | bytes], list[str | bytes]]] = {
    echo: (["made", b"one two three", "lost"], ["made", b"one two three", "eof", "lost"]),
    half_close: (["made", b"answer", "eof", "lost"], ["made", b"question", "eof", "lost"]),
    close_sends_what_is_buffered: (
        ["made", b"x" * MANY, "eof", "lost"],
        ["made", "pause", "resume", "lost"],
    ),
    write_eof_comes_behind_what_is_buffered: (
        ["made", b"x" * MANY, "eof", "lost"],
        ["made", "pause", "resume", b"thanks", "eof", "lost"],
    ),
    back_pressure: (["made", b"x" * MANY, "lost"], ["made", "pause", "resume", "lost"]),
    a_reader_that_pauses_hears_the_end_later: (["made", b"last words", "eof", "lost"], ["made", "lost"]),
    abort_of_one_who_has_read_all: (["made", b"all", "lost"], ["made", "eof", "lost"]),
    close_with_unread_bytes_is_a_reset: (["made", "lost"], ["made", b"x", "lost: ConnectionResetError"]),
    bytes_for_one_who_has_left: (["made", "lost"], ["made", "eof", "lost: BrokenPipeError"]),
    close_while_the_other_side_writes: (["made", "lost"], ["made", "pause", "lost: ConnectionResetError"]),
    a_protocol_that_fails_loses_its_connection: (["made", "eof", "lost"], ["made", "lost: ValueError"]),
    a_protocol_that_fails_at_the_end: (["made", "eof", "lost"], ["made", "eof", "lost: ValueError"]),
    misuse: (["made", "eof", "lost"], ["made", "eof", "lost"]),
    what_comes_after_the_end_is_dropped: (["made", "lost"], ["made", "eof", "lost"]),
    another_protocol: (["made", "lost"], ["made", "lost"]),
}


def on_real_sockets(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())


def simulated(
    main: Callable[[SimulatedNetwork], Coroutine[Any, Any, Any]], weather: Weather = FAIR, seed: int | None = None
) -> Any:
    choices = Choices(seed or 0, Fifo(), Trace() if seed is None else None)
    loop = SimulatedLoop(choices)
    network = SimulatedNetwork(loop, weather)
    result = run(loop, main(network))
    assert not network.ends, "every end is given back"
    return result


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_protocol_sees_what_it_sees_on_a_real_socket(program: Program) -> None:
    real = on_real_sockets(lambda: Pair().play(program))

    assert real == simulated(lambda _: Pair().play(program))
    assert (real[0], real[1]) == PROGRAMS[program]


@pytest.mark.parametrize(
    "program", [tight_limits, abort_drops_what_is_buffered, a_protocol_that_fails_when_it_has_to_wait]
)
def test_where_only_the_kernel_knows_how_many_bytes_it_takes_the_calls_are_the_same(program: Program) -> None:
    async def calls() -> tuple[list[str], list[str], list[str]]:
        pair = Pair()
        await pair.play(program)
        return pair.client.calls, pair.server.calls, pair.failures

    real = on_real_sockets(calls)
    assert real == simulated(lambda _: calls())
    assert "pause" in real[1]


# -- what is built on it ----------------------------------------------------------------------------------------------


async def streams() -> list[object]:
    """asyncio's own streams, which wait for room, for the end and for the close."""
    seen: list[object] = []
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("sockname")[0] == "127.0.0.1"
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        seen.append(writer.get_extra_info("peername") == server.sockets[0].getsockname())
        writer.writelines([b"one\n", b"two\n"])
        await writer.drain()
        seen += [await reader.readline(), await reader.readline()]
        writer.write_eof()
        seen.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        await hung_up.wait()
        seen.append(server.is_serving())
    seen += [server.is_serving(), server.sockets, server.get_loop() is asyncio.get_running_loop()]
    return seen


class Filled(asyncio.BufferedProtocol):
    """A protocol that hands out its own memory, four bytes at a time."""

    def __init__(self) -> None:
        self.memory = bytearray(4)
        self.got: list[bytes] = []
        self.ended = asyncio.Event()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.got.append(bytes(self.memory[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def buffered() -> list[bytes]:
    filled = Filled()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: filled, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"abcdefghij")
    writer.close()
    await filled.ended.wait()
    await writer.wait_closed()
    server.close()
    return filled.got


async def nobody_listens() -> str:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Side, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    server.close()
    with pytest.raises(OSError) as refused:
        await loop.create_connection(Side, *address)
    return f"{type(refused.value).__name__} {refused.value.errno}"


async def somebody_listens_already() -> str:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0) as server:
        with pytest.raises(OSError) as taken:
            await loop.create_server(Side, *server.sockets[0].getsockname()[:2])
    return f"{type(taken.value).__name__} {taken.value.errno}"


@pytest.mark.parametrize("program", [streams, buffered, nobody_listens, somebody_listens_already])
def test_what_is_built_on_it_works_as_on_real_sockets(program: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    assert on_real_sockets(program) == simulated(lambda _: program())


async def listens_at_several_hosts() -> list[object]:
    """Each of them has the port; where the port is to be found, each has its own."""
    loop = asyncio.get_running_loop()
    seen: list[object] = []
    async with await loop.create_server(Side, ["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0) as server:
        places = [each.getsockname() for each in server.sockets]
        seen.append(sorted(host for host, _ in places))
        for host, port in places:
            transport, _ = await loop.create_connection(Side, host, port)
            seen.append(transport.get_extra_info("peername") == (host, port))
            transport.abort()
        with pytest.raises(OSError) as taken:
            await loop.create_server(Side, ["127.0.0.3", "127.0.0.2"], dict(places)["127.0.0.2"])
        seen.append(taken.value.errno)
    for host, port in places:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, host, port)
    return seen


async def serves_later() -> list[object]:
    """The address is taken at once, and nobody gets through before the server wants it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Side, "127.0.0.1", 0, start_serving=False)
    host, port = server.sockets[0].getsockname()
    seen: list[object] = [server.is_serving()]
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Side, host, port)
    await server.start_serving()
    await server.start_serving()
    transport, _ = await loop.create_connection(Side, host, port)
    transport.abort()
    seen.append(server.is_serving())
    server.close()
    server.close()
    await server.wait_closed()
    seen += [server.is_serving(), server.sockets]
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()
    return seen


async def serves_for_ever_later() -> list[bool]:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, start_serving=False)
    host, port = server.sockets[0].getsockname()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0.01)
    seen = [server.is_serving()]
    with pytest.raises(RuntimeError, match="already being awaited"):
        await server.serve_forever()
    transport, _ = await loop.create_connection(Side, host, port)
    transport.abort()
    server.close()
    await asyncio.wait({serving})
    return [*seen, server.is_serving(), serving.cancelled()]


async def takes_options_that_change_nothing() -> bool:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"backlog": 7, "reuse_address": True, "reuse_port": True, "family": socket.AF_INET}
    async with await loop.create_server(Side, "127.0.0.1", 0, ssl=None, sock=None, **options) as server:
        found = server.sockets[0].getsockname()
        options = {"family": socket.AF_INET, "happy_eyeballs_delay": 0.1, "interleave": 1, "ssl": None}
        transport, _ = await loop.create_connection(Side, *found, **options)
        transport.abort()
        return server.is_serving()


@pytest.mark.parametrize(
    "program",
    [listens_at_several_hosts, serves_later, serves_for_ever_later, takes_options_that_change_nothing],
)
def test_a_server_begins_and_listens_as_on_real_sockets(program: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    assert on_real_sockets(program) == simulated(lambda _: program())


def test_a_server_of_which_an_address_is_taken_listens_nowhere() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Side, "127.0.0.2", 80):
            with pytest.raises(OSError, match="in use"):
                await loop.create_server(Side, ["127.0.0.1", "127.0.0.2"], 80)
            assert list(network.servers) == [("127.0.0.2", 80)]
        async with await loop.create_server(Side, "127.0.0.2", 80, start_serving=False):
            with pytest.raises(OSError, match="in use"):
                await loop.create_server(Side, "127.0.0.2", 80)
        assert len((await loop.create_server(Side, ["127.0.0.1", "localhost"], 80)).sockets) == 1

    simulated(main)


def test_names_are_known_or_not() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        network.names["server.test"] = "10.0.0.1"
        found = await loop.getaddrinfo("server.test", 80, type=socket.SOCK_STREAM)
        assert found == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.1", 80))]
        assert (await loop.getaddrinfo("::1", None))[0][4] == ("::1", 0, 0, 0)
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("nowhere.test", 80)
        async with await loop.create_server(Side, None, 80), await loop.create_server(Side, ["10.0.0.1"], 80):
            transport, _ = await loop.create_connection(Side, "localhost", 80)
            transport.close()

    simulated(main)


@pytest.mark.parametrize(
    "option",
    [{"sock": object()}, {"ssl": True}, {"ssl_handshake_timeout": 3.0}, {"ssl_shutdown_timeout": 3.0}],
    ids=lambda option: next(iter(option)),
)
def test_nothing_real_is_to_be_had(option: dict[str, Any]) -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        (name,) = option
        with pytest.raises(OutsideWorld, match=rf"create_server\({name}=...\)"):
            await loop.create_server(Side, "127.0.0.1", 1, **option)
        with pytest.raises(OutsideWorld, match=rf"create_connection\({name}=...\)"):
            await loop.create_connection(Side, "127.0.0.1", 1, **option)
        assert not network.servers

    simulated(main)


def test_an_option_that_makes_a_difference_and_is_not_simulated_is_refused() -> None:
    async def main(network: SimulatedNetwork) -> None:
        with pytest.raises(TypeError, match="create_server of a simulated network has no option 'start_servin'"):
            await network.create_server(Side, "127.0.0.1", 80, start_servin=False)
        with pytest.raises(TypeError, match="create_connection of a simulated network has no option 'all_errors'"):
            await network.create_connection(Side, "127.0.0.1", 80, all_errors=True)

    simulated(main)


def test_a_loop_has_one_network() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        with pytest.raises(RuntimeError, match=r"has a network already, which is world\.network"):
            SimulatedNetwork(loop)
        assert loop.network is network

    simulated(main)


@pytest.mark.parametrize("weather", [STORMY, None, "rain"])
def test_what_is_no_weather_is_refused_at_once(weather: Any) -> None:
    async def main(network: SimulatedNetwork) -> None:
        with pytest.raises(TypeError, match=r"Weather\(\.\.\.\), FAIR or FOUL, and not"):
            network.turn(weather)
        assert network.weather is FAIR

    simulated(main)
    loop = SimulatedLoop(Choices(0, Fifo()))
    with pytest.raises(TypeError, match="FAIR or FOUL"):
        SimulatedNetwork(loop, weather)
    loop.close()


def test_without_a_network_nobody_connects() -> None:
    async def main() -> None:
        with pytest.raises(OutsideWorld, match=r"world\.network"):
            await asyncio.open_connection("127.0.0.1", 1)

    run(SimulatedLoop(Choices(0, Fifo())), main())


# -- weather ----------------------------------------------------------------------------------------------------------


async def talk(network: SimulatedNetwork, program: Program) -> tuple[list[str | bytes], list[str | bytes]]:
    pair = Pair()
    await pair.play(program)
    return pair.client.log, pair.server.log


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("program", [echo, half_close, close_sends_what_is_buffered, back_pressure])
def test_bytes_that_are_late_or_in_pieces_are_the_same_bytes_in_the_same_order(program: Program, seed: int) -> None:
    slow = Weather(late=0.5, split=0.5, late_s=(0.0, 0.001, 1.0))

    assert simulated(lambda network: talk(network, program), slow, seed) == PROGRAMS[program]


def test_who_writes_when_less_is_held_than_before_has_to_wait_and_sends_all() -> None:
    """What is unread by then is more than the kernels hold now."""
    sent = b"x" * 500_000

    async def main(network: SimulatedNetwork) -> bytes:
        pair = Pair()

        async def write(pair: Pair) -> None:
            pair.client.transport.pause_reading()
            pair.server.transport.write(sent[:200_000])
            await asyncio.sleep(1)
            network.turn(Weather(kernel_bytes=16_384))
            pair.server.transport.write(sent[200_000:])
            assert pair.server.transport.get_write_buffer_size() == 300_000
            pair.client.transport.resume_reading()
            pair.server.transport.close()
            await pair.client.until(lambda: pair.client.over)

        await pair.play(write)
        return pair.client.received

    assert simulated(main) == sent


def test_a_late_byte_is_late() -> None:
    async def main(network: SimulatedNetwork) -> float:
        await Pair().play(echo)
        return asyncio.get_running_loop().time()

    assert simulated(main) == 0
    assert simulated(main, Weather(late=1, late_s=(2.0,)), 0) >= 2 * 2


def test_a_reset_is_heard_at_both_ends_or_at_one_and_later_at_the_other() -> None:
    async def shout(pair: Pair) -> None:
        pair.client.keeps_open = pair.server.keeps_open = True
        while not (pair.client.over and pair.server.over):
            for side in (pair.client, pair.server):
                if not side.over:
                    side.transport.write(b"!")
            await asyncio.sleep(0.01)

    ends = [simulated(lambda network: talk(network, shout), Weather(reset=0.2), seed) for seed in range(20)]

    assert all("lost: ConnectionResetError" in client + server for client, server in ends)
    assert all(client[-1] != "lost" and server[-1] != "lost" for client, server in ends)


def test_a_half_open_connection_swallows_one_direction_or_both() -> None:
    async def ask(pair: Pair) -> None:
        pair.server.echoes = True
        pair.client.transport.write(b"?")
        await asyncio.sleep(1)

    async def main(network: SimulatedNetwork) -> tuple[bool, bool]:
        pair = Pair()
        await pair.play(ask)
        return bool(pair.client.received), bool(pair.server.received)

    heard = {simulated(main, Weather(half_open=0.5), seed) for seed in range(40)}

    assert heard == {(True, True), (False, False), (False, True)}


def test_a_kernel_gives_up_a_half_open_connection_in_the_end() -> None:
    async def main(network: SimulatedNetwork) -> tuple[object, float]:
        pair = Pair()

        async def wait(pair: Pair) -> None:
            network.turn(Weather(half_open=1, unheard_s=30))
            pair.client.transport.write(b"?")
            await asyncio.sleep(31)

        await pair.play(wait)
        return pair.client.log[-1], asyncio.get_running_loop().time()

    told = {simulated(main, seed=seed) for seed in range(20)}

    assert told == {("lost: TimeoutError", 31), ("lost", 31)}, "unless it is the other direction that is lost"


def test_who_writes_into_a_half_open_connection_has_to_wait_at_last() -> None:
    async def main(network: SimulatedNetwork) -> list[str]:
        pair = Pair()

        async def write(pair: Pair) -> None:
            network.turn(Weather(half_open=1))
            pair.server.transport.write(b"x" * MANY)
            assert pair.server.transport.get_write_buffer_size() == MANY - network.weather.kernel_bytes

        await pair.play(write)
        return pair.server.calls

    assert simulated(main, seed=0) == ["made", "pause", "lost"]


@pytest.mark.parametrize("for_s", [3.0, math.inf])
def test_a_reader_that_stalls_makes_its_writer_wait(for_s: float) -> None:
    async def main(network: SimulatedNetwork) -> tuple[list[str | bytes], float]:
        pair = Pair()

        async def write(pair: Pair) -> None:
            pair.server.transport.write(b"first")
            pair.server.transport.write(b"x" * MANY)
            await pair.server.until(lambda: "resume" in pair.server.calls or pair.server.over)

        if for_s == math.inf:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1000):
                    await pair.play(write)
            for end in list(network.ends):
                end.close()
        else:
            await pair.play(write)
        return pair.server.log, asyncio.get_running_loop().time()

    log, seconds = simulated(main, Weather(stall=1, stall_s=(for_s,)), 0)

    assert log[:2] == ["made", "pause"]
    assert ("resume" in log) is (for_s < math.inf)
    assert seconds >= 3


def test_only_who_has_connected_stalls() -> None:
    async def main(network: SimulatedNetwork) -> bytes:
        pair = Pair()

        async def write(pair: Pair) -> None:
            pair.client.transport.write(b"x" * 1000)
            await pair.server.until(lambda: pair.server.received)

        await pair.play(write)
        return pair.server.received

    assert simulated(main, Weather(stall=1, stall_s=(math.inf,)), 0) == b"x" * 1000


def test_a_connect_may_meet_nobody() -> None:
    async def main(network: SimulatedNetwork) -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Side, "127.0.0.1", 80):
            with pytest.raises(OSError) as failed:
                await loop.create_connection(Side, "127.0.0.1", 80)
        return type(failed.value).__name__, loop.time()

    found = {simulated(main, Weather(refuse=1), seed) for seed in range(10)}

    assert found == {("ConnectionRefusedError", 0.0), ("TimeoutError", CONNECT_S)}


def test_a_server_that_leaves_before_a_late_connect_comes_is_not_met() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, "127.0.0.1", 80)
        loop.call_later(1, server.close)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, "127.0.0.1", 80)
        assert loop.time() == 2

    simulated(main, Weather(late=1, late_s=(2.0,)), 0)


def test_in_calm_weather_nothing_is_decided() -> None:
    choices = Choices(1, Fifo())
    loop = SimulatedLoop(choices)
    SimulatedNetwork(loop)
    run(loop, Pair().play(back_pressure))

    assert not len(choices.trace)


def test_a_replay_is_the_same_run() -> None:
    def once(seed: int, replay: Trace | None) -> tuple[str, object]:
        choices = Choices(seed, Fifo(), replay)
        loop = SimulatedLoop(choices)
        network = SimulatedNetwork(loop, FOUL)

        async def main() -> object:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(20):
                    await Pair().play(loud)
            for end in list(network.ends):
                end.close()
            return loop.time(), loop.steps

        told = run(loop, main())
        return str(choices.trace), told

    async def loud(pair: Pair) -> None:
        pair.server.echoes = True
        while True:
            pair.client.transport.write(b"x" * 100)
            await asyncio.sleep(0.1)

    first = once(5, None)
    assert first == once(5, None)
    assert len(Trace.parse(first[0])) > 10
    assert first == once(0, Trace.parse(first[0]))
    assert first != once(6, None)


# -- a crash ----------------------------------------------------------------------------------------------------------


def in_a_process(number: int, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    PROCESS.set(number)
    task = asyncio.get_running_loop().create_task(main)
    PROCESS.set(0)
    return task


async def connected_to_process_7(loop: SimulatedLoop) -> Pair:
    """Both ends of a connection; the server's is in a process that can be killed."""
    pair = Pair()

    async def serve() -> None:
        await loop.create_server(lambda: pair.server, "127.0.0.1", 80)

    await in_a_process(7, serve())
    await loop.create_connection(lambda: pair.client, "127.0.0.1", 80)
    await pair.server.until(lambda: pair.server.log)
    return pair


@pytest.mark.parametrize("unread", [b"", b"unread"])
@pytest.mark.parametrize("silent", [False, True])
def test_a_killed_process_leaves_what_its_kernel_leaves(unread: bytes, silent: bool) -> None:
    async def main(network: SimulatedNetwork) -> list[str | bytes]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        pair = await connected_to_process_7(loop)
        pair.server.transport.write(b"last words")
        await pair.client.until(lambda: pair.client.received)
        pair.server.transport.pause_reading()
        if unread:
            pair.client.transport.write(unread)
            await asyncio.sleep(0.1)
        loop.kill(7, silent=silent)
        await asyncio.sleep(100)
        pair.server.transport.write(b"from the grave")
        log = list(pair.client.log)
        begun = loop.time()
        with pytest.raises(TimeoutError if silent else ConnectionRefusedError):
            await loop.create_connection(Side, "127.0.0.1", 80)
        assert loop.time() - begun == (CONNECT_S if silent else 0)
        pair.client.transport.abort()
        await pair.client.until(lambda: pair.client.over)
        assert pair.server.calls == ["made"], "nobody tells the dead"
        return log

    log = simulated(main)

    told = {b"": ["eof", "lost"], b"unread": ["lost: ConnectionResetError"]}[unread]
    assert log == ["made", b"last words", *([] if silent else told)]


def test_who_takes_the_addresses_of_a_machine_that_is_gone_is_met() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)

        async def serve() -> None:
            await loop.create_server(Side, ["127.0.0.1", "127.0.0.2"], 80)

        await in_a_process(7, serve())
        loop.kill(7, silent=True)
        async with await loop.create_server(Side, "127.0.0.1", 80):
            transport, _ = await loop.create_connection(Side, "127.0.0.1", 80)
            transport.abort()
            with pytest.raises(TimeoutError):
                await loop.create_connection(Side, "127.0.0.2", 80)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, "127.0.0.1", 80)
        async with await loop.create_server(Side, None, 80):
            transport, _ = await loop.create_connection(Side, "127.0.0.2", 80)
            transport.abort()

    simulated(main)


def test_who_writes_to_a_machine_that_is_gone_gives_up_in_the_end() -> None:
    async def main(network: SimulatedNetwork) -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        pair = await connected_to_process_7(loop)
        loop.kill(7, silent=True)
        pair.client.transport.write(b"hello?")
        await pair.client.until(lambda: pair.client.over)
        return pair.client.calls, loop.time()

    assert simulated(main) == (["made", "lost: TimeoutError"], FAIR.unheard_s)


def test_what_was_sent_before_the_crash_arrives() -> None:
    async def main(network: SimulatedNetwork) -> list[str | bytes]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        pair = await connected_to_process_7(loop)
        pair.server.transport.write(b"x" * MANY)
        loop.kill(7)
        await pair.client.until(lambda: pair.client.over)
        return pair.client.log

    log = simulated(main)

    assert log == ["made", b"x" * FAIR.kernel_bytes, "eof", "lost"]


def test_who_was_not_accepted_before_the_crash_hears_of_it() -> None:
    async def main(network: SimulatedNetwork) -> list[str | bytes]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        pair = Pair()

        async def serve() -> None:
            await loop.create_server(lambda: pair.server, "127.0.0.1", 80)

        await in_a_process(7, serve())
        connecting = loop.create_task(loop.create_connection(lambda: pair.client, "127.0.0.1", 80))
        await asyncio.sleep(0)
        loop.kill(7)
        await connecting
        pair.client.transport.write(b"hello?")
        await pair.client.until(lambda: pair.client.over)
        assert not pair.server.log
        return pair.client.log

    assert simulated(main)[-1] == "lost: ConnectionResetError"


def test_who_waits_for_a_server_that_never_speaks_is_found() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        pair = Pair()
        await loop.create_server(lambda: pair.server, "127.0.0.1", 80)
        await loop.create_connection(lambda: pair.client, "127.0.0.1", 80)
        await pair.client.until(lambda: pair.client.received)

    loop = SimulatedLoop(Choices(0, Fifo()))
    with pytest.raises(Deadlock, match="until"):
        run(loop, main(SimulatedNetwork(loop)))


def test_a_factory_that_fails_leaves_nobody_waiting() -> None:
    async def main(network: SimulatedNetwork) -> list[str | bytes]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)

        def no_luck() -> Side:
            raise ValueError("no luck")

        await loop.create_server(no_luck, "127.0.0.1", 80)
        client = Side()
        await loop.create_connection(lambda: client, "127.0.0.1", 80)
        await client.until(lambda: client.over)
        assert [type(each["exception"]) for each in loop.complaints] == [ValueError]
        return client.log

    assert simulated(main) == ["made", "lost: ConnectionResetError"]


def test_each_side_is_called_in_the_context_in_which_it_was_made() -> None:
    where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")
    called: list[tuple[str, str]] = []

    class Looking(Side):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def _note(self, what: str | bytes) -> None:
            called.append((self.name, where.get()))
            super()._note(what)

    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        where.set("server")
        await loop.create_server(lambda: Looking(f"made at the {where.get()}"), "127.0.0.1", 80)
        where.set("client")
        client = Looking("client")
        await loop.create_connection(lambda: client, "127.0.0.1", 80)
        where.set("elsewhere")
        client.transport.write(b"x" * MANY)
        client.transport.close()
        await client.until(lambda: client.over)
        await asyncio.sleep(1)

    simulated(main)

    assert set(called) == {("client", "client"), ("client", "elsewhere"), ("made at the server", "server")}
    assert called[-1] == ("made at the server", "server")


def test_a_connect_that_is_cancelled_leaves_nothing() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(Side, "127.0.0.1", 80)
        connecting = loop.create_task(loop.create_connection(Side, "127.0.0.1", 80))
        await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait({connecting})
        await asyncio.sleep(1)

    simulated(main)


def test_a_server_is_over_once_its_last_connection_is() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        client = Side()
        server = await loop.create_server(Side, "127.0.0.1", 80)
        serving = loop.create_task(server.serve_forever())
        await server.start_serving()
        transport, _ = await loop.create_connection(lambda: client, "127.0.0.1", 80)
        await asyncio.sleep(1)
        serving.cancel()
        await asyncio.sleep(1)
        assert not server.is_serving()
        assert not serving.done(), "somebody is still connected"
        transport.close()
        await asyncio.wait({serving})
        assert serving.cancelled()
        assert isinstance(transport, SimulatedTransport)

    simulated(main)


def test_a_server_that_sets_a_user_timeout_is_rid_of_who_takes_nothing() -> None:
    async def main(network: SimulatedNetwork) -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        pair = Pair()
        await network.create_server(lambda: pair.server, "127.0.0.1", 80, user_timeout_s=20)
        await loop.create_connection(lambda: pair.client, "127.0.0.1", 80)
        await pair.server.until(lambda: pair.server.log)
        pair.client.transport.pause_reading()
        pair.server.transport.write(b"x" * MANY)
        await asyncio.sleep(15)
        pair.client.transport.resume_reading()  # just in time
        await pair.client.until(lambda: pair.client.received)
        pair.client.transport.pause_reading()
        await pair.server.until(lambda: pair.server.over)
        pair.client.transport.abort()
        return pair.server.calls, loop.time()

    calls, seconds = simulated(main)

    assert calls == ["made", "pause", "lost: TimeoutError"]
    assert seconds == 15 + 20


def test_what_looks_like_a_socket_has_names_and_nothing_else() -> None:
    async def main(network: SimulatedNetwork) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, "::1", 80)
        transport, _ = await loop.create_connection(Side, "::1", 80)
        named = transport.get_extra_info("socket")
        assert (named.getsockname(), named.getpeername()) == (transport.get_extra_info("sockname"), ("::1", 80))
        assert (named.family, named.fileno()) == (socket.AF_INET6, -1)
        named.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(OSError, match="not connected"):
            server.sockets[0].getpeername()
        transport.close()
        server.close()
        await server.wait_closed()

    simulated(main)
