"""``GET /openapi.json``: the whole HTTP interface of this server, for people and for programs that generate clients.

Owns:   the document, and its route.
Uses:   web.openapi.operations (what there is), web.problems (which status a refusal has).
Never:  says what a test does not hold against the routes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from streaming.config import Settings
from streaming.engine.registry import TaskType
from streaming.errors import BadFilter, StreamingError
from streaming.web.openapi.answers import ANSWERS, ref
from streaming.web.openapi.bodies import bodies
from streaming.web.openapi.examples import Example, examples, problem_example
from streaming.web.openapi.insight import INSIGHT
from streaming.web.openapi.operation import ALWAYS, GUARDED, Answer, Body, Operation
from streaming.web.openapi.operations import OPERATIONS
from streaming.web.openapi.overview import OVERVIEW
from streaming.web.openapi.parameters import parameters
from streaming.web.openapi.version import Version, example, media
from streaming.web.problems import CONTENT_TYPE, TITLES
from streaming.web.query import STREAM_TOKEN, Query
from streaming.web.reply import JSON, Reply, json_reply
from streaming.web.request import Request
from streaming.web.site import Site
from streaming.web.status import VERSION

_ABOUT = """\
Run long tasks, and stream everything that happens to them.

- Bodies are strict UTF-8 JSON. Times are RFC 3339 in UTC. Durations are seconds.
- An unknown query parameter or body field is refused, never ignored.
- `HEAD` works where `GET` does and sends no body. `OPTIONS` answers 204 with `Allow`; any other method is a 405.
- A server without credentials asks for none, and answers its own machine only. Any other one wants an API key or a JWT.
- Whatever is wrong is a Problem with a `code` for programs. The extension `x-codes` names those of an answer.
- The extension `x-query` of an operation is a query to begin with, where a request without one makes no sense.
- Answers may get more fields.
"""

_TAGS = {
    "Tasks": "Start tasks, find them, and change many at once.",
    "Task": "Look at one task, and steer it.",
    "Events": "Logs and the feed, as streams or page by page.",
    "External tasks": "What workers elsewhere report about their work.",
    "Server": "What this server is, and what its tasks have done.",
}

HEADERS = {
    "Location": {
        "description": "The path of the task.",
        "example": "/tasks/01a1faf2e1e272c28c97af9bddbf8148",
        "schema": {"type": "string", "pattern": "^/tasks/[0-9a-f]{32}$"},
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "example": 5,
        "schema": {"type": "integer", "minimum": 1},
    },
}

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    "stream_token": {"type": "apiKey", "in": "query", "name": STREAM_TOKEN, "description": "Opens one stream."},
}

#: Statuses whose answers say when to try again.
_LATER = (429, 503)


async def show_description(site: Site, request: Request) -> Reply:
    """``GET /openapi.json``; each version is made once."""
    version = _version(Query(request.query_string, ("version",)).text("version"))
    key = (request.root, version)
    if key not in site.descriptions:
        if any(root != request.root for root, _ in site.descriptions):
            site.descriptions.clear()  # one server is mounted in one place
        described = describe(site.settings, site.coordinator.registry, root=request.root, version=version)
        site.descriptions[key] = json_reply(200, described)
    return site.descriptions[key]


def _version(text: str | None) -> Version:
    """The version that is asked for.

    Raises:
        BadFilter: there is no such version.
    """
    try:
        return Version(text or Version.V3_1)
    except ValueError:
        raise BadFilter(f"version must be one of {', '.join(Version)}, not {(text or '')[:64]!r}.") from None


def describe(
    settings: Settings, task_types: Iterable[TaskType], *, root: str = "", version: Version = Version.V3_1
) -> dict[str, Any]:
    """The description of a server.

    Args:
        settings: its limits.
        task_types: what it can start.
        root: the path below which it is mounted.
        version: of OpenAPI.
    """
    types = list(task_types)
    shown = {**examples([each.name for each in types]), **_problems()}
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(operation, version, shown)
    return {
        "openapi": version.full,
        "info": {
            "title": "streaming",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root or "/"}],
        "tags": [{"name": name, "description": words} for name, words in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**bodies(settings, types), **ANSWERS, **INSIGHT, **OVERVIEW},
            "parameters": parameters(settings),
            "headers": HEADERS,
            "examples": {name: example(version, each.summary, each.value) for name, each in shown.items()},
            "securitySchemes": SECURITY_SCHEMES,
        },
        "security": [{"bearer": []}, {"api_key": []}],
    }


def _operation(operation: Operation, version: Version, shown: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        **(
            {"parameters": [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters]}
            if operation.parameters
            else {}
        ),
    }
    if operation.query:
        found["x-query"] = operation.query
    if operation.body is not None:
        found["requestBody"] = _body(operation.body, shown)
    if not operation.guarded:
        found["security"] = []
    elif operation.by_token:
        found["security"] = [{"bearer": []}, {"api_key": []}, {"stream_token": []}]
    found["responses"] = {
        **{str(int(status)): _answer(answer, version, shown) for status, answer in operation.answers.items()},
        **_refusals(_kinds(operation)),
    }
    return found


def _body(body: Body, shown: Collection[str]) -> dict[str, Any]:
    return {
        "description": body.description,
        "required": body.required,
        "content": {JSON: {"schema": body.schema, **_examples(body.examples, shown)}},
    }


def _answer(answer: Answer, version: Version, shown: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        found["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    if answer.content:
        found["content"] = {
            media_type: {
                **media(version, schema, answer.items.get(media_type)),
                **_examples(answer.examples.get(media_type, ()), shown),
            }
            for media_type, schema in answer.content.items()
        }
    return found


def _examples(names: Iterable[str], shown: Collection[str]) -> dict[str, Any]:
    """Those of these examples that this server has."""
    found = {name: {"$ref": f"#/components/examples/{name}"} for name in names if name in shown}
    return {"examples": found} if found else {}


# -- refusals ----------------------------------------------------------------------------------------------------------


def _kinds(operation: Operation) -> tuple[type[StreamingError], ...]:
    """All errors that an operation may answer with."""
    return (*operation.refusals, *(GUARDED if operation.guarded else ()), *ALWAYS)


def _problems() -> dict[str, Example]:
    """An example for each code that there is."""
    kinds = {kind for operation in OPERATIONS.values() for kind in _kinds(operation)}
    found = {each.value["code"]: each for each in map(problem_example, sorted(kinds, key=lambda kind: kind.__name__))}
    return {f"Problem.{code}": found[code] for code in sorted(found)}


def _refusals(kinds: Iterable[type[StreamingError]]) -> dict[str, Any]:
    """Answers of the one shape, one for each status."""
    by_status: dict[int, dict[str, str]] = {}
    for kind in kinds:
        shown = problem_example(kind).value
        by_status.setdefault(shown["status"], {})[shown["code"]] = shown["detail"]
    return {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}


def _refusal(status: int, codes: dict[str, str]) -> dict[str, Any]:
    names = [f"Problem.{code}" for code in sorted(codes)]
    found: dict[str, Any] = {
        "description": "\n".join(
            [f"{TITLES[status]}:", "", *(f"- `{code}`: {words}" for code, words in codes.items())]
        ),
        "x-codes": sorted(codes),
        "content": {CONTENT_TYPE: {"schema": ref("Problem"), **_examples(names, names)}},
    }
    if status in _LATER:
        found["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return found
