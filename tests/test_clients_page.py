"""The programs of docs/clients.md do what they say, also when their connections are cut: each is run as it stands.

Only the address is replaced, by one of a proxy in front of a real server. Those for browsers run in
tests/browser/test_clients_page.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.pages import Block, blocks
from tests.proxy import Proxy
from tests.serving import ROOT, serving

PAGE = ROOT / "docs" / "clients.md"
ADDRESS = "http://127.0.0.1:8000"

#: What every program prints.
(SHOWN,) = [block.code.splitlines() for block in blocks(PAGE, "text")]
PRINTED = [
    *("1 pending", "2 running"),
    *(f"{seq} {'tick' if seq % 2 else 'progress'}" for seq in range(3, 13)),
    *("13 completed", "stopped"),
]

#: A slow machine may see the third line when all is over.
TRIES = 3

#: How a program is run, by what its page says of it; those of browsers elsewhere.
ENDINGS = {"bash": ".sh", "python": ".py", "node": ".mjs", "browser": ".js"}

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def programs(kind: str) -> list[Block]:
    """The programs of a kind."""
    return [block for block in blocks(PAGE) if kind in block.note.removeprefix("client: ").split()]


RUN = [(kind, block) for kind in ("bash", "python", "node") for block in programs(kind)]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with (
        serving(tmp_path_factory.mktemp("clients"), "--store", "memory://") as url,
        Proxy(int(url.rpartition(":")[2])) as proxy,
    ):
        yield proxy


def program(kind: str) -> str:
    """What runs it; without Node.js its test is skipped, which `.ci/run` takes for a failure."""
    if kind == "python":
        return sys.executable
    found = shutil.which(kind)
    if found is None:
        pytest.skip(f"there is no {kind} here")
    return found


def printed(kind: str, block: Block, folder: Path, proxy: Proxy, *, cut: bool) -> tuple[list[str], int]:
    """Run a program; if it is to be cut, its connections are when it has printed three lines.

    Returns:
        What it has printed, and how many connections were cut: none if the machine was so slow that all was over.
    """
    file = folder / f"client{ENDINGS[kind]}"
    file.write_text(block.code.replace(ADDRESS, f"http://127.0.0.1:{proxy.port}"), encoding="utf-8")
    environment = os.environ | {"no_proxy": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [program(kind), str(file)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines, cuts = _lines(process.stdout, proxy if cut else None)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    return lines, cuts


def _lines(stdout: IO[str], proxy: Proxy | None) -> tuple[list[str], int]:
    lines, cuts = [], 0
    for line in stdout:
        lines.append(line.rstrip("\n"))
        if len(lines) == 3 and proxy is not None:
            cuts = proxy.cut()
    return lines, cuts


@pytest.mark.parametrize(("kind", "block"), RUN, ids=[f"{kind}-{block.line}" for kind, block in RUN])
def test_a_program_sees_each_event_and_cancels(kind: str, block: Block, proxy: Proxy, tmp_path: Path) -> None:
    assert printed(kind, block, tmp_path, proxy, cut=False)[0] == PRINTED


@pytest.mark.parametrize(("kind", "block"), RUN, ids=[f"{kind}-{block.line}" for kind, block in RUN])
def test_a_program_whose_connection_is_cut_sees_each_event_once(
    kind: str, block: Block, proxy: Proxy, tmp_path: Path
) -> None:
    for _ in range(TRIES):
        lines, cuts = printed(kind, block, tmp_path, proxy, cut=True)
        assert lines == PRINTED
        if cuts:
            return
    raise AssertionError("nothing was cut")


def test_the_page_shows_what_they_print() -> None:
    assert [line for line in SHOWN if line != "..."] == [*PRINTED[:4], *PRINTED[-2:]]


def test_each_program_of_the_page_is_run() -> None:
    marked = [block for block in blocks(PAGE, "sh", "python", "js") if block.note.startswith("client: ")]

    assert len(marked) == len(blocks(PAGE, "sh", "python", "js")) == 7
    assert {kind for block in marked for kind in block.note.removeprefix("client: ").split()} == set(ENDINGS)
