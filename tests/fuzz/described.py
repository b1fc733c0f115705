"""An answer against the description of it: what ``/openapi.json`` does not say must not happen.

Stricter than the description is for clients: an answer has no field that is not described.

Owns:   finding the operation of a request, and everything that is wrong with its answer; all routes that there are.
Never:  sends anything.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from streaming.web import routes

#: That a server has to know; another one may be no HTTP to it.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

PROBLEM = "application/problem+json"
PROBLEM_FIELDS = ["type", "title", "status", "code", "detail", "errors"]


@dataclass(frozen=True)
class Answer:
    """An answer, whoever has got it; of a stream that was not read to its end, the first part.

    Attributes:
        method: of the request, upper case.
        path: of the request, without a query.
        status: of the answer.
        headers: with lower-case names.
        body: bytes.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


class Description:
    """The description of a server.

    Args:
        document: what ``/openapi.json`` has answered.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.closed = copy.deepcopy(document)
        for schema in _objects(self.closed["components"]["schemas"]):
            if "properties" in schema and schema.get("type") == "object":
                schema.setdefault("additionalProperties", False)
        self._patterns = [(_pattern(path), path) for path in document["paths"]]
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def operation(self, method: str, path: str) -> str | None:
        """The label of the operation that a request means, such as ``GET /tasks/{id}``."""
        found = [template for pattern, template in self._patterns if pattern.fullmatch(path)]
        template = min(found, key=lambda each: each.count("{"), default=None)
        if template is None or method.lower() not in self.document["paths"][template]:
            return None
        return f"{method} {template}"

    def labels(self) -> Iterator[str]:
        """All operations."""
        for template, methods in self.document["paths"].items():
            yield from (f"{method.upper()} {template}" for method in methods)

    def at(self, label: str) -> dict[str, Any]:
        """An operation, as it is described."""
        method, _, template = label.partition(" ")
        found: dict[str, Any] = self.document["paths"][template][method.lower()]
        return found

    def wrong(self, answer: Answer) -> list[str]:
        """Everything that the description does not say."""
        method = "GET" if answer.method == "HEAD" else answer.method
        label = self.operation(method, answer.path)
        if label is None:
            return list(self._wrong_elsewhere(answer))
        described = self.at(label)["responses"].get(str(answer.status))
        if described is None:
            return [f"{label} is not said to answer {answer.status}: {answer.body[:200]!r}"]
        return [f"{label}, {answer.status}: {words}" for words in self._wrong_answer(answer, described)]

    def _wrong_elsewhere(self, answer: Answer) -> Iterator[str]:
        """What no operation answers: that there is none, and what OPTIONS says."""
        if answer.method == "OPTIONS" and answer.status == 204:
            return
        if answer.status not in (403, 404, 405) and (answer.status != 400 or answer.method in METHODS):
            yield f"{answer.method} {answer.path} is no operation, and answers {answer.status}"
        elif answer.method != "HEAD":
            yield from self._wrong_problem(answer, None)

    def _wrong_answer(self, answer: Answer, described: dict[str, Any]) -> Iterator[str]:
        for name in described.get("headers", {}):
            if name.lower() not in answer.headers and self._always(name, answer):
                yield f"no header {name}"
        content = described.get("content", {})
        if answer.method == "HEAD":
            return
        if not content:
            if answer.body:
                yield f"a body that is not described: {answer.body[:200]!r}"
            return
        if answer.media_type not in content:
            yield f"{answer.media_type!r} is not described"
            return
        if answer.media_type == PROBLEM:
            yield from self._wrong_problem(answer, described["x-codes"])
        elif answer.media_type == "application/json":
            yield from self._wrong_json(answer.body, content[answer.media_type]["schema"])

    @staticmethod
    def _always(name: str, answer: Answer) -> bool:
        return name != "Location" or answer.status == 201 or answer.media_type == "text/event-stream"

    def _wrong_problem(self, answer: Answer, codes: list[str] | None) -> Iterator[str]:
        if answer.media_type != PROBLEM:
            yield f"{answer.media_type!r} is no problem: {answer.body[:200]!r}"
            return
        wrong = list(self._wrong_json(answer.body, {"$ref": "#/components/schemas/Problem"}))
        if wrong:
            yield from wrong
            return
        body = answer.json()
        if list(body) != PROBLEM_FIELDS:
            yield f"a problem of another shape: {list(body)}"
        if body.get("status") != answer.status:
            yield f"its problem says {body.get('status')}"
        if codes is not None and body.get("code") not in codes:
            yield f"the code {body.get('code')!r} is not described: {body.get('detail')}"
        if answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
            yield f"the server failed: {body.get('detail')}"

    def _wrong_json(self, body: bytes, schema: dict[str, Any]) -> Iterator[str]:
        try:
            value = json.loads(body)
        except ValueError as error:
            yield f"no JSON: {error}: {body[:200]!r}"
            return
        for found in self._validator(schema).iter_errors(value):
            yield f"{'/'.join(map(str, found.instance_path))}: {found.message[:300]}"

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {**schema, "components": self.closed["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{[a-z_]+\}", template))))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in list(value.values()):
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)


def all_routes() -> dict[str, set[str]]:
    """The methods of each path, as the router has them."""
    found = {"/" + "/".join(place): methods for place, methods in routes.PLACES.items()}
    found["/page/{file}"] = routes.ASSET
    found["/tasks/{id}"] = routes.TASK
    found |= {f"/tasks/{{id}}/{part}": methods for part, methods in routes.OF_TASK.items()}
    return {path: {method.lower() for method in methods} for path, methods in found.items()}
