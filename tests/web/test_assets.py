"""The page comes whole, is kept by browsers as long as it is the same, and lets nothing in."""

from __future__ import annotations

import re

import pytest

from streaming.web.assets import ASSETS, FOLDER, INDEX, POLICY, TYPES, takes_gzip
from tests.web.live import live
from tests.web.test_routes import check_problem

MEBI = 2**20


async def test_the_page_comes_with_its_policy() -> None:
    async with live() as here:
        answer = await here.http.get("/?status=running&anything")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content == (FOLDER / INDEX).read_bytes()


@pytest.mark.parametrize("name", ASSETS)
async def test_each_file_is_what_it_says_to_be(name: str) -> None:
    async with live() as here:
        answer = await here.http.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == TYPES["." + name.rpartition(".")[2]]
        assert answer.content == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("known", ['"{tag}"', 'W/"{tag}"', '"other", "{tag}"', "*"])
@pytest.mark.parametrize("path", ["/", "/page/page.css"])
async def test_a_browser_that_has_it_is_told_so(path: str, known: str) -> None:
    async with live() as here:
        tag = (await here.http.get(path)).headers["etag"].strip('"')
        again = await here.http.get(path, headers={"if-none-match": known.replace("{tag}", tag)})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == f'"{tag}"'


async def test_a_browser_that_has_another_one_gets_it() -> None:
    async with live() as here:
        assert (await here.http.get("/", headers={"if-none-match": '"other"'})).status_code == 200


async def test_head_has_the_length_and_nothing_else_is_possible() -> None:
    async with live() as here:
        answer = await here.http.head("/page/page.css", headers={"accept-encoding": "identity"})
        assert (answer.content, int(answer.headers["content-length"])) == (b"", len(ASSETS["page.css"].body))
        check_problem(await here.http.post("/", json={}), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/../server.py", "/page/%2e%2e%2fserver.py", "/page/x/page.css", "/page/PAGE.CSS"]
)
async def test_nothing_else_is_there(path: str) -> None:
    async with live() as here:
        answer = await here.http.get(path)
        assert answer.status_code == 404


async def test_a_server_that_is_mounted_somewhere_names_its_files_there() -> None:
    async with live() as here:
        here.server.config.root_path = "/streams"
        text = (await here.http.get("/streams/")).text
        assert re.findall(r'="(?!/streams/page/)[^"]*page/', text) == []
        for path in re.findall(r'="(/streams/page/[^"]+)"', text):
            assert (await here.http.get(path)).status_code == 200


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """It works where there is no way out; and all of it is small."""
    for name, asset in ASSETS.items():
        text = asset.body.decode()
        assert set(re.findall(r"""https?://[^\s"'<>)]+""", text)) <= {"http://www.w3.org/2000/svg"}, name
    assert sum(len(asset.packed) for asset in ASSETS.values()) < 100_000


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        (None, False),
        ("", False),
        ("br", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("gzip;q=0.001", True),
    ],
)
def test_gzip_is_for_those_who_want_it(accepted: str | None, packed: bool) -> None:
    assert takes_gzip(accepted) is packed


async def test_each_encoding_has_a_tag_of_its_own() -> None:
    async with live() as here:
        plain, packed = [
            await here.http.get("/page/page.css", headers={"accept-encoding": coding})
            for coding in ("identity", "gzip")
        ]
        assert (plain.content, plain.headers["vary"]) == (packed.content, packed.headers["vary"])
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
        assert plain.headers["etag"] != packed.headers["etag"]


def test_all_modules_of_the_page_are_asked_for_at_once() -> None:
    """Or a browser finds out about one after the other."""
    told = set(re.findall(r'<link rel="modulepreload" href="page/([^"]+)">', ASSETS[INDEX].body.decode()))

    assert told == {name for name in ASSETS if name.endswith(".js")} - {"app.js", "docs.js"}


def test_people_can_read_it() -> None:
    """No line is longer than a window."""
    long = [
        (name, number)
        for name, asset in ASSETS.items()
        for number, line in enumerate(asset.body.decode().splitlines(), 1)
        if len(line) > 140 and not name.endswith(".svg")
    ]
    assert long == []


def test_nothing_in_it_turns_text_into_markup() -> None:
    for name, asset in ASSETS.items():
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
            r"|style=|\son\w+=",
            asset.body.decode(),
        )
        assert found == [], name


async def test_who_calls_is_told_who_that_is() -> None:
    async with live() as here:
        assert (await here.http.get("/principal")).json() == {
            "name": "anonymous",
            "tenant": None,
            "anonymous": True,
            "scopes": ["tasks:read", "tasks:write", "tasks:cancel", "feed:read", "metrics:read", "admin"],
            "expires_at": None,
        }
