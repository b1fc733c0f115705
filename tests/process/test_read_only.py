"""A database that may not be written any more, from one moment to the next: nothing is acknowledged that is not stored.

Permissions do not stop root, and a file system with open files is not mounted read-only. What stops everybody is the
attribute of a file that makes it immutable (``chattr +i``).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import reserve_port
from tests.process.outage import SETTINGS, live_through, ready
from tests.process.server import FORKED, running
from tests.process.witness import witnessed

pytestmark = pytest.mark.process

GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x8008_6601, 0x4008_6602, 0x10

NEEDED = "needs a file system with immutable files (ext4, xfs, btrfs), and the right to make them: run it as root"


def set_immutable(file: Path, wanted: bool) -> None:
    """Make a file immutable, or an ordinary one again.

    Raises:
        OSError: not possible here.
    """
    opened = os.open(file, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(opened, GET_FLAGS, struct.pack("l", 0)))
        flags = flags | IMMUTABLE if wanted else flags & ~IMMUTABLE
        fcntl.ioctl(opened, SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(opened)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The database and its log; not the memory that the connections share, which is no file to them."""
    files = [folder / "tasks.db", folder / "tasks.db-wal"]
    made: list[Path] = []
    try:
        for file in files:
            set_immutable(file, True)
            made.append(file)
        yield
    finally:
        for file in made:
            set_immutable(file, False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files can be made immutable, also such as are open."""
    file = tmp_path / "probe"
    with file.open("wb", buffering=0) as opened:
        try:
            set_immutable(file, True)
        except OSError:
            pytest.skip(NEEDED)
        try:
            opened.write(b"x")
        except PermissionError:
            return tmp_path
        finally:
            set_immutable(file, False)
    pytest.skip(NEEDED)


async def test_tasks_wait_while_the_file_is_read_only_and_every_client_was_told_the_truth(folder: Path) -> None:
    await live_through(folder, lambda server: read_only(folder))


async def test_killed_while_the_file_is_read_only_nothing_that_was_shown_is_missing(folder: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness:
            async with running(folder, FORKED, port=port, **SETTINGS) as server:
                task_id = await witness.start("burst", pause_s=0.001)
                (reader,) = witness.watch(task_id)
                await server.until(lambda: reader.has > 20)
                with read_only(folder):
                    await ready(server, 503)
                    await server.kill()
            async with running(folder, FORKED, port=port, **SETTINGS) as server:
                await witness.until_read()
                await server.check_sound()
                await server.stop()
        found = await witness.judge(f"sqlite:///{folder}/tasks.db")
    assert found.violations == []
    assert found.statuses == {"interrupted": 1}


async def test_a_server_does_not_start_on_a_file_that_it_cannot_write_and_says_so(folder: Path) -> None:
    async with running(folder, FORKED) as server:
        await server.stop()
    with read_only_database(folder):
        async with running(folder, "streaming serve", ready=False) as server:
            assert await server.exited() == 5
            assert server.lines[-1] == (
                f"streaming: The database {folder}/tasks.db is read-only: this user must be able to write it."
            )


@contextmanager
def read_only_database(folder: Path) -> Iterator[None]:
    """Of a server that has ended well: there is no log beside it."""
    set_immutable(folder / "tasks.db", True)
    try:
        yield
    finally:
        set_immutable(folder / "tasks.db", False)
