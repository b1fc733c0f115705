"""A guard ends a group when the pipe to its server breaks, and only then."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from streaming.tasks.guard import Guard
from tests.tasks.test_program import alive, gone


@pytest.fixture
def group() -> Iterator[subprocess.Popen[bytes]]:
    """A group of two, of which neither listens to TERM."""
    script = "trap '' TERM; sh -c 'trap \"\" TERM; echo ready; exec sleep 1000' & exec sleep 1000"
    leader = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    assert leader.stdout.readline() == b"ready\n"
    yield leader
    os.killpg(leader.pid, signal.SIGKILL)
    leader.stdout.close()
    leader.wait()


def members(leader: subprocess.Popen[bytes]) -> list[int]:
    return [leader.pid, *(child.pid for child in psutil.Process(leader.pid).children())]


def shell(guard: Guard) -> int:
    """The process id of its shell; waits until it has set its traps, and reads."""
    return guard._shell.pid


def break_pipe(guard: Guard) -> None:
    """What the kernel does when the server is gone."""
    assert guard._shell.stdin is not None
    guard._shell.stdin.close()


async def test_when_the_pipe_breaks_the_whole_group_is_killed(group: subprocess.Popen[bytes]) -> None:
    pids = members(group)
    assert len(pids) == 2
    guard = Guard()
    guard.watch(group.pid)
    break_pipe(guard)
    await gone(*pids)
    guard.release()


async def test_a_group_that_is_released_is_left_alone(group: subprocess.Popen[bytes]) -> None:
    guard = Guard()
    guard.watch(group.pid)
    guard.release()
    assert not psutil.pid_exists(shell(guard))
    assert all(alive(pid) for pid in members(group))


async def test_a_guard_that_was_given_nothing_ends_alone() -> None:
    guard = Guard()
    break_pipe(guard)
    assert await asyncio.to_thread(guard._shell.wait) != 0
    guard.release()


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_a_guard_is_moved_by_no_signal_that_is_meant_for_the_server(
    group: subprocess.Popen[bytes], signum: signal.Signals
) -> None:
    guard = Guard()
    guard.watch(group.pid)
    async with asyncio.timeout(5):
        while not ignores(shell(guard), signum):  # noqa: ASYNC110  # a shell does not tell how far it is
            await asyncio.sleep(0.001)
    os.kill(shell(guard), signum)
    pids = members(group)
    break_pipe(guard)
    await gone(*pids)
    guard.release()


def ignores(pid: int, signum: signal.Signals) -> bool:
    with open(f"/proc/{pid}/status") as file:
        (ignored,) = (int(line.split()[1], 16) for line in file if line.startswith("SigIgn:"))
    return bool(ignored >> (signum - 1) & 1)


async def test_a_guard_that_somebody_has_killed_holds_nobody_up(group: subprocess.Popen[bytes]) -> None:
    guard = Guard()
    os.kill(shell(guard), signal.SIGKILL)
    await gone(shell(guard))
    guard.watch(group.pid)
    guard.release()
    assert alive(group.pid)


async def test_a_guard_has_nothing_of_the_server() -> None:
    """Neither its terminal's signals, nor its output, its directory, or its secrets."""
    guard = Guard()
    process = psutil.Process(shell(guard))
    assert os.getsid(process.pid) == process.pid
    assert process.cwd() == "/"
    assert set(process.environ()) <= {"PWD", "OLDPWD", "SHLVL", "_"}
    targets = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (1, 2)}
    assert targets == {os.devnull}
    guard.release()
