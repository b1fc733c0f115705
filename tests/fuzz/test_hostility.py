"""Whatever means no good has an answer of the one shape, or none; and nothing is told of the server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streaming.errors import NotFound
from streaming.web.headers import SECURITY
from streaming.web.problems import problem
from tests.fuzz import hostility, siege
from tests.fuzz.credentials import Secrets
from tests.fuzz.hostile import TWISTS, World, draw
from tests.fuzz.leaks import WORDS, told, wrong
from tests.fuzz.siege import Siege, Summary
from tests.fuzz.wire import Answered, AnswerReader, NoHttp

#: Another one is another test; the same one is the same test.
SEED = 20261202

WORLD = World([b"Authorization: Bearer right"], [b"Authorization: Bearer wrong"])


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    return Secrets()


@pytest.mark.process
def test_some_hundred_hostile_requests_get_what_they_are_to_get() -> None:
    summary = hostility.besiege(range(400), SEED, quiet=True)

    assert summary.failures == {}
    assert summary.requests == 400
    assert set(summary.by_twist) == {*TWISTS, "noise", "none"}
    assert {200, 201, 400, 401, 403, 404, 405, 406, 422, 431} <= set(summary.by_status)
    assert (summary.broken, summary.leaks) == (0, 0)


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_the_same_number_draws_the_same_request() -> None:
    def drawn(seed: int) -> list[tuple[bytes, ...]]:
        return [draw(number, seed, WORLD).pieces for number in range(100)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_no_request_has_the_words_that_no_answer_may_have(secrets: Secrets) -> None:
    world = World(secrets.good(), secrets.wrong())

    assert [WORDS.search(b"".join(draw(number, SEED, world).pieces)) for number in range(1_500)] == [None] * 1_500


def test_what_must_be_answered_is_a_whole_request() -> None:
    whole = [each for each in (draw(number, SEED, WORLD) for number in range(500)) if each.answered]

    assert len(whole) > 200
    for data in (b"".join(each.pieces) for each in whole):
        head, body = data.split(b"\r\n\r\n", 1)
        assert re.match(rb"[A-Z]+ /\S* HTTP/1\.1\r\nHost: localhost\r\n", head), head
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert len(body) == (int(length[1]) if length else 0)


# -- what comes back ---------------------------------------------------------------------------------------------------

LENGTH = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1, 3, 1_000])
@pytest.mark.parametrize(
    ("data", "head", "found"),
    [
        (LENGTH, False, [(404, b"{}")]),
        (LENGTH + LENGTH, False, [(404, b"{}"), (404, b"{}")]),
        (LENGTH[:-2], True, [(404, b"")]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, False, [(404, b"{}")]),
        (b"HTTP/1.1 204 No Content\r\n\r\n" + LENGTH, False, [(204, b""), (404, b"{}")]),
        (STREAM + b"4\r\nid: \r\n0\r\n\r\n", False, [(200, b"id: ")]),
        (STREAM + b"4\r\nid: \r\nc\r\n: keepalive\n\r\n", False, [(200, b"id: : keepalive\n")]),
        (STREAM + b"4\r\nid: \r\n", False, []),
    ],
)
def test_answers_are_read_wherever_they_are_torn(
    data: bytes, head: bool, found: list[tuple[int, bytes]], size: int
) -> None:
    reader = AnswerReader(head=head)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])

    assert [(answer.status, answer.body) for answer in reader.answers] == found
    assert reader.between is bool(found)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 900 Odd\r\ncontent-length: 0\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: \x00\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n{}",
        STREAM + b"hello, world\r\n",
    ],
)
def test_what_is_no_answer_is_seen(data: bytes) -> None:
    with pytest.raises(NoHttp):
        AnswerReader().feed(data)


def answered(status: int = 404, body: object = None, **headers: str) -> Answered:
    """A problem as it should be, but for what is said."""
    reply = problem(NotFound("There is nothing here."))
    given = {**reply.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    text = reply.body if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(status, b"HTTP/1.1 %d X" % status, given, text)


FIELDS = json.loads(problem(NotFound("no")).body)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (answered(500), "an answer of 500"),
        (answered(302), "an answer of 302"),
        (answered(502), "an answer of 502"),
        (answered(503, content_type="text/plain"), "is no problem"),
        (answered(content_type="text/html"), "is no problem"),
        (answered(body=b"{"), "no JSON"),
        (answered(body={**FIELDS, "more": 1}), "another shape"),
        (answered(body={**FIELDS, "status": 400}), "a problem that says 400"),
        (answered(body={**FIELDS, "title": "Gone"}), "Gone"),
        (answered(body={**FIELDS, "code": "internal"}), "the code internal"),
        (answered(body={**FIELDS, "code": "other"}), "the code other"),
        (answered(body={**FIELDS, "errors": [1]}), "an error of another shape"),
        (answered(body={**FIELDS, "errors": [{"field": 1}]}), "an error of another shape"),
        (answered(x_frame_options="SAMEORIGIN"), "x-frame-options"),
        (answered(x_injected="1"), "came back"),
        (answered(401, {**FIELDS, "status": 401, "title": "Unauthorized"}), "without a challenge"),
        (answered(405, {**FIELDS, "status": 405, "title": "Method Not Allowed"}), "what is allowed"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(bad: Answered, words: str) -> None:
    assert any(words in each for each in wrong(bad)), list(wrong(bad))


@pytest.mark.parametrize(
    "body",
    [
        b"Traceback (most recent call last)",
        b'File "/app/x", line 1',
        b"in streaming/web/door.py",
        b"<Task object at 0x7f00>",
        b"sqlalchemy.exc.OperationalError",
        b"json.decoder.JSONDecodeError",
        b"Exception: no",
        b"/home/somebody",
        b"the secret",
    ],
)
def test_what_is_told_of_the_server_is_seen(body: bytes) -> None:
    assert list(told(answered(body=body), [b"secret"]))
    assert list(told(Answered(200, b"HTTP/1.1 200 OK\r\nx: " + body, {}), [b"secret"]))


def test_an_answer_as_it_should_be_is_fine() -> None:
    assert set(SECURITY) <= answered().headers.keys()
    assert [*wrong(answered()), *told(answered(), [b"secret"])] == []
    assert list(told(answered(server="x"), [])) == ["it says what answers, in server"]


# -- servers that are not as they should be ----------------------------------------------------------------------------


class Wrong(asyncio.Protocol):
    """It answers everything alike."""

    def __init__(self, answer: bytes, close: bool) -> None:
        self._answer, self._close = answer, close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(self._answer)
        if self._close:
            self._transport.close()


@asynccontextmanager
async def server(answer: bytes, *, close: bool = True) -> AsyncIterator[str]:
    async with await asyncio.get_running_loop().create_server(
        lambda: Wrong(answer, close), "127.0.0.1", 0
    ) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "close", "kind"),
    [
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nTraceback", True, "an answer of ..."),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nTraceback", True, "it says ..."),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n{", True, "half an answer"),
        (b"", True, "it has no answer"),
        (b"", False, "it has no answer"),
        (b"", False, "it is neither answered nor ended"),
        (b"hello", True, "no answer: ..."),
    ],
)
async def test_a_server_that_does_wrong_is_caught_with_the_request(
    answer: bytes, close: bool, kind: str, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siege, "WITHIN_S", 0.1)
    async with server(answer, close=close) as url:
        sent = Siege(url, secrets, SEED)
        summary = await sent.run(range(40))

    assert kind in summary.failures, list(summary.failures)
    assert re.search(rf"request \d+ of seed {SEED}, twists: .+\n\(b'", summary.failures[kind])
    assert summary.broken == (40 if b"500" in answer else 0)
    assert bool(summary.leaks) is (b"Traceback" in answer)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["hostility", *words])
        return hostility.main()

    return run


@pytest.mark.process
def test_the_command_says_how_it_went(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "summary.json"

    assert command("--requests", "25", "--seed", "7", "--output", str(output)) == 0
    found = json.loads(output.read_text())
    assert (found["requests"], found["failures"], found["leaks"]) == (25, {}, 0)
    assert "25 hostile requests" in capsys.readouterr().err


def test_and_shows_the_request_that_went_wrong(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def besiege(numbers: object, seed: int, store_url: str) -> Summary:
        asked.append((numbers, seed, store_url))
        return Summary(requests=1, failures={"it says ...": "it says 'x'\nrequest 12 of seed 3, twists: path\nb'GET'"})

    monkeypatch.setattr(hostility, "besiege", besiege)

    assert command("--only", "12", "--seed", "3") == 1
    assert asked == [([12], 3, "memory://")]
    assert "request 12 of seed 3, twists: path\nb'GET'" in capsys.readouterr().err
