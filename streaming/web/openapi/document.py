"""``GET /openapi.json``: the whole HTTP interface of this server, for people and for programs that generate clients.

Owns:   the document, and its route.
Uses:   web.openapi.operations (what there is), web.problems (which status a refusal has).
Never:  says what a test does not hold against the routes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from streaming.config import Settings
from streaming.engine.registry import TaskType
from streaming.errors import StreamingError
from streaming.web.openapi.answers import ANSWERS, ref
from streaming.web.openapi.bodies import bodies
from streaming.web.openapi.operation import ALWAYS, GUARDED, Answer, Operation
from streaming.web.openapi.operations import OPERATIONS
from streaming.web.openapi.parameters import parameters
from streaming.web.problems import CONTENT_TYPE, INTERNAL, STATUSES, TITLES
from streaming.web.query import STREAM_TOKEN
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
        "schema": {"type": "string", "pattern": "^/tasks/[0-9a-f]{32}$"},
    },
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}},
}

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    "stream_token": {"type": "apiKey", "in": "query", "name": STREAM_TOKEN, "description": "Opens one stream."},
}

#: Statuses whose answers say when to try again.
_LATER = (429, 503)


async def show_description(site: Site, request: Request) -> Reply:
    """``GET /openapi.json``; it is made once."""
    if request.root not in site.descriptions:
        site.descriptions.clear()  # one server is mounted in one place
        site.descriptions[request.root] = json_reply(
            200, describe(site.settings, site.coordinator.registry, root=request.root)
        )
    return site.descriptions[request.root]


def describe(settings: Settings, task_types: Iterable[TaskType], *, root: str = "") -> dict[str, Any]:
    """The description of a server.

    Args:
        settings: its limits.
        task_types: what it can start.
        root: the path below which it is mounted.
    """
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(operation)
    return {
        "openapi": "3.1.0",
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
            "schemas": {**bodies(settings, task_types), **ANSWERS},
            "parameters": parameters(settings),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
        "security": [{"bearer": []}, {"api_key": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        **({"description": operation.description} if operation.description else {}),
        **(
            {"parameters": [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters]}
            if operation.parameters
            else {}
        ),
    }
    if operation.body is not None:
        found["requestBody"] = {"required": operation.body_required, "content": {JSON: {"schema": operation.body}}}
    if not operation.guarded:
        found["security"] = []
    elif operation.by_token:
        found["security"] = [{"bearer": []}, {"api_key": []}, {"stream_token": []}]
    found["responses"] = {
        **{str(int(status)): _answer(status, answer) for status, answer in operation.answers.items()},
        **_refusals((*operation.refusals, *(GUARDED if operation.guarded else ()), *ALWAYS)),
    }
    return found


def _answer(status: int, answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        found["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    if answer.content:
        found["content"] = {media_type: {"schema": schema} for media_type, schema in answer.content.items()}
    return found


def _refusals(kinds: Iterable[type[StreamingError]]) -> dict[str, Any]:
    """Answers of the one shape, one for each status."""
    by_status: dict[int, dict[str, str]] = {}
    for kind in kinds:
        status = STATUSES[kind]
        by_status.setdefault(500 if status is INTERNAL else status, {})[kind.code] = _words(kind)
    return {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}


def _refusal(status: int, codes: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": "\n".join(
            [f"{TITLES[status]}:", "", *(f"- `{code}`: {words}" for code, words in codes.items())]
        ),
        "x-codes": sorted(codes),
        "content": {CONTENT_TYPE: {"schema": ref("Problem")}},
    }
    if status in _LATER:
        found["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return found


def _words(kind: type[StreamingError]) -> str:
    """What an error means: the first line of its class."""
    if STATUSES[kind] is INTERNAL:
        return "A bug of the server; its log tells more."
    return (inspect.getdoc(kind) or "").split("\n")[0]
