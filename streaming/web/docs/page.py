"""``GET /docs``: the whole description as one page.

It is open to everybody, as the page is: a browser cannot show a credential when it opens one. So on a server that asks
for credentials it says what every such server can do, and not which task types of its own this one has, nor its
version.

Owns:   the frame of the page, its table of contents, its schemas; its route.
Uses:   web.openapi.document (all that is told), web.docs.chapter (one operation), web.assets (how a page is sent).
Never:  tells anything that is not in the description.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from streaming.config import Settings
from streaming.engine.registry import TaskType
from streaming.web.assets import Asset, answer_with, asset_of
from streaming.web.docs.chapter import Chapter, parameter_anchor
from streaming.web.docs.curl import ADDRESS
from streaming.web.docs.markup import Html, join, tag
from streaming.web.docs.prose import prose
from streaming.web.docs.shape import anchor, content, whole
from streaming.web.openapi.about import OPENAPI_JSON
from streaming.web.openapi.document import describe
from streaming.web.reply import Reply
from streaming.web.request import Request
from streaming.web.site import Site


async def show_docs(site: Site, request: Request) -> Reply:
    """``GET /docs``; it is made once for servers that ask for credentials, and once for those that do not."""
    guarded = site.door.gate.configured
    key = (request.root, guarded)
    if key not in site.docs:
        types = [each for each in site.coordinator.registry if not guarded or _is_built_in(each)]
        # In a thread, since it takes as long as thousands of events.
        page = await asyncio.to_thread(_made, site.settings, types, request.root, guarded)
        site.docs.clear()  # one server is mounted in one place, and a door that was closed stays closed
        site.docs[key] = page
    else:
        page = site.docs[key]
    return answer_with(page, request)


def _is_built_in(task_type: TaskType) -> bool:
    """Whether it comes with every server, so that it is no secret."""
    return task_type.handler.__module__.startswith("streaming.tasks.")


def _made(settings: Settings, types: list[TaskType], root: str, guarded: bool) -> Asset:
    return docs_page(describe(settings, types, root=root), root=root, guarded=guarded)


def docs_page(document: Mapping[str, Any], *, root: str = "", guarded: bool = False) -> Asset:
    """Write the page.

    Args:
        document: the description, of OpenAPI 3.1.
        root: the path below which the server is mounted.
        guarded: whether it asks for credentials.
    """
    chapters = _chapters(document, guarded)
    body = tag(
        "body",
        tag("a", "Skip to the operations", href="#operations", class_="skip"),
        tag("header", tag("h1", document["info"]["title"]), _about(document, root, guarded)),
        tag("nav", _contents(document, chapters), aria_label="Contents", id="contents"),
        tag(
            "main",
            *(_group(each, chapters[each["name"]]) for each in document["tags"]),
            _parameters(document["components"]["parameters"]),
            _schemas(document["components"]["schemas"]),
            id="operations",
            tabindex="-1",
        ),
        data_root=root,
        data_address=ADDRESS,
    )
    text = join(Html("<!doctype html>\n"), tag("html", _head(root), body, lang="en"), "\n")
    return asset_of(".html", text.encode())


def _head(root: str) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "streaming: HTTP"),
        tag("link", rel="icon", href=f"{root}/page/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href=f"{root}/page/docs.css"),
        tag("script", type="module", src=f"{root}/page/docs.js"),
    )


def _about(document: Mapping[str, Any], root: str, guarded: bool) -> Html:
    address = root + OPENAPI_JSON
    version = None if guarded else tag("p", f"Version {document['info']['version']}")
    links = tag(
        "p",
        "For programs: ",
        tag("a", "OpenAPI 3.1", href=address),
        " and ",
        tag("a", "3.2", href=f"{address}?version=3.2"),
        ". For tasks: ",
        tag("a", "the page", href=f"{root}/"),
        ".",
    )
    words = (
        "This server asks for a credential; which task types of its own it has is told to whoever has one, at `/types`."
    )
    return join(version, prose(document["info"]["description"]), prose(words) if guarded else None, links)


def _chapters(document: Mapping[str, Any], guarded: bool) -> dict[str, list[Chapter]]:
    """All operations, by their tags."""
    found: dict[str, list[Chapter]] = {each["name"]: [] for each in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            chapter = Chapter(method.upper(), path, operation, document, guarded)
            for name in chapter.operation["tags"]:
                found[name].append(chapter)
    return found


def _contents(document: Mapping[str, Any], chapters: Mapping[str, list[Chapter]]) -> Html:
    groups = [
        tag(
            "li",
            tag("a", each["name"], href=f"#{_place(each['name'])}"),
            tag("ul", *map(_entry, chapters[each["name"]])),
        )
        for each in document["tags"]
    ]
    more = [tag("li", tag("a", name, href=f"#{name.lower()}")) for name in ("Parameters", "Schemas")]
    return tag("ul", *groups, *more)


def _entry(chapter: Chapter) -> Html:
    operation = chapter.operation
    return tag("li", tag("a", operation["summary"], href=f"#{operation['operationId']}"))


def _place(name: str) -> str:
    return "group-" + name.lower().replace(" ", "-")


def _group(group: Mapping[str, str], chapters: list[Chapter]) -> Html:
    return tag(
        "section",
        tag("h2", group["name"]),
        prose(group["description"]),
        *(chapter.write() for chapter in chapters),
        id=_place(group["name"]),
    )


def _parameters(parameters: Mapping[str, Any]) -> Html:
    """Those that are whole objects; the others stand with their operations."""
    shown = [
        tag(
            "article",
            tag("h3", each["name"]),
            prose(each["description"]),
            tag("details", tag("summary", "All of them"), inside),
            id=parameter_anchor(each["name"]),
        )
        for each in parameters.values()
        if (inside := content(each["schema"])) is not None
    ]
    return tag("section", tag("h2", "Parameters"), *shown, id="parameters")


def _schemas(schemas: Mapping[str, Any]) -> Html:
    shown = [
        tag("article", tag("h3", name), whole(schemas[name]), *_inside(schemas[name]), id=anchor(name))
        for name in sorted(schemas, key=str.casefold)
    ]
    return tag("section", tag("h2", "Schemas"), *shown, id="schemas")


def _inside(schema: Mapping[str, Any]) -> list[Html]:
    """Schemas that a schema of a task type brings along."""
    return [join(tag("h4", name), whole(each)) for name, each in schema.get("$defs", {}).items()]
