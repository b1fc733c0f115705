"""The network that the tests break is whole until they ask for it, and broken as they asked."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.postgres import PostgresServer, wait_until
from tests.proxy import Proxy


class Echo:
    """A server that says again what it hears, and knows how each connection ended."""

    def __init__(self) -> None:
        self.lost: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.heard = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.heard += data
                writer.write(data)
                await writer.drain()
        except ConnectionError as error:
            self.lost.put_nowait(error)
        else:
            self.lost.put_nowait(None)
        finally:
            writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(proxy: Proxy) -> Connection:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def say(connection: Connection, words: bytes) -> bytes:
    reader, writer = connection
    writer.write(words)
    return await reader.readexactly(len(words))


async def close(connection: Connection) -> None:
    connection[1].close()


async def test_a_connection_that_is_cut_before_its_first_step_is_reset_as_well(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()

        async def begin_and_cut() -> int:
            proxy._begin(accepted)
            return await proxy._cut()

        assert proxy._do(begin_and_cut()) == 1
        assert accepted.fileno() == -1
        with pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_bytes_pass_in_both_directions_and_so_does_the_end(proxy: Proxy, echo: Echo) -> None:
    connection = await connect(proxy)
    much = b"0123456789abcdef" * 100_000

    assert await say(connection, b"hello") == b"hello"
    transport = connection[1].transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    connection[1].write(much)
    connection[1].write_eof()
    assert await echo.lost.get() is None
    await asyncio.to_thread(wait_until, lambda: proxy.open == 0, "it is open")
    transport.resume_reading()
    assert await connection[0].read() == much

    await close(connection)


async def test_connections_are_counted(proxy: Proxy) -> None:
    first, second = await connect(proxy), await connect(proxy)
    await say(first, b"a")
    await say(second, b"a")

    assert (proxy.open, proxy.accepted) == (2, 2)

    assert proxy.cut() == 2
    assert (proxy.open, proxy.accepted) == (0, 2)
    await close(first)
    await close(second)


async def test_a_cut_resets_both_sides_at_once_and_new_connections_work(proxy: Proxy, echo: Echo) -> None:
    connection = await connect(proxy)
    await say(connection, b"a")

    proxy.cut()

    with pytest.raises(ConnectionResetError):
        await connection[0].read(1)
    assert isinstance(await echo.lost.get(), ConnectionResetError)
    await close(connection)

    again = await connect(proxy)
    assert await say(again, b"b") == b"b"
    await close(again)


async def test_refusing_lets_open_connections_go_on(proxy: Proxy) -> None:
    connection, port = await connect(proxy), proxy.port
    await say(connection, b"a")

    proxy.refuse()
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    assert await say(connection, b"b") == b"b"

    proxy.accept()
    proxy.accept()

    assert proxy.port == port
    again = await connect(proxy)
    assert await say(again, b"c") == b"c"
    await close(connection)
    await close(again)


async def test_what_is_stalled_arrives_after_it_resumes(proxy: Proxy) -> None:
    connection = await connect(proxy)
    await say(connection, b"a")

    proxy.stall()
    late = await connect(proxy)
    late[1].write(b"late")
    connection[1].write(b"b")
    await asyncio.to_thread(proxy.wait_until_held, 2)
    assert (proxy.open, proxy.held) == (2, 2)

    proxy.resume()
    assert await connection[0].readexactly(1) == b"b"
    assert await late[0].readexactly(4) == b"late"
    await close(connection)
    await close(late)


async def test_the_server_can_hear_what_it_cannot_answer(proxy: Proxy, echo: Echo) -> None:
    connection = await connect(proxy)
    await say(connection, b"a")

    proxy.stall("answers")
    connection[1].write(b"b")
    await asyncio.to_thread(proxy.wait_until_held)
    assert echo.heard == b"ab"

    proxy.resume()
    assert await connection[0].readexactly(1) == b"b"
    await close(connection)


async def test_what_is_stalled_is_lost_in_a_cut(proxy: Proxy, echo: Echo) -> None:
    connection = await connect(proxy)
    await say(connection, b"a")

    proxy.stall()
    connection[1].write(b"lost")
    await asyncio.to_thread(proxy.wait_until_held)
    proxy.cut()
    proxy.resume()

    with pytest.raises(ConnectionResetError):
        await connection[0].read(1)
    assert proxy.held == 0
    assert echo.heard == b"a"
    await close(connection)


async def test_when_the_server_is_gone_the_client_gets_an_error(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]

    with Proxy(port) as nowhere, pytest.raises(ConnectionResetError):  # while it connects, or as it reads
        await say(await connect(nowhere), b"a")


def test_it_leaves_no_thread() -> None:
    with Proxy(1):
        assert "proxy" in {thread.name for thread in threading.enumerate()}

    assert "proxy" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def through(postgres_server: PostgresServer, postgres_url: str) -> Iterator[tuple[Proxy, str]]:
    """A PostgreSQL behind a proxy, and the address for psycopg."""
    with Proxy(postgres_server.port) as proxy:
        url = postgres_server.url(postgres_url.rpartition("/")[2], port=proxy.port)
        yield proxy, url.replace("+psycopg", "")


def test_a_commit_can_be_done_though_the_client_never_hears_of_it(
    postgres_server: PostgresServer, through: tuple[Proxy, str]
) -> None:
    proxy, url = through
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept (number int)")
        proxy.stall("answers")
        cutting = threading.Thread(target=_cut_once_it_answers, args=(proxy,))
        cutting.start()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("insert into kept values (1)")
        cutting.join()

    assert postgres_server.query("select number from kept", name) == [(1,)]


def _cut_once_it_answers(proxy: Proxy) -> None:
    proxy.wait_until_held()
    proxy.cut()


async def test_answers_are_held_back_until_there_are_enough_or_the_first_is_old(echo: Echo) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with Proxy(port, collect_bytes=6, collect_s=3600) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"abc")
        await asyncio.to_thread(wait_until, lambda: echo.heard == b"abc", "nothing came through")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(10), 0.05)
        writer.write(b"def")
        assert await reader.readexactly(6) == b"abcdef"
        writer.write(b"g")
        writer.write_eof()
        assert await reader.read() == b"g", "an end is no reason to wait"
        writer.close()
    with Proxy(port, collect_bytes=6, collect_s=0.05) as proxy:
        connection = await connect(proxy)
        assert await say(connection, b"abc") == b"abc"
        await close(connection)
    server.close()
