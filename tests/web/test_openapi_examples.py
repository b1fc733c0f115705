"""Every example of the description is true: requests are sent to a real server, answers are held against their schemas.

What is tried is what `/openapi.json` of that server says; what has no example is a failure, too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import httpx
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from streaming import Registry
from streaming.config import Settings
from streaming.tasks import built_in
from streaming.web.openapi.document import describe
from streaming.web.openapi.examples import PARAMETERS
from streaming.web.openapi.parameters import parameters as all_parameters
from streaming.web.openapi.version import Version
from streaming.web.problems import CODES
from tests.fuzz.described import PROBLEM, Answer, Description
from tests.serving import serving

SETTINGS = Settings(store_url="memory://")
DOCUMENT = json.loads(json.dumps(describe(SETTINGS, Registry(built_in(SETTINGS)))))
LATER = json.loads(json.dumps(describe(SETTINGS, Registry(built_in(SETTINGS)), version=Version.V3_2)))
DESCRIBED = Description(DOCUMENT)
LABELS = list(DESCRIBED.labels())
COMPONENTS = DOCUMENT["components"]

LONG = {"type": "countdown", "params": {"count": 600, "interval": 60}}
SHORT = {"type": "countdown", "params": {"count": 2, "interval": 0}}
OUTSIDE = {"type": "external"}

#: Which task an operation is tried with; all others with one that goes on.
AIMS: dict[str, dict[str, Any]] = {
    "PATCH /tasks/{id}": OUTSIDE,
    "POST /tasks/{id}/events": OUTSIDE,
    "DELETE /tasks/{id}": SHORT,
    "POST /tasks/{id}/retry": SHORT,
    "POST /tasks/{id}/ack": SHORT,
    "GET /tasks/{id}/events": SHORT,
}
#: What an operation on many tasks must have, so that it does not mean all.
NARROW = {"POST /tasks/cancel": {"tag": "nobody has it"}, "DELETE /tasks": {"tag": "nobody has it"}}

#: The operation that must be asked for something, and whose blocks are named by their channel.
WATCH = "GET /watch"

Send: TypeAlias = Callable[..., Answer]


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to; anything else is itself."""
    while "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def values(media: dict[str, Any]) -> dict[str, Any]:
    """The examples of a body or an answer, by name."""
    return {name: resolved(each)["value"] for name, each in media.get("examples", {}).items()}


def parameters(label: str) -> list[dict[str, Any]]:
    return [resolved(each) for each in DESCRIBED.at(label).get("parameters", ())]


def bodies() -> Iterator[tuple[str, str, Any]]:
    for label in LABELS:
        body = DESCRIBED.at(label).get("requestBody", {"content": {}})
        for media in body["content"].values():
            yield from ((label, name, value) for name, value in values(media).items())


def answers(label: str) -> Iterator[tuple[str, str, str, Any]]:
    """Status, media type, name and value of each example of an answer."""
    for status, answer in DESCRIBED.at(label)["responses"].items():
        for media_type, media in answer.get("content", {}).items():
            yield from ((status, media_type, name, value) for name, value in values(media).items())


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """Send a request about a task that it makes sense for; a stream is read as far as it comes at once."""
    with (
        serving(tmp_path_factory.mktemp("examples"), "--store", "memory://") as url,
        httpx.Client(base_url=url) as http,
    ):
        assert http.get("/openapi.json").json() == DOCUMENT

        def sending(label: str, *, query: Any = (), **request: Any) -> Answer:
            method, _, path = label.partition(" ")
            if "{id}" in path:
                task = http.post("/tasks", json=AIMS.get(label, LONG)).json()["id"]
                wait_s = 10 if AIMS.get(label) is SHORT else 0
                assert http.get(f"/tasks/{task}", params={"wait_s": wait_s}).is_success
                path = path.replace("{id}", task)
            path = path.replace("{file}", PARAMETERS["file"])
            query = {**NARROW.get(label, {}), **dict(query)}
            if label == WATCH:
                task = http.post("/tasks", json=LONG).json()["id"]
                query = {
                    "feed": 1,
                    **{name: value.replace(PARAMETERS["task_id"], task) for name, value in query.items()},
                }
            with http.stream(method, path, params=query, **request) as response:
                body = b"" if path in ("/events", "/watch") else response.read()
            return Answer(method, path, response.status_code, response.headers, body)

        yield sending


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_it_is_openapi_3_1_for_a_validator_of_others() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_everything_is_described_and_has_an_example() -> None:
    bare = []
    for label in LABELS:
        operation = DESCRIBED.at(label)
        body = operation.get("requestBody")
        bare += [] if operation["summary"] and operation["description"] else [label]
        bare += [] if body is None or body["description"] else [f"{label}: its body"]
        bare += [f"{label}: {each['name']}" for each in parameters(label) if not each["description"]]
        bare += [f"{label}: {each['name']}" for each in parameters(label) if "example" not in each]
        for status, answer in operation["responses"].items():
            bare += [] if answer["description"] else [f"{label}: {status}"]
        for where, content in [
            ("its body", (body or {}).get("content", {})),
            *((status, answer.get("content", {})) for status, answer in operation["responses"].items()),
        ]:
            bare += [f"{label}: {where}, {kind}" for kind, media in content.items() if not media.get("examples")]

    assert bare == []


def test_no_example_of_a_parameter_is_for_one_that_does_not_exist() -> None:
    assert set(PARAMETERS) <= set(all_parameters(SETTINGS))


def test_a_server_without_a_task_type_has_no_example_of_it() -> None:
    document = describe(SETTINGS, [])
    body = document["paths"]["/tasks"]["post"]["requestBody"]["content"]["application/json"]

    assert "examples" not in body
    assert not [name for name in document["components"]["examples"] if name.startswith("Start")]


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(("label", "name"), [(label, name) for label, name, _ in bodies()])
def test_each_body_that_is_shown_is_taken(label: str, name: str, send: Send) -> None:
    answer = send(label, json=resolved({"$ref": f"#/components/examples/{name}"})["value"])

    assert answer.status < 300, answer.body
    assert DESCRIBED.wrong(answer) == []


@pytest.mark.process
@pytest.mark.parametrize("label", LABELS)
def test_each_value_of_a_parameter_that_is_shown_is_taken(label: str, send: Send) -> None:
    wrong = []
    for parameter in parameters(label):
        if parameter["name"] == "id":
            continue
        answer = send(label, **asked(label, parameter))
        wrong += [] if answer.status < 300 else [f"{parameter['name']}: {answer.body!r}"]
        wrong += DESCRIBED.wrong(answer)

    assert wrong == []


def asked(label: str, parameter: dict[str, Any]) -> dict[str, Any]:
    """A request with the example of one parameter, and all else that it needs."""
    request: dict[str, Any] = {"query": [], "headers": {}}
    content = DESCRIBED.at(label).get("requestBody", {}).get("content", {})
    if content:
        request["json"] = next(iter(values(content["application/json"]).values()))
    example = parameter["example"]
    if parameter["in"] == "header":
        own = f" {label}" if parameter["name"] == "Idempotency-Key" else ""  # a key is for one request
        request["headers"][parameter["name"]] = f"{example}{own}"
    elif isinstance(example, dict):
        request["query"] = list(example.items())
    else:
        shown = ",".join(map(str, example)) if isinstance(example, list) else example
        request["query"] = [(parameter["name"], json.dumps(shown) if isinstance(shown, bool) else shown)]
    if parameter["description"].endswith("only with application/json."):
        request["headers"]["Accept"] = "application/json"
    return request


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_each_answer_that_is_shown_is_as_its_schema_says(label: str) -> None:
    method, _, path = label.partition(" ")
    shown = list(answers(label))
    assert len(shown) >= 4, "a success, and refusals"
    for status, media_type, name, value in shown:
        if isinstance(value, str):
            check_stream(label, status, media_type, value)
            continue
        headers = {"content-type": media_type, "location": "", "retry-after": "1"}
        answer = Answer(
            method, path.format(id="0" * 32, file="page.css"), int(status), headers, json.dumps(value).encode()
        )
        wrong = [words for words in DESCRIBED.wrong(answer) if "the server failed" not in words]
        assert wrong == [], name
        if media_type == PROBLEM:
            assert value["code"] in CODES
            assert (name, str(value["status"])) == (f"Problem.{value['code']}", status)


def check_stream(label: str, status: str, media_type: str, text: str) -> None:
    """Hold each item of a stream against what 3.2 says of it."""
    method, _, path = label.partition(" ")
    schema = LATER["paths"][path][method.lower()]["responses"][status]["content"][media_type].get("itemSchema")
    if schema is None:
        return  # a file
    item = validator(schema)
    if media_type == "application/x-ndjson":
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        assert all(item.is_valid(line) for line in lines)
        return
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    assert blocks
    for block in blocks:
        fields: dict[str, Any] = dict(block)
        fields |= {"retry": int(fields["retry"])} if "retry" in fields else {}
        assert item.is_valid(fields)
        data = json.loads(block["data"])
        assert validator(schema["properties"]["data"]["contentSchema"]).is_valid(data)
        assert label == WATCH or data.get("type", "beat") == block["event"]


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": DESCRIBED.closed["components"]}, validate_formats=True
    )


# -- 3.2 ---------------------------------------------------------------------------------------------------------------


def earlier(part: Any) -> Any:
    """What a document of 3.2 says, in 3.1: without what an item of a stream looks like."""
    if isinstance(part, list):
        return [earlier(each) for each in part]
    if not isinstance(part, dict):
        return part
    names = {"serializedValue": "value"}
    return {names.get(name, name): earlier(each) for name, each in part.items() if name != "itemSchema"}


def test_3_2_is_3_1_but_for_the_streams() -> None:
    assert LATER["openapi"] == "3.2.0"
    wanted, streams = copy.deepcopy(DOCUMENT), 0
    for methods in wanted["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                for media_type in {"text/event-stream", "application/x-ndjson"} & answer.get("content", {}).keys():
                    del answer["content"][media_type]["schema"]
                    streams += 1

    assert streams == 6
    assert earlier(LATER) == {**wanted, "openapi": "3.2.0"}
    OpenAPIV31SpecValidator({**earlier(LATER), "openapi": "3.1.0"}).validate()


def test_3_2_says_what_an_item_of_each_stream_looks_like() -> None:
    content = LATER["paths"]["/tasks/{id}/events"]["get"]["responses"]["200"]["content"]

    assert "schema" not in content["text/event-stream"]
    data = content["text/event-stream"]["itemSchema"]["properties"]["data"]
    assert data["contentSchema"] == {"$ref": "#/components/schemas/Event"}
    assert content["application/x-ndjson"]["itemSchema"] == {"$ref": "#/components/schemas/Event"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/EventPage"}


@pytest.mark.process
def test_a_server_says_each_version_and_no_other(send: Send) -> None:
    versions = [send("GET /openapi.json", query={"version": each}).json()["openapi"] for each in ("3.1", "3.2")]
    refused = send("GET /openapi.json", query={"version": "2.0"})

    assert versions == ["3.1.0", "3.2.0"]
    assert (refused.status, refused.json()["code"]) == (400, "bad_filter")
    assert "3.1, 3.2" in refused.json()["detail"]
    assert send("GET /openapi.json", query={"versions": "3.2"}).status == 400
