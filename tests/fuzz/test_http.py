"""Whatever is sent: no answer but those of the description, and never a failure of the server."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from streaming import Registry
from streaming.config import Settings
from streaming.web.openapi.document import describe
from tests.fuzz import handlers
from tests.fuzz.described import Answer, Description
from tests.fuzz.requests import LIKE_A_LIST, Fuzz, wrong_stream
from tests.fuzz.server import Served, serving

#: Another one is another test; the same one is the same test.
NUMBER = 20261120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("fuzz")) as server:
        yield server
        assert server.end() == 0
        assert server.complaints == []


@contextmanager
def fuzzing(server: Served, labels: Callable[[str], bool] = lambda _: True, number: int = NUMBER) -> Iterator[Fuzz]:
    description = Description(requests.get(f"{server.url}/openapi.json", timeout=10).json())
    with contextlib.closing(Fuzz(server.url, number, only=list(filter(labels, description.labels())))) as fuzz:
        yield fuzz


def test_each_value_at_its_limits_and_beyond_has_an_answer_that_is_described(server: Served) -> None:
    with fuzzing(server, lambda label: label not in LIKE_A_LIST) as fuzz:
        summary = fuzz.send(fuzz.at_the_limits())

    assert summary.failures == {}
    assert summary.requests > 600
    assert set(fuzz.description.labels()) - LIKE_A_LIST <= set(summary.by_route)
    assert set(summary.by_status) <= {200, 201, 202, 204, 400, 404, 405, 406, 409, 415, 422, 429}
    assert {200, 201, 202, 400, 404, 405, 409, 422} <= set(summary.by_status)


@pytest.mark.parametrize("label", sorted(LIKE_A_LIST))
def test_so_has_each_filter_with_each_operator(label: str, server: Served) -> None:
    with fuzzing(server, lambda each: each == label) as fuzz:
        summary = fuzz.send(itertools.islice(fuzz.at_the_limits(), 300))

    assert summary.failures == {}
    assert summary.requests == 300


def test_requests_that_are_drawn_at_random_have_answers_that_are_described(server: Served) -> None:
    with fuzzing(server, lambda label: label not in LIKE_A_LIST) as fuzz:
        summary = fuzz.send(itertools.islice(fuzz.at_random(100), 120))

    assert summary.failures == {}
    assert summary.requests == 120


def test_what_is_not_described_is_found(server: Served) -> None:
    with fuzzing(server, lambda label: label == "GET /tasks/{id}") as fuzz:
        answers = fuzz.description.document["paths"]["/tasks/{id}"]["get"]["responses"]
        del answers["200"], answers["404"]
        failures = fuzz.send(fuzz.at_the_limits()).failures

    assert any("is not said to answer 200" in words and "curl -X GET" in words for words in failures.values())


# -- what is wrong with an answer --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described() -> Description:
    registry = Registry()
    registry.add_module(handlers)
    return Description(json.loads(json.dumps(describe(Settings(store_url="memory://"), registry))))


PROBLEM = {
    "type": "about:blank",
    "title": "Not Found",
    "status": 404,
    "code": "not_found",
    "detail": "no",
    "errors": [],
}
INTERNAL = {**PROBLEM, "title": "Internal Server Error", "status": 500, "code": "internal"}
TOO_MANY = {**PROBLEM, "title": "Too Many Requests", "status": 429, "code": "too_many_streams"}
JSON, PROBLEM_JSON = {"content-type": "application/json"}, {"content-type": "application/problem+json"}
TASK = "/tasks/" + "0" * 32


def answer(
    status: int, body: object, headers: dict[str, str] = PROBLEM_JSON, *, method: str = "GET", path: str = TASK
) -> Answer:
    return Answer(method, path, status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "fine",
    [
        answer(404, PROBLEM),
        answer(404, PROBLEM, path="/nowhere"),
        answer(404, b"", method="HEAD"),
        answer(204, b"", {}, method="OPTIONS"),
        answer(204, b"", {}, method="DELETE"),
        answer(
            405, {**PROBLEM, "title": "Method Not Allowed", "status": 405, "code": "method_not_allowed"}, method="PUT"
        ),
        answer(400, {**PROBLEM, "title": "Bad Request", "status": 400, "code": "bad_request"}, method="QUERY"),
        answer(200, {"status": "ready", "warnings": []}, JSON, path="/readyz"),
        answer(200, b"id: 1\n", {"content-type": "text/event-stream; charset=utf-8"}, path="/events"),
    ],
)
def test_what_is_described_is_fine(fine: Answer, described: Description) -> None:
    assert described.wrong(fine) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (answer(404, PROBLEM, JSON), "'application/json' is not described"),
        (answer(404, {**PROBLEM, "code": "no_such_code"}), "no_such_code"),
        (answer(404, {**PROBLEM, "code": "bad_json"}), "the code 'bad_json' is not described"),
        (answer(404, {**PROBLEM, "status": 400}), "its problem says 400"),
        (answer(404, {**PROBLEM, "more": 1}), "more"),
        (answer(404, dict(reversed(PROBLEM.items()))), "another shape"),
        (answer(404, b"{"), "no JSON"),
        (answer(404, b"gone", {"content-type": "text/plain"}, path="/nowhere"), "is no problem"),
        (answer(418, PROBLEM), "is not said to answer 418"),
        (answer(200, b"", {}, method="PUT"), "is no operation"),
        (answer(500, INTERNAL), "the server failed"),
        (answer(204, b"x", {}, method="DELETE"), "a body that is not described"),
        (answer(201, {}, JSON, method="POST", path="/tasks"), "no header Location"),
        (answer(200, {"status": "unready"}, JSON, path="/readyz"), "status"),
        (answer(429, TOO_MANY, path="/events"), "no header Retry-After"),
    ],
)
def test_whatever_else_is_said_so(bad: Answer, words: str, described: Description) -> None:
    assert any(words in each for each in described.wrong(bad)), described.wrong(bad)


def test_a_stream_consists_of_events() -> None:
    event = {"seq": 1, "task_id": "0" * 32, "type": "a", "time": "", "data": {}}
    sse, ndjson = {"content-type": "text/event-stream"}, {"content-type": "application/x-ndjson"}

    def wrong(body: str, headers: dict[str, str] = sse) -> list[str]:
        return list(wrong_stream(answer(200, body.encode(), headers)))

    assert wrong(f"retry: 2000\nid: 1\nevent: a\ndata: {json.dumps(event)}\n\n: keepalive\nid: 2\nda") == []
    assert wrong(f"{json.dumps(event)}\n  {json.dumps(event)}\n {{", ndjson) == []
    assert wrong("data: {}\n") == ["an event of another shape: {}"]
    assert wrong("hello\n") == ["no lines of a stream: ['hello']"]
    assert wrong("{}\n", ndjson) == ["an event of another shape: {}"]

    beat = b'data: {"n":1,"time":""}\n'
    assert list(wrong_stream(answer(200, beat, sse, path="/beats"))) == []
    assert list(wrong_stream(answer(200, beat, sse))) != []


def test_the_same_number_draws_the_same_requests(server: Served) -> None:
    def first(number: int) -> list[str]:
        with fuzzing(server, lambda label: label == "POST /tasks", number) as fuzz:
            return [repr((case.query, case.body)) for case in itertools.islice(fuzz.at_random(100), 20)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_the_command_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fuzz import http

    output = tmp_path / "summary.json"
    monkeypatch.setattr("sys.argv", ["http", "--requests", "60", "--output", str(output)])

    assert http.main() == 0
    found = json.loads(output.read_text())
    assert (found["requests"], found["failures"]) == (60, {})
    assert sum(found["by_status"].values()) == sum(found["by_route"].values()) == 60
    assert "60 requests" in capsys.readouterr().err
