"""The description says all that the server does, and nothing else."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import jsonschema_rs
import pytest
from pydantic import BaseModel, Field
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from streaming import Registry, TaskCoordinator, errors, task
from streaming.config import Settings
from streaming.engine.bulk import cancel_each, delete_each, find_ended, find_live
from streaming.rules.fields import FIELDS
from streaming.rules.query import SORT
from streaming.web.openapi.document import describe
from streaming.web.openapi.parameters import COMPARISONS
from streaming.web.problems import CODES, INTERNAL, STATUSES
from streaming.web.query import STREAM_TOKEN, Query
from tests.fuzz.described import Answer, Description, all_routes
from tests.web.live import Live, count, live, sleeper

ABSENT = "f" * 32

#: What each operation asks of the engine.
ASKED: dict[str, tuple[Callable[..., Any], ...]] = {
    "POST /tasks": (TaskCoordinator.start, TaskCoordinator.get),
    "GET /tasks": (TaskCoordinator.list,),
    "DELETE /tasks": (find_ended, delete_each),
    "GET /tasks/count": (TaskCoordinator.count,),
    "POST /tasks/cancel": (find_live, cancel_each),
    "GET /tasks/{id}": (TaskCoordinator.get, TaskCoordinator.wait),
    "PATCH /tasks/{id}": (TaskCoordinator.report,),
    "DELETE /tasks/{id}": (TaskCoordinator.delete,),
    "POST /tasks/{id}/cancel": (TaskCoordinator.get, TaskCoordinator.cancel_task, TaskCoordinator.wait),
    "POST /tasks/{id}/retry": (TaskCoordinator.retry, TaskCoordinator.get),
    "POST /tasks/{id}/extend": (TaskCoordinator.extend,),
    "POST /tasks/{id}/input": (TaskCoordinator.send_input,),
    "POST /tasks/{id}/ack": (TaskCoordinator.acknowledge,),
    "GET /tasks/{id}/history": (TaskCoordinator.changes,),
    "GET /tasks/{id}/why": (TaskCoordinator.why,),
    "GET /tasks/{id}/events": (TaskCoordinator.watch, TaskCoordinator.history, TaskCoordinator.get),
    "POST /tasks/{id}/events": (TaskCoordinator.report,),
    "GET /events": (TaskCoordinator.follow,),
    "GET /stats": (TaskCoordinator.statistics,),
    "GET /audit": (TaskCoordinator.audit,),
}
#: What cannot happen there: a report of events has no status.
NOT_THERE = {"POST /tasks/{id}/events": {errors.StatusConflict}}
RAISED = re.compile(r"^\s+(\w+):", re.MULTILINE)

FILTERS = {*FIELDS, COMPARISONS, "q", "preset"}


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]
    friend: Dog | None = None


@task
async def keep(pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None:
    """Keep a pet."""


@task(run_in="outside")
def outside(**params: Any) -> None:
    """Done elsewhere."""


TYPES = Registry([count, sleeper, keep, outside])
SETTINGS = Settings(store_url="memory://")


@pytest.fixture(scope="module")
def described() -> Description:
    return Description(json.loads(json.dumps(describe(SETTINGS, TYPES))))


def operations(described: Description) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described.document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def parameters(described: Description, operation: dict[str, Any]) -> list[dict[str, Any]]:
    known = described.document["components"]["parameters"]
    return [known[each["$ref"].rpartition("/")[2]] for each in operation.get("parameters", ())]


# -- the document ------------------------------------------------------------------------------------------------------


def test_it_is_openapi_3_1(described: Description) -> None:
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(described.document)] == []


def test_each_schema_is_json_schema(described: Description) -> None:
    for name, schema in described.document["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert schema.get("description") or name.startswith("Params."), name


def test_each_reference_leads_somewhere_and_each_component_is_used(described: Description) -> None:
    found = {value for key, value in _strings(described.document) if key == "$ref" or value.startswith("#/")}

    for place in found:
        there: Any = described.document
        for part in place.removeprefix("#/").split("/"):
            there = there[part]
    components = {
        f"#/components/{kind}/{name}"
        for kind, all_of in described.document["components"].items()
        for name in all_of
        if kind != "securitySchemes"  # by name
    }
    assert {place for place in found if "$defs" not in place} == components


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield key, value


def test_each_operation_has_a_name_of_its_own_and_words(described: Description) -> None:
    names = [operation["operationId"] for _, _, operation in operations(described)]

    assert len(set(names)) == len(names)
    for _, _, operation in operations(described):
        assert operation["summary"]
        assert set(operation["tags"]) <= {tag["name"] for tag in described.document["tags"]}
        assert all(each["description"] for each in parameters(described, operation))


def test_each_field_of_a_body_says_what_it_is(described: Description) -> None:
    for name, schema in described.document["components"]["schemas"].items():
        if name.endswith("Fields"):
            assert [field for field, value in schema["properties"].items() if not value.get("description")] == []


def test_limits_are_those_of_the_server() -> None:
    settings = Settings(
        store_url="memory://", page_max=7, bulk_max=8, wait_max_s=9, timeout_max_s=10, report_events_max=11,
        filter_terms_max=12, filter_values_max=13,
    )  # fmt: skip
    components = describe(settings, TYPES)["components"]
    found, schemas = components["parameters"], components["schemas"]

    assert (found["limit"]["schema"]["maximum"], found["limit"]["schema"]["default"]) == (7, 7)
    assert found["event_limit"]["schema"]["maximum"] == 7
    assert found["bulk_limit"]["schema"]["maximum"] == 8
    assert found["wait_s"]["schema"]["maximum"] == 9
    assert schemas["StartFields"]["properties"]["timeout_s"]["anyOf"][0]["maximum"] == 10
    assert schemas["UnwatchedFields"]["properties"]["cancel_after_s"]["maximum"] == 10
    assert schemas["EventsFields"]["properties"]["events"]["maxItems"] == 11
    assert found[COMPARISONS]["schema"]["maxProperties"] == 12
    assert found["status"]["schema"]["maxItems"] == 13
    assert describe(SETTINGS, TYPES)["components"]["parameters"]["limit"]["schema"]["maximum"] == SETTINGS.page_max


def test_each_task_type_has_a_start_of_its_own(described: Description) -> None:
    schema = {"$ref": "#/components/schemas/StartFields", "components": described.document["components"]}
    start = jsonschema_rs.Draft202012Validator(schema)

    assert start.is_valid({"type": "count", "params": {"n": 3}, "tags": ["x"]})
    assert start.is_valid({"type": "sleeper"})
    assert start.is_valid({"type": "outside", "params": {"whatever": [1]}})
    assert start.is_valid({"type": "keep", "params": {"pet": {"kind": "dog", "friend": {"kind": "dog"}}}})
    assert not start.is_valid({"type": "keep", "params": {"pet": {"kind": "dog", "friend": {"kind": "cat"}}}})
    assert not start.is_valid({"type": "keep"}), "its parameter is required"
    assert not start.is_valid({"type": "count", "params": {"n": "many"}})
    assert not start.is_valid({"type": "count", "params": {"m": 3}})
    assert not start.is_valid({"type": "sleeper", "more": 1})
    assert not start.is_valid({"type": "unheard_of"})
    assert start.is_valid({"type": "sleeper", "on_unwatched": "continue"})
    assert not start.is_valid({"type": "sleeper", "on_unwatched": None})


def test_a_server_without_task_types_has_starts_all_the_same() -> None:
    schemas = describe(SETTINGS, [])["components"]["schemas"]

    assert "oneOf" not in schemas["StartFields"]
    assert not [name for name in schemas if "." in name]


def test_describing_twice_is_describing_once(described: Description) -> None:
    again = describe(SETTINGS, TYPES)

    assert again == described.document


# -- against the server ------------------------------------------------------------------------------------------------


def test_each_route_is_described_with_its_methods(described: Description) -> None:
    assert {path: set(methods) for path, methods in described.document["paths"].items()} == all_routes()


def test_each_code_is_described_and_has_its_status(described: Description) -> None:
    seen: dict[str, set[str]] = {}
    for _, _, operation in operations(described):
        assert {"403", "500"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            for code in answer.get("x-codes", ()):
                seen.setdefault(code, set()).add(status)

    statuses = {kind.code: {str(status)} for kind, status in STATUSES.items() if status is not INTERNAL}
    del statuses["method_not_allowed"]  # there is no such operation
    assert seen == {**statuses, "internal": {"500"}}
    assert set(described.document["components"]["schemas"]["Code"]["enum"]) == CODES


@pytest.mark.parametrize("asked", ASKED)
def test_each_error_that_the_engine_is_said_to_raise_is_described(asked: str, described: Description) -> None:
    """What the tests of the routes really get is held against the description one by one (`tests.web.live`)."""
    method, path = asked.split()
    answers = described.document["paths"][path][method.lower()]["responses"].values()
    codes = {code for answer in answers for code in answer.get("x-codes", ())}

    raised = {name for function in ASKED[asked] for name in RAISED.findall(_raises(function))}
    kinds = {getattr(errors, name) for name in raised} - {errors.StreamingError} - NOT_THERE.get(asked, set())
    assert kinds
    assert {kind.code for kind in kinds} - codes == set()


def _raises(function: Callable[..., Any]) -> str:
    """The section of a docstring that says what is raised."""
    return (inspect.getdoc(function) or "").partition("Raises:")[2].partition("\n\n")[0]


async def test_each_parameter_that_a_route_reads_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()
    read = Query.__init__

    def reading(self: Query, query_string: bytes, known: Any, *, with_filter: bool = False) -> None:
        names.update(known, FILTERS | {SORT} if with_filter else ())
        read(self, query_string, known, with_filter=with_filter)

    async with live() as here:
        described = Description((await here.http.get("/openapi.json")).json())
        task_id = await here.counted()
        monkeypatch.setattr(Query, "__init__", reading)
        for path, method, operation in operations(described):
            names.clear()
            for accept in ("text/event-stream", "application/json"):
                async with here.http.stream(
                    method, path.format(id=task_id, file="page.css"), headers={"Accept": accept}
                ):
                    pass
            said = {each["name"] for each in parameters(described, operation) if each["in"] == "query"}
            said |= {STREAM_TOKEN for each in operation.get("security", ()) if STREAM_TOKEN in each}
            if path == "/tasks/count":
                names.discard(SORT)  # it is read to be refused
            assert said == names, f"{method} {path}"


async def test_each_body_that_a_route_reads_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    models: set[str] = set()
    validate = BaseModel.model_validate.__func__  # type: ignore[attr-defined]  # of a class method

    def validating(model: type[BaseModel], body: Any) -> Any:
        models.add(model.__name__)
        return validate(model, body)

    async with live() as here:
        described = Description((await here.http.get("/openapi.json")).json())
        monkeypatch.setattr(BaseModel, "model_validate", classmethod(validating))
        for path, method, operation in operations(described):
            models.clear()
            query = {"status": "running"} if method == "delete" or path == "/tasks/cancel" else {}
            bodies: list[dict[str, Any]] = [] if method == "get" else [{}, {"events": []}]
            for body in bodies:
                await here.http.request(method, path.format(id=ABSENT), json=body, params=query)
            said = operation.get("requestBody", {"content": {"application/json": {"schema": {}}}})
            schema = said["content"]["application/json"]["schema"]
            refs = {each["$ref"].rpartition("/")[2] for each in schema.get("oneOf", [schema]) if each}
            assert models - {"NoFields"} == refs, f"{method} {path}"


async def test_it_is_an_answer_like_all_others() -> None:
    async with live() as here:
        get, head = await here.http.get("/openapi.json"), await here.http.head("/openapi.json")

        assert (get.status_code, get.headers["content-type"]) == (200, "application/json")
        assert (head.status_code, head.content) == (200, b"")
        assert (await here.http.options("/openapi.json")).headers["allow"] == "GET, HEAD, OPTIONS"
        assert get.json()["servers"] == [{"url": "/"}]
        assert "Start.puppet" in get.json()["components"]["schemas"]


async def test_below_a_path_it_says_so() -> None:
    async with live() as here:
        here.server.config.root_path = "/api"
        assert (await here.http.get("/openapi.json")).json()["servers"] == [{"url": "/api"}]


class Seen:
    """A client that holds every answer against the description."""

    def __init__(self, here: Live, described: Description) -> None:
        self.here = here
        self.described = described
        self.successes: set[str] = set()

    async def ask(self, method: str, path: str, *, status: int = 200, **request: Any) -> httpx.Response:
        async with self.here.http.stream(method, path, **request) as response:
            body = await response.aread() if path not in ("/events", "/watch?feed=1") else b""
        answer = Answer(method, path.partition("?")[0], response.status_code, response.headers, body)
        assert self.described.wrong(answer) == []
        assert response.status_code == status, body
        if status < 300:
            self.successes.add(f"{self.described.operation(method, answer.path)} {status} {answer.media_type}")
        return response

    async def start(self, type: str, **fields: Any) -> str:
        answer = await self.ask("POST", "/tasks", status=201, json={"type": type, **fields})
        return str(answer.json()["id"])


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    async with live([outside, keep]) as here:
        yield Seen(here, Description((await here.http.get("/openapi.json")).json()))


async def test_each_success_that_is_described_happens_and_looks_so(seen: Seen) -> None:
    sleeping = await seen.start("sleeper", key="k", tags=["a"], timeout_s=9)
    await seen.ask("POST", "/tasks", json={"type": "sleeper", "key": "k", "if_running": "join"})
    await seen.ask("POST", "/tasks", json={"type": "count"}, headers={"Accept": "text/event-stream"})
    worker = await seen.start("outside", params={"x": 1})
    await seen.ask("PATCH", f"/tasks/{worker}", json={"steps": {"completed": 1, "total": 3, "current": "one"}})
    await seen.ask("POST", f"/tasks/{worker}/events", json={"events": [{"type": "a", "client_seq": 1}]})
    await seen.ask("POST", f"/tasks/{worker}/cancel", status=202, json={"reason": "enough"})
    await seen.ask("PATCH", f"/tasks/{worker}", json={"status": "cancelled", "result": [1]})
    await seen.ask("POST", f"/tasks/{sleeping}/input", status=202, json={"data": None})
    await seen.ask("POST", f"/tasks/{sleeping}/extend", json={"total_timeout_s": 60})
    await seen.ask("GET", "/tasks", params={"status": "running,completed", "created_at[gt]": "2001-01-01T00:00:00Z"})
    await seen.ask("GET", "/tasks/count", params={"group_by": "status,error"})
    await seen.ask("POST", f"/tasks/{sleeping}/cancel", params={"wait_s": 5})
    retried = (await seen.ask("POST", f"/tasks/{sleeping}/retry", status=201, headers={"Idempotency-Key": "r"})).json()
    await seen.ask("POST", f"/tasks/{sleeping}/retry", headers={"Idempotency-Key": "r"})
    await seen.ask("POST", "/tasks/cancel", params={"id": retried["id"]})
    await seen.ask("POST", f"/tasks/{sleeping}/ack")
    await seen.ask("POST", f"/tasks/{sleeping}/stream-token", status=201)
    await seen.ask("GET", f"/tasks/{sleeping}", params={"wait_s": 1e-05})
    await seen.ask("GET", f"/tasks/{sleeping}/history")
    await seen.ask("GET", f"/tasks/{sleeping}/why")
    for accept in ("text/event-stream", "application/x-ndjson", "application/json"):
        await seen.ask("GET", f"/tasks/{sleeping}/events", headers={"Accept": accept})
    last_seq = (await seen.ask("GET", f"/tasks/{sleeping}")).json()["last_seq"]
    await seen.ask("GET", f"/tasks/{sleeping}/events", status=204, headers={"Last-Event-ID": str(last_seq)})
    await seen.ask("GET", "/events")
    await seen.ask("GET", "/watch?feed=1")
    await seen.ask("GET", "/watch", status=204, params={"log": f"{sleeping}:{last_seq}"})
    await seen.ask("GET", "/beats", params={"count": 1})
    await seen.ask("GET", "/beats", status=204, headers={"Last-Event-ID": "5"})
    await seen.ask("GET", "/stats", params={"by": "hour"})
    for accept in ("text/plain", "application/openmetrics-text"):
        await seen.ask("GET", "/metrics", headers={"Accept": accept})
    for path in (
        "/server",
        "/audit?repair=true",
        "/audit/diary",
        "/types",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/principal",
        "/",
        "/docs",
    ):
        await seen.ask("GET", path)
    for file in ("page.css", "icon.svg", "app.js"):
        await seen.ask("GET", f"/page/{file}")
    await seen.ask("DELETE", f"/tasks/{sleeping}", status=204)
    await seen.ask("DELETE", "/tasks", params={"type": "count,sleeper"})

    said = {
        f"{method.upper()} {path} {status} {media_type}"
        for path, method, operation in operations(seen.described)
        for status, answer in operation["responses"].items()
        if status < "300"
        for media_type in answer.get("content", [""])
    }
    assert seen.successes == said


async def test_an_answer_with_a_field_too_many_or_too_few_would_be_found(seen: Seen) -> None:
    task_id = await seen.start("sleeper")
    good = (await seen.here.http.get(f"/tasks/{task_id}")).json()

    def wrong(status: int = 200, **changes: Any) -> list[str]:
        body = json.dumps({name: value for name, value in {**good, **changes}.items() if value is not ...}).encode()
        answer = Answer("GET", f"/tasks/{task_id}", status, {"content-type": "application/json"}, body)
        return seen.described.wrong(answer)

    assert wrong() == []
    assert "more" in wrong(more=1)[0]
    assert "tags" in wrong(tags=...)[0]
    assert "priority" in wrong(priority="odd")[0]
    assert wrong(created_at="yesterday")
    assert "is not said to answer 201" in wrong(status=201)[0]


def test_the_page_about_http_names_each_route(described: Description) -> None:
    page = Path("docs/http.md").read_text(encoding="utf-8")

    for path, method, _ in operations(described):
        assert f"`{method.upper()} {path}`" in page
