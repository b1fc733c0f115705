"""What a URL, a name server and a server on the other side may try with http_fetch: a table for each kind of attack."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import random
import ssl
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.config import Settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.registry import Registry
from streaming.errors import InvalidParams, TaskTimedOut
from streaming.store import open_store
from streaming.tasks import dialer
from streaming.tasks.fetch import HEADER_LENGTH_MAX, PIECES_PER_TURN, http_fetch
from streaming.tasks.http_client import tls_context
from tests.tasks.conftest import Fetch, Recorder, Script, Serve, answer, failure, redirect, silence


@pytest.fixture(scope="module")
def certificates() -> ssl.SSLContext:
    """The authorities that everybody trusts, read once: nobody here speaks TLS."""
    return tls_context()


@pytest.fixture(autouse=True)
def _certificates(certificates: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.tasks.fetch.tls_context", lambda: certificates)


# -- where a URL leads ---------------------------------------------------

#: This machine, in every spelling that some program reads as it.
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "2130706433",
    "017700000001",
    "0",
    "0.0.0.0",  # noqa: S104  # nobody listens here
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost\u3002",
    "127.0.0.1.",
    "127\u30020\u30020\u30021",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2606:4700::5efe:7f00:1]",
]

#: Metadata services, private networks, and what is no host at all.
ELSEWHERE = [
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "metadata.test",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::a9fe:a9fe]",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", SPELLINGS + ELSEWHERE)
async def test_no_spelling_leads_inside(fetch: Fetch, serve: Serve, host: str) -> None:
    server = await serve(answer(b"secret"))
    error = await failure(fetch(f"http://{host}:{server.port}/", fetch_allow=()))
    assert error.code in ("address_not_allowed", "dns_failed")  # not everybody's resolver reads each of them
    assert server.requests == []


@pytest.mark.parametrize("host", [*SPELLINGS[::3], *ELSEWHERE[::3]])  # they are judged by the same
async def test_no_redirect_leads_inside(fetch: Fetch, serve: Serve, host: str) -> None:
    inside = await serve(answer(b"secret"))
    public = await serve(redirect(f"http://{host}:{inside.port}/latest/meta-data/"))
    error = await failure(fetch(public.url, fetch_allow=(f"127.0.0.1:{public.port}",)))
    assert error.code in ("address_not_allowed", "dns_failed", "bad_response")
    assert inside.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1/",
        "http://0177.0000.0000.0001/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://\uff4cocalhost/",
        "http://local\u00adhost/",
        "http://loc\u200balhost/",
        "http://%31%32%37.0.0.1/",
        "http://%6c%6f%63%61%6c%68%6f%73%74/",
        "http://127.0.0.1%00.test/",
        "http://[::1%25lo]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.fe80::a]/",
        "http:///127.0.0.1/",
        "http:127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "//127.0.0.1/",
        "http://127.0.0.1:80@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com&@127.0.0.1#@example.org/",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "dict://127.0.0.1:11211/stats",
        "ldap://127.0.0.1/",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "jar:http://example.com!/",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/",
        "ws://example.com/",
        "url:http://example.com/",
        " http://example.com/",
        "http\n://example.com/",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com/\0",
        "http://example.com\r\nHost: x/",
        "http://example.com:80\r\n/",
    ],
)
def test_what_is_no_plain_url_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(InvalidParams) as raised:
        Registry([http_fetch(Settings())]).get("http_fetch").validate({"url": url})
    assert [error.field for error in raised.value.errors] == ["params.url"]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "http://user:hunter2@127.0.0.1/",
        "//user:hunter2@127.0.0.1/",
        "http://user:hunter2@127.0.0.1:x/",
        "http://[::1%25lo]/",
        "http://%31%32%37.0.0.1/",
        "http:\\\\127.0.0.1\\",
    ],
)
async def test_no_redirect_leads_to_another_scheme_or_shows_a_password(
    fetch: Fetch, serve: Serve, recorder: Recorder, location: str
) -> None:
    server = await serve(redirect(location))
    error = await failure(fetch(server.url))
    assert error.code in ("bad_url", "bad_response")
    assert "hunter2" not in str(recorder.told) + str(error) + repr(error)
    assert len(server.requests) == 1


async def test_a_port_of_another_protocol_is_not_connected_to(fetch: Fetch) -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["8.8.8.8"]

    error = await failure(fetch("http://mail.test:25/", resolve=public))
    assert error.code == "address_not_allowed"
    assert "another protocol" in error.detail


@pytest.mark.parametrize("addresses", [["169.254.169.254"], ["10.0.0.1"], ["fd00:ec2::254"], ["8.8.8.8", "10.0.0.1"]])
async def test_a_name_that_is_opened_leads_to_no_metadata_and_one_that_is_not_leads_nowhere(
    fetch: Fetch, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def rebind(host: str, port: int) -> list[str]:
        """The first answer is harmless; the next ones are not."""
        asked.append(host)
        return addresses if len(asked) == 1 else ["127.0.0.1"]

    monkeypatch.setattr(dialer, "ADDRESSES_MAX", 0)  # whatever is allowed is not dialled: there is no internet here
    error = await failure(fetch("http://rebind.test/", fetch_allow=("other.test",), resolve=rebind))
    assert error.code == ("connect_failed" if "8.8.8.8" in addresses else "address_not_allowed")
    assert asked == ["rebind.test"]


# -- what is sent, and to whom


PLAIN = {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_nothing_of_one_server_is_told_to_another(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No cookie, no referrer, no password of a .netrc, and no header that is not the same for everybody."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    last = await serve(answer(b"here"))
    first = await serve(answer(b"", "302 Found", location=last.url, set_cookie="session=secret", refresh="0; url=/x"))
    await fetch(first.url + "/private?token=secret")
    for server in (first, last):
        headers = {line.split(":")[0].lower() for line in server.requests[0].split("\r\n")[1:] if line}
        assert headers == PLAIN
    assert "secret" not in last.requests[0]
    assert "hunter2" not in first.requests[0] + last.requests[0]


async def test_nobody_reads_the_cookies_of_a_server(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads them takes time by the square of their length, on the loop of everybody."""

    def read(*_: object) -> None:
        raise AssertionError("somebody reads them")

    for reader in ("split_header_words", "parse_ns_headers"):
        monkeypatch.setattr(f"http.cookiejar.{reader}", read)
    server = await serve(answer(b"fine", set_cookie="a=b", set_cookie2="a;" * 10_000))
    assert (await fetch(server.url))["status"] == 200


async def test_a_cookie_is_not_even_told_to_the_server_that_has_set_it(fetch: Fetch, serve: Serve) -> None:
    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        moved = answer(b"", "302 Found", location="/b", set_cookie="session=1; Path=/; Domain=127.0.0.1")
        await (moved if request.startswith("GET /a ") else answer(b"here"))(request, reader, writer)

    server = await serve(script)
    assert (await fetch(server.url + "/a"))["body"] == "here"
    assert "cookie" not in server.requests[1].lower()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/%0d%0aX-Injected:%201", "GET /%0d%0aX-Injected:%201 HTTP/1.1"),
        ("/\u010d\u010aX-Injected: 1", "GET /%C4%8D%C4%8AX-Injected:%201 HTTP/1.1"),
        ("/?a= HTTP/1.1", "GET /?a=%20HTTP/1.1 HTTP/1.1"),
    ],
)
async def test_a_path_stays_in_its_line(fetch: Fetch, serve: Serve, path: str, line: str) -> None:
    server = await serve(answer(b""))
    await fetch(server.url + path)
    assert server.requests[0].split("\r\n")[0] == line
    assert "X-Injected: 1" not in server.requests[0].split("\r\n")


@pytest.mark.parametrize("name", ["headers", "method", "body", "cookies", "auth", "proxy", "verify", "timeout"])
def test_nobody_adds_anything_to_a_request(name: str) -> None:
    """Without headers of a user there are none to inject, to smuggle with, or to forward."""
    with pytest.raises(InvalidParams) as raised:
        Registry([http_fetch(Settings())]).get("http_fetch").validate({"url": "http://example.com/", name: "x"})
    assert [error.field for error in raised.value.errors] == [f"params.{name}"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
async def test_no_proxy_of_the_environment_is_asked(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server, proxy = await serve(answer(b"direct")), await serve(answer(b"proxied"))
    monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert (await fetch(server.url))["body"] == "direct"
    assert proxy.requests == []


def test_a_password_in_a_url_is_refused_and_repeated_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidParams) as raised:
        Registry([http_fetch(Settings())]).get("http_fetch").validate({"url": "https://user:hunter2@example.com/"})
    told = raised.value.detail + str(raised.value.errors) + caplog.text
    assert "hunter2" not in told
    assert "user name or password" in told


# -- what comes back


def packed(name: str, body: bytes) -> bytes:
    match name:
        case "deflate":
            return zlib.compress(body)
        case "gzip, gzip":
            return gzip.compress(gzip.compress(body))
        case _:
            return gzip.compress(body)


@pytest.mark.parametrize("name", ["deflate", "br", "zstd", "compress", "gzip, gzip", "gzip,deflate", "identity, gzip"])
async def test_only_what_was_asked_for_is_unpacked(fetch: Fetch, serve: Serve, name: str) -> None:
    server = await serve(answer(packed(name, bytes(1000)), content_encoding=name))
    error = await failure(fetch(server.url))
    assert error.code == "bad_response"
    assert "unasked" in error.detail


async def test_a_bomb_in_a_bomb_is_unpacked_once(fetch: Fetch, serve: Serve) -> None:
    inner = gzip.compress(bytes(10_000_000))
    server = await serve(answer(gzip.compress(inner), content_encoding="gzip"))
    assert (await fetch(server.url))["bytes"] == len(inner)


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "chunked, chunked", "identity", "\x0bchunked"])
async def test_no_coding_of_the_transfer_but_chunks_is_undone(fetch: Fetch, serve: Serve, coding: str) -> None:
    server = await serve(answer(gzip.compress(b"hello"), length=None, transfer_encoding=coding))
    assert (await failure(fetch(server.url))).code == "bad_response"


def say(*parts: bytes, forever: bytes = b"") -> Script:
    """A script that says this, and the last part again and again."""

    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))
        while forever:
            writer.write(forever)
            await writer.drain()
            await asyncio.sleep(0)

    return script


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "script",
    [
        say(forever=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        say(forever=b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1000),
        say(forever=b"HTTP/1.1 " * 1000),
        say(OK, forever=b"X: y\r\n" * 1000),
        say(OK, b"X: ", forever=b"y" * 10_000),
        say(OK, b"Transfer-Encoding: chunked\r\n\r\n", forever=b"0" * 10_000),
        say(OK, b"Transfer-Encoding: chunked\r\n\r\n1;", forever=b"x" * 10_000),
        say(OK, b"Transfer-Encoding: chunked\r\n\r\n0\r\n", forever=b"X: y\r\n" * 1000),
        say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        say(OK, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        say(OK, b"X: a\0b\r\n\r\n"),
    ],
    ids=[
        "endless 100",
        "endless 103",
        "endless status line",
        "endless headers",
        "endless header",
        "endless chunk size",
        "endless chunk extension",
        "endless trailers",
        "another protocol",
        "two lengths",
        "NUL in a header",
    ],
)
async def test_an_answer_that_never_begins_or_never_ends_is_given_up(
    fetch: Fetch, serve: Serve, script: Script
) -> None:
    server = await serve(script)
    error = await failure(fetch(server.url))
    assert error.code == "bad_response"
    assert len(error.detail) < 400
    await server.gone.wait()


def drip(head: bytes, piece: bytes) -> Script:
    """A script that sends a little every moment: never silent, and never done."""

    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)

    return script


async def test_a_head_that_drips_is_given_up(fetch: Fetch, serve: Serve) -> None:
    server = await serve(drip(OK + b"X: ", b"y"))
    error = await failure(fetch(server.url, head_s=0.05))
    assert error.code == "fetch_timeout"
    assert "too long to begin" in error.detail
    await server.gone.wait()


async def test_a_body_that_drips_ends_with_the_time_of_its_task(serve: Serve, tmp_path: Path) -> None:
    server = await serve(drip(OK + b"\r\n", b"x"))
    settings = Settings(store_url="memory://", fetch_allow=["127.0.0.1"], fetch_dir=tmp_path)
    journal = open_store(settings)
    await journal.open()
    try:
        async with TaskCoordinator(
            Registry([http_fetch(settings)]),
            journal,
            settings,
            wall=time.time,
            new_id=lambda: "0" * 32,
            chance=random.random,
        ) as coordinator:
            params = {"url": server.url, "save_as": "file"}
            record, _ = await coordinator.start("http_fetch", params, timeout_s=0.1)
            with pytest.raises(TaskTimedOut):
                await coordinator.result(record.id)
    finally:
        await journal.close()
    await server.gone.wait()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"transfer_encoding": "chunked"}, b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n"),
        ({"content_encoding": "gzip"}, gzip.compress(b"x") * 1000),
    ],
    ids=["chunks", "members"],
)
async def test_a_body_in_tiny_pieces_lets_others_run(
    fetch: Fetch, serve: Serve, headers: dict[str, str], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read brings thousands of them, and to take one waits for nothing."""
    given: list[float] = []
    sleep = asyncio.sleep

    async def watch(seconds: float) -> None:
        given.append(seconds)
        await sleep(seconds)

    server = await serve(answer(body, length=None, **headers))
    monkeypatch.setattr("streaming.tasks.fetch.asyncio.sleep", watch)
    result = await fetch(server.url)
    assert given.count(0) >= result["bytes"] // PIECES_PER_TURN


async def test_a_long_header_is_cut_wherever_it_is_told(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    server = await serve(answer(b"x", content_type="t" * 50_000, etag="e" * 10_000))
    result = await fetch(server.url)
    assert len(result["content_type"]) == HEADER_LENGTH_MAX
    told = recorder.data("response")[0]["headers"]
    assert {name: len(value) for name, value in told.items()} == {
        "content-type": HEADER_LENGTH_MAX,
        "content-length": 1,
        "etag": HEADER_LENGTH_MAX,
    }


# -- where it is saved


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "a/../../escaped",
        "/etc/escaped",
        "//escaped",
        "a//escaped",
        "./escaped",
        ".escaped",
        "a/.escaped",
        "~/../escaped/",
        "a\0b",
        "a\nb",
        "a\u2028b",
        "\ud800",
        "x" * 256,
        "é" * 128,
        "a/" * 512 + "b",
    ],
)
def test_no_name_of_a_file_leads_out_of_the_directory(name: str) -> None:
    with pytest.raises(InvalidParams) as raised:
        Registry([http_fetch(Settings())]).get("http_fetch").validate({"url": "http://example.com/", "save_as": name})
    assert [error.field for error in raised.value.errors] == ["params.save_as"]


@pytest.mark.parametrize(
    "plant",
    [
        lambda root, outside: (root / "a").symlink_to(outside),
        lambda root, outside: (root / "a").symlink_to("../outside"),
        lambda root, outside: ((root / "real").mkdir(), (root / "a").symlink_to("real")),
        lambda root, outside: (root / "a").write_text("a file"),
    ],
    ids=["absolute link", "relative link", "link to the inside", "file"],
)
async def test_no_folder_on_the_way_leads_out_of_the_directory(
    fetch: Fetch, serve: Serve, tmp_path: Path, plant: Callable[[Path, Path], object]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    plant(root, outside)
    server = await serve(answer(b"body"))
    error = await failure(fetch(server.url, "a/file", fetch_dir=root))
    assert error.code == "save_failed"
    assert os.listdir(outside) == []
    assert server.requests == []


async def test_the_server_does_not_choose_the_name(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    server = await serve(answer(b"body", content_disposition='attachment; filename="../../escaped"'))
    await fetch(server.url + "/..%2f..%2fescaped", "mine", fetch_dir=tmp_path)
    assert os.listdir(tmp_path) == ["mine"]


async def test_a_server_that_never_answers_leaves_no_file(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    server = await serve(silence)
    error = await failure(fetch(server.url, "folder/file", fetch_dir=tmp_path, read_s=0.02))
    assert error.code == "fetch_timeout"
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []
