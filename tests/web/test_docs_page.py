"""The description as a page: all of it is there, what is text stays text, and each command can be pasted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from streaming import Registry, task
from streaming.config import Settings
from streaming.tasks import built_in
from streaming.web.assets import POLICY
from streaming.web.docs.curl import ADDRESS, curl
from streaming.web.docs.markup import Html, join, tag
from streaming.web.docs.page import docs_page
from streaming.web.docs.prose import line, prose
from streaming.web.docs.shape import content, shape, whole
from streaming.web.openapi.document import describe
from tests.serving import serving
from tests.web.live import live
from tests.web.test_openapi_examples import AIMS, LABELS, LONG, SHORT

SETTINGS = Settings(store_url="memory://")
DOCUMENT = json.loads(json.dumps(describe(SETTINGS, Registry(built_in(SETTINGS)))))
TEXT = docs_page(DOCUMENT).body.decode()
VOID = {"link", "meta"}


class Reader(HTMLParser):
    """Reads a page as strictly as XML: each element ends where it must."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, attribute: str) -> list[str]:
        return [found for _, attributes in self.elements if (found := attributes.get(attribute)) is not None]


PAGE = Reader(TEXT)


# -- markup ------------------------------------------------------------------------------------------------------------


def test_what_is_text_stays_text() -> None:
    made = tag("p", "<b>&\"'", tag("i", "x"), None, title='"><script>')

    assert made == '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;&quot;&#x27;<i>x</i></p>'
    assert join("<", Html("<br>"), between="&") == "&lt;&amp;<br>"
    assert tag("meta", name="x", http_equiv="y") == '<meta name="x" http-equiv="y">'


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("One.", "<p>One.</p>"),
        ("One\ntwo.\n\n\nThree.", "<p>One two.</p><p>Three.</p>"),
        ("`a < b` and ``c ` d``", "<p><code>a &lt; b</code> and <code>c ` d</code></p>"),
        ("An ` alone", "<p>An ` alone</p>"),
        ("- one\n- two\n  goes on", "<ul><li>one</li><li>two goes on</li></ul>"),
        ("Words:\n- one\n* two", "<p>Words:</p><ul><li>one</li><li>two</li></ul>"),
        ("-1 is no item", "<p>-1 is no item</p>"),
        ("<img src=x onerror=alert(1)> [a](javascript:x) **b**", None),
        ("`<script>`", "<p><code>&lt;script&gt;</code></p>"),
        ("  \n \n", ""),
        ("", ""),
        ("# no heading", "<p># no heading</p>"),
    ],
)
def test_the_little_markdown_of_descriptions_is_written(text: str, written: str | None) -> None:
    found = prose(text)

    if written is not None:
        assert found == written
    assert not {name for name, _ in Reader(found).elements} - {"p", "ul", "li", "code"}
    assert line("a `b`") == "a <code>b</code>"


@pytest.mark.parametrize("text", ["`" * 30_000, "- " * 30_000, "\n" * 100_000, "`a" * 30_000, "``a`" * 20_000])
@pytest.mark.timeout(10)
def test_no_description_takes_long(text: str) -> None:
    Reader(prose(text))


# -- schemas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any JSON value"),
        ({"type": ["string", "null"], "minLength": 1}, "string or null, at least 1 character"),
        ({"type": "integer", "minimum": 1, "maximum": 1000000}, "integer, at least 1, at most 1,000,000"),
        ({"type": "number", "exclusiveMinimum": 0.5, "default": None}, "number, more than 0.5, default null"),
        ({"const": "a<b"}, '"a<b"'),
        ({"enum": ["a", 1]}, 'one of "a", 1'),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "array of string, none twice"),
        (
            {"type": "array", "items": {"type": "string", "minLength": 2}, "maxItems": 1},
            "array of (string, at least 2 characters), at most 1 item",
        ),
        ({"type": "array", "items": {}, "uniqueItems": False}, "array"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({"type": "object", "additionalProperties": False}, "object"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": "string", "pattern": "^<$", "format": "uri"}, "string, uri, matches ^<$"),
        ({"type": "string", "not": {"enum": ["x"]}}, 'string, {"not": {"enum": ["x"]}}'),
        ({"$ref": "#/components/schemas/Task"}, "Task"),
        ({"$ref": "#/components/schemas/Params.a/$defs/Cat"}, "Cat"),
    ],
)
def test_a_schema_is_told_in_words(schema: dict[str, Any], words: str) -> None:
    assert unescape(re.sub(r"<[^>]+>", "", shape(schema))) == words


def test_what_is_nested_is_told_inside() -> None:
    deep = {
        "type": "object",
        "description": "Outer `code`.",
        "required": ["a"],
        "properties": {
            "a": {"type": "array", "items": {"type": "object", "properties": {"b<": {"description": "In <it>."}}}},
            "c": {"anyOf": [{"type": "object", "properties": {"d": {"type": "null"}}}, {"type": "null"}]},
        },
    }
    text = whole(deep)

    Reader(text)
    assert "<code>b&lt;</code>" in text
    assert "In &lt;it&gt;." in text
    assert text.count("<dl") == 3
    assert text.count("required</span>") == 1
    assert content({"type": "string"}) is None


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_each_operation_and_schema_has_its_place_and_each_link_leads_somewhere() -> None:
    ids = PAGE.all("id")
    links = [link.removeprefix("#") for link in PAGE.all("href") if link.startswith("#")]

    assert len(set(ids)) == len(ids)
    assert {each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()} <= set(ids)
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= set(ids)
    assert set(links) <= set(ids)


def test_each_parameter_code_and_example_is_told() -> None:
    shown = unescape(TEXT)

    for parameter in DOCUMENT["components"]["parameters"].values():
        assert f"<code>{parameter['name']}</code>" in shown
    for code in DOCUMENT["components"]["schemas"]["Code"]["enum"]:
        assert f"<code>{code}</code>" in shown or f'"{code}"' in shown
    for example in DOCUMENT["components"]["examples"].values():
        if "code" not in example["value"]:
            assert f"Example: {example['summary']}" in shown


def test_it_needs_nothing_from_elsewhere_and_no_script_to_be_read() -> None:
    assert {name for name, _ in PAGE.elements} & {"style", "iframe", "img", "form", "noscript"} == set()
    assert [each for name, each in PAGE.elements if name == "script"] == [{"type": "module", "src": "/page/docs.js"}]
    assert all(address.startswith(("#", "/")) for address in (*PAGE.all("href"), *PAGE.all("src")))
    assert len(TEXT) < 400_000


def test_what_a_task_type_says_cannot_leave_its_place() -> None:
    @task("bad")
    async def bad(name: str = '"><script>alert(1)</script>') -> None:
        """A </details><script>alert(1)</script> type.

        - `</code><img src=x>`
        """

    document = json.loads(json.dumps(describe(SETTINGS, Registry([bad]))))
    page = Reader(docs_page(document).body.decode())

    assert len([name for name, _ in page.elements if name == "script"]) == 1
    assert "img" not in {name for name, _ in page.elements}


def test_a_description_that_is_mounted_somewhere_names_its_places_there() -> None:
    text = docs_page(DOCUMENT, root="/streams").body.decode()

    assert 'href="/streams/page/docs.css"' in text
    assert 'href="/streams/openapi.json?version=3.2"' in text
    assert 'data-root="/streams"' in text


# -- the route ---------------------------------------------------------------------------------------------------------


async def test_it_comes_with_the_policy_of_a_page_and_is_kept_as_long_as_it_is_the_same() -> None:
    async with live() as here:
        first, again = await here.http.get("/docs"), await here.http.get("/docs")
        known = await here.http.get("/docs", headers={"if-none-match": first.headers["etag"]})
        head = await here.http.head("/docs")

    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["content-security-policy"] == POLICY
    assert first.headers["cache-control"] == "no-cache"
    assert first.content == again.content
    assert "Start.puppet" in first.text
    assert (known.status_code, known.content) == (304, b"")
    assert (head.content, head.headers["content-length"]) == (b"", first.headers["content-length"])


async def test_a_server_that_asks_for_credentials_tells_nobody_what_it_has() -> None:
    async with live(built_in(SETTINGS), api_keys="secret-key-of-enough-bytes:ada") as here:
        open_to_all = await here.http.get("/docs")
        own = await here.http.get("/openapi.json", headers={"X-API-Key": "secret-key-of-enough-bytes"})

    assert open_to_all.status_code == 200
    assert "puppet" in own.text
    assert "puppet" not in open_to_all.text
    assert "Start.countdown" in open_to_all.text, "it comes with every server"
    assert f"Version {own.json()['info']['version']}" not in open_to_all.text
    assert "Authorization: Bearer $STREAMING_TOKEN" in open_to_all.text


def test_a_request_whose_body_nobody_knows_is_not_shown() -> None:
    text = docs_page(json.loads(json.dumps(describe(SETTINGS, [])))).body.decode()
    start = text.partition('<article id="start_task">')[2].partition("</article>")[0]

    assert "curl" not in start
    assert "Its fields" in start


async def test_below_a_path_it_is_another_one() -> None:
    async with live() as here:
        top = await here.http.get("/docs", headers={"connection": "close"})
        here.server.config.root_path = "/api"
        below = await here.http.get("/docs")

    assert 'data-root=""' in top.text
    assert 'data-root="/api"' in below.text


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"method": "GET", "path": "/tasks"}, "curl -s http://127.0.0.1:8000/tasks"),
        ({"method": "POST", "path": "/a", "body": None}, "curl -s --json null http://127.0.0.1:8000/a"),
        ({"method": "POST", "path": "/a"}, "curl -s -X POST http://127.0.0.1:8000/a"),
        (
            {"method": "PATCH", "path": "/a?b=c&d", "body": {"it": "it's"}, "accept": "text/event-stream"},
            """curl -sN -X PATCH --json '{"it": "it'"'"'s"}' -H 'Accept: text/event-stream' """
            "'http://127.0.0.1:8000/a?b=c&d'",
        ),
        (
            {"method": "GET", "path": "/a", "guarded": True},
            'curl -s -H "Authorization: Bearer $STREAMING_TOKEN" http://127.0.0.1:8000/a',
        ),
    ],
)
def test_a_request_is_written_for_a_shell(arguments: dict[str, Any], command: str) -> None:
    assert curl(**arguments) == command


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("docs"), "--store", "memory://") as url:
        yield url


@pytest.mark.process
@pytest.mark.parametrize("label", LABELS)
def test_each_command_can_be_pasted(label: str, url: str, tmp_path: Path) -> None:
    method, _, path = label.partition(" ")
    id = DOCUMENT["paths"][path][method.lower()]["operationId"]
    article = TEXT.partition(f'<article id="{id}">')[2].partition("</article>")[0]
    (command,) = re.findall(r'<pre class="curl"><code>(.*?)</code></pre>', article, re.DOTALL)
    command = unescape(command).replace(ADDRESS, url)
    if "{id}" in path:
        task_id = httpx.post(f"{url}/tasks", json=AIMS.get(label, LONG)).json()["id"]
        httpx.get(f"{url}/tasks/{task_id}", params={"wait_s": 10 if AIMS.get(label) is SHORT else 0})
        command = re.sub(r"[0-9a-f]{32}", task_id, command)
    bash = shutil.which("bash")
    assert bash is not None
    script = f"{command} --max-time 10 -o answer -w '%{{http_code}}' --noproxy '*'"
    if path in ("/events", "/watch"):
        script = script.replace("--max-time 10", "--max-time 1")
    done = subprocess.run([bash, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert done.stdout in DOCUMENT["paths"][path][method.lower()]["responses"]
    assert done.stdout < "300", (tmp_path / "answer").read_text()
