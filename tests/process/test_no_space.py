"""A file system without a free byte, from one moment to the next: nothing is acknowledged that is not stored.

``test_full_disk`` forbids files to grow, which is another error (EFBIG), and of one process. Here the kernel has no
room for anybody (ENOSPC): the database lies on a small file system of its own, which something else fills.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.ports import reserve_port
from tests.process.outage import SETTINGS, live_through, ready
from tests.process.server import FORKED, running
from tests.process.witness import witnessed

pytestmark = pytest.mark.process

#: Far more than the database of such a test needs.
SIZE_BYTES = 16 * 2**20

MNT_DETACH = 2

NEEDED = "needs the right to mount a file system: run it as root"

_libc = ctypes.CDLL(None, use_errno=True)


def mount_small(folder: Path) -> None:
    """Let a folder be a file system in memory, of its own size.

    Raises:
        OSError: not possible here.
    """
    if _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={SIZE_BYTES}".encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))


def unmount(folder: Path) -> None:
    """Let it be a folder again, also where somebody has a file open there."""
    assert _libc.umount2(os.fsencode(folder), MNT_DETACH) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def no_space(folder: Path) -> Iterator[None]:
    """Fill the file system to its last byte, and free it again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(2**16)):
                pass
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """On a file system that is small enough to be filled."""
    try:
        mount_small(tmp_path)
    except PermissionError:
        pytest.skip(NEEDED)
    try:
        yield tmp_path
    finally:
        unmount(tmp_path)


async def test_tasks_wait_while_there_is_no_space_and_every_client_was_told_the_truth(folder: Path) -> None:
    await live_through(folder, lambda server: no_space(folder))


async def test_killed_while_there_is_no_space_and_started_again_nothing_that_was_shown_is_missing(folder: Path) -> None:
    port, reserved = reserve_port()
    with reserved:
        async with witnessed(port) as witness:
            with ExitStack() as full:
                async with running(folder, FORKED, port=port, **SETTINGS) as server:
                    task_id = await witness.start("burst", pause_s=0.001)
                    (reader,) = witness.watch(task_id)
                    await server.until(lambda: reader.has > 20)
                    full.enter_context(no_space(folder))
                    await ready(server, 503)
                    assert "its disk is full" in server.said("the store cannot be written")[0]["reason"]
                    await server.kill()
                async with running(folder, FORKED, port=port, **SETTINGS) as server:
                    await server.until_said("the store is away: tasks wait at their next event")
                    assert not reader.finished, "what became of the task is not stored, and nobody is told of it"
                    full.close()
                    await witness.until_read()
                    await server.check_sound()
                    await server.stop()
        found = await witness.judge(f"sqlite:///{folder}/tasks.db")
    assert found.violations == []
    assert found.statuses == {"interrupted": 1}


async def test_without_space_no_database_is_made_and_the_server_says_so(folder: Path) -> None:
    with no_space(folder):
        async with running(folder, "streaming serve", ready=False) as server:
            assert await server.exited() == 5
            assert server.lines[-1] == (f"streaming: The database {folder}/tasks.db cannot be used: its disk is full.")
