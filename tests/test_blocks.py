"""Each block of code in our pages is run, or parsed, or compared with what was printed; or says why not.

What becomes of a block is said by its language, and by a comment in front of it:

    <!-- not run: REASON -->         it is only parsed; there are few of them
    <!-- checked by: tests/X.py -->  another test has it
    <!-- client: ... -->             a program of docs/clients.md (tests/test_clients_page.py)
    <!-- tutorial: ... -->           a step of docs/testing.md (tests/test_tutorial.py)
    <!-- answer: GET /tasks 200 -->  JSON that fits the description of this answer
    <!-- body: POST /tasks -->       JSON that fits the description of this body
    <!-- setting: NAME -->           JSON that is a value of this setting
    <!-- alone -->                   shell, in a folder of its own, without a server

    <!-- from: examples/X.py -->     a part of this program, as it stands there
    <!-- with a server -->           Python, run as a program while there is a server

Shell is pasted into a terminal (tests/terminal.py): a page that starts servers has one of its own, the others share
one. Python is run by tests/test_docs.py if it says nothing else.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import psutil
import pytest
import yaml

from streaming.config import Settings
from streaming.web.openapi.document import describe
from tests.fuzz.described import Description
from tests.pages import Block, blocks, missing
from tests.serving import ROOT
from tests.terminal import Terminal

#: Written by programs, or about yesterday: what they show was true then.
REPORTS = {ROOT / "CHANGELOG.md", ROOT / "TEST_RESULTS.md", *(ROOT / "docs" / "decisions").glob("*.md")}
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")} - REPORTS)
BLOCKS = [block for path in PAGES for block in blocks(path)]

#: Blocks that nobody runs or compares, at most.
NOT_RUN_MAX = 21

#: Who runs the commands and reads the texts of these pages.
OWN_TESTS = {
    "README.md": "tests/test_readme.py",
    "docs/http.md": "tests/test_http_page.py",
    "docs/javascript.md": "tests/browser/test_javascript_page.py",
    "docs/tutorials/agent.md js": "tests/browser/test_javascript_page.py",
    "docs/quickstart.md": "tests/page/test_quickstart.py",
    "docs/faq.md": "tests/browser/test_pages.py",
}
#: Who has all blocks of a language.
OF_LANGUAGE = {
    "python": "tests/test_docs.py",
    "json": "tests/test_blocks.py",
    "yaml": "tests/test_blocks.py",
    "ini": "tests/test_blocks.py",
    "nginx": "tests/test_blocks.py",
    "mermaid": "tests/test_diagrams.py",
}
OF_NOTE = {"client": "tests/test_clients_page.py", "tutorial": "tests/test_tutorial.py"}

SHELL = ("sh", "bash")
DESCRIBED = Description(json.loads(json.dumps(describe(Settings(store_url="memory://"), []))))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def block_id(block: Block) -> str:
    return f"{name_of(block.path)}:{block.line}"


def kind_of(block: Block) -> tuple[str, str]:
    """The word of the comment in front of a block, and what it says."""
    word, _, rest = block.note.partition(":")
    return word, rest.strip()


def shown_by(block: Block) -> Block | None:
    """The block whose output a block is."""
    before = [each for each in blocks(block.path) if each.line < block.line]
    return before[-1] if before and block.language == "text" and before[-1].shown == block.code else None


def checked_by(block: Block) -> str:
    """The test that has a block; empty if none has."""
    word, rest = kind_of(block)
    page = name_of(block.path)
    if word in ("not run", "checked by"):
        return rest
    if word in ("with a server", "from"):
        return "tests/test_blocks.py"
    if word in OF_NOTE:
        return OF_NOTE[word]
    source = shown_by(block)
    if source is not None:
        return checked_by(source)
    if page in OWN_TESTS and block.language in (*SHELL, "js", "html", "text"):
        return "" if block.language == "text" else OWN_TESTS[page]
    if block.language in SHELL:
        return "tests/test_blocks.py"
    if f"{page} {block.language}" in OWN_TESTS:
        return OWN_TESTS[f"{page} {block.language}"]
    return OF_LANGUAGE.get(block.language, "")


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=block_id)
def test_somebody_has_each_block(block: Block) -> None:
    word, rest = kind_of(block)
    test = checked_by(block)

    assert test, "nobody runs it, parses it, or compares it"
    if word == "not run":
        assert len(rest) > 10, "why?"
    else:
        assert (ROOT / test).is_file()
    if word == "checked by":
        assert block.path.name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not know the page"


def test_few_blocks_are_not_run() -> None:
    not_run = [block_id(block) for block in BLOCKS if kind_of(block)[0] == "not run"]

    assert len(not_run) <= NOT_RUN_MAX, not_run


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_no_fence_is_overlooked(path: Path) -> None:
    """Every line that begins with three backticks opens a block that is found, or closes it."""
    fences = re.findall(r"^ *```", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(fences) == 2 * len(blocks(path))


# -- what is parsed ----------------------------------------------------------------------------------------------------


def schema_of(block: Block) -> dict[str, Any] | None:
    """How the description describes what the block shows."""
    word, rest = kind_of(block)
    if word == "body":
        return _content(DESCRIBED.at(rest)["requestBody"], "application/json")
    if word == "answer":
        operation, _, status = rest.rpartition(" ")
        answer = DESCRIBED.at(operation)["responses"][status]
        return _content(answer, next(iter(answer["content"])))
    return None


def _content(described: dict[str, Any], media_type: str) -> dict[str, Any]:
    found: dict[str, Any] = described["content"][media_type]["schema"]
    return found


def wrong(value: Any, schema: dict[str, Any]) -> list[str]:
    whole = {**schema, "components": DESCRIBED.closed["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{list(error.instance_path)}: {error.message[:300]}" for error in validator.iter_errors(value)]


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "json"], ids=block_id)
def test_json_is_what_it_says(block: Block) -> None:
    value = json.loads(block.code)
    schema = schema_of(block)
    if schema is not None:
        assert wrong(value, schema) == []
    word, rest = kind_of(block)
    if word == "setting":
        field = rest.removeprefix("STREAMING_").lower()
        assert getattr(Settings(**{field: value}), field)


def test_json_of_another_shape_is_found() -> None:
    (shown,) = [each for each in BLOCKS if each.note == "answer: GET /tasks/{id} 200"]
    schema = schema_of(shown)

    assert schema is not None
    assert wrong(json.loads(shown.code) | {"more": 1}, schema)
    assert wrong(json.loads(shown.code) | {"status": "odd"}, schema)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "yaml"], ids=block_id)
def test_yaml_is_yaml(block: Block) -> None:
    assert yaml.safe_load(block.code)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "ini"], ids=block_id)
def test_settings_are_names_and_values_that_a_server_takes(block: Block) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(f"[settings]\n{block.code}")
    values = {name.removeprefix("streaming_"): value for name, value in parser["settings"].items()}

    assert values.keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("block", [each for each in BLOCKS if kind_of(each)[0] == "from"], ids=block_id)
def test_a_part_of_a_program_is_what_the_program_has(block: Block) -> None:
    assert block.code in (ROOT / kind_of(block)[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "nginx"], ids=block_id)
def test_nginx_takes_it(block: Block, tmp_path: Path) -> None:
    """What it does is for tests/process/test_nginx.py."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx: apt-get install nginx-light")
    inside = block.code if block.code.startswith("location") else f"location / {{ {block.code} }}"
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid; events {{}} http {{ server {{ listen 127.0.0.1:8999; {inside} }} }}")
    done = subprocess.run(
        [program, "-t", "-e", "stderr", "-p", tmp_path, "-c", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )

    assert "test is successful" in done.stderr, done.stderr


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language in SHELL], ids=block_id)
def test_shell_can_be_parsed(block: Block) -> None:
    """Also what is not run; and the files of the project that it names are there."""
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=block.code, capture_output=True, text=True, check=False, timeout=10)

    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in re.findall(r"\bdeploy/[\w./-]+", block.code) if not (ROOT / name).exists()] == []


# -- what is run -------------------------------------------------------------------------------------------------------


def steps_of(path: Path) -> list[Block]:
    """What is saved and pasted of a page, in its order."""
    return [
        each
        for each in blocks(path)
        if (each.note.startswith("file: ") and name_of(path) not in OWN_TESTS)
        or (each.language in SHELL and checked_by(each) == "tests/test_blocks.py" and each.note != "alone")
    ]


def serves(path: Path) -> bool:
    return any(re.search(r"\b(streaming serve|uvicorn)\b", each.code) for each in steps_of(path))


def work_through(path: Path, terminal: Terminal) -> Iterator[tuple[Block, list[str], str]]:
    """Each step with the lines that the page shows and nobody has printed, and what was printed."""
    for block in steps_of(path):
        printed = terminal.do(block)
        if block.note != "meanwhile":
            yield block, missing(block.shown, printed), printed
    for block, printed in terminal.meanwhile():
        yield block, missing(block.shown, printed), printed


SESSIONS = [path for path in PAGES if steps_of(path)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal with a server, for pages that start none."""
    with Terminal(tmp_path_factory.mktemp("pages")) as terminal:
        terminal.do(BLOCKS[0]._replace(code="streaming serve --store memory://\n", note=""))
        yield terminal


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", [each for each in SESSIONS if serves(each)], ids=name_of)
def test_a_page_with_servers_works_as_pasted(path: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for block, absent, printed in work_through(path, terminal):
            assert absent == [], f"{block_id(block)} prints\n{printed}"


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", [each for each in SESSIONS if not serves(each)], ids=name_of)
def test_a_page_works_as_pasted(path: Path, shared: Terminal) -> None:
    for block, absent, printed in work_through(path, shared):
        assert absent == [], f"{block_id(block)} prints\n{printed}"


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [each for each in BLOCKS if each.note == "with a server"], ids=block_id)
def test_a_program_works_with_a_server(block: Block, shared: Terminal) -> None:
    shared.do(block._replace(note="file: program.py"))

    assert shared.paste("python program.py").strip()


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [each for each in BLOCKS if each.note == "alone"], ids=block_id)
def test_a_block_works_alone(block: Block, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        printed = terminal.do(block)

    assert missing(block.shown, printed) == []


# -- comparing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "printed", "lines"),
    [
        ("a\nb", "a\nx\nb", []),
        ("b\na", "a\nb", ["a"]),
        ("a\n...\nc", "a\nb\nc", []),
        ("a ... c", "a b c", []),
        ("a ... d", "a b c", ["a ... d"]),
        ("task 01a1faf2e1e272c28c97af9bddbf8148", "task 02a1faf2e1e272c28c97af9bddbf8149", []),
        ('"time":"2026-11-20T21:53:03.970647Z"', '"time":"2027-01-01T00:00:00.000001Z"', []),
        ("13:35:24  pending {}", "14:00:00 pending     {}", []),
        ("one", "one more", ["one"]),
    ],
)
def test_lines_are_compared_in_their_order(shown: str, printed: str, lines: list[str]) -> None:
    assert missing(shown, printed) == lines


@pytest.mark.process
def test_a_command_that_fails_is_seen_and_nothing_is_left_behind(tmp_path: Path) -> None:
    block = BLOCKS[0]._replace(language="sh", note="", code="sleep 1000 &\necho $! > pid\n")
    with Terminal(tmp_path) as terminal:
        assert terminal.do(block) is not None
        with pytest.raises(AssertionError, match="exit status 3"):
            terminal.do(block._replace(code="(exit 3)"))
        assert terminal.do(block._replace(code="(exit 3)", note="status: 3")).strip() == ""
        pid = int((tmp_path / "pid").read_text())

    end = time.monotonic() + 10
    while not has_ended(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Also if nobody has asked for its status yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
