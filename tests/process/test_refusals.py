"""A server that cannot start says why in one line, for people, and with a status for programs."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.server import FORKED, WAYS, Server, running

pytestmark = pytest.mark.process

SERVE, UVICORN = "streaming serve", "uvicorn --loop asyncio"
BOTH = pytest.mark.parametrize("way", [SERVE, UVICORN])

#: How a refused start ends: the command line has a status for each reason, uvicorn has one for all.
USAGE, UNAVAILABLE, OF_UVICORN = 2, 5, 3


#: What lets root write a file that it may not write.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []


async def refused(folder: Path, way: str, status: int, *words: str, **settings: Any) -> str:
    """Try to start a server; the one line that says why it did not."""
    command = [*UNPRIVILEGED, *WAYS[way], *words]
    async with running(folder, command, ready=False, **{"log_format": "console", **settings}) as server:
        assert await server.exited() == (status if way == SERVE else OF_UVICORN)
        return reason(server, way)


def reason(server: Server, way: str) -> str:
    assert not [line for line in server.lines if "Traceback" in line or line.startswith(" ")], server.lines
    mark = "streaming: " if way == SERVE else "error"  # ERROR: before our log has begun, [error ] in it
    end = "Application startup failed. Exiting."
    found = [line for line in server.lines if mark in line.lower() and end not in line]
    assert len(found) == 1, server.lines
    return found[0]


@BOTH
async def test_a_second_server_on_the_same_file_is_refused_and_told_who_has_it(way: str, tmp_path: Path) -> None:
    async with running(tmp_path, FORKED) as first:
        line = await refused(tmp_path, way, UNAVAILABLE)
        assert f"in use by process {first.process.pid}" in line
        assert (await first.http.get("/readyz")).status_code == 200, "the first one does not mind"
        await first.stop()


@BOTH
async def test_a_module_that_does_not_import_is_named_with_the_reason(way: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import streaming\n\nraise ValueError('not\\ntoday')\n")

    line = await refused(tmp_path, way, USAGE, tasks="wrong")

    assert "Module 'wrong' cannot be imported: ValueError: not" in line


@BOTH
async def test_a_wrong_setting_is_named_with_its_variable(way: str, tmp_path: Path) -> None:
    line = await refused(tmp_path, way, USAGE, grace_s="soon")

    assert "STREAMING_GRACE_S: Input should be a valid number" in line


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        line = await refused(tmp_path, SERVE, USAGE, "--port", str(port))

    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use." in line
    assert os.listdir(tmp_path) == [], "and nothing was begun"


async def test_an_address_that_others_can_reach_needs_a_word(tmp_path: Path) -> None:
    line = await refused(tmp_path, SERVE, USAGE, host="0.0.0.0")  # noqa: S104  # refused, that is the point

    assert "0.0.0.0 needs an API key (streaming key create NAME), or --insecure-public" in line


@contextmanager
def spoiled(what: str, folder: Path) -> Iterator[None]:
    path = folder / "tasks.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA application_id = 0")
        if what == "locked":
            other.execute("BEGIN EXCLUSIVE")
        if what == "no database":
            path.write_text("hello " * 1000)
        path.chmod(0o444 if what == "file" else 0o644)
        folder.chmod(0o555 if what == "directory" else 0o755)
        yield
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("file", "is read-only: this user must be able to write it"),
        ("directory", "must be writable"),
        ("locked", "another process has locked it"),
        ("no database", "its file is no SQLite database"),
    ],
)
async def test_a_database_that_cannot_be_used_is_named_with_the_reason(what: str, said: str, tmp_path: Path) -> None:
    with spoiled(what, tmp_path):
        line = await refused(tmp_path, SERVE, UNAVAILABLE, store_wait_s=0.2)

    assert str(tmp_path) in line
    assert said in line
