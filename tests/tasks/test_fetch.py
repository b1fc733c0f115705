from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.registry import Registry
from streaming.errors import InvalidParams, InvalidSettings
from streaming.tasks.fetch import REDIRECTS_MAX, http_fetch
from tests.tasks.conftest import TRACE, Fetch, Recorder, Serve, Server, answer, failure, redirect, silence

TLS = Path(__file__).parent / "tls"

# -- what comes back


async def test_a_text_comes_back_in_the_result(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    server = await serve(answer(b"hello", content_type="text/plain", etag='"1"', set_cookie="secret=1"))
    assert await fetch(server.url + "/a?b=c") == {
        "url": server.url + "/a?b=c",
        "status": 200,
        "bytes": 5,
        "content_type": "text/plain",
        "sha256": hashlib.sha256(b"hello").hexdigest(),
        "encoding": "text",
        "body": "hello",
    }
    assert recorder.told == [
        (
            "response",
            {
                "url": server.url + "/a?b=c",
                "status": 200,
                "headers": {"content-type": "text/plain", "content-length": "5", "etag": '"1"'},
                "length": 5,
            },
        ),
        ("progress", {"percent": 100.0, "message": "5 B of 5 B"}),
    ]


async def test_the_request_is_what_the_url_says(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b""))
    await fetch(f"http://name.test:{server.port}/a%20b?c=d")
    lines = server.requests[0].split("\r\n")
    assert lines[0] == "GET /a%20b?c=d HTTP/1.1"
    assert f"Host: name.test:{server.port}" in lines
    assert "Accept-Encoding: gzip" in lines


async def test_every_request_belongs_to_the_trace_of_the_task(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(answer(b""))
    first = await serve(redirect(server.url))
    await fetch(first.url)
    assert "trace" not in server.requests[0] + first.requests[0]
    monkeypatch.setitem(TRACE, "traceparent", f"00-{'1' * 32}-{'2' * 16}-01")
    monkeypatch.setitem(TRACE, "tracestate", "a=1")
    await fetch(first.url)
    for request in (first.requests[1], server.requests[1]):
        assert {f"traceparent: 00-{'1' * 32}-{'2' * 16}-01", "tracestate: a=1"} <= set(request.split("\r\n"))


async def test_a_body_is_saved_in_a_file(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    server = await serve(answer(body))
    result = await fetch(server.url, "folder/file.bin", fetch_dir=tmp_path)
    assert result["saved_as"] == "folder/file.bin"
    assert result["bytes"] == len(body)
    assert "body" not in result
    assert (tmp_path / "folder/file.bin").read_bytes() == body
    assert result["sha256"] == hashlib.sha256(body).hexdigest()


async def test_without_a_directory_nothing_is_saved_and_nobody_is_asked(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"x"))
    error = await failure(fetch(server.url, "file"))
    assert error.code == "not_configured"
    assert "STREAMING_FETCH_DIR" in error.detail
    assert server.requests == []


async def test_a_packed_body_is_unpacked_and_counted_unpacked(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    packed = gzip.compress(b"hello " * 1000)
    server = await serve(answer(packed, content_encoding="gzip"))
    result = await fetch(server.url)
    assert result["bytes"] == 6000
    assert result["body"] == "hello " * 1000
    assert recorder.data("progress")[-1]["percent"] == 100.0


async def test_a_chunked_body_is_put_together(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", length=None, transfer_encoding="chunked"))
    assert (await fetch(server.url))["body"] == "hello world"


async def test_a_body_that_ends_with_its_connection_is_complete(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    server = await serve(answer(b"hello", length=None))
    assert (await fetch(server.url))["body"] == "hello"
    assert recorder.data("response")[0]["length"] is None


async def test_no_content_is_a_result(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"", "204 No Content", length=None))
    result = await fetch(server.url)
    assert (result["status"], result["body"], result["content_type"]) == (204, "", None)


# -- progress


async def test_progress_is_told_a_hundred_times_at_most(
    fetch: Fetch, serve: Serve, recorder: Recorder, tmp_path: Path
) -> None:
    server = await serve(answer(bytes(20_000_000)))
    await fetch(server.url, "file", fetch_dir=tmp_path)
    percents = [data["percent"] for data in recorder.data("progress")]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100.0
    assert 10 <= len(percents) <= 100


async def test_of_an_unknown_length_each_doubling_is_told(
    fetch: Fetch, serve: Serve, recorder: Recorder, tmp_path: Path
) -> None:
    server = await serve(answer(bytes(9_000_000), length=None))
    await fetch(server.url, "file", fetch_dir=tmp_path)
    told = recorder.data("progress")
    assert [data["percent"] for data in told] == [0] * len(told)
    assert 3 <= len(told) <= 4
    assert told[0]["message"].endswith("MiB so far")


# -- limits


async def test_a_body_larger_than_a_result_says_what_to_do(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(bytes(200_000)))
    error = await failure(fetch(server.url))
    assert error.code == "too_large"
    assert "128.0 KiB" in error.detail
    assert "save_as" in error.detail


async def test_a_length_over_the_limit_is_refused_before_the_body(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    server = await serve(answer(b"", length=1001))
    error = await failure(fetch(server.url, "file", fetch_dir=tmp_path, fetch_bytes_max=1000))
    assert error.code == "too_large"
    assert "STREAMING_FETCH_BYTES_MAX" in error.detail
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", ["9" * 30, "1" * 5000])
async def test_an_absurd_length_is_refused(fetch: Fetch, serve: Serve, length: str) -> None:
    server = await serve(answer(b"x", length=None, content_length=length))
    assert (await failure(fetch(server.url))).code in ("too_large", "bad_response", "incomplete")


async def test_an_endless_body_is_cut_off_at_the_limit(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    async def endless(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    server = await serve(endless)
    error = await failure(fetch(server.url, "file", fetch_dir=tmp_path, fetch_bytes_max=1_000_000))
    await server.gone.wait()
    assert error.code == "too_large"
    assert os.listdir(tmp_path) == []


async def test_a_compression_bomb_is_cut_off_at_the_limit(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < 200_000
    server = await serve(answer(bomb, content_encoding="gzip"))
    error = await failure(fetch(server.url, "file", fetch_dir=tmp_path, fetch_bytes_max=1_000_000))
    assert error.code == "too_large"
    assert os.listdir(tmp_path) == []


async def test_what_unpacks_to_nothing_is_cut_off_at_the_limit_too(fetch: Fetch, serve: Serve) -> None:
    """Empty gzip members can go on for ever without a byte of a body."""
    server = await serve(answer(gzip.compress(b"") * 100, content_encoding="gzip", length=None))
    assert (await failure(fetch(server.url, fetch_bytes_max=1000))).code == "too_large"


# -- broken answers


async def test_a_body_shorter_than_its_length_is_incomplete(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    server = await serve(answer(b"hello", length=10))
    error = await failure(fetch(server.url, "file", fetch_dir=tmp_path))
    assert error.code == "incomplete"
    assert os.listdir(tmp_path) == []


async def test_a_body_longer_than_its_length_ends_there(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"hello world", length=5))
    assert (await fetch(server.url))["body"] == "hello"


async def test_a_packed_body_that_ends_early_is_incomplete(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(gzip.compress(b"hello")[:-4], content_encoding="gzip"))
    assert (await failure(fetch(server.url))).code == "incomplete"


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:x/\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_a_failure_in_few_words(fetch: Fetch, serve: Serve, text: bytes) -> None:
    async def say(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    server = await serve(say)
    error = await failure(fetch(server.url))
    assert error.code == "bad_response"
    assert len(error.detail) < 400


async def test_a_connection_that_is_reset_is_lost(fetch: Fetch, serve: Serve) -> None:
    async def reset(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await serve(reset)
    error = await failure(fetch(server.url))
    assert error.code == "connection_lost"


async def test_nobody_there_is_a_failure_with_the_reason(fetch: Fetch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        error = await failure(fetch(f"http://127.0.0.1:{port}/"))
    assert error.code == "connect_failed"
    assert error.detail == f"127.0.0.1:{port} cannot be reached: Connection refused."


async def test_a_silent_server_is_a_timeout_of_the_fetch(fetch: Fetch, serve: Serve) -> None:
    server = await serve(silence)
    error = await failure(fetch(server.url, read_s=0.05))
    assert error.code == "fetch_timeout"
    await server.gone.wait()


async def test_a_server_that_falls_silent_is_a_timeout_of_the_fetch(fetch: Fetch, serve: Serve, tmp_path: Path) -> None:
    async def stall(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await silence(request, reader, writer)

    server = await serve(stall)
    error = await failure(fetch(server.url, "file", fetch_dir=tmp_path, read_s=0.05))
    assert error.code == "fetch_timeout"
    assert "silent" in error.detail
    assert os.listdir(tmp_path) == []


async def test_a_look_up_that_hangs_is_a_timeout_of_the_fetch(fetch: Fetch) -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    error = await failure(fetch("http://slow.test/", connect_s=0.01, resolve=never))
    assert error.code == "fetch_timeout"


async def test_an_unknown_name_is_a_failure_of_its_own(fetch: Fetch) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    error = await failure(fetch("http://gone.test/", resolve=unknown))
    assert error.code == "dns_failed"


@pytest.mark.parametrize(
    ("status", "named"), [("404 Nope", "404 Not Found"), ("503 Busy", "503 Service Unavailable"), ("599 X", "599")]
)
async def test_an_http_error_is_a_failure_that_names_it(
    fetch: Fetch, serve: Serve, recorder: Recorder, status: str, named: str
) -> None:
    server = await serve(answer(b"page", status))
    error = await failure(fetch(server.url + "/x"))
    assert error.code == "http_status"
    assert error.detail == f"{server.url}/x answered {named}."
    assert recorder.types() == ["response"]


# -- where it may go


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "127.0.0.1.", "name.test"])
async def test_this_machine_is_closed_by_default(fetch: Fetch, serve: Serve, host: str) -> None:
    server = await serve(answer(b"secret"))
    error = await failure(fetch(f"http://{host}:{server.port}/", fetch_allow=()))
    assert error.code == "address_not_allowed"
    assert "STREAMING_FETCH_ALLOW" in error.detail
    assert server.requests == []


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"])
async def test_this_machine_is_closed_in_ipv6_too(fetch: Fetch, serve: Serve, host: str) -> None:
    server = await serve(answer(b"secret"))
    error = await failure(fetch(f"http://{host}:{server.port}/", fetch_allow=()))
    assert error.code == "address_not_allowed"
    assert server.requests == []


async def test_a_named_host_is_opened_and_no_other(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"hello"))
    allow = (f"open.test:{server.port}",)
    assert (await fetch(f"http://OPEN.test.:{server.port}/", fetch_allow=allow))["body"] == "hello"
    error = await failure(fetch(f"http://closed.test:{server.port}/", fetch_allow=allow))
    assert error.code == "address_not_allowed"


async def test_a_name_that_changes_its_address_is_judged_at_each_hop(fetch: Fetch, serve: Serve) -> None:
    asked: list[str] = []

    async def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    server = await serve(redirect("/again"))
    error = await failure(fetch(f"http://rebind.test:{server.port}/", resolve=rebind))
    assert error.code == "address_not_allowed"
    assert asked == ["rebind.test", "rebind.test"]
    assert len(server.requests) == 1


async def test_proxies_of_the_environment_are_ignored(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = await serve(answer(b"direct")), await serve(answer(b"proxied"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await fetch(f"http://name.test:{server.port}/"))["body"] == "direct"
    assert proxy.requests == []


# -- redirects


async def test_redirects_are_followed_and_told(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    last = await serve(answer(b"here"))
    second = await serve(redirect(last.url + "/c", "308 Permanent Redirect"))
    first = await serve(redirect(f"//name.test:{second.port}/b"))
    result = await fetch(first.url + "/a")
    assert (result["url"], result["body"]) == (last.url + "/c", "here")
    assert recorder.data("redirect") == [
        {"from": first.url + "/a", "to": f"http://name.test:{second.port}/b", "status": 302},
        {"from": f"http://name.test:{second.port}/b", "to": last.url + "/c", "status": 308},
    ]
    assert f"Host: name.test:{second.port}" in second.requests[0]
    assert f"Host: 127.0.0.1:{last.port}" in last.requests[0]


async def test_a_relative_redirect_stays_on_its_server(fetch: Fetch, serve: Serve) -> None:
    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (redirect("../b?x=1") if request.startswith("GET /d/a ") else answer(b"b"))(request, reader, writer)

    server = await serve(script)
    assert (await fetch(server.url + "/d/a"))["url"] == server.url + "/b?x=1"


async def test_a_redirect_status_without_a_place_to_go_is_an_answer(fetch: Fetch, serve: Serve) -> None:
    server = await serve(answer(b"choose", "300 Multiple Choices"))
    assert (await fetch(server.url))["status"] == 300


async def test_too_many_redirects_are_too_many(fetch: Fetch, serve: Serve, recorder: Recorder) -> None:
    server = await serve(redirect("/again"))
    error = await failure(fetch(server.url))
    assert error.code == "too_many_redirects"
    assert len(server.requests) == REDIRECTS_MAX + 1
    assert len(recorder.data("redirect")) == REDIRECTS_MAX


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "address_not_allowed"),
        ("http://metadata.test/", "address_not_allowed"),
        ("http://[::ffff:169.254.169.254]/", "address_not_allowed"),
        ("http://[fd00:ec2::254]/", "address_not_allowed"),
        ("http://10.0.0.1/", "address_not_allowed"),
        ("https://10.0.0.1/", "address_not_allowed"),
        ("file:///etc/passwd", "bad_url"),
        ("gopher://127.0.0.1:70/", "bad_url"),
        ("http://user:pass@127.0.0.1/", "bad_url"),
        ("http://127.0.0.1/" + "x" * 9000, "bad_url"),
    ],
)
async def test_no_redirect_leads_where_a_url_may_not(fetch: Fetch, serve: Serve, location: str, code: str) -> None:
    server = await serve(redirect(location))
    error = await failure(fetch(server.url))
    assert error.code == code


# -- TLS


@pytest.fixture
def certificate(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS with a certificate for secure.test, which the handler trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "secure.test.pem")
    return context


async def test_tls_names_and_verifies_the_host_of_the_url(
    fetch: Fetch, serve: Serve, certificate: ssl.SSLContext
) -> None:
    named: list[str | None] = []
    certificate.sni_callback = lambda connection, name, context: named.append(name)
    server = await serve(answer(b"private"), ssl=certificate)
    assert (await fetch(f"https://secure.test:{server.port}/"))["body"] == "private"
    assert named == ["secure.test"]
    assert f"Host: secure.test:{server.port}" in server.requests[0]


async def test_a_certificate_for_another_host_is_refused(
    fetch: Fetch, serve: Serve, certificate: ssl.SSLContext
) -> None:
    server = await serve(answer(b"private"), ssl=certificate)
    error = await failure(fetch(f"https://other.test:{server.port}/"))
    assert error.code == "tls_failed"
    assert "other.test" in error.detail
    assert server.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused(
    fetch: Fetch, serve: Serve, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = await serve(answer(b"private"), ssl=certificate)
    error = await failure(fetch(f"https://secure.test:{server.port}/"))
    assert error.code == "tls_failed"
    assert server.requests == []


async def test_a_server_that_does_not_speak_tls_is_a_failure(fetch: Fetch, serve: Serve) -> None:
    async def plain(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await serve(plain, raw=True)
    error = await failure(fetch(f"https://name.test:{server.port}/"))
    assert error.code == "tls_failed"


# -- cancel


async def stop(task: asyncio.Task[Any], server: Server, cancels: int) -> None:
    """Cancel, again if asked to, and see the connection closed on the other side."""
    assert not server.gone.is_set()
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await server.gone.wait()


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancel_before_the_answer_closes_the_connection(fetch: Fetch, serve: Serve, cancels: int) -> None:
    asked = asyncio.Event()

    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await silence(request, reader, writer)

    server = await serve(script)
    task = asyncio.create_task(fetch(server.url))
    await asked.wait()
    await stop(task, server, cancels)


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancel_in_flight_closes_the_connection_and_removes_the_file(
    fetch: Fetch, serve: Serve, recorder: Recorder, tmp_path: Path, cancels: int
) -> None:
    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        await silence(request, reader, writer)

    server = await serve(script)
    arriving = recorder.once("progress")
    task = asyncio.create_task(fetch(server.url, "file", fetch_dir=tmp_path))
    await arriving
    await stop(task, server, cancels)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancel_during_the_tls_handshake_closes_the_connection(
    fetch: Fetch, serve: Serve, cancels: int
) -> None:
    greeted = asyncio.Event()

    async def script(request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        greeted.set()
        while await reader.read(65536):
            pass

    server = await serve(script, raw=True)
    task = asyncio.create_task(fetch(f"https://name.test:{server.port}/"))
    await greeted.wait()
    await stop(task, server, cancels)


# -- parameters and settings


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.url"),
        ({"url": "ftp://example.com/"}, "params.url"),
        ({"url": "http://user:pass@example.com/"}, "params.url"),
        ({"url": "http://example.com/", "save_as": "../x"}, "params.save_as"),
        ({"url": "http://example.com/", "save_as": "/etc/passwd"}, "params.save_as"),
        ({"url": "http://example.com/", "method": "POST"}, "params.method"),
    ],
)
def test_wrong_parameters_are_refused_at_the_start(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidParams) as raised:
        Registry([http_fetch(Settings())]).get("http_fetch").validate(params)
    assert [error.field for error in raised.value.errors] == [field]


def test_a_wrong_opening_stops_the_start() -> None:
    with pytest.raises(InvalidSettings):
        http_fetch(Settings(fetch_allow=["http://x"]))
