"""Requests that are drawn at random from the description of a server, and what is wrong with their answers.

A request is drawn as the description allows it, or with something wrong in it. Most of those about one task mean one
that exists: a 404 says little.

Owns:   drawing, sending, reading streams only as far as needed, counting, and remembering each kind of failure once.
Uses:   schemathesis (drawing), tests.fuzz.described (what an answer must be).
Never:  waits for a stream that goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.fuzz.described import PROBLEM, Answer, Description

Operation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]
AnyCase: TypeAlias = schemathesis.Case[Any]

STREAMS = ("text/event-stream", "application/x-ndjson")
STREAM_BYTES_MAX = 65_536
KEEPALIVES = (b": keepalive\n", b" ")

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
#: Requests that are drawn of one operation in one go.
DRAWN_MAX = 100

#: A request about one task is sent so many times: about other tasks, and asking for other forms of the answer.
TIMES = 3

#: They take the same parameters, hundreds of them, so that it takes long to draw their requests.
LIKE_A_LIST = frozenset({"GET /tasks", "GET /tasks/count", "DELETE /tasks", "POST /tasks/cancel"})

#: Where a request shows who sends it.
CREDENTIALS = ("Authorization", "X-API-Key", "stream_token")

#: Whatever takes longer does not come.
TIMEOUT_S = 20.0
ID = re.compile(r"[0-9a-f]{32}")
ACCEPTS = ("application/json", "application/json", "text/event-stream", "application/x-ndjson", "*/*", "image/png")

#: Requests after which all tasks are cancelled, and new ones are started to be asked about.
REFRESH_EVERY = 50

#: The types of tasks that there always are, and those that some operations make sense for.
KINDS = ("sleeper", "echo", "outside", "listener", "failing", "pausing")
AIMS = {
    "PATCH /tasks/{id}": "outside",
    "POST /tasks/{id}/events": "outside",
    "POST /tasks/{id}/input": "listener",
    "POST /tasks/{id}/extend": "sleeper",
    "POST /tasks/{id}/retry": "echo",
    "POST /tasks/{id}/ack": "echo",
}


@dataclass
class Summary:
    """What has come of it."""

    requests: int = 0
    seconds: float = 0.0
    by_status: Counter[int] = field(default_factory=Counter)
    by_route: Counter[str] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "seconds": round(self.seconds, 1),
            "streams": self.streams,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_code": dict(sorted(self.by_code.items())),
            "by_route": dict(sorted(self.by_route.items())),
            "failures": self.failures,
        }


class Fuzz:
    """A fuzzer of one server.

    Args:
        url: of the server.
        number: the seed; the same one draws the same requests.
        only: the labels of the operations that are asked for; None for all.
        tell: called after each request.
    """

    def __init__(
        self,
        url: str,
        number: int = 0,
        *,
        only: Collection[str] | None = None,
        tell: Callable[[Summary], None] = lambda _: None,
    ) -> None:
        self.summary = Summary()
        self._url = url
        self._number = number
        self._tell = tell
        self._session = requests.Session()
        self._session.trust_env = False
        document = self._session.get(f"{url}/openapi.json", timeout=TIMEOUT_S).json()
        self.description = Description(document)
        schema = schemathesis.openapi.from_dict(document)
        self._operations: list[Operation] = [
            found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)
        ]
        assert len(self._operations) == len(list(self.description.labels())), "an operation cannot be read"
        if only is not None:
            self._operations = [each for each in self._operations if each.label in only]
        self._chance = random.Random(number)
        self._ids: dict[str, str] = {}

    def run(self, count: int) -> Summary:
        """Send so many requests: each value at its limits and beyond first, and then whatever is drawn."""
        began = time.monotonic()
        self.send(itertools.islice(itertools.chain(self.at_the_limits(), self.at_random(count)), count))
        self.summary.seconds = time.monotonic() - began
        return self.summary

    def at_the_limits(self) -> Iterator[AnyCase]:
        """Every parameter and field of every operation, one after the other; the same ones each time."""
        for operation in self._operations:
            schema = operation.schema
            yield from schema.iter_coverage_cases(
                operation, generation_modes=list(MODES), generation_config=schema.config.generation
            )

    def at_random(self, count: int) -> Iterator[AnyCase]:
        """An endless stream of requests, in rounds that draw of each operation alike.

        Args:
            count: how many are wanted, about.
        """
        each = min(DRAWN_MAX, -(-count // (len(self._operations) * len(MODES) * TIMES)))
        for number in itertools.count(self._number * 100_000):
            for operation, mode in itertools.product(self._operations, MODES):
                few = -(-each // 4) if operation.label in LIKE_A_LIST else each
                for case in drawn(operation, mode, few, number):
                    yield from itertools.repeat(case, TIMES if "{id}" in operation.path else 1)

    def send(self, cases: Iterable[AnyCase]) -> Summary:
        """Send these."""
        for case in cases:
            self._try(case)
        return self.summary

    def close(self) -> None:
        self._session.close()

    def _try(self, case: AnyCase) -> None:
        if self.summary.requests % REFRESH_EVERY == 0:
            self._refresh()
        self._aim(case)
        arguments = case.as_transport_kwargs(base_url=self._url)
        response = self._session.request(stream=True, timeout=TIMEOUT_S, allow_redirects=False, **arguments)
        with response:
            response._content = self._read(response)
        headers = {name.lower(): value for name, value in response.headers.items()}
        path = urlsplit(response.request.url or "").path
        answer = Answer(case.method, path, response.status_code, headers, response.content)
        label = self.description.operation(answer.method, path) or "what is no operation"
        self._count(label, answer)
        wrong = self._wrong(case, answer, response)
        for words in wrong:
            self.summary.failures.setdefault(f"{label} {_kind(words)}", f"{words}\n{_curl(response.request)}")
        self._tell(self.summary)

    def _aim(self, case: AnyCase) -> None:
        """Mean a task that exists, ask for a media type, and leave other computers alone."""
        chance = self._chance
        for name in CREDENTIALS:  # of a server that asks for none; `tests.fuzz.hostility` draws them
            case.headers.pop(name, None)
            case.query.pop(name, None)
        if ID.fullmatch(str(case.path_parameters.get("id", ""))) and self._ids and chance.random() < 0.9:
            wanted = AIMS.get(case.operation.label) if chance.random() < 0.6 else None
            case.path_parameters["id"] = self._ids.get(wanted or "") or chance.choice(list(self._ids.values()))
        if chance.random() < 0.5:
            case.headers["Accept"] = chance.choice(ACCEPTS)
        if chance.random() < 0.5 and is_right(case):
            case.headers.pop("Idempotency-Key", None)
        if isinstance(case.body, dict) and isinstance(params := case.body.get("params"), dict) and "url" in params:
            params["url"] = "http://127.0.0.1:9/"

    def _refresh(self) -> None:
        """Let there be one task of each kind again, some of them at work, and one that has ended."""
        self._ask("POST", "/tasks/cancel", params={"preset": "active"})
        for kind in KINDS:
            answer = self._ask("POST", "/tasks", json={"type": kind, "keep_until_ack": kind == "echo"})
            if answer.status_code == 201:
                self._ids["over"], self._ids[kind] = self._ids.get(kind, answer.json()["id"]), answer.json()["id"]
        if "outside" in self._ids:
            self._ask("PATCH", f"/tasks/{self._ids['outside']}", json={"heartbeat": True})

    def _ask(self, method: str, path: str, **request: Any) -> requests.Response:
        with self._session.request(method, self._url + path, timeout=TIMEOUT_S, **request) as response:
            return response

    def _read(self, response: requests.Response) -> bytes:
        """The whole body; of a stream what comes until nothing more happens."""
        if response.headers.get("content-type", "").partition(";")[0] not in STREAMS:
            return bytes(response.raw.read())
        self.summary.streams += 1
        body = b""
        for chunk in response.iter_content(None):
            body += chunk
            if chunk.endswith(KEEPALIVES) or len(body) > STREAM_BYTES_MAX:
                break
        return body

    def _count(self, label: str, answer: Answer) -> None:
        self.summary.requests += 1
        self.summary.by_status[answer.status] += 1
        self.summary.by_route[label] += 1
        if answer.media_type == PROBLEM:
            self.summary.by_code[f"{answer.status} {answer.json().get('code')}"] += 1

    def _wrong(self, case: AnyCase, answer: Answer, response: requests.Response) -> Iterator[str]:
        yield from self.description.wrong(answer)
        if answer.media_type in STREAMS:
            yield from wrong_stream(answer)
        elif not is_right(case):
            try:
                case.validate_response(response, checks=[negative_data_rejection])
            except FailureGroup as failures:
                yield from (f"{case.operation.label} takes what it should not: {each}" for each in failures.exceptions)


def is_right(case: AnyCase) -> bool:
    """Whether a request was drawn as the description allows it."""
    return case.meta is None or case.meta.generation.mode.is_positive


def wrong_stream(answer: Answer) -> Iterator[str]:
    """What of the first part of a stream is no stream of events."""
    text = answer.body.decode()
    whole = text[: text.rindex("\n") + 1] if "\n" in text else ""
    sse = answer.media_type == "text/event-stream"
    lines = [line for line in whole.split("\n") if line.strip()]
    events = [line.removeprefix("data: ") for line in lines if not sse or line.startswith("data: ")]
    shape = ["n", "time"] if answer.path == "/beats" else ["seq", "task_id", "type", "time", "data"]
    for event in map(json.loads, events):
        if list(event) != shape:
            yield f"an event of another shape: {event}"
    others = [line for line in lines if sse and not line.startswith(("data: ", "id: ", "event: ", "retry: ", ":"))]
    if others:
        yield f"no lines of a stream: {others[:3]}"


def drawn(operation: Operation, mode: GenerationMode, count: int, number: int) -> list[AnyCase]:
    """So many requests of an operation, or as many as there are."""
    found: list[AnyCase] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def draw(case: AnyCase) -> None:
        found.append(case)

    with contextlib.suppress(Unsatisfiable):  # it takes nothing that could be wrong
        draw()
    return found


def _kind(words: str) -> str:
    """The same for failures of one kind."""
    return re.sub(r"[0-9a-f]{32}|b?'.*'|\".*\"|[0-9]+", "...", words)[:120]


def _curl(request: requests.PreparedRequest) -> str:
    headers = " ".join(f"-H '{name}: {value!s}'" for name, value in request.headers.items())
    body = repr(request.body)[:2000]
    return f"curl -X {request.method} {headers} --data-raw {body} {request.url!r}"
