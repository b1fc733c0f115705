"""The page about security is true: scopes, routes, acts, settings, and the tests that it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from streaming.rules.access import Scope
from streaming.web.headers import SECURITY
from streaming.web.routes import ASSET, OF_TASK, PLACES, TASK, is_open
from streaming.web.stream import FAREWELL
from tests.serving import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the tables of a section."""
    section = re.split(r"^##+ ", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.M)[0]
    for line in section.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def routes() -> Iterator[tuple[str, str]]:
    """Method and path of each route, and what it needs."""
    for segments, methods in PLACES.items():
        for method, route in methods.items():
            needed = "nothing" if is_open(segments) else route.scope or "any credential"
            yield f"{method} /{'/'.join(segments)}", needed
    yield from ((f"{method} /page/{{file}}", "nothing") for method in ASSET)
    for method, route in TASK.items():
        yield f"{method} /tasks/{{id}}", route.scope or "any credential"
    for part, methods in OF_TASK.items():
        for method, route in methods.items():
            yield f"{method} /tasks/{{id}}/{part}", route.scope or "any credential"


def test_each_route_is_in_the_table_with_what_it_needs() -> None:
    said: dict[str, str] = {}
    for cells in rows("## Whose tasks are whose"):
        before = ""
        for words in re.findall(r"`([^`]+)`", cells[0]):
            name = words.replace("...", "POST /tasks/{id}") if words.startswith("...") else words
            before = name or before
            said[name] = cells[1].strip("`")

    assert {route: needed for route, needed in said.items() if route != "OPTIONS"} == dict(routes())


def test_each_scope_is_explained() -> None:
    assert {cells[0].strip("`") for cells in rows("## Credentials")} >= set(Scope)


def test_each_test_that_holds_against_a_threat_is_there() -> None:
    named = set(re.findall(r"`((?:tests|benchmarks)/[^`]+)`", PAGE))

    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert all(cells[-1] for cells in rows("## Threat model"))


def test_each_act_that_is_told_is_in_the_table() -> None:
    told = {
        node.args[0].value
        for path in (ROOT / "streaming").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) == "tell"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and any(each.arg in ("principal", "reason", "failed", "limit") for each in node.keywords)
    }
    said = {word for cells in rows("## What is written down") for word in re.findall(r"`([a-z_]+)`", cells[0])}

    assert {"authentication_failed", "forbidden", "limit_hit", "admin_act"} <= told
    assert told <= said


def test_what_every_answer_carries_is_what_the_page_says() -> None:
    for name, value in SECURITY.items():
        assert f"{name}: {value}".lower() in PAGE.lower()
    assert FAREWELL.decode().strip() in PAGE


def test_each_setting_that_the_page_names_is_one() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text()

    assert [name for name in set(re.findall(r"STREAMING_[A-Z_]+", PAGE)) if f"`{name}`" not in settings] == []
