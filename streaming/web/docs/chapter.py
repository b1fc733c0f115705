"""One operation for people: what it is for, what it takes, what it answers, and how to ask for it.

Owns:   the order in which an operation is told.
Uses:   web.docs.shape (schemas), prose (descriptions), curl (the request).
Never:  knows an operation by name: all there is to tell stands in the description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from streaming.web.docs.curl import curl
from streaming.web.docs.markup import Html, join, tag
from streaming.web.docs.prose import line, prose
from streaming.web.docs.shape import content, shape
from streaming.web.reply import JSON, SSE

#: So many parameters are shown at once; more of them when they are asked for.
_PARAMETERS_SHOWN = 8

Part = Mapping[str, Any]


class Chapter(NamedTuple):
    """An operation in a description.

    Attributes:
        method: upper case.
        path: with the names of its parameters in braces.
        operation: as it is described.
        document: the whole description, to which its references lead.
        guarded: whether the server asks who is calling.
    """

    method: str
    path: str
    operation: Part
    document: Part
    guarded: bool

    def write(self) -> Html:
        """All of it."""
        id = self.operation["operationId"]
        return tag(
            "article",
            tag(
                "h3",
                tag("code", tag("span", self.method, class_=f"method {self.method.lower()}"), " ", self.path),
                " ",
                tag("a", "#", href=f"#{id}", class_="anchor", aria_label=f"Link to {self.method} {self.path}"),
            ),
            tag("p", self.operation["summary"], class_="summary"),
            prose(self.operation.get("description", "")),
            self._parameters(),
            self._body(),
            self._request(),
            self._answers(),
            id=id,
        )

    def _resolved(self, part: Part) -> Part:
        while "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    # -- what it takes ---------------------------------------------------------------------------------------------

    def _parameters(self) -> Html | None:
        parameters = [self._resolved(each) for each in self.operation.get("parameters", ())]
        if not parameters:
            return None
        fields = tag("dl", *map(_parameter, parameters), class_="fields")
        if len(parameters) <= _PARAMETERS_SHOWN:
            return join(tag("h4", "Parameters"), fields)
        return join(tag("h4", "Parameters"), _closed(f"All {len(parameters)} parameters", fields))

    def _body(self) -> Html | None:
        body = self.operation.get("requestBody")
        if body is None:
            return None
        media = body["content"][JSON]
        fields = content(self._resolved(media["schema"]))
        return join(
            tag("h4", "Body"),
            tag("p", line(body["description"]), " ", tag("span", shape(media["schema"]), class_="shape")),
            None if body["required"] else tag("p", "It may be left out."),
            _closed("Its fields", fields) if fields else None,
            *self._examples(media),
        )

    def _request(self) -> Html | None:
        accept = self._accept()
        body = self.operation.get("requestBody", {"content": {}})["content"].get(JSON, {})
        shown = [self._resolved(each) for each in body.get("examples", {}).values()]
        if self.operation.get("requestBody", {}).get("required") and not shown:
            return None  # nobody knows what would be taken
        guarded = self.guarded and self.operation.get("security") != []
        command = curl(
            self.method,
            self._target(),
            **({"body": shown[0]["value"]} if shown else {}),
            accept=accept,
            guarded=guarded,
        )
        return join(tag("h4", "With curl"), tag("pre", tag("code", command), class_="curl"))

    def _accept(self) -> str:
        """A stream where there is one, unless there is something else that is JSON."""
        found = next(iter(self.operation["responses"].values())).get("content", {})
        return SSE if SSE in found and JSON not in found else JSON

    def _target(self) -> str:
        """The path with values in it, and a query if it takes one to make sense."""
        path, query = self.path, self.operation.get("x-query", "")
        for parameter in (self._resolved(each) for each in self.operation.get("parameters", ())):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(str(parameter["example"])))
        return f"{path}?{query}" if query else path

    # -- what it answers -------------------------------------------------------------------------------------------

    def _answers(self) -> Html:
        answers = self.operation["responses"].items()
        good = [self._answer(status, answer) for status, answer in answers if "x-codes" not in answer]
        bad = [_refusal(status, answer) for status, answer in answers if "x-codes" in answer]
        refusals = _closed("What it may refuse, and why", tag("dl", *bad, class_="answers"))
        return join(tag("h4", "Answers"), tag("dl", *good, class_="answers"), refusals)

    def _answer(self, status: str, answer: Part) -> Html:
        headers = [f"`{name}`" for name in answer.get("headers", ())]
        return join(
            tag("dt", tag("code", status)),
            tag(
                "dd",
                line(answer["description"]),
                join(" With the header ", line(" and ".join(headers)), ".") if headers else None,
                *(self._content(media_type, media) for media_type, media in answer.get("content", {}).items()),
            ),
        )

    def _content(self, media_type: str, media: Part) -> Html:
        kind = join(tag("code", media_type), ": ", tag("span", shape(media["schema"]), class_="shape"))
        words = media["schema"].get("description")
        return join(tag("p", kind, join(" ", line(words)) if words else None), *self._examples(media))

    def _examples(self, media: Part) -> list[Html]:
        return [_example(self._resolved(each)) for each in media.get("examples", {}).values()]


def parameter_anchor(name: str) -> str:
    """The id of the place where a parameter is shown that is a whole object.

    Args:
        name: of the parameter.
    """
    return f"parameter-{name}"


def _parameter(parameter: Part) -> Html:
    where = f"in the {parameter['in']}" if parameter["in"] != "query" else ""
    many = content(parameter["schema"]) is not None
    place = f"#{parameter_anchor(parameter['name'])}"
    return join(
        tag(
            "dt",
            tag("code", parameter["name"]),
            join(" ", tag("span", where, class_="where")) if where else None,
            join(" ", tag("span", "required", class_="required")) if parameter.get("required") else None,
        ),
        tag(
            "dd",
            tag("span", shape(parameter["schema"]), class_="shape"),
            " ",
            line(parameter["description"]),
            join(" ", tag("a", "All of them", href=place), ".") if many else None,
        ),
    )


def _refusal(status: str, answer: Part) -> Html:
    return join(tag("dt", tag("code", status)), tag("dd", prose(answer["description"])))


def _example(example: Part) -> Html:
    value = example["value"]
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return _closed(f"Example: {example['summary']}", tag("pre", tag("code", text)))


def _closed(summary: str, *parts: Html) -> Html:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", summary), *parts)
