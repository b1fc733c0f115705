"""A worker that has died is replaced as long as nothing was called; later its death is the task's."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from streaming.engine import processes as module
from streaming.engine.processes import Processes, WorkerLost

pytestmark = pytest.mark.clock("each")

SOON_S = 20.0


def pid() -> int:
    return os.getpid()


def forever(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


def forks_and_dies(file: str) -> None:
    """Leave a child behind that has everything of its parent, its pipes as well."""
    child = os.fork()
    if child == 0:
        time.sleep(SOON_S)
        os._exit(0)
    Path(file).write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)


def large(n: int, data: bytes) -> bytes:
    return data * n


@pytest.fixture
async def processes(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Processes]:
    """For one worker at once; whatever is left of them at the end is a failure, and so is a complaint of asyncio."""
    before = psutil.Process().children()
    files = descriptors()
    async with asyncio.timeout(SOON_S):
        built = Processes(1)
        yield built
        await built.close()
    assert [child for child in psutil.Process().children() if child not in before] == []
    assert descriptors() == files
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


def descriptors() -> int:
    """How many files are open, but for the one that uvloop keeps for all processes."""
    found = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return len([file for file in found if file.is_symlink() and str(file.readlink()) != os.devnull])


async def written(file: Path) -> int:
    while not (file.exists() and file.read_text()):  # noqa: ASYNC110, ASYNC240  # another process does it
        await asyncio.sleep(0.005)
    return int(file.read_text())  # noqa: ASYNC240  # a few bytes


async def test_a_worker_is_used_again(processes: Processes) -> None:
    first = await processes.run(pid, {})

    assert first != os.getpid()
    assert await processes.run(pid, {}) == first


async def test_a_request_and_an_answer_may_be_large(processes: Processes) -> None:
    data = b"x" * 1_000_000

    assert await processes.run(large, {"n": 3, "data": data}) == 3 * data


async def test_a_worker_that_died_while_it_was_idle_is_replaced(processes: Processes) -> None:
    """Also if nobody has had the time to notice."""
    for _ in range(5):
        idle = await processes.run(pid, {})
        os.kill(idle, signal.SIGKILL)

        assert await processes.run(pid, {}) != idle


async def test_a_worker_that_dies_with_the_request_in_its_pipe_is_replaced(processes: Processes) -> None:
    idle = await processes.run(pid, {})
    os.kill(idle, signal.SIGSTOP)
    running = asyncio.create_task(processes.run(pid, {}))
    while processes._idle:  # noqa: ASYNC110  # a few steps
        await asyncio.sleep(0)
    os.kill(idle, signal.SIGKILL)

    assert await running != idle


async def test_all_that_died_while_they_were_idle_are_replaced(processes: Processes) -> None:
    processes.places.total_tokens = 3
    idle = await asyncio.gather(*(processes.run(pid, {}) for _ in range(3)))
    for each in idle:
        os.kill(each, signal.SIGKILL)

    assert await processes.run(pid, {}) not in idle
    assert len(processes._idle) == 1


async def test_a_worker_that_dies_at_work_is_not_replaced(processes: Processes, tmp_path: Path) -> None:
    idle = await processes.run(pid, {})
    running = asyncio.create_task(processes.run(forever, {"file": str(tmp_path / "file")}))
    assert await written(tmp_path / "file") == idle
    os.kill(idle, signal.SIGKILL)

    with pytest.raises(WorkerLost):
        await running
    assert await processes.run(pid, {}) != idle


async def test_a_new_worker_that_does_not_come_into_being_is_not_tried_for_ever(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(WorkerLost):
        await processes.run(pid, {})


async def test_a_child_of_a_worker_that_has_died_holds_nobody_up(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the pipe open."""
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    with pytest.raises(WorkerLost):
        await processes.run(forks_and_dies, {"file": str(tmp_path / "file")})

    os.kill(await written(tmp_path / "file"), signal.SIGKILL)


@pytest.mark.parametrize("cancels", [1, 3])
async def test_who_is_cancelled_goes_on_when_the_worker_is_dead(
    processes: Processes, tmp_path: Path, cancels: int
) -> None:
    running = asyncio.create_task(processes.run(forever, {"file": str(tmp_path / "file")}))
    working = psutil.Process(await written(tmp_path / "file"))
    for _ in range(cancels):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not working.is_running()


async def test_a_cancel_while_a_dead_worker_is_replaced_calls_nothing(processes: Processes, tmp_path: Path) -> None:
    """The worker has closed its pipe, and needs a while to be dead."""
    os.kill(await processes.run(pid, {}), signal.SIGSTOP)
    (idle,) = processes._idle
    running = asyncio.create_task(processes.run(forever, {"file": str(tmp_path / "file")}))
    while processes._idle:  # noqa: ASYNC110  # a few steps
        await asyncio.sleep(0)
    idle._answers.feed_eof()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not (tmp_path / "file").exists()
    assert processes._idle == []


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_closing_ends_those_at_work_as_well_and_gives_nobody_another(
    processes: Processes, tmp_path: Path
) -> None:
    """A handler that is left behind is nobody's any more."""
    running = asyncio.create_task(processes.run(forever, {"file": str(tmp_path / "file")}))
    waiting = asyncio.create_task(processes.run(pid, {}))
    working = psutil.Process(await written(tmp_path / "file"))
    assert processes.places.statistics().tasks_waiting == 1
    await processes.close()

    assert not working.is_running()
    for lost in (running, waiting):
        with pytest.raises(WorkerLost):
            await lost


async def test_a_worker_that_comes_into_being_after_the_end_is_ended(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = module._start

    async def too_late() -> Any:
        started = await start()
        await processes.close()
        return started

    monkeypatch.setattr(module, "_start", too_late)

    with pytest.raises(WorkerLost):
        await processes.run(pid, {})
