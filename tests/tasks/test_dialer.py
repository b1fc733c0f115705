from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import pytest

from streaming.errors import HandlerError
from streaming.tasks.address import AllowList
from streaming.tasks.dialer import ADDRESSES_MAX, HEAD_BYTES_MAX, Dialer, system_resolve
from tests.tasks.conftest import Serve, silence


class Names:
    """A name server that says what it is told to, one answer after the other, and counts who asks."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stream(httpcore.AsyncNetworkStream):
    """A connection from ``local`` to ``peer``, over which bytes come without end."""

    def __init__(self, peer: str | None, local: str) -> None:
        self.addresses = {"server_addr": peer, "client_addr": local}
        self.closed = False

    def get_extra_info(self, info: str) -> Any:
        address = self.addresses[info]
        return None if address is None else (address, 80)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's
        return bytes(max_bytes)

    async def start_tls(self, *args: Any) -> httpcore.AsyncNetworkStream:
        return self

    async def aclose(self) -> None:
        self.closed = True


class Wire(httpcore.AsyncNetworkBackend):
    """Connects nowhere; ``answers`` says for each address who is there, or what goes wrong."""

    def __init__(self, answers: dict[str, str | Exception | None]) -> None:
        self.answers = answers
        self.dialled: list[str] = []
        self.timeouts: list[float | None] = []
        self.streams: list[Stream] = []
        self.local = "192.0.2.1"

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append(host)
        self.timeouts.append(timeout)
        answer = self.answers.get(host, host)
        if isinstance(answer, Exception):
            raise answer
        self.streams.append(Stream(answer, self.local))
        return self.streams[-1]


async def test_the_connection_goes_to_the_very_address_that_was_judged() -> None:
    """A name server that changes its answer is asked once only."""
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    wire = Wire({})
    await Dialer(AllowList([]), names, wire).connect_tcp("rebind.test", 80)
    assert names.asked == [("rebind.test", 80)]
    assert wire.dialled == ["8.8.8.8"]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%1", "0.0.0.1"])
async def test_a_name_with_only_closed_addresses_is_refused_without_a_connection(address: str) -> None:
    wire = Wire({})
    with pytest.raises(HandlerError, match="STREAMING_FETCH_ALLOW") as raised:
        await Dialer(AllowList([]), Names([address]), wire).connect_tcp("inside.test", 80)
    assert raised.value.code == "address_not_allowed"
    assert address not in raised.value.detail
    assert wire.dialled == []


async def test_of_a_name_with_open_and_closed_addresses_only_the_open_ones_are_dialled() -> None:
    wire = Wire({})
    await Dialer(AllowList([]), Names(["10.0.0.1", "8.8.8.8"]), wire).connect_tcp("mixed.test", 80)
    assert wire.dialled == ["8.8.8.8"]


async def test_the_next_address_is_tried_and_the_time_is_shared() -> None:
    wire = Wire({"8.8.8.8": httpcore.ConnectError("down"), "8.8.4.4": httpcore.ConnectTimeout("slow")})
    await Dialer(AllowList([]), Names(["8.8.8.8", "8.8.4.4", "1.1.1.1"]), wire).connect_tcp("three.test", 80, timeout=9)
    assert wire.dialled == ["8.8.8.8", "8.8.4.4", "1.1.1.1"]
    assert wire.timeouts == [3.0, 3.0, 3.0]


async def test_when_no_address_answers_the_first_failure_is_told() -> None:
    wire = Wire({"8.8.8.8": httpcore.ConnectError("down"), "8.8.4.4": httpcore.ConnectTimeout("slow")})
    with pytest.raises(httpcore.ConnectError, match="down"):
        await Dialer(AllowList([]), Names(["8.8.8.8", "8.8.4.4"]), wire).connect_tcp("two.test", 80)


async def test_a_name_with_a_thousand_addresses_is_tried_a_few_times() -> None:
    addresses = [f"8.8.{high}.{low}" for high in range(4) for low in range(250)]
    wire = Wire(dict.fromkeys(addresses, httpcore.ConnectError("down")))
    with pytest.raises(httpcore.ConnectError):
        await Dialer(AllowList([]), Names(addresses), wire).connect_tcp("many.test", 80)
    assert len(wire.dialled) == ADDRESSES_MAX


async def test_a_name_without_addresses_cannot_be_connected_to() -> None:
    with pytest.raises(httpcore.ConnectError, match="no address"):
        await Dialer(AllowList([]), Names([]), Wire({})).connect_tcp("none.test", 80)


async def test_a_connection_that_went_somewhere_else_is_not_used() -> None:
    wire = Wire({"8.8.8.8": "10.0.0.1"})
    dialer = Dialer(AllowList([]), Names(["8.8.8.8"]), wire)
    with pytest.raises(HandlerError) as raised:
        await dialer.connect_tcp("odd.test", 80)
    assert raised.value.code == "address_not_allowed"
    await dialer.aclose()
    assert wire.streams[0].closed


@pytest.mark.parametrize(
    ("opened", "reached"), [("", False), ("8.8.8.8:80", True), ("own.test", True), ("x.test", False)]
)
async def test_a_public_address_of_this_machine_is_closed_as_the_others_are(opened: str, reached: bool) -> None:
    """From itself, a machine is reached behind its firewall."""
    wire = Wire({})
    wire.local = "8.8.8.8"
    dialer = Dialer(AllowList(opened.split()), Names(["8.8.8.8"]), wire)
    if reached:
        await dialer.connect_tcp("own.test", 80)
    else:
        with pytest.raises(HandlerError, match="this machine itself") as raised:
            await dialer.connect_tcp("own.test", 80)
        assert raised.value.code == "address_not_allowed"
    await dialer.aclose()
    assert wire.streams[0].closed


@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_that_sends_without_answering_is_given_up(tls: bool) -> None:
    dialer = Dialer(AllowList([]), Names(["8.8.8.8"]), Wire({}))
    stream = await dialer.connect_tcp("flood.test", 443)
    if tls:
        stream = await stream.start_tls(ssl.create_default_context(), "flood.test")
    await stream.read(HEAD_BYTES_MAX)
    with pytest.raises(HandlerError, match="no answer") as raised:
        await stream.read(1)
    assert raised.value.code == "bad_response"


async def test_what_comes_after_the_answer_has_begun_is_not_counted_and_each_connection_begins_anew() -> None:
    dialer = Dialer(AllowList([]), Names(["8.8.8.8"], ["8.8.8.8"]), Wire({}))
    stream = await dialer.connect_tcp("large.test", 80)
    await stream.read(HEAD_BYTES_MAX)
    dialer.answered()
    await stream.read(1)
    stream = await dialer.connect_tcp("large.test", 80)
    await stream.read(HEAD_BYTES_MAX)
    with pytest.raises(HandlerError, match="no answer"):
        await stream.read(1)


async def test_a_server_that_hangs_up_at_once_has_no_address_to_compare() -> None:
    with pytest.raises(httpcore.ConnectError, match="hung up"):
        await Dialer(AllowList([]), Names(["8.8.8.8"]), Wire({"8.8.8.8": None})).connect_tcp("rst.test", 80)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "not known"), UnicodeError("label too long")])
async def test_a_name_that_does_not_resolve_is_named(error: Exception) -> None:
    with pytest.raises(HandlerError, match=r"'gone\.test'") as raised:
        await Dialer(AllowList([]), Names(error), Wire({})).connect_tcp("gone.test", 80)
    assert raised.value.code == "dns_failed"


async def test_a_name_server_that_never_answers_is_a_timeout() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(httpcore.ConnectTimeout):
        await Dialer(AllowList([]), never, Wire({})).connect_tcp("slow.test", 80, timeout=0.01)


async def test_a_cancel_during_the_look_up_is_a_cancel() -> None:
    asked = asyncio.Event()

    async def never(host: str, port: int) -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    task = asyncio.create_task(Dialer(AllowList([]), never, Wire({})).connect_tcp("slow.test", 80, timeout=60))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_local_sockets_are_never_connected_to() -> None:
    with pytest.raises(HandlerError):
        await Dialer(AllowList([]), Names(), Wire({})).connect_unix_socket("/run/docker.sock")


async def test_a_pause_between_attempts_is_a_pause() -> None:
    await Dialer(AllowList([]), Names(), Wire({})).sleep(0)


async def test_it_connects_for_real(serve: Serve) -> None:
    server = await serve(silence, raw=True)
    dialer = Dialer(AllowList(["127.0.0.1"]), system_resolve)
    stream = await dialer.connect_tcp("127.0.0.1", server.port, timeout=5)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", server.port)
    await dialer.aclose()
    await server.gone.wait()


@pytest.mark.parametrize("spelling", ["127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001"])
async def test_the_system_reads_odd_spellings_of_an_address(spelling: str) -> None:
    """Which is why no spelling is judged."""
    assert await system_resolve(spelling, 80) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "spelling", ["127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0", "localhost", "[::1]"]
)
async def test_odd_spellings_are_refused_by_what_they_mean(spelling: str) -> None:
    with pytest.raises(HandlerError) as raised:
        await Dialer(AllowList([]), system_resolve).connect_tcp(spelling.strip("[]"), 80, timeout=5)
    assert raised.value.code == "address_not_allowed"


@pytest.mark.parametrize("name", ["a" * 70 + ".test", "a..b"])
async def test_impossible_names_do_not_resolve(name: str) -> None:
    with pytest.raises(OSError):
        await system_resolve(name, 80)
